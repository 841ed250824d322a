"""Mesh as STL: binary, 32-bit floats, no data but the triangles."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vesselgraph.errors import FormatError, OutputError
from vesselgraph.mesh import Mesh
from vesselgraph.space import FloatArray

_HEADER = b"vesselgraph SPACE=LPS UNIT=mm"
_HEADER_SIZE = 80
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def write_stl(mesh: Mesh, path: Path) -> None:
    """Write binary STL; columns do not survive.

    A 32-bit coordinate 300 mm from the origin is off by at most 1.5e-5 mm. Points that fall together at that precision are one
    point when read back.

    Raises
    ------
    OutputError
        More triangles than the format counts.
    """
    if mesh.n_faces >= 2**32:
        raise OutputError("fewer than 2^32 triangles", f"{mesh.n_faces}", "write PLY")
    corners = mesh.points[mesh.faces]
    facets = np.zeros(mesh.n_faces, _FACET)
    facets["normal"] = _normals(corners)
    facets["corners"] = corners
    with path.open("wb") as file:
        file.write(_HEADER.ljust(_HEADER_SIZE))
        file.write(np.uint32(mesh.n_faces).tobytes())
        file.write(facets.tobytes())


def _normals(corners: FloatArray) -> FloatArray:
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.asarray(np.divide(normal, size, out=np.zeros_like(normal), where=size > 0))


def read_stl(path: Path) -> Mesh:
    """Return the surface of a binary or text STL file, equal corners merged so that a closed surface is closed.

    Raises
    ------
    FormatError
        The file is neither, or shorter or longer than its triangle count says.
    """
    data = path.read_bytes()
    header, n_faces = data[:_HEADER_SIZE], int.from_bytes(data[_HEADER_SIZE : _HEADER_SIZE + 4], "little")
    size = _HEADER_SIZE + 4 + n_faces * _FACET.itemsize
    if len(data) >= _HEADER_SIZE + 4 and len(data) == size:
        corners = np.frombuffer(data, _FACET, offset=_HEADER_SIZE + 4)["corners"].reshape(-1, 3)
    elif data.lstrip()[:5].lower() == b"solid" and b"endsolid" in data.lower():
        header, corners = data[:200], _text_corners(data)
    else:
        raise FormatError("a whole STL file", f"{len(data)} bytes, {size} expected", "the file is truncated or no STL")
    sign = np.array([-1.0, -1.0, 1.0]) if b"SPACE=RAS" in header else np.ones(3)
    return merged(corners * sign)


def _text_corners(data: bytes) -> FloatArray:
    found = re.findall(rb"vertex\s+(\S+)\s+(\S+)\s+(\S+)", data, flags=re.IGNORECASE)
    try:
        corners = np.array([[float(v) for v in row] for row in found], dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise FormatError("numbers after every `vertex`", str(error), "the file is damaged") from error
    if len(corners) % 3:
        raise FormatError("three corners a facet", f"{len(corners)} corners", "the file is truncated")
    return corners


def merged(corners: FloatArray) -> Mesh:
    """Return the mesh of corners (3 F, 3), equal ones merged; triangles that lose a corner by that are dropped."""
    points, inverse = np.unique(corners + 0.0, axis=0, return_inverse=True)
    faces = inverse.reshape(-1, 3)
    a, b, c = faces[:, 0], faces[:, 1], faces[:, 2]
    return Mesh(points, faces[(a != b) & (b != c) & (c != a)])
