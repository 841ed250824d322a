"""Simple points: voxels that can be removed without changing the topology of a 26-connected object.

The 26 neighbours of a voxel are bits 0...25 of one integer, in raster order (plane, row, column) without the centre.

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


def _adjacency(reach: int, members: list[int]) -> np.ndarray:
    """For each neighbour, the bits of the ``members`` that touch it by at most ``reach`` non-zero coordinates of size 1."""
    table = np.zeros(26, dtype=np.uint32)
    for i in members:
        for j in members:
            step = np.abs(OFFSETS[i] - OFFSETS[j])
            if i != j and step.max() == 1 and step.sum() <= reach:
                table[i] |= np.uint32(1 << j)
    return table


_COUNT = np.abs(OFFSETS).sum(axis=1)
_IN_18 = [i for i in range(26) if _COUNT[i] <= 2]
FACE_BITS = np.uint32(sum(1 << i for i in range(26) if _COUNT[i] == 1))
NEAR_BITS = np.uint32(sum(1 << i for i in _IN_18))
OBJECT_ADJACENCY = _adjacency(3, list(range(26)))
BACKGROUND_ADJACENCY = _adjacency(1, _IN_18)

# Position of the only set bit of a power of two, by de Bruijn multiplication.
_DE_BRUIJN = np.uint32(0x077CB531)
BIT_INDEX = np.zeros(32, dtype=np.uint8)
for _i in range(32):
    BIT_INDEX[((1 << _i) * 0x077CB531 & 0xFFFFFFFF) >> 27] = _i


@njit(cache=True, nogil=True)
def lowest_bit(bits):  # type: ignore[no-untyped-def]
    """Return the position of the lowest set bit; ``bits`` is not 0."""
    return BIT_INDEX[np.uint32(np.uint32(bits & (~bits + np.uint32(1))) * _DE_BRUIJN) >> np.uint32(27)]


@njit(cache=True, nogil=True)
def _flood(seed, allowed, adjacency):  # type: ignore[no-untyped-def]
    """Return the bits of ``allowed`` that hang together with the single bit ``seed``."""
    reached = seed
    front = seed
    while front:
        i = lowest_bit(front)
        front &= front - np.uint32(1)
        fresh = adjacency[i] & allowed & ~reached
        reached |= fresh
        front |= fresh
    return reached


@njit(cache=True, nogil=True)
def is_simple(object_bits):  # type: ignore[no-untyped-def]
    """Return whether a voxel with these object neighbours is simple (26-connected object, 6-connected background).

    One object component among the 26 neighbours, and one background component that touches the voxel by a face, within the
    18 neighbours.
    """
    background = ~object_bits & NEAR_BITS
    faces = background & FACE_BITS
    if object_bits == 0 or faces == 0:
        return False
    one = object_bits & (~object_bits + np.uint32(1))
    if _flood(one, object_bits, OBJECT_ADJACENCY) != object_bits:
        return False
    one = faces & (~faces + np.uint32(1))
    return (_flood(one, background, BACKGROUND_ADJACENCY) & faces) == faces
