"""Simple points: voxels that can be removed without changing the topology of a 26-connected object.

The 26 neighbours of a voxel are bits 0...25 of one integer, in raster order (plane, row, column) without the centre. To see
what hangs together, a 27-bit integer with the centre at bit 13 is grown by shifts: a column, row or plane is 1, 3 or 9 bits.

References
----------
Bertrand & Malandain, "A new characterization of three-dimensional simple points", Pattern Recognition Letters 15 (1994).
"""

from __future__ import annotations

import numpy as np
from numba import njit

OFFSETS = np.array(
    [(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)], dtype=np.int64
)


def slot_of(plane: int, row: int, column: int) -> int:
    """Return the place in ``OFFSETS`` of a step by -1, 0 or 1 along each axis; the opposite step is at 25 minus it."""
    place = 9 * plane + 3 * row + column + 13
    return place - (place > 13)


def _cells(*, first: int | None = None, last: int | None = None, reach: int = 3) -> int:
    """Return the bits of a 3 x 3 x 3 box without the cells at one end of an axis or over ``reach`` steps from the centre."""
    steps = [(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    kept = [abs(z) + abs(y) + abs(x) <= reach for z, y, x in steps]
    if first is not None:
        kept = [keep and step[first] > -1 for keep, step in zip(kept, steps, strict=True)]
    if last is not None:
        kept = [keep and step[last] < 1 for keep, step in zip(kept, steps, strict=True)]
    return sum(1 << i for i, keep in enumerate(kept) if keep)


_CENTRE = 1 << 13
_FACES = _cells(reach=1) & ~_CENTRE
_NEAR = _cells(reach=2) & ~_CENTRE
_NOT_FIRST_PLANE, _NOT_FIRST_ROW, _NOT_FIRST_COLUMN = _cells(first=0), _cells(first=1), _cells(first=2)
_NOT_LAST_ROW, _NOT_LAST_COLUMN = _cells(last=1), _cells(last=2)


@njit(cache=True, nogil=True)
def _grown(cells):  # type: ignore[no-untyped-def]
    """Return cells and all that touch them by a face, edge or corner."""
    cells |= ((cells << 1) & _NOT_FIRST_COLUMN) | ((cells >> 1) & _NOT_LAST_COLUMN)
    cells |= ((cells << 3) & _NOT_FIRST_ROW) | ((cells >> 3) & _NOT_LAST_ROW)
    return cells | ((cells << 9) & _NOT_FIRST_PLANE) | (cells >> 9)


@njit(cache=True, nogil=True)
def _grown_by_faces(cells):  # type: ignore[no-untyped-def]
    """Return cells and all that touch them by a face."""
    along = ((cells << 1) & _NOT_FIRST_COLUMN) | ((cells >> 1) & _NOT_LAST_COLUMN)
    across = ((cells << 3) & _NOT_FIRST_ROW) | ((cells >> 3) & _NOT_LAST_ROW)
    return cells | along | across | ((cells << 9) & _NOT_FIRST_PLANE) | (cells >> 9)


@njit(cache=True, nogil=True)
def is_simple(object_bits):  # type: ignore[no-untyped-def]
    """Return whether a voxel with these object neighbours is simple (26-connected object, 6-connected background).

    One object component among the 26 neighbours, and one background component that touches the voxel by a face, within the
    18 neighbours.
    """
    bits = np.int64(object_bits)
    cells = (bits & 0x1FFF) | ((bits & 0x3FFE000) << 1)
    background = ~cells & _NEAR
    faces = background & _FACES
    if cells == 0 or faces == 0:
        return False
    reached = faces & -faces
    before = np.int64(0)
    while reached != before:
        before = reached
        reached = _grown_by_faces(reached) & background
    if reached & faces != faces:
        return False
    reached = cells & -cells
    before = np.int64(0)
    while reached != before:
        before = reached
        reached = _grown(reached) & cells
    return reached == cells
