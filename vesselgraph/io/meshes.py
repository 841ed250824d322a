"""Meshes in and out: one table of suffixes, one door each way. What survives in which format is in ``docs/formats.md``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vesselgraph.io.atomic import atomic_path
from vesselgraph.io.columns import check_columns
from vesselgraph.io.doors import by_suffix, parsing, require_file
from vesselgraph.io.mesh_glb import read_glb, write_glb
from vesselgraph.io.mesh_obj import read_obj, write_obj
from vesselgraph.io.mesh_ply import read_ply, write_ply
from vesselgraph.io.mesh_stl import read_stl, write_stl
from vesselgraph.io.mesh_vtk import read_mesh_vtk, write_mesh_vtk, write_mesh_vtp
from vesselgraph.mesh import Mesh

Reader = Callable[[Path], Mesh]
Writer = Callable[[Mesh, Path], None]

_FORMATS: dict[str, tuple[Reader, Writer]] = {
    ".vtp": (read_mesh_vtk, write_mesh_vtp),
    ".vtk": (read_mesh_vtk, write_mesh_vtk),
    ".stl": (read_stl, write_stl),
    ".obj": (read_obj, write_obj),
    ".ply": (read_ply, write_ply),
    ".glb": (read_glb, write_glb),
}


def write_mesh(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh in world LPS millimetres, said in the file; the suffix chooses the format.

    ``.vtp`` and ``.vtk`` keep everything bit by bit. ``.ply`` keeps coordinates bit by bit and numeric columns. ``.obj`` keeps
    coordinates only. ``.stl`` keeps triangles in 32 bits (at 300 mm, 1.5e-5 mm). ``.glb`` keeps coordinates and numeric point
    columns in 32 bits and shows trees or scores as colours.

    Parameters
    ----------
    mesh : Mesh
        May be empty.
    path : path
        The file; complete or absent afterwards, an older one is replaced.

    Raises
    ------
    FormatError
        An unknown suffix.
    OutputError
        The file cannot be written, or a column fits no file (a float wider than 64 bits, invalid Unicode, objects).

    Examples
    --------
    >>> import tempfile
    >>> mesh = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_mesh(mesh, Path(folder) / "mesh.stl")
    ...     read_mesh(Path(folder) / "mesh.stl").area
    0.5
    """
    place = Path(path)
    _, writer = by_suffix(_FORMATS, place, "mesh")
    check_columns({"point": mesh.point_data, "face": mesh.face_data})
    with atomic_path(place) as temporary:
        writer(mesh, temporary)


def read_mesh(path: str | Path) -> Mesh:
    """Return the mesh of a file in world LPS millimetres; the suffix chooses the format.

    Files of other tools are read too: polygons become triangles, coordinates count as LPS mm unless the file says
    ``SPACE=RAS`` (as 3D Slicer writes it), a foreign GLB as metres with Y up. STL corners that are equal are one point.

    Raises
    ------
    InputError
        No such file.
    FormatError
        An unknown suffix, or a file that is truncated or of another kind than its suffix says.
    """
    place = Path(path)
    reader, _ = by_suffix(_FORMATS, place, "mesh")
    require_file(place)
    with parsing(place, "surface"):
        return reader(place)
