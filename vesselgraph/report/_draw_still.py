"""Draw a coloured surface into a PNG with VTK: a program of its own, so that a broken display cannot end the caller.

Usage: ``python _draw_still.py ARRAYS.npz PICTURE.png WIDTH HEIGHT``. The arrays are points (P, 3) mm, faces (F, 3),
colours (P, 3) bytes. The view is from the front, head up. Knows nothing of the package: only numpy and vtk are needed.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import vtkmodules.vtkRenderingOpenGL2
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkPolyDataNormals
from vtkmodules.vtkIOImage import vtkPNGWriter
from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper, vtkRenderer, vtkRenderWindow, vtkWindowToImageFilter

_FACTORY = vtkmodules.vtkRenderingOpenGL2  # its import registers the drawing classes


def _actor(points: Any, faces: Any, colours: Any) -> vtkActor:
    surface = vtkPolyData()
    corners = vtkPoints()
    corners.SetData(numpy_to_vtk(np.ascontiguousarray(points, np.float64), deep=True))
    surface.SetPoints(corners)
    cells = vtkCellArray()
    cells.SetData(3, numpy_to_vtkIdTypeArray(np.ascontiguousarray(faces, np.int64).ravel(), deep=True))
    surface.SetPolys(cells)
    surface.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(colours, np.uint8), deep=True))
    normals = vtkPolyDataNormals()
    normals.SetInputData(surface)
    normals.SplittingOff()
    mapper = vtkPolyDataMapper()
    mapper.SetInputConnection(normals.GetOutputPort())
    actor = vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetSpecular(0.2)
    actor.GetProperty().SetSpecularPower(20.0)
    return actor


def main() -> None:
    """Read the arrays, draw them, write the picture."""
    source, target, width, height = sys.argv[1:]
    arrays = np.load(source)
    renderer = vtkRenderer()
    renderer.SetBackgroundAlpha(0.0)
    renderer.AddActor(_actor(arrays["points"], arrays["faces"], arrays["colours"]))
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetAlphaBitPlanes(1)
    window.SetMultiSamples(8)
    window.SetSize(int(width), int(height))
    window.AddRenderer(renderer)
    camera = renderer.GetActiveCamera()
    camera.SetFocalPoint(0.0, 0.0, 0.0)
    camera.SetPosition(0.0, -1.0, 0.0)
    camera.SetViewUp(0.0, 0.0, 1.0)
    renderer.ResetCamera()
    camera.Zoom(1.35)
    window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGBA()
    grab.ReadFrontBufferOff()
    writer = vtkPNGWriter()
    writer.SetFileName(target)
    writer.SetInputConnection(grab.GetOutputPort())
    writer.Write()


if __name__ == "__main__":
    main()
