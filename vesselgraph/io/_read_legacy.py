"""Turn a legacy VTK file into XML poly data: a program of its own, because damaged bytes can end VTK's legacy reader.

Usage: ``python _read_legacy.py SOURCE.vtk TARGET.vtp RECORD.json``. The record says ``is_poly``, the header line, and what VTK
said. Knows nothing of the package: only vtk is needed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vtkmodules.vtkCommonCore import vtkLogger, vtkOutputWindow, vtkStringOutputWindow
from vtkmodules.vtkIOLegacy import vtkPolyDataReader
from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter


def _text(said: Any) -> str:
    # VTK gives bytes where a file's bytes are no text.
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said or "")


def main(source: str, target: str, record: str) -> None:
    """Read, write, and say what was found."""
    window = vtkStringOutputWindow()
    vtkOutputWindow.SetInstance(window)
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    reader = vtkPolyDataReader()
    reader.SetFileName(source)
    for kind in ("Scalars", "Vectors", "Normals", "Tensors", "ColorScalars", "TCoords", "Fields"):
        getattr(reader, f"ReadAll{kind}On")()
    is_poly = bool(reader.IsFilePolyData())
    if is_poly:
        reader.Update()
        writer = vtkXMLPolyDataWriter()
        writer.SetFileName(target)
        writer.SetDataModeToAppended()
        writer.EncodeAppendedDataOff()
        writer.SetCompressorTypeToNone()
        writer.SetHeaderTypeToUInt64()
        writer.SetInputData(reader.GetOutput())
        writer.Write()
    header = _text(reader.GetHeader()) if is_poly else ""
    found = {"is_poly": is_poly, "header": header, "said": _text(window.GetOutput())}
    Path(record).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
