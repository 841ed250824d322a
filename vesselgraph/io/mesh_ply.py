"""Mesh as PLY: binary, 64-bit coordinates, numeric columns as properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import FormatError
from vesselgraph.graph import Column
from vesselgraph.mesh import Mesh
from vesselgraph.space import FloatArray

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_NAME_OF = {
    "i1": "char",
    "u1": "uchar",
    "i2": "short",
    "u2": "ushort",
    "i4": "int",
    "u4": "uint",
    "f4": "float",
    "f8": "double",
}
_LISTS = ("vertex_indices", "vertex_index")
_EXACT_INTEGER = 2**53


def write_ply(mesh: Mesh, path: Path) -> None:
    """Write little-endian PLY; columns it cannot hold (text, integers beyond 2^53) are named in a comment."""
    header = ["ply", "format binary_little_endian 1.0", "comment vesselgraph SPACE=LPS UNIT=mm"]
    point_columns, point_notes = _storable("vertex", mesh.point_data, {"x", "y", "z"})
    face_columns, face_notes = _storable("face", mesh.face_data, set(_LISTS))
    header += point_notes + face_notes
    header += [f"element vertex {mesh.n_points}", *(f"property double {axis}" for axis in "xyz")]
    header += [f"property {_NAME_OF[column.dtype.str[1:]]} {name}" for name, column in point_columns.items()]
    header += [f"element face {mesh.n_faces}", "property list uchar int vertex_indices"]
    header += [f"property {_NAME_OF[column.dtype.str[1:]]} {name}" for name, column in face_columns.items()]
    points = _table(mesh.n_points, [("<f8", (3,), mesh.points)], point_columns)
    corners = np.full(mesh.n_faces, 3)
    faces = _table(mesh.n_faces, [("u1", (), corners), ("<i4", (3,), mesh.faces)], face_columns)
    with path.open("wb") as file:
        file.write("\n".join([*header, "end_header", ""]).encode("ascii"))
        file.write(points.tobytes())
        file.write(faces.tobytes())


def _table(size: int, own: list[tuple[str, tuple[int, ...], NDArray[Any]]], columns: Mapping[str, Column]) -> NDArray[Any]:
    """Return the packed rows of an element: its own values, then the columns."""
    fields = own + [(column.dtype.str, (), column) for column in columns.values()]
    table = np.zeros(size, [(f"p{i}", dtype, shape) for i, (dtype, shape, _) in enumerate(fields)])
    for i, (_, _, values) in enumerate(fields):
        table[f"p{i}"] = values
    return table


def _storable(element: str, columns: Mapping[str, Column], taken: set[str]) -> tuple[dict[str, Column], list[str]]:
    """Return the columns in types PLY has, and comments that name the original types and what is dropped."""
    kept: dict[str, Column] = {}
    notes, dropped = [], []
    for name, column in columns.items():
        stored = _stored(column)
        plain = name.isascii() and name.isprintable() and len(name.split()) == 1 and name not in taken
        if stored is None or not plain:
            dropped.append(ascii(name))
            continue
        kept[name] = stored
        if stored.dtype != column.dtype:
            notes.append(f"comment type {element} {name} {column.dtype.str}")
    if dropped:
        notes.append(f"comment dropped {element} columns (PLY has no place for them): {', '.join(dropped)}")
    return kept, notes


def _stored(column: Column) -> Column | None:
    kind = column.dtype.kind
    if kind == "U":
        return None
    if kind == "b":
        return column.astype("u1")
    if kind == "f":
        return column.astype("<f8" if column.dtype.itemsize > 4 else "<f4")
    if column.dtype.itemsize <= 4:
        return column.astype(column.dtype.newbyteorder("<"))
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    if low >= -(2**31) and high < 2**31:
        return column.astype("<i4")
    return column.astype("<f8") if max(-low, high) <= _EXACT_INTEGER else None


@dataclass
class _Element:
    name: str
    size: int
    properties: list[tuple[str, str, str]] = field(default_factory=list)
    """(name, type, type of the list's count or empty)"""


def read_ply(path: Path) -> Mesh:
    """Return the surface of a PLY file, text or binary; polygons become fans of triangles.

    Scalar properties of vertices and faces become columns (those of faces only if all faces are triangles).

    Raises
    ------
    FormatError
        The header is malformed, or the file is shorter than the header says.
    """
    data = path.read_bytes()
    end = data.find(b"end_header")
    body = data.find(b"\n", end) + 1
    if not data.startswith(b"ply") or end < 0 or body == 0:
        raise FormatError("a PLY header", f"{data[:20]!r}", "the file is truncated or no PLY")
    lines = data[:end].decode("utf-8", errors="replace").splitlines()
    encoding, elements = _header(lines)
    reader = _TextBody(data[body:]) if encoding == "ascii" else _BinaryBody(data, body, "<" if "little" in encoding else ">")
    tables = {element.name: reader.read(element) for element in elements}
    for element in ("vertex", "face"):
        if element not in tables:
            raise FormatError(f"the element {element!r}", f"only {sorted(tables)}", "this PLY holds no surface")
    return _mesh(tables["vertex"], tables["face"], [line for line in lines if line.startswith("comment")])


def _header(lines: list[str]) -> tuple[str, list[_Element]]:
    encoding, elements = "", list[_Element]()
    try:
        for line in lines[1:]:
            words = line.split()
            if words[:1] == ["format"]:
                encoding = words[1]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2])))
            elif words[:2] == ["property", "list"]:
                elements[-1].properties.append((words[4], _TYPES[words[3]], _TYPES[words[2]]))
            elif words[:1] == ["property"]:
                elements[-1].properties.append((words[2], _TYPES[words[1]], ""))
    except (IndexError, ValueError, KeyError) as error:
        raise FormatError("a PLY header", f"the line {line!r}", "the file is damaged") from error
    if encoding not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise FormatError("the format ascii or binary", f"{encoding!r}", "the file is damaged")
    return encoding, elements


