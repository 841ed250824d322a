"""Simple points: voxels that can be removed without changing the topology of a 26-connected object.

The 26 neighbours of a voxel are bits 0...25 of one integer, in raster order (plane, row, column) without the centre. To see
what hangs together, a 27-bit integer with the centre at bit 13 is grown by shifts: a column, row or plane is 1, 3 or 9 bits.

References
----------
Bertrand & Malandain, "A new characterization of three-dimensional simple points", Pattern Recognition Letters 15 (1994).
Lee, Kashyap & Chu, "Building skeleton models via 3-D medial surface/axis thinning algorithms", CVGIP 56 (1994), section 4,
for the Euler characteristic.
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
_ALL = _cells() & ~_CENTRE
_PLANE_FACES, _ROW_FACES, _COLUMN_FACES = 1 << 4 | 1 << 22, 1 << 10 | 1 << 16, 1 << 12 | 1 << 14
_NOT_FIRST_PLANE, _NOT_FIRST_ROW, _NOT_FIRST_COLUMN = _cells(first=0), _cells(first=1), _cells(first=2)
_NOT_LAST_ROW, _NOT_LAST_COLUMN = _cells(last=1), _cells(last=2)


@njit(cache=True, nogil=True)
def _grown(cells):  # type: ignore[no-untyped-def]
    """Return cells and all that touch them by a face, edge or corner."""
    cells |= ((cells << 1) & _NOT_FIRST_COLUMN) | ((cells >> 1) & _NOT_LAST_COLUMN)
    cells |= ((cells << 3) & _NOT_FIRST_ROW) | ((cells >> 3) & _NOT_LAST_ROW)
    return cells | ((cells << 9) & _NOT_FIRST_PLANE) | (cells >> 9)


@njit(cache=True, nogil=True)
def _n_cells(cells):  # type: ignore[no-untyped-def]
    """Return the number of bits that are set."""
    # Bits are added in pairs, fours and bytes; compilers know this form and have one instruction for it.
    pairs = cells - ((cells >> 1) & 0x5555555)
    fours = (pairs & 0x3333333) + ((pairs >> 2) & 0x3333333)
    return (((fours + (fours >> 4)) & 0xF0F0F0F) * 0x1010101 & 0xFFFFFFFF) >> 24


@njit(cache=True, nogil=True)
def _beside(cells, step):  # type: ignore[no-untyped-def]
    """Return the places one step before and after cells that lie in the middle along that axis."""
    return (cells << step) | (cells >> step)


@njit(cache=True, nogil=True)
def is_simple(object_bits):  # type: ignore[no-untyped-def]
    """Return whether a voxel with these object neighbours is simple (26-connected object, 6-connected background).

    The object's neighbours hang together, and the object's Euler characteristic does not change: what the closed cube shares
    with its neighbours is then connected and has no hole. Of the cube go the faces, edges and corners that no neighbour
    has, and its inside: as many faces and corners as edges, and one.
    """
    bits = np.int64(object_bits)
    cells = (bits & 0x1FFF) | ((bits & 0x3FFE000) << 1)
    background = ~cells & _ALL
    faces = background & _FACES
    if cells == 0 or faces == 0:
        return False
    on_planes, on_rows, on_columns = faces & _PLANE_FACES, faces & _ROW_FACES, faces & _COLUMN_FACES
    along_columns = _beside(on_planes, 3) & _beside(on_rows, 9) & background
    along_rows = _beside(on_planes, 1) & _beside(on_columns, 9) & background
    along_planes = _beside(on_rows, 1) & _beside(on_columns, 3) & background
    corners = _beside(along_columns, 1) & _beside(along_rows, 3) & _beside(along_planes, 9) & background
    if _n_cells(faces | corners) != _n_cells(along_columns | along_rows | along_planes) + 1:
        return False
    reached, before = cells & -cells, np.int64(0)
    while reached not in (before, cells):
        before = reached
        reached = _grown(reached) & cells
    return reached == cells
