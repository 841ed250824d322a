"""The table of marching cubes, derived from one rule a face so that neighbouring cells always agree.

Corners are numbered ``x + 2 y + 4 z``. On a face whose corners alternate, the inside corners are joined (a thin vessel stays
connected). As each face is decided by its own four corners alone, both cells that share it draw the same lines, and the
surface closes without cracks (Nielson and Hamann, IEEE Visualization 1991). Each loop of a cell is cut into triangles
without a diagonal that lies in a face of the cell, because the neighbour may draw that line too and the edge would then have
four triangles; where no such cut exists a vertex in the middle of the loop is added.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIDDLE = 12
"""Numbers from here on in the table are middle vertices of a cell's loops; below are the cell's edges."""

N_SLOTS = 5
"""Vertices a grid point can own: one on the edge along each axis, and up to two middle vertices of the cell above it."""

_FACES = ((0, 4, 6, 2), (1, 3, 7, 5), (0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6))
"""Corners of each face, counter-clockwise seen from outside the cell."""


class Cases(NamedTuple):
    """Triangles of each of the 256 cells.

    Attributes
    ----------
    n_triangles : (256,)
        Number of triangles.
    triangle : (256, most, 3)
        Edge number 0..11, or ``MIDDLE`` + loop.
    edge_corner : (12,)
        Lower corner of each edge.
    edge_axis : (12,)
        Axis of each edge.
    """

    n_triangles: NDArray[np.int64]
    triangle: NDArray[np.int64]
    edge_corner: NDArray[np.int64]
    edge_axis: NDArray[np.int64]


def _edges() -> list[tuple[int, int]]:
    return [(corner, axis) for axis in range(3) for corner in range(8) if not corner >> axis & 1]


@cache
def _edge_number(a: int, b: int) -> int:
    return _edges().index((min(a, b), (a ^ b).bit_length() - 1))


def _loops(case: int) -> list[list[int]]:
    """Return the closed loops of cell edges that separate inside (bit set) from outside corners."""
    follows: dict[int, int] = {}
    for face in _FACES:
        inside = [bool(case >> corner & 1) for corner in face]
        # A line ends where the walk around the face leaves the inside and starts where it next enters it.
        for i in range(4):
            if inside[i] and not inside[(i + 1) % 4]:
                j = (i + 1) % 4
                while not inside[(j + 1) % 4]:
                    j = (j + 1) % 4
                end, start = _edge_number(face[i], face[(i + 1) % 4]), _edge_number(face[j], face[(j + 1) % 4])
                follows[start] = end
    loops = []
    while follows:
        loop = [next(iter(follows))]
        while loop[-1] in follows:
            loop.append(follows.pop(loop[-1]))
        loops.append(loop[:-1])
    return loops


def _share_face(a: int, b: int) -> bool:
    corners = []
    for edge in (a, b):
        corner, axis = _edges()[edge]
        corners += [corner, corner | 1 << axis]
    return any(set(corners) <= set(face) for face in _FACES)


def _cut(loop: list[int]) -> list[tuple[int, int, int]] | None:
    """Return triangles of a loop without a diagonal in a face, or None."""
    if len(loop) == 3:
        return [(loop[0], loop[1], loop[2])]
    for i in range(1, len(loop) - 1):
        sides = [(0, i)] * (i > 1) + [(i, len(loop) - 1)] * (i < len(loop) - 2)
        if any(_share_face(loop[a], loop[b]) for a, b in sides):
            continue
        halves = [loop[: i + 1]] * (i > 1) + [loop[i:]] * (i < len(loop) - 2)
        cuts = [_cut(half) for half in halves]
        if all(cut is not None for cut in cuts):
            return [(loop[0], loop[i], loop[-1])] + [triangle for cut in cuts if cut for triangle in cut]
    return None


@cache
def marching_cases() -> Cases:
    """Return the table; it is derived once, in a few milliseconds."""
    table: list[list[tuple[int, int, int]]] = []
    for case in range(256):
        triangles: list[tuple[int, int, int]] = []
        middle = MIDDLE
        for loop in _loops(case):
            cut = _cut(loop)
            if cut is None:
                cut = [(loop[i - 1], loop[i], middle) for i in range(len(loop))]
                middle += 1
            triangles += cut
        table.append(triangles)
    most = max(len(row) for row in table)
    triangle = np.zeros((256, most, 3), dtype=np.int64)
    for case, row in enumerate(table):
        triangle[case, : len(row)] = np.array(row, dtype=np.int64).reshape(-1, 3)
    edges = np.array(_edges(), dtype=np.int64)
    return Cases(np.array([len(row) for row in table]), triangle, edges[:, 0].copy(), edges[:, 1].copy())
