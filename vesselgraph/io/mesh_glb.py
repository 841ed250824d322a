"""Mesh as GLB (binary glTF 2.0): opens upright in web viewers, Blender and office programs, coloured by tree or score.

glTF is in metres, right-handed, Y up, front towards +Z. The vertices are stored as they are, in LPS millimetres; the scene's
one node carries the way to glTF's frame: x' = x / 1000, y' = z / 1000, z' = -y / 1000, so that a viewer shows the patient
upright from the front. The asset's extras say so, and :func:`read_glb` takes the stored vertices.

Reference: The Khronos Group, glTF 2.0 Specification, sections 3.4 (coordinate system) and 4.4 (GLB layout).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import FormatError
from vesselgraph.mesh import Mesh
from vesselgraph.space import FloatArray

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT, _UBYTE = 5126, 5125, 5121
_ARRAY, _ELEMENTS = 34962, 34963
_COMPONENT = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
# By kind of column: what a 32-bit float holds exactly (integers) or at all.
_LARGEST = {"b": 1.0, "i": 2.0**24, "u": 2.0**24, "f": 3.4e38}
# A turn by -90 degrees about x (patient upright, seen from the front), then millimetres to metres.
_TO_SCENE = {"rotation": [-float(np.sqrt(0.5)), 0.0, 0.0, float(np.sqrt(0.5))], "scale": [0.001, 0.001, 0.001]}
_TREE_COLOURS = np.array(
    [
        [160, 160, 160],
        [58, 110, 200],
        [205, 70, 60],
        [70, 160, 90],
        [230, 160, 50],
        [140, 90, 180],
        [60, 170, 180],
        [200, 110, 160],
    ],
    dtype=np.uint8,
)
# Not known, portal, hepatic, artery.
_NAME_COLOURS = np.array([[160, 160, 160], [58, 110, 200], [140, 90, 180], [205, 70, 60]], dtype=np.uint8)
_SCREEN_GAMMA = 2.2
_LOW, _HIGH = np.array([215.0, 60.0, 50.0]), np.array([50.0, 110.0, 190.0])


def write_glb(mesh: Mesh, path: Path) -> None:
    """Write 32-bit vertices, smooth normals, colours and numeric point columns; the extras name what is dropped."""
    blob = _Blob()
    attributes = {
        "POSITION": blob.add(mesh.points.astype("<f4"), "VEC3", _FLOAT, _ARRAY, bounds=True),
        "NORMAL": blob.add(_normals(mesh).astype("<f4"), "VEC3", _FLOAT, _ARRAY),
    }
    colours = _colours(mesh)
    if colours is not None:
        attributes["COLOR_0"] = blob.add(colours, "VEC4", _UBYTE, _ARRAY, normalized=True)
    columns, dropped = _add_columns(mesh, blob, attributes)
    extras = {
        "generator": "vesselgraph",
        "space": "LPS",
        "unit": "mm",
        "note": "accessor values are LPS millimetres; the node's transform leads to glTF's metres, Y up",
        "columns": columns,
        "dropped": dropped,
    }
    scene: dict[str, Any] = {"asset": {"version": "2.0", "generator": "vesselgraph", "extras": extras}, "scene": 0}
    scene["scenes"] = [{"nodes": [0]} if mesh.n_faces else {}]
    if mesh.n_faces:
        indices = blob.add(mesh.faces.astype("<u4").ravel(), "SCALAR", _UINT, _ELEMENTS)
        scene["nodes"] = [{"mesh": 0, "name": "vessels", **_TO_SCENE}]
        scene["meshes"] = [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}]
        colour = {"baseColorFactor": [1.0, 1.0, 1.0, 1.0] if colours is not None else [0.75, 0.2, 0.2, 1.0]}
        scene["materials"] = [{"pbrMetallicRoughness": {**colour, "metallicFactor": 0.0, "roughnessFactor": 0.6}}]
        scene.update(blob.record())
    path.write_bytes(_pack(scene, bytes(blob.data) if mesh.n_faces else b""))


def _add_columns(mesh: Mesh, blob: _Blob, attributes: dict[str, int]) -> tuple[list[dict[str, Any]], list[str]]:
    """Add the point columns 32-bit floats hold as vertex attributes; return their descriptions and what was dropped."""
    columns: list[dict[str, Any]] = []
    dropped = list(mesh.face_data)
    for name, column in mesh.point_data.items():
        if column.dtype.kind == "U" or np.nanmax(np.abs(column.astype(float)), initial=0.0) > _LARGEST[column.dtype.kind]:
            dropped.append(name)
            continue
        attribute = f"_COLUMN_{len(columns)}"
        # glTF wants finite floats: where a value is unknown is kept beside them.
        unknown = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)
        attributes[attribute] = blob.add(np.where(unknown, 0, column).astype("<f4"), "SCALAR", _FLOAT, _ARRAY)
        ids = np.flatnonzero(unknown).tolist()
        columns.append({"name": name, "attribute": attribute, "dtype": column.dtype.str, "unknown": ids})
    return columns, dropped


class _Blob:
    """The binary chunk as it grows, with its views and accessors."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def add(
        self, values: NDArray[Any], kind: str, component: int, target: int, *, bounds: bool = False, normalized: bool = False
    ) -> int:
        raw = values.tobytes()
        self._views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(raw), "target": target})
        self.data += raw + b"\0" * (-len(raw) % 4)
        accessor: dict[str, Any] = {
            "bufferView": len(self._views) - 1,
            "componentType": component,
            "count": len(values),
            "type": kind,
        }
        if bounds and len(values):
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        if normalized:
            accessor["normalized"] = True
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def record(self) -> dict[str, Any]:
        return {"buffers": [{"byteLength": len(self.data)}], "bufferViews": self._views, "accessors": self._accessors}