class _BinaryBody:
    def __init__(self, data: bytes, place: int, order: str) -> None:
        self._data, self._place, self._order = data, place, order

    def read(self, element: _Element) -> dict[str, Any]:
        """Return one array a property; lists as (n, k) if all have the same length, else as a list of arrays."""
        counts = self._first_counts(element)
        fields: list[Any] = []
        for i, (_, kind, count_kind) in enumerate(element.properties):
            if count_kind:
                fields += [(f"n{i}", self._order + count_kind), (f"p{i}", self._order + kind, (counts[i],))]
            else:
                fields.append((f"p{i}", self._order + kind))
        dtype = np.dtype(fields)
        size = dtype.itemsize * element.size
        if self._place + size <= len(self._data):
            table = np.frombuffer(self._data, dtype, element.size, self._place)
            if all((table[f"n{i}"] == count).all() for i, count in counts.items()):
                self._place += size
                return {name: table[f"p{i}"] for i, (name, *_) in enumerate(element.properties)}
        return self._read_rows(element)

    def _first_counts(self, element: _Element) -> dict[int, int]:
        if element.size == 0:
            return {i: 3 for i, p in enumerate(element.properties) if p[2]}
        start = self._place
        row = self._row(element)
        self._place = start
        return {i: len(row[i]) for i, p in enumerate(element.properties) if p[2]}

    def _read_rows(self, element: _Element) -> dict[str, Any]:
        rows = [self._row(element) for _ in range(element.size)]
        return {
            name: [row[i] for row in rows] if count else np.array([row[i][0] for row in rows])
            for i, (name, _, count) in enumerate(element.properties)
        }

    def _row(self, element: _Element) -> list[NDArray[Any]]:
        row = []
        for _, kind, count_kind in element.properties:
            n = int(self._values(count_kind, 1)[0]) if count_kind else 1
            row.append(self._values(kind, n))
        return row

    def _values(self, kind: str, n: int) -> NDArray[Any]:
        dtype = np.dtype(self._order + kind)
        if n < 0 or self._place + n * dtype.itemsize > len(self._data):
            raise FormatError("as many bytes as the header says", f"{len(self._data)} bytes in all", "the file is truncated")
        values = np.frombuffer(self._data, dtype, n, self._place)
        self._place += n * dtype.itemsize
        return values


class _TextBody:
    def __init__(self, data: bytes) -> None:
        self._lines = [line.split() for line in data.splitlines() if line.strip()]
        self._next = 0

    def read(self, element: _Element) -> dict[str, Any]:
        """Return one array a property; lists as a list of arrays.

        Raises
        ------
        FormatError
            Lines or values are missing.
        """
        lines = self._lines[self._next : self._next + element.size]
        self._next += element.size
        result: dict[str, list[Any]] = {name: [] for name, *_ in element.properties}
        try:
            if len(lines) < element.size:
                raise ValueError(f"{len(lines)} of {element.size} lines of {element.name}")
            for words in lines:
                place = 0
                for name, kind, count_kind in element.properties:
                    n = int(words[place]) if count_kind else 1
                    place += bool(count_kind)
                    values = np.array([float(word) for word in words[place : place + n]])
                    if len(values) < n:
                        raise ValueError(f"a short line of {element.name}")
                    result[name].append(values.astype(kind) if count_kind else values.astype(kind)[0])
                    place += n
        except (ValueError, IndexError) as error:
            raise FormatError("as many values as the header says", f"{error}", "the file is truncated") from error
        lists = {name for name, _, count_kind in element.properties if count_kind}
        return {name: values if name in lists else np.array(values) for name, values in result.items()}


def _mesh(vertex: dict[str, Any], face: dict[str, Any], comments: list[str]) -> Mesh:
    lacking = [axis for axis in "xyz" if axis not in vertex]
    ids = next((face.pop(name) for name in _LISTS if name in face), None)
    if lacking or ids is None:
        raise FormatError("vertices x, y, z and faces vertex_indices", f"no {lacking or _LISTS[0]}", "this is no surface")
    points: FloatArray = np.stack([np.asarray(vertex.pop(axis), dtype=np.float64) for axis in "xyz"], axis=1).reshape(-1, 3)
    if any("SPACE=RAS" in comment for comment in comments):
        points = points * np.array([-1.0, -1.0, 1.0])
    faces, is_plain = _triangles(ids)
    types = {
        tuple(words[2:4]): words[4] for words in (c.split() for c in comments) if words[1:2] == ["type"] and len(words) == 5
    }
    return Mesh(
        points,
        faces,
        _columns("vertex", vertex, types),
        _columns("face", face, types) if is_plain else {},
    )


def _triangles(ids: Any) -> tuple[NDArray[np.int64], bool]:
    """Return faces (F, 3) and whether they are the file's own."""
    if isinstance(ids, np.ndarray) and ids.ndim == 2 and ids.shape[1] == 3:
        return ids.astype(np.int64), True
    fans = [(row[0], row[i], row[i + 1]) for row in ids for i in range(1, len(row) - 1)]
    return np.array(fans, dtype=np.int64).reshape(-1, 3), all(len(row) == 3 for row in ids)


def _columns(element: str, table: dict[str, Any], types: Mapping[tuple[str, ...], str]) -> dict[str, Column]:
    found = {}
    for name, values in table.items():
        if isinstance(values, np.ndarray) and values.ndim == 1:
            native = values.astype(values.dtype.newbyteorder("="))
            found[name] = native.astype(types.get((element, name), native.dtype.str))
    return found
