"""Mesh as VTP and legacy VTK poly data: everything survives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from vtkmodules.vtkFiltersCore import vtkTriangleFilter

from vesselgraph.errors import FormatError
from vesselgraph.graph import Column
from vesselgraph.io.vtk_files import (
    array_names,
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

_COLUMNS = "VesselGraphColumns"


def _poly(mesh: Mesh) -> Any:
    poly = poly_data(mesh.points, faces=mesh.faces)
    entries: dict[str, list[dict[str, str]]] = {}
    for axis, data, columns in (
        ("point", poly.GetPointData(), mesh.point_data),
        ("face", poly.GetCellData(), mesh.face_data),
    ):
        names = array_names(columns)
        for name, column in columns.items():
            data.AddArray(to_vtk(names[name], column))
        entries[axis] = [{"name": name, "array": names[name], "dtype": c.dtype.str} for name, c in columns.items()]
    poly.GetFieldData().AddArray(to_vtk(_COLUMNS, np.array([json.dumps(entries)])))
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
    return Mesh(
        points_of(cells) * space_sign(fields, header),
        ids.reshape(-1, 3),
        _columns(arrays_of(cells.GetPointData()), "point", fields),
        _columns(arrays_of(cells.GetCellData()), "face", fields),
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


def _columns(arrays: Mapping[str, Column], axis: str, fields: Mapping[str, Column]) -> dict[str, Column]:
    """Return the arrays as columns, under the names and types a file of this project gives them."""
    if _COLUMNS not in fields:
        return {name: array for name, array in arrays.items() if array.ndim == 1}
    try:
        entries = json.loads(str(fields[_COLUMNS][0]))[axis]
        # VTK leaves empty arrays out of some files.
        return {e["name"]: arrays.get(e["array"], np.zeros(0)).astype(e["dtype"]) for e in entries}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FormatError(f"column names in the field array {_COLUMNS!r}", f"{error}", "write the file again") from error
