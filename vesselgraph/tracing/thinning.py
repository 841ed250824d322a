"""Ordered homotopic thinning: what is left of a thick ridge when its coldest removable voxels go first.

Strategy. Foreground voxels are asked in an order: cold before hot, and voxels off the ridge before those on it. A voxel leaves
if it is simple (its removal changes neither pieces, tunnels nor cavities) and is not the end of a curve. Whoever loses a
neighbour may have become removable: voxels that had stayed are then asked again, after the present level of the order. What
remains is one voxel thin, has the topology of the foreground, and follows the ridge because ridge voxels were asked last: a
tapering end is thinned before it could be eaten.

The order jumps about in space, so the time goes where memory is slow. Presence is therefore kept as one bit a voxel of the box
around the foreground, a thirtieth of the heat, beside the bit whether it has stayed, and the words of the next voxels are asked
for ahead. The 26 neighbours of a voxel are nine times three bits.

References
----------
Pudney, "Distance-ordered homotopic thinning", Computer Vision and Image Understanding 72 (1998), with heat for distance.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.prefetch import prefetch
from vesselgraph.tracing.topology import OFFSETS, is_simple

_N_LEVELS = 1 << 16
_PRESENT, _STAYED = np.uint64(0), np.uint64(1)
# The words of a voxel are asked for so many voxels ahead: enough for the memory to answer, few enough to stay in the cache.
_AHEAD = 6


@njit(cache=True, nogil=True)
def _word_of(place):  # type: ignore[no-untyped-def]
    """Return where the word lies that says of a place whether it is present; the next one says whether it has stayed."""
    # Numbers without a sign are looked up as they are, others are first asked whether they count from the end.
    return np.uint64(place) >> np.uint64(6) << np.uint64(1)


@njit(cache=True, nogil=True)
def _bit_of(place):  # type: ignore[no-untyped-def]
    return np.uint64(1) << (np.uint64(place) & np.uint64(63))


@njit(cache=True, nogil=True)
def _around(words, which, place, row, plane):  # type: ignore[no-untyped-def]
    """Return the 26 bits around a place, in the order of ``topology.OFFSETS``: present, or stayed."""
    cells = np.uint64(0)
    line = 0
    for above in (-plane, 0, plane):
        for beside in (-row, 0, row):
            first = np.uint64(place + above + beside - 1)
            shift, word = first & np.uint64(63), _word_of(first) | which
            three = words[word] >> shift
            if shift > 61:
                three |= words[word + np.uint64(2)] << (np.uint64(64) - shift)
            cells |= (three & np.uint64(7)) << np.uint64(line)
            line += 3
    return np.int64((cells & np.uint64(0x1FFF)) | (cells >> np.uint64(14) << np.uint64(13)))


@njit(cache=True, nogil=True)
def _box(voxels):  # type: ignore[no-untyped-def]
    """Return the first voxel and the size of the box around voxels with one empty voxel all around."""
    low, high = voxels[0].astype(np.int64), voxels[0].astype(np.int64)
    for i in range(voxels.shape[0]):
        for k in range(3):
            low[k], high[k] = min(low[k], voxels[i, k]), max(high[k], voxels[i, k])
    return low - 1, high - low + 3


@njit(cache=True, nogil=True)
def _places_by_level(voxels, order, low, scale, first, row, plane, start, level, places):  # type: ignore[no-untyped-def]
    """Fill ``start`` (levels + 1,) and the places of the voxels level by level, in raster order within each."""
    start[:] = 0
    for i in range(voxels.shape[0]):
        level[i] = np.uint16((order[i] - low) * scale)
        start[np.int64(level[i]) + 1] += 1
    for k in range(start.size - 1):
        start[k + 1] += start[k]
    ends = start[:-1].copy()
    for i in range(voxels.shape[0]):
        own = np.int64(level[i])
        places[ends[own]] = (voxels[i, 0] - first[0]) * plane + (voxels[i, 1] - first[1]) * row + voxels[i, 2] - first[2]
        ends[own] += 1


@njit(cache=True, nogil=True)
def _ask_all(begin, end, asked, row, plane, steps, words, again):  # type: ignore[no-untyped-def]
    """Ask the voxels ``asked[begin:end]`` in turn; fill ``again`` with those to be asked again and return how many they are."""
    n_again = 0
    for i in range(begin, end):
        # Those after ``end`` come next.
        if i + _AHEAD < asked.size:
            for above in (-plane, 0, plane):
                for beside in (-row, 0, row):
                    prefetch(words, _word_of(asked[i + _AHEAD] + above + beside))
        place = asked[i]
        own = _around(words, _PRESENT, place, row, plane)
        # No or one neighbour: an isolated voxel or the end of a curve stays.
        if own & (own - 1) == 0 or not is_simple(own):
            words[_word_of(place) | _STAYED] |= _bit_of(place)
            continue
        words[_word_of(place)] &= ~_bit_of(place)
        waiting = _around(words, _STAYED, place, row, plane)
        k = 0
        while waiting:
            if waiting & 1:
                other = place + steps[k]
                again[n_again] = other
                words[_word_of(other) | _STAYED] &= ~_bit_of(other)
                n_again += 1
            waiting >>= 1
            k += 1
    return n_again


@njit(cache=True, nogil=True)
def _thin(start, places, row, plane, steps, words):  # type: ignore[no-untyped-def]
    """Clear the bits of the voxels that go, level by level."""
    now, later = np.empty(places.size, np.int64), np.empty(places.size, np.int64)
    for level in range(start.size - 1):
        if start[level] == start[level + 1]:
            continue
        n_later = _ask_all(start[level], start[level + 1], places, row, plane, steps, words, later)
        while n_later:
            now, later = later, now
            n_later = _ask_all(0, n_later, now, row, plane, steps, words, later)


@njit(cache=True, nogil=True)
def _put(words, places):  # type: ignore[no-untyped-def]
    """Set the bits at places."""
    for place in places:
        words[_word_of(place)] |= _bit_of(place)


@njit(cache=True, nogil=True)
def _is_put(words, voxels, first, row, plane):  # type: ignore[no-untyped-def]
    """Return whether the bit of each voxel is set, (n,)."""
    result = np.empty(voxels.shape[0], np.bool_)
    for i in range(voxels.shape[0]):
        place = (voxels[i, 0] - first[0]) * plane + (voxels[i, 1] - first[1]) * row + voxels[i, 2] - first[2]
        result[i] = (words[_word_of(place)] & _bit_of(place)) != 0
    return result


def thin(foreground: Foreground, order: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the ids of the voxels of the heat-ordered skeleton, rising (so in raster order).

    Parameters
    ----------
    foreground : Foreground
        The object, 26-connected.
    order : (n,)
        Removal order of the voxels: low first. Any finite scale; values closer than 1/65535 of its range are equal.

    Returns
    -------
    ids : (k,) int64
        Same components, tunnels and cavities as the foreground. Empty for an empty foreground.

    Notes
    -----
    Deterministic. Memory: about 26 bytes a voxel of the foreground and two bits a voxel of the box around it.
    """
    if len(foreground) == 0:
        return np.zeros(0, np.int64)
    voxels = foreground.voxels
    # One empty voxel all around, so that nobody looks beyond the box.
    first, size = _box(voxels)
    row, plane = int(size[2]), int(size[1] * size[2])
    low, high = float(order.min()), float(order.max())
    scale = (_N_LEVELS - 1) / (high - low) if high > low else 0.0
    # Large arrays are made here, not in the kernels: NumPy asks for large pages, of which a processor finds more at once.
    start, places = np.empty(_N_LEVELS + 1, np.int64), np.empty(len(voxels), np.int64)
    _places_by_level(voxels, order, low, scale, first, row, plane, start, np.empty(len(voxels), np.uint16), places)
    words = np.full(2 * (int(size[0]) * plane // 64 + 2), 0, np.uint64)
    _put(words, places)
    _thin(start, places, row, plane, OFFSETS @ np.array([plane, row, 1]), words)
    return np.flatnonzero(_is_put(words, voxels, first, row, plane))
