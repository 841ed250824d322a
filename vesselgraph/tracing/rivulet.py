"""Rivulet2 back-tracking: from the farthest voxel no branch explains yet, down the travel times to the root, again and again.

As a generator it walks from voxel to voxel over the foreground and proposes what leaves the skeleton. The whole tracer of the
seed system, which walks below the voxel, judges its confidence on the way and may cross gaps, is ``tracing.zhang2020``.

References
----------
Liu, Zhang, Song, Peng, Cai, "Automated 3-D neuron tracing with precise branch erasing and confidence controlled back tracking",
IEEE Trans. Med. Imaging 37 (2018).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.tracing.corridor import corridor, leave_corridor
from vesselgraph.tracing.depth import depth_of
from vesselgraph.tracing.foreground import Foreground, first_at
from vesselgraph.tracing.marching import march

IntArray = NDArray[np.int64]

POWER = 4.0
COVERAGE = 0.98
ERASE = 1.5


@njit(cache=True, nogil=True)
def erase_cube(row_start, voxels, shape, centre, half, time, earliest, latest, mark, value):  # type: ignore[no-untyped-def]
    """Set ``mark`` to ``value`` in the cube around a voxel where the travel time lies between two; return how many were 0.

    What is marked 1 stays so.
    """
    n = 0
    for z in range(max(centre[0] - half, 0), min(centre[0] + half + 1, shape[0])):
        for y in range(max(centre[1] - half, 0), min(centre[1] + half + 1, shape[1])):
            v, stop = first_at(row_start, voxels, shape[1], z, y, centre[2] - half)
            while v < stop and voxels[v, 2] <= centre[2] + half:
                if earliest <= time[v] <= latest:
                    n += mark[v] == 0
                    if mark[v] != 1:
                        mark[v] = value
                v += 1
    return n


@njit(cache=True, nogil=True)
def _roots(neighbours, value):  # type: ignore[no-untyped-def]
    """Return the voxel of the largest value of every connected piece, pieces in the order of their lowest ids."""
    n = value.size
    seen = np.zeros(n, np.bool_)
    queue = np.empty(n, np.int64)
    roots = np.empty(n, np.int64)
    n_roots = 0
    for start in range(n):
        if seen[start]:
            continue
        queue[0], seen[start] = start, True
        first, last, best = 0, 1, start
        while first < last:
            v = queue[first]
            first += 1
            if value[v] > value[best] or (value[v] == value[best] and v < best):
                best = v
            for k in range(26):
                u = neighbours[v, k]
                if u >= 0 and not seen[u]:
                    seen[u] = True
                    queue[last] = u
                    last += 1
        roots[n_roots] = best
        n_roots += 1
    return roots[:n_roots]


@njit(cache=True, nogil=True)
def _back_track(row_start, voxels, shape, time, previous, order, radius, n_wanted, line, offset):  # type: ignore[no-untyped-def]
    """Fill the paths from the farthest unexplained voxels down to what is explained; return how many."""
    mark = np.zeros(time.size, np.uint8)
    n_lines = n_covered = place = 0
    while n_covered < n_wanted and place < order.size:
        start = order[place]
        place += 1
        if mark[start]:
            continue
        first = n = offset[n_lines]
        v = start
        while v >= 0:
            line[n] = v
            n += 1
            # One voxel of the explained branch belongs to the path, so that it is joined to it.
            if mark[v]:
                break
            v = previous[v]
        for i in range(first, n):
            half = int(np.ceil(ERASE * radius[line[i]]))
            n_covered += erase_cube(
                row_start, voxels, shape, voxels[line[i]], half, time, time[line[n - 1]], time[start], mark, 1
            )
        n_lines += 1
        offset[n_lines] = n
        if n + voxels.shape[0] > line.size:
            break
    return n_lines


def back_track(
    foreground: Foreground, heat: NDArray[np.float32], radius: NDArray[np.float32]
) -> tuple[IntArray, IntArray, NDArray[np.int64]]:
    """Return the branches that explain 98 % of the foreground.

    Parameters
    ----------
    foreground : Foreground
        n voxels.
    heat : (n,)
        Heat of each; the front runs with its fourth power.
    radius : (n,) voxels
        Distance to the wall at each.

    Returns
    -------
    offset, path : (B + 1,), (K,)
        Ids of each branch from its tip down to a voxel of an earlier branch, or the root.
    roots : (R,)
        The widest voxel of every connected piece.
    """
    roots = _roots(foreground.neighbours, radius)
    speed = np.maximum(heat.astype(np.float64) / max(float(heat.max(initial=0.0)), 1e-10), 1e-3) ** POWER
    arrival = march(foreground, speed, roots, np.ones(3))
    order = np.argsort(-arrival.time, kind="stable")
    line, offset = np.empty(4 * len(foreground) + 1, np.int64), np.zeros(len(foreground) + 1, np.int64)
    n = _back_track(
        foreground.row_start, foreground.voxels, foreground.shape, arrival.time, arrival.previous, order,
        radius, int(COVERAGE * len(foreground)), line, offset,
    )  # fmt: skip
    return offset[: n + 1].copy(), line[: offset[n]].copy(), roots


def propose_rivulet_paths(
    foreground: Foreground, heat: NDArray[np.float32], skeleton: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray, NDArray[np.uint8]]:
    """Return the branches of :func:`back_track` that leave the corridor: as ``keypoints.propose_keypoint_paths`` does."""
    nearest = corridor(foreground, skeleton)
    offset, path, _ = back_track(foreground, heat, depth_of(foreground))
    support = np.zeros(len(skeleton), np.uint8)
    along = nearest[path]
    support[along[along >= 0]] = 1
    return *leave_corridor(offset, path, nearest, skeleton, foreground), support
