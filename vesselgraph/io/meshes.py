"""Meshes in and out: one table of suffixes, one door each way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vesselgraph.errors import FormatError, InputError, RangeError, ShapeError
from vesselgraph.io.atomic import atomic_path
from vesselgraph.io.mesh_stl import read_stl, write_stl
from vesselgraph.io.mesh_vtk import read_mesh_vtk, write_mesh_vtk, write_mesh_vtp
from vesselgraph.mesh import Mesh

_FORMATS: dict[str, tuple[Callable[[Path], Mesh], Callable[[Mesh, Path], None]]] = {
    ".vtp": (read_mesh_vtk, write_mesh_vtp),
    ".vtk": (read_mesh_vtk, write_mesh_vtk),
    ".stl": (read_stl, write_stl),
}


def _format(place: Path) -> tuple[Callable[[Path], Mesh], Callable[[Mesh, Path], None]]:
    if place.suffix.lower() not in _FORMATS:
        raise FormatError(
            f"a mesh file name ending in {', '.join(_FORMATS)}", f"{place.name!r}", "choose one of these suffixes"
        )
    return _FORMATS[place.suffix.lower()]


def write_mesh(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh in LPS mm; the suffix chooses the format."""
    place = Path(path)
    writer = _format(place)[1]
    with atomic_path(place) as temporary:
        writer(mesh, temporary)


def read_mesh(path: str | Path) -> Mesh:
    """Return the mesh of a file in LPS mm; the suffix chooses the format."""
    place = Path(path)
    reader = _format(place)[0]
    if not place.is_file():
        raise InputError("an existing mesh file", f"{place}", "check the path")
    try:
        return reader(place)
    except (RangeError, ShapeError) as error:
        raise FormatError(f"an intact surface in {place.name}", f"{error}", "the file is damaged") from error
