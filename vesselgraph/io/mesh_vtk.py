"""Mesh as VTP and legacy VTK poly data: everything survives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from vtkmodules.vtkFiltersCore import vtkTriangleFilter

from vesselgraph.errors import FormatError
from vesselgraph.graph import Column
from vesselgraph.io.vtk_files import (
    arrays_of,
    cells_of,
    points_of,
    poly_data,
    read_poly,
    space_sign,
    to_vtk,
    write_legacy,
    write_vtp,
)
from vesselgraph.mesh import Mesh

_DTYPES = "ColumnTypes"


def _poly(mesh: Mesh) -> Any:
    poly = poly_data(mesh.points, faces=mesh.faces)
    dtypes = []
    for axis, data, columns in (
        ("point", poly.GetPointData(), mesh.point_data),
        ("face", poly.GetCellData(), mesh.face_data),
    ):
        for name, column in columns.items():
            data.AddArray(to_vtk(name, column))
            dtypes.append(f"{axis} {column.dtype.str} {name}")
    if dtypes:
        poly.GetFieldData().AddArray(to_vtk(_DTYPES, np.array(dtypes)))
    return poly


def write_mesh_vtp(mesh: Mesh, path: Path) -> None:
    """Write XML poly data in 64-bit floats with all columns and the space in its field data."""
    write_vtp(_poly(mesh), path)


def write_mesh_vtk(mesh: Mesh, path: Path) -> None:
    """Write binary legacy poly data in 64-bit floats with all columns and the space in its header."""
    write_legacy(_poly(mesh), path, "vesselgraph surface")


def read_mesh_vtk(path: Path) -> Mesh:
    """Return the surface of VTP or legacy poly data; polygons and strips become triangles.

    Single-valued point and cell arrays become columns; arrays of vectors are left out.

    Raises
    ------
    FormatError
        The file is damaged or holds lines or points but no faces.
    """
    poly, header = read_poly(path)
    cells = triangles(poly)
    fields = arrays_of(cells.GetFieldData())
    _, ids = cells_of(cells.GetPolys())
    if poly.GetNumberOfLines() and not len(ids):
        raise FormatError("a surface", "lines without faces", "use read_graph for centerlines")
    dtypes = dict(_dtype_entry(str(entry)) for entry in fields.get(_DTYPES, ()))
    return Mesh(
        points_of(cells) * space_sign(fields, header),
        ids.reshape(-1, 3),
        _columns(arrays_of(cells.GetPointData()), "point", dtypes),
        _columns(arrays_of(cells.GetCellData()), "face", dtypes),
    )


def triangles(poly: Any) -> Any:
    """Return the poly data with faces as triangles; unchanged if they are."""
    offsets, _ = cells_of(poly.GetPolys())
    plain = poly.GetNumberOfStrips() == 0 and poly.GetNumberOfLines() == 0 and poly.GetNumberOfVerts() == 0
    if plain and (np.diff(offsets) == 3).all():
        return poly
    cut = vtkTriangleFilter()
    cut.PassLinesOff()
    cut.PassVertsOff()
    cut.SetInputData(poly)
    cut.Update()
    return cut.GetOutput()


def _dtype_entry(entry: str) -> tuple[tuple[str, str], str]:
    axis, dtype, name = entry.split(" ", 2)
    return (axis, name), dtype


def _columns(arrays: Mapping[str, Column], axis: str, dtypes: Mapping[tuple[str, str], str]) -> dict[str, Column]:
    found = {}
    for name, array in arrays.items():
        if array.ndim == 1:
            found[name] = array.astype(dtypes.get((axis, name), array.dtype))
    return found
