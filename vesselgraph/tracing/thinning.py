"""Ordered homotopic thinning: what is left of a thick ridge when its coldest removable voxels go first.

Strategy. Foreground voxels wait in buckets by an order (cold before hot, and voxels off the ridge before those on it). A
voxel leaves if it is simple (its removal changes neither pieces, tunnels nor cavities) and is not the end of a curve. Whoever
loses a neighbour may have become removable, so it is queued again, never in a colder bucket than the one being emptied. What
remains is one voxel thin, has the topology of the foreground, and follows the ridge because ridge voxels were asked last: a
tapering end is thinned before it could be eaten.

Each voxel carries its 26 neighbours as the bits of one integer. A voxel that leaves clears its bit in all of its neighbours, so
asking whether a voxel may go touches no other memory.

References
----------
Pudney, "Distance-ordered homotopic thinning", Computer Vision and Image Understanding 72 (1998), with heat for distance.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.threads import run_parts
from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.topology import is_simple

_N_LEVELS = 1 << 16


@njit(cache=True, nogil=True)
def _neighbour_bits(begin, end, neighbours, bits):  # type: ignore[no-untyped-def]
    """Fill the object bits (bit k: neighbour k is there) of every voxel."""
    for i in range(begin, end):
        own = np.uint32(0)
        for k in range(26):
            if neighbours[i, k] >= 0:
                own |= np.uint32(1) << np.uint32(k)
        bits[i] = own


@njit(cache=True, nogil=True)
def _append(first, last, following, level, i):  # type: ignore[no-untyped-def]
    """Put voxel ``i`` at the end of the bucket ``level``."""
    following[i] = -1
    if first[level] < 0:
        first[level] = i
    else:
        following[last[level]] = i
    last[level] = i


@njit(cache=True, nogil=True)
def _thin(neighbours, bits, level, n_levels, present):  # type: ignore[no-untyped-def]
    """Clear ``present`` of the voxels that go; ``bits`` follows."""
    n = bits.size
    first, last = np.full(n_levels, -1, np.int32), np.full(n_levels, -1, np.int32)
    following = np.empty(n, np.int32)
    queued = np.ones(n, np.uint8)
    for i in range(n):
        present[i] = 1
        _append(first, last, following, level[i], i)
    for current in range(n_levels):
        while first[current] >= 0:
            i = first[current]
            first[current] = following[i]
            queued[i] = 0
            own = bits[i]
            # No or one neighbour: an isolated voxel or the end of a curve stays.
            if own & (own - np.uint32(1)) == 0 or not is_simple(own):
                continue
            present[i] = 0
            for k in range(26):
                if not (own >> np.uint32(k)) & np.uint32(1):
                    continue
                j = neighbours[i, k]
                bits[j] &= ~(np.uint32(1) << np.uint32(25 - k))
                if not queued[j]:
                    queued[j] = 1
                    _append(first, last, following, max(level[j], current), j)


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
    Time and memory grow with the foreground; deterministic.
    """
    n = len(foreground)
    level = np.zeros(n, np.int32)
    if n and (low := order.min()) < (high := order.max()):
        level = ((order - low) * ((_N_LEVELS - 1) / (high - low))).astype(np.int32)
    bits, present = np.empty(n, np.uint32), np.empty(n, np.uint8)
    run_parts(lambda begin, end: _neighbour_bits(begin, end, foreground.neighbours, bits), n)
    _thin(foreground.neighbours, bits, level, _N_LEVELS, present)
    return np.flatnonzero(present)
