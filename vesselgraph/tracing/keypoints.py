"""Keypoint paths: minimal paths between neighbouring points of the ridges, for what thinning drew as one line or not at all.

Strategy. A voxel lies on a ridge if it is at least as hot as both neighbours in most of the 13 directions through it; of these
the hottest are kept, a few voxels apart, as keypoints. One front starts at all of them; where two basins touch, the pair of
voxels that is reached earliest is their saddle, and the ways back from it on both sides are the cheapest path between the two
keypoints. A path counts only where it leaves the corridor of the skeleton; paths that end at keypoints off the skeleton are
carried on, along their cheapest other paths, until they come back to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from vesselgraph.threads import run_parts
from vesselgraph.tracing.corridor import corridor, leave_corridor
from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.marching import March, march

IntArray = NDArray[np.int64]

# Of the 13 directions through a voxel of a straight ridge at least so many rise towards it from both sides.
_N_RISING = 9
_APART = 4.0
_POWER = 3.0
# Room for so many saddles a keypoint; more are counted and found in a second pass.
_ROOM = 16


@dataclass(frozen=True, eq=False)
class Saddles:
    """Cheapest paths between keypoints whose basins touch: P pairs.

    Attributes
    ----------
    pair : (P, 2)
        Places in the list of keypoints, the lower first.
    voxel : (P, 2)
        Ids of the two touching voxels, one in the basin of each.
    cost : (P,)
        Travel time from one keypoint to the other.
    """

    pair: IntArray
    voxel: IntArray
    cost: NDArray[np.float64]


@njit(cache=True, nogil=True)
def _mark_ridges(begin, end, neighbours, heat, is_ridge):  # type: ignore[no-untyped-def]
    for v in range(begin, end):
        n = 0
        for k in range(13):
            a, b = neighbours[v, k], neighbours[v, 25 - k]
            n += (a < 0 or heat[a] <= heat[v]) and (b < 0 or heat[b] <= heat[v])
        is_ridge[v] = n >= _N_RISING


@njit(cache=True, nogil=True)
def _thin_out(order, voxels, neighbours, apart, blocked):  # type: ignore[no-untyped-def]
    """Return those voxels of ``order``, taken in turn, that no earlier one blocks: each blocks all within ``apart``."""
    chosen = np.empty(order.size, np.int64)
    queue = np.empty(4096, np.int64)
    seen = np.full(len(voxels), -1, np.int32)
    n = 0
    for v in order:
        if blocked[v]:
            continue
        chosen[n] = v
        queue[0], seen[v] = v, n
        first, last = 0, 1
        while first < last:
            u = queue[first]
            first += 1
            blocked[u] = True
            for k in range(26):
                w = neighbours[u, k]
                if w < 0 or seen[w] == n or last == queue.size:
                    continue
                seen[w] = n
                z, y, x = voxels[w, 0] - voxels[v, 0], voxels[w, 1] - voxels[v, 1], voxels[w, 2] - voxels[v, 2]
                if z * z + y * y + x * x < apart * apart:
                    queue[last] = w
                    last += 1
        n += 1
    return chosen[:n]


@njit(cache=True, nogil=True)
def _find_saddles(neighbours, source, time, first, pair, cost, voxel, later):  # type: ignore[no-untyped-def]
    """Fill the earliest touching voxels of each pair of basins, in no order; return how many pairs there are.

    ``first`` (-1 for each source) and ``later`` chain the pairs of a basin. Pairs for which there is no room are left out,
    and counted each time they are met.
    """
    n = 0
    for v in range(source.size):
        own = source[v]
        if own < 0:
            continue
        for k in range(13, 26):
            u = neighbours[v, k]
            if u < 0 or source[u] == own or source[u] < 0:
                continue
            low, high = (u, v) if source[u] < own else (v, u)
            a, b = source[low], source[high]
            both = time[u] + time[v]
            i = first[a]
            while i >= 0 and pair[i, 1] != b:
                i = later[i]
            if i < 0:
                if n < cost.size:
                    pair[n, 0], pair[n, 1], cost[n], later[n] = a, b, both, first[a]
                    voxel[n, 0], voxel[n, 1] = low, high
                    first[a] = n
                n += 1
            elif both < cost[i] or (both == cost[i] and (low, high) < (voxel[i, 0], voxel[i, 1])):
                cost[i], voxel[i, 0], voxel[i, 1] = both, low, high
    return n


@njit(cache=True, nogil=True)
def _follow_all(previous, starts, nearest, support):  # type: ignore[no-untyped-def]
    """Mark the skeleton voxels whose corridor the ways back from ``starts`` touch."""
    for start in starts:
        v = start
        while v >= 0:
            if nearest[v] >= 0:
                support[nearest[v]] = 1
            v = previous[v]


def find_keypoints(foreground: Foreground, heat: NDArray[np.float32], apart: float = _APART) -> IntArray:
    """Return the ids of the keypoints, (k,), the hottest first.

    Parameters
    ----------
    foreground : Foreground
        n voxels.
    heat : (n,)
        Heat of each.
    apart : voxels
        Keypoints are at least so far from each other.

    Notes
    -----
    Every voxel on a ridge has a keypoint within ``apart``. Equal heat goes by raster order.
    """
    is_ridge = np.empty(len(foreground), np.bool_)
    run_parts(lambda begin, end: _mark_ridges(begin, end, foreground.neighbours, heat, is_ridge), len(foreground))
    ridge = np.flatnonzero(is_ridge)
    order = ridge[np.argsort(-heat[ridge], kind="stable")]
    return _thin_out(order, foreground.voxels, foreground.neighbours, float(apart), np.zeros(len(foreground), np.bool_))


def find_saddles(
    foreground: Foreground, heat: NDArray[np.float32], keypoints: IntArray, march: March = march
) -> tuple[Saddles, NDArray[np.int32]]:
    """Return the cheapest path between each two keypoints whose basins touch, and the ways back (n,) to the keypoints.

    A front starts at all keypoints; its speed is heat to the third power.
    """
    speed = np.maximum(heat.astype(np.float64), 1e-3) ** _POWER
    arrival = march(foreground, speed, keypoints, np.ones(3))
    room, n = 0, _ROOM * max(len(keypoints), 1)
    while n > room:
        room = n
        first, later = np.full(len(keypoints), -1, np.int64), np.empty(room, np.int64)
        pair, cost, voxel = np.empty((room, 2), np.int64), np.empty(room), np.empty((room, 2), np.int64)
        n = _find_saddles(foreground.neighbours, arrival.source, arrival.time, first, pair, cost, voxel, later)
    order = np.lexsort((pair[:n, 1], pair[:n, 0]))
    return Saddles(pair[order], voxel[order], cost[order]), arrival.previous


def propose_keypoint_paths(
    foreground: Foreground, heat: NDArray[np.float32], skeleton: IntArray, march: March = march
) -> tuple[IntArray, IntArray, IntArray, IntArray, NDArray[np.uint8]]:
    """Return the keypoint paths that leave the corridor of the skeleton.

    Parameters
    ----------
    foreground : Foreground
        n voxels.
    heat : (n,)
        Heat of each.
    skeleton : (S,)
        Ids of the voxels of the skeleton.
    march : function
        ``marching.march`` or its twin on another device.

    Returns
    -------
    tip, foot : (B,)
        Places in ``skeleton`` where a path leaves it and comes back.
    offset, path : (B + 1,), (K, 3)
        Voxels of each path, tip first.
    support : (S,) uint8
        1 where a path between keypoints goes along the skeleton, in its corridor.

    Notes
    -----
    The corridor is the skeleton and all that touches it. Deterministic.
    """
    nearest = corridor(foreground, skeleton)
    keypoints = find_keypoints(foreground, heat)
    saddles, previous = find_saddles(foreground, heat, keypoints, march)
    off = nearest[keypoints] < 0
    outer = np.flatnonzero(off[saddles.pair].any(axis=1) | (nearest[saddles.voxel] < 0).any(axis=1))
    lines = (
        np.concatenate([_leg(previous, saddles, edge, is_forward)[int(i > 0) :] for i, (edge, is_forward) in enumerate(route)])
        for route in _routes(saddles, off, outer)
    )
    support = np.zeros(len(skeleton), np.uint8)
    _follow_all(previous, saddles.voxel.ravel(), nearest, support)
    return *leave_corridor(lines, nearest, skeleton, foreground), support


def _leg(previous: NDArray[np.int32], saddles: Saddles, edge: int, is_forward: bool) -> IntArray:
    """Return the voxels of the path of a saddle, from its first keypoint to its second or back."""
    there, back = (_back(previous, int(v)) for v in saddles.voxel[edge])
    line = np.concatenate([there[::-1], back])
    return line if is_forward else line[::-1]


def _back(previous: NDArray[np.int32], start: int) -> IntArray:
    path = [start]
    while previous[path[-1]] >= 0:
        path.append(int(previous[path[-1]]))
    return np.array(path, dtype=np.int64)


def _routes(saddles: Saddles, off: NDArray[np.bool_], outer: IntArray) -> list[list[tuple[int, bool]]]:
    """Return for each of the ``outer`` saddles the run of saddles through it from one skeleton keypoint to another."""
    n = len(off)
    link = coo_array((saddles.cost, (saddles.pair[:, 0], saddles.pair[:, 1])), shape=(n, n)).tocsr()
    onto = np.flatnonzero(~off)
    if not len(onto) or not len(outer):
        return []
    cost, before, _ = dijkstra(link, directed=False, indices=onto, min_only=True, return_predecessors=True)
    number = {(int(a), int(b)): e for e, (a, b) in enumerate(saddles.pair)}
    routes = []
    for e in outer:
        a, b = (int(k) for k in saddles.pair[e])
        if not (np.isfinite(cost[a]) and np.isfinite(cost[b])) or before[a] == b or before[b] == a:
            continue
        head, tail = _walk_back(before, a), _walk_back(before, b)
        if head[-1] == tail[-1]:
            continue
        stops = [*head[::-1], *tail]
        routes.append([(number[min(p, q), max(p, q)], p < q) for p, q in pairwise(stops)])
    return routes


def _walk_back(before: NDArray[np.int32], start: int) -> list[int]:
    stops = [start]
    while before[stops[-1]] >= 0:
        stops.append(int(before[stops[-1]]))
    return stops
