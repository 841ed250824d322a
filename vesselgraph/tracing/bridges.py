"""Candidate bridges over gaps: minimal paths from curve ends, through cold voxels, to nearby vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.tracing.topology import OFFSETS

IntArray = NDArray[np.int64]

# A step through voxels without any heat costs this many times a step through certain vessel.
_COLD_COST = 20.0


@dataclass(frozen=True)
class Bridges:
    """Candidate bridges: B paths of voxels from a tip to a foot on another vessel.

    Attributes
    ----------
    tip, foot : (B,)
        Skeleton voxel ids of the two ends.
    offset : (B + 1,)
        Slices into ``path``.
    path : (K, 3)
        Voxels of each bridge, tip first, foot last.
    """

    tip: IntArray
    foot: IntArray
    offset: IntArray
    path: IntArray


@njit(cache=True, nogil=True)
def _sift_up(heap_cost, heap_item, i):  # type: ignore[no-untyped-def]
    while i > 0:
        parent = (i - 1) // 2
        if heap_cost[parent] <= heap_cost[i]:
            return
        heap_cost[parent], heap_cost[i] = heap_cost[i], heap_cost[parent]
        heap_item[parent], heap_item[i] = heap_item[i], heap_item[parent]
        i = parent


@njit(cache=True, nogil=True)
def _sift_down(heap_cost, heap_item, size):  # type: ignore[no-untyped-def]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            return
        if child + 1 < size and heap_cost[child + 1] < heap_cost[child]:
            child += 1
        if heap_cost[i] <= heap_cost[child]:
            return
        heap_cost[child], heap_cost[i] = heap_cost[i], heap_cost[child]
        heap_item[child], heap_item[i] = heap_item[i], heap_item[child]
        i = child


@njit(cache=True, nogil=True)
def _search(tip, outward, heat, owner, reach, min_cosine, offsets, found, path):  # type: ignore[no-untyped-def]
    """Run Dijkstra from ``tip`` inside a forward cone; return the path length (0: none) and fill ``path`` tip first."""
    width = 2 * reach + 1
    cost = np.full(width**3, np.inf)
    parent = np.full(width**3, -1, np.int32)
    done = np.zeros(width**3, np.uint8)
    heap_cost = np.zeros(27 * width**3)
    heap_item = np.zeros(27 * width**3, np.int32)
    start = (reach * width + reach) * width + reach
    cost[start] = 0.0
    heap_item[0] = start
    size = 1
    while size > 0:
        here, here_cost = heap_item[0], heap_cost[0]
        size -= 1
        heap_cost[0], heap_item[0] = heap_cost[size], heap_item[size]
        _sift_down(heap_cost, heap_item, size)
        if done[here]:
            continue
        done[here] = 1
        dz, dy, dx = here // (width * width) - reach, (here // width) % width - reach, here % width - reach
        z, y, x = tip[0] + dz, tip[1] + dy, tip[2] + dx
        voxel_owner = owner[z, y, x]
        if here != start and voxel_owner >= 0:
            found[0] = voxel_owner
            length = 0
            step = here
            while step >= 0:
                length += 1
                step = parent[step]
            step = here
            for k in range(length - 1, -1, -1):
                path[k, 0] = tip[0] + step // (width * width) - reach
                path[k, 1] = tip[1] + (step // width) % width - reach
                path[k, 2] = tip[2] + step % width - reach
                step = parent[step]
            return length, here_cost
        for k in range(26):
            ez, ey, ex = dz + offsets[k, 0], dy + offsets[k, 1], dx + offsets[k, 2]
            squared = ez * ez + ey * ey + ex * ex
            if squared > reach * reach:
                continue
            fz, fy, fx = tip[0] + ez, tip[1] + ey, tip[2] + ex
            if fz < 0 or fy < 0 or fx < 0 or fz >= heat.shape[0] or fy >= heat.shape[1] or fx >= heat.shape[2]:
                continue
            forward = ez * outward[0] + ey * outward[1] + ex * outward[2]
            if squared > 0 and forward < min_cosine * np.sqrt(squared):
                continue
            there = ((ez + reach) * width + ey + reach) * width + ex + reach
            if done[there]:
                continue
            step_length = np.sqrt(offsets[k, 0] ** 2 + offsets[k, 1] ** 2 + offsets[k, 2] ** 2)
            onward = here_cost + step_length / (heat[fz, fy, fx] + 1.0 / _COLD_COST)
            if onward < cost[there] and size < heap_cost.size - 1:
                cost[there] = onward
                parent[there] = here
                heap_cost[size], heap_item[size] = onward, there
                _sift_up(heap_cost, heap_item, size)
                size += 1
    return 0, np.inf


def propose_bridges(
    voxels: IntArray,
    tips: IntArray,
    outward: NDArray[np.float64],
    near: list[IntArray],
    heat: NDArray[np.float32],
    foreground: NDArray[np.bool_],
    reach: int,
    min_cosine: float,
) -> Bridges:
    """Return one candidate bridge for every tip that finds another vessel ahead of it.

    Parameters
    ----------
    voxels : (S, 3)
        Skeleton voxels.
    tips : (T,)
        Ids of the curve ends to start from.
    outward : (T, 3)
        Unit vectors in which the curves leave.
    near : T arrays of ids
        Skeleton voxels of a tip's own branch, which are no targets.
    heat : (planes, rows, columns)
        In [0, 1].
    foreground : same shape
        The thinned voxels. A path that never leaves them crosses no gap and is no bridge.
    reach : int
        Longest gap in voxels.
    min_cosine : float
        Targets and paths lie in the cone with this cosine around ``outward``.

    Returns
    -------
    bridges : Bridges
        At most one a tip; two tips that face each other give one bridge.
    """
    owner = np.full(heat.shape, -1, np.int32)
    owner[tuple(voxels.T)] = np.arange(len(voxels), dtype=np.int32)
    found = np.zeros(1, np.int64)
    room = np.zeros((4 * (2 * reach + 1) ** 2, 3), np.int64)
    pairs: dict[tuple[int, int], tuple[float, IntArray]] = {}
    for tip, direction, own_voxels in zip(tips, outward, near, strict=True):
        hidden = tuple(voxels[own_voxels].T)
        before = owner[hidden]
        owner[hidden] = -1
        length, cost = _search(voxels[tip], direction, heat, owner, reach, min_cosine, OFFSETS, found, room)
        owner[hidden] = before
        if length > 2 and not foreground[tuple(room[:length].T)].all():
            pair = (min(int(tip), int(found[0])), max(int(tip), int(found[0])))
            path = room[:length].copy() if pair[0] == tip else room[:length][::-1].copy()
            if pair not in pairs or cost < pairs[pair][0]:
                pairs[pair] = (cost, path)
    keys = sorted(pairs)
    paths = [pairs[key][1] for key in keys]
    ends = np.array(keys, dtype=np.int64).reshape(-1, 2)
    offset = np.concatenate([[0], np.cumsum([len(path) for path in paths])]).astype(np.int64)
    points = np.concatenate(paths) if paths else np.zeros((0, 3), np.int64)
    return Bridges(ends[:, 0], ends[:, 1], offset, points)
