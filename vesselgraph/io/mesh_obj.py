"""Mesh as Wavefront OBJ: text, full precision, no data but the triangles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vesselgraph.errors import FormatError
from vesselgraph.mesh import Mesh

_HEADER = "# vesselgraph SPACE=LPS UNIT=mm"


def write_obj(mesh: Mesh, path: Path) -> None:
    """Write vertices and faces; columns do not survive, which a remark says."""
    lines = [_HEADER]
    dropped = [*mesh.point_data, *mesh.face_data]
    if dropped:
        lines.append(f"# dropped columns (OBJ has no place for them): {', '.join(ascii(name) for name in dropped)}")
    lines += [f"v {x!r} {y!r} {z!r}" for x, y, z in mesh.points.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def read_obj(path: Path) -> Mesh:
    """Return the surface of an OBJ file; polygons become fans of triangles, texture and normals are left out.

    Raises
    ------
    FormatError
        No text, no vertices or faces, or a line that is malformed (the message names it).
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="strict").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError("OBJ text", f"{error}", "the file is no OBJ") from error
    points: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    flip = False
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            if words[0] == "v":
                points.append([float(words[1]), float(words[2]), float(words[3])])
            elif words[0] == "f":
                faces.extend(_fan(words[1:], len(points)))
            elif words[0].startswith("#"):
                flip |= "SPACE=RAS" in line
        except (ValueError, IndexError) as error:
            raise FormatError("`v x y z` and `f a b c`", f"line {number}: {line[:80]!r}", "the file is damaged") from error
    if lines and not points and lines[0] != _HEADER:
        raise FormatError("vertices", "none", "the file is no OBJ")
    sign = np.array([-1.0, -1.0, 1.0]) if flip else np.ones(3)
    return Mesh(np.array(points).reshape(-1, 3) * sign, np.array(faces, dtype=np.int64).reshape(-1, 3))


def _fan(words: list[str], n_points: int) -> list[tuple[int, int, int]]:
    ids = [int(word.split("/", 1)[0]) for word in words]
    # Negative numbers count back from the last vertex so far.
    ids = [i - 1 if i > 0 else n_points + i for i in ids]
    if len(ids) < 3 or 0 in (int(word.split("/", 1)[0]) for word in words):
        raise FormatError("three vertex numbers or more", f"{words[:5]}", "the file is damaged")
    return [(ids[0], ids[i], ids[i + 1]) for i in range(1, len(ids) - 1)]