def _pack(scene: dict[str, Any], blob: bytes) -> bytes:
    text = json.dumps(scene, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), _JSON) + text
    if blob:
        chunks += struct.pack("<II", len(blob), _BIN) + blob
    return struct.pack("<III", _MAGIC, 2, 12 + len(chunks)) + chunks


def _normals(mesh: Mesh) -> FloatArray:
    """Return the unit mean of the face normals at each point, weighted by area; +z where there is none."""
    corners = mesh.points[mesh.faces]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((mesh.n_points, 3))
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(mesh.faces[:, corner], weights=area[:, axis], minlength=mesh.n_points)
    size = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(np.divide(total, size, out=np.tile([0.0, 0.0, 1.0], (mesh.n_points, 1)), where=size > 0))


def _colours(mesh: Mesh) -> NDArray[np.uint8] | None:
    """Return RGBA by ``tree`` or ``tree_id`` (0 is grey), else by ``score`` (red 0 to blue 1, grey unknown), else None."""
    tree, score, name = (mesh.point_data.get(column) for column in ("tree_id", "score", "tree"))
    if name is not None and name.dtype.kind in "iu" and (name > 0).any():
        rgb = _NAME_COLOURS[np.where((name > 0) & (name < len(_NAME_COLOURS)), name, 0)]
    elif tree is not None and tree.dtype.kind in "iu":
        ids = tree.astype(np.int64)
        rgb = _TREE_COLOURS[np.where(ids > 0, 1 + (ids - 1) % (len(_TREE_COLOURS) - 1), 0)]
    elif score is not None and score.dtype.kind == "f":
        share = np.clip(np.nan_to_num(score.astype(np.float64)), 0.0, 1.0)[:, None]
        rgb = np.where(np.isnan(score)[:, None], _TREE_COLOURS[0], _LOW + share * (_HIGH - _LOW)).astype(np.uint8)
    else:
        return None
    # glTF's vertex colours are linear light, the values above are what a screen shows.
    linear = np.rint(255.0 * (rgb / 255.0) ** _SCREEN_GAMMA).astype(np.uint8)
    return np.concatenate([linear, np.full((len(rgb), 1), 255, np.uint8)], axis=1)


def read_glb(path: Path) -> Mesh:
    """Return the surface of a GLB file in LPS mm.

    A file of :func:`write_glb` gives its vertices (to 32 bits) and point columns back. Other files are taken as glTF says,
    metres with Y up and the patient's front towards +Z; their triangles are joined into one mesh without columns.

    Raises
    ------
    FormatError
        No GLB, a truncated one, or one without triangles that can be read.
    """
    scene, blob = _unpack(path.read_bytes())
    extras = scene.get("asset", {}).get("extras", {})
    own = isinstance(extras, dict) and extras.get("generator") == "vesselgraph"
    try:
        return _own_mesh(scene, blob, extras) if own else _foreign_mesh(path)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise FormatError("triangles in a GLB file", f"{type(error).__name__}: {error}", "the file is damaged") from error


def _unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    if len(data) < 20 or struct.unpack_from("<II", data) != (_MAGIC, 2):
        raise FormatError("a GLB file, version 2", f"{data[:8]!r}", "the file is truncated or no GLB")
    if struct.unpack_from("<I", data, 8)[0] != len(data):
        size = struct.unpack_from("<I", data, 8)[0]
        raise FormatError(f"{size} bytes", f"{len(data)}", "the file is truncated")
    size = struct.unpack_from("<I", data, 12)[0]
    try:
        scene = json.loads(data[20 : 20 + size])
    except ValueError as error:
        raise FormatError("a JSON chunk", f"{error}", "the file is damaged") from error
    return scene, data[20 + size + 8 :]


def _own_mesh(scene: dict[str, Any], blob: bytes, extras: dict[str, Any]) -> Mesh:
    if "meshes" not in scene:
        return Mesh.empty()
    primitive = scene["meshes"][0]["primitives"][0]

    def values(accessor_id: int) -> NDArray[Any]:
        accessor = scene["accessors"][accessor_id]
        view = scene["bufferViews"][accessor["bufferView"]]
        width = _WIDTH[accessor["type"]]
        flat = np.frombuffer(blob, _COMPONENT[accessor["componentType"]], accessor["count"] * width, view["byteOffset"])
        return flat.reshape(-1, width) if width > 1 else flat

    columns = {}
    for entry in extras["columns"]:
        column = values(primitive["attributes"][entry["attribute"]]).astype(entry["dtype"])
        if entry["unknown"]:
            column[entry["unknown"]] = np.nan
        columns[entry["name"]] = column
    points = values(primitive["attributes"]["POSITION"])
    return Mesh(points, values(primitive["indices"]).reshape(-1, 3), columns)


def _foreign_mesh(path: Path) -> Mesh:
    import trimesh

    whole = trimesh.load_scene(path, process=False).to_mesh()
    x, y, z = np.asarray(whole.vertices, dtype=np.float64).T * 1000.0
    return Mesh(np.stack([x, -z, y], axis=1), np.asarray(whole.faces, dtype=np.int64))
