"""Ordered homotopic thinning: what is left of a thick ridge when its coldest removable voxels go first.

Strategy. Foreground voxels wait in buckets by an order (cold before hot, and voxels off the ridge before those on it). A
voxel leaves if it is simple (its removal changes neither pieces, tunnels nor cavities) and is not the end of a curve. Whoever
loses a neighbour may have become removable, so it is queued again, never in a colder bucket than the one being emptied. What
remains is one voxel thin, has the topology of the foreground, and follows the ridge because ridge voxels were asked last: a
tapering end is thinned before it could be eaten.

References
----------
Pudney, "Distance-ordered homotopic thinning", Computer Vision and Image Understanding 72 (1998), with heat for distance.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.tracing.topology import OFFSETS, is_simple, neighbour_bits

_N_LEVELS = 1 << 16


@njit(cache=True, nogil=True)
def _thin(present, voxels, level, slot, strides, n_levels):  # type: ignore[no-untyped-def]
    """Delete voxels from the padded, flat ``present`` in place; ``slot`` gives a voxel's place in ``voxels`` (or -1)."""
    first = np.full(n_levels, -1, np.int32)
    last = np.full(n_levels, -1, np.int32)
    following = np.full(voxels.size, -1, np.int32)
    queued = np.ones(voxels.size, np.uint8)
    for i in range(voxels.size):
        here = level[i]
        if first[here] < 0:
            first[here] = i
        else:
            following[last[here]] = i
        last[here] = i
    for current in range(n_levels):
        while first[current] >= 0:
            i = first[current]
            first[current] = following[i]
            following[i] = -1
            queued[i] = 0
            bits = neighbour_bits(present, voxels[i], strides)
            # No or one neighbour: an isolated voxel or the end of a curve stays.
            if bits & (bits - np.uint32(1)) == 0 or not is_simple(bits):
                continue
            present[voxels[i]] = 0
            for k in range(26):
                j = slot[voxels[i] + strides[k]]
                if j < 0 or queued[j] or not present[voxels[j]]:
                    continue
                target = max(level[j], current)
                queued[j] = 1
                following[j] = -1
                if first[target] < 0:
                    first[target] = j
                else:
                    following[last[target]] = j
                last[target] = j


def thin(foreground: NDArray[np.bool_], order: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the voxels, (n, 3) plane, row, column in raster order, of the heat-ordered skeleton of ``foreground``.

    Parameters
    ----------
    foreground : (planes, rows, columns) bool
        The object, 26-connected.
    order : (n,)
        Removal order of the foreground voxels in raster order: low first. Any finite scale.

    Returns
    -------
    voxels : (n, 3) int64
        Same components, tunnels and cavities as the foreground. Empty for an empty foreground.

    Notes
    -----
    Time and queue memory grow with the foreground; deterministic.
    """
    shape = np.array(foreground.shape)
    padded = shape + 2
    present = np.zeros(padded, np.uint8)
    present[1:-1, 1:-1, 1:-1] = foreground
    flat = np.array([padded[1] * padded[2], padded[2], 1])
    strides = OFFSETS @ flat
    inside = np.argwhere(foreground)
    if len(inside) == 0:
        return inside
    voxels = (inside + 1) @ flat
    low, high = order.min(), order.max()
    level = np.zeros(len(order), np.int32)
    if high > low:
        level = ((order - low) * ((_N_LEVELS - 1) / (high - low))).astype(np.int32)
    slot = np.full(present.size, -1, np.int32)
    slot[voxels] = np.arange(len(voxels), dtype=np.int32)
    kept = present.ravel()
    _thin(kept, voxels, level, slot, strides, _N_LEVELS)
    return inside[kept[voxels] > 0]
