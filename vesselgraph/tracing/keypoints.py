"""Keypoint paths: minimal paths between neighbouring points of the ridges, for what thinning drew as one line or not at all.

Strategy. A voxel lies on a ridge if it is at least as hot as both neighbours in most of the 13 directions through it; of these
the hottest are kept, a few voxels apart, as keypoints. Each voxel of the foreground belongs to the basin of the keypoint from
which it is reached at the least cost; where two basins touch, the pair of voxels that is reached earliest is their saddle, and
the ways back from it on both sides are the cheapest path between the two keypoints. A path counts only where it leaves the
corridor of the skeleton; paths that end at keypoints off the skeleton are carried on, along their cheapest other paths, until
they come back to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from vesselgraph.threads import run_parts
from vesselgraph.tracing.basins import Basins, find_basins
from vesselgraph.tracing.corridor import corridor, leave_corridor
from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.prefetch import prefetch

IntArray = NDArray[np.int64]

# Of the 13 directions through a voxel of a straight ridge at least so many rise towards it from both sides.
_N_RISING = 9
_APART = 3.5
# Room for so many saddles a keypoint; more are counted and found in a second pass.
_ROOM = 16
_MET = 1 << 15
_AHEAD = 4
_LEAST_HEAT = np.float32(1e-3)


@dataclass(frozen=True, eq=False)
class Saddles:
    """Cheapest paths between keypoints whose basins touch: P pairs.

    Attributes
    ----------
    pair : (P, 2)
        Places in the list of keypoints, the lower first; sorted.
    voxel : (P, 2)
        Ids of the two touching voxels, one in the basin of each.
    cost : (P,)
        Travel time from one keypoint to the other.
    """

    pair: IntArray
    voxel: IntArray
    cost: NDArray[np.float64]


@njit(cache=True, nogil=True)
def _slow_down(begin, end, heat, slowness):  # type: ignore[no-untyped-def]
    """Fill what a voxel's width costs."""
    for v in range(begin, end):
        floored = max(heat[v], _LEAST_HEAT)
        slowness[v] = np.float32(1.0) / (floored * floored * floored)


@njit(cache=True, nogil=True)
def _mark_ridges(begin, end, neighbours, heat, is_ridge):  # type: ignore[no-untyped-def]
    for v in range(begin, end):
        n_rising, here = 0, heat[v]
        for k in range(13):
            # Where there is no voxel the voxel itself is read, which needs no branch.
            a, b = neighbours[v, k], neighbours[v, 25 - k]
            n_rising += (heat[np.uint64(v if a < 0 else a)] <= here) & (heat[np.uint64(v if b < 0 else b)] <= here)
        is_ridge[v] = n_rising >= _N_RISING


@njit(cache=True, nogil=True)
def _thin_out(order, voxels, shape, apart):  # type: ignore[no-untyped-def]
    """Return those voxels of ``order``, taken in turn, that are at least ``apart`` from all earlier ones."""
    edge = max(int(np.ceil(apart)), 1)
    cells = (shape[0] // edge + 1, shape[1] // edge + 1, shape[2] // edge + 1)
    newest = np.full(cells, -1, np.int32)
    earlier, chosen = np.empty(order.size, np.int32), np.empty(order.size, np.int64)
    n = 0
    for turn in range(order.size):
        # The order jumps about in space: places and cells are asked for ahead.
        if turn + 2 * _AHEAD < order.size:
            prefetch(voxels, 3 * order[turn + 2 * _AHEAD])
        if turn + _AHEAD < order.size:
            a, b, c = voxels[order[turn + _AHEAD]] // edge
            for i in range(a - 1, a + 2):
                for j in range(b - 1, b + 2):
                    prefetch(newest, (i * cells[1] + j) * cells[2] + c)
        v = order[turn]
        z, y, x = voxels[v]
        a, b, c = z // edge, y // edge, x // edge
        is_free = True
        for i in range(max(a - 1, 0), min(a + 2, cells[0])):
            for j in range(max(b - 1, 0), min(b + 2, cells[1])):
                for k in range(max(c - 1, 0), min(c + 2, cells[2])):
                    m = newest[i, j, k] if is_free else -1
                    while m >= 0 and is_free:
                        w = chosen[m]
                        dz, dy, dx = voxels[w, 0] - z, voxels[w, 1] - y, voxels[w, 2] - x
                        is_free = dz * dz + dy * dy + dx * dx >= apart * apart
                        m = earlier[m]
        if is_free:
            chosen[n], earlier[n] = v, newest[a, b, c]
            newest[a, b, c] = n
            n += 1
    return chosen[:n]


@njit(cache=True, nogil=True)
def _find_saddles(neighbours, source, time, first, pair, cost, voxel, later):  # type: ignore[no-untyped-def]
    """Fill the earliest touching voxels of each pair of basins, in no order; return how many pairs there are.

    ``first`` (-1 for each source) and ``later`` chain the pairs of a basin. Pairs for which there is no room are left out,
    and counted each time they are met.
    """
    n = 0
    # The same pairs are met again and again: where they are is kept, under a number made of both.
    met = np.full(_MET, -1, np.int32)
    for v in range(source.size):
        own = source[v]
        if own < 0:
            continue
        differs = np.int32(0)
        for k in range(13, 26):
            u = neighbours[v, k]
            differs |= source[np.uint64(v if u < 0 else u)] ^ own
        if differs == 0:
            continue
        for k in range(13, 26):
            u = neighbours[v, k]
            # Where there is no voxel the voxel itself is read, which needs no branch.
            other = source[v if u < 0 else u]
            if other == own or other < 0:
                continue
            low, high = (np.int64(u), np.int64(v)) if other < own else (np.int64(v), np.int64(u))
            a, b = source[low], source[high]
            both = time[u] + time[v]
            slot = (a * 31 + b) & (met.size - 1)
            i = np.int64(met[slot])
            if i < 0 or pair[i, 0] != a or pair[i, 1] != b:
                i = first[a]
                while i >= 0 and pair[i, 1] != b:
                    i = later[i]
                met[slot] = i
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
    return _thin_out(order, foreground.voxels, foreground.shape, float(apart))


def find_saddles(
    foreground: Foreground, heat: NDArray[np.float32], keypoints: IntArray, basins: Basins = find_basins
) -> tuple[Saddles, NDArray[np.int32]]:
    """Return the cheapest path between each two keypoints whose basins touch, and the ways back (n,) to the keypoints.

    A voxel's width costs 1 over the third power of its heat.
    """
    slowness = np.empty_like(heat)
    run_parts(lambda begin, end: _slow_down(begin, end, heat, slowness), len(heat))
    time, source, previous = basins(foreground, slowness, keypoints)
    room, n = 0, _ROOM * max(len(keypoints), 1)
    while n > room:
        room = n
        first, later = np.full(len(keypoints), -1, np.int64), np.empty(room, np.int64)
        pair, cost, voxel = np.empty((room, 2), np.int64), np.empty(room), np.empty((room, 2), np.int64)
        n = _find_saddles(foreground.neighbours, source, time, first, pair, cost, voxel, later)
    order = np.lexsort((pair[:n, 1], pair[:n, 0]))
    return Saddles(pair[order], voxel[order], cost[order]), previous


def propose_keypoint_paths(
    foreground: Foreground, heat: NDArray[np.float32], skeleton: IntArray, basins: Basins = find_basins
) -> tuple[IntArray, IntArray, IntArray, IntArray, NDArray[np.uint8]]:
    """Return the paths between keypoints that leave the corridor of the skeleton: see ``corridor.leave_corridor``.

    Parameters
    ----------
    foreground : Foreground
        n voxels.
    heat : (n,)
        Heat of each.
    skeleton : (S,)
        Ids of the voxels of the skeleton.
    basins : function
        ``basins.find_basins`` or its twin on another device.

    Returns
    -------
    tip, foot, offset, path
        Those of ``leave_corridor``.
    support : (S,) uint8
        1 where a path between keypoints goes along the skeleton, in its corridor.

    Notes
    -----
    The corridor is the skeleton and all that touches it. Deterministic.
    """
    nearest = corridor(foreground, skeleton)
    keypoints = find_keypoints(foreground, heat)
    saddles, previous = find_saddles(foreground, heat, keypoints, basins)
    off = nearest[keypoints] < 0
    outer = np.flatnonzero(off[saddles.pair].any(axis=1) | (nearest[saddles.voxel] < 0).any(axis=1))
    support = np.zeros(len(skeleton), np.uint8)
    _follow_all(previous, saddles.voxel.ravel(), nearest, support)
    return *leave_corridor(*_routes(saddles, off, outer, previous), nearest, skeleton, foreground), support


@njit(cache=True, nogil=True)
def _append_leg(previous, there, back, is_first, line, n):  # type: ignore[no-untyped-def]
    """Append the voxels from the keypoint of ``there`` over both voxels of a saddle to that of ``back``; return the new length.

    Of a leg that is not the first, the keypoint is there already.
    """
    length, v = 0, there
    while v >= 0:
        length += 1
        v = previous[v]
    v = there
    for i in range(n + length - (1 if is_first else 2), n - 1, -1):
        line[i] = v
        v = previous[v]
    n += length if is_first else length - 1
    v = back
    while v >= 0:
        line[n] = v
        n += 1
        v = previous[v]
    return n


@njit(cache=True, nogil=True)
def _walk_routes(outer, pair, voxel, before, over, reached, previous, offset, line):  # type: ignore[no-untyped-def]
    """Fill the voxels of the route through each outer saddle; return how many routes there are, -1 if the room is too small."""
    n_routes = 0
    head = np.empty(before.size, np.int64)
    for e in outer:
        a, b = pair[e]
        if not (reached[a] and reached[b]) or before[a] == b or before[b] == a:
            continue
        n_head, tail = 1, b
        head[0] = a
        while before[head[n_head - 1]] >= 0:
            head[n_head] = before[head[n_head - 1]]
            n_head += 1
        while before[tail] >= 0:
            tail = before[tail]
        if head[n_head - 1] == tail:
            continue
        first = n = offset[n_routes]
        if line.size - n < previous.size + before.size:
            return -1
        for i in range(n_head - 1, 0, -1):
            over_i = over[head[i - 1]]
            side = 0 if head[i] < head[i - 1] else 1
            n = _append_leg(previous, voxel[over_i, side], voxel[over_i, 1 - side], n == first, line, n)
        n = _append_leg(previous, voxel[e, 0], voxel[e, 1], n == first, line, n)
        stop = b
        while before[stop] >= 0:
            side = 0 if stop < before[stop] else 1
            n = _append_leg(previous, voxel[over[stop], side], voxel[over[stop], 1 - side], False, line, n)
            stop = before[stop]
        n_routes += 1
        offset[n_routes] = n
    return n_routes


def _routes(
    saddles: Saddles, off: NDArray[np.bool_], outer: IntArray, previous: NDArray[np.int32]
) -> tuple[IntArray, IntArray]:
    """Return for each of the ``outer`` saddles the way over it from one skeleton keypoint to another: offsets and ids."""
    n = len(off)
    offset = np.zeros(len(outer) + 1, np.int64)
    onto = np.flatnonzero(~off)
    if not len(onto) or not len(outer):
        return offset[:1], np.zeros(0, np.int64)
    link = coo_array((saddles.cost, (saddles.pair[:, 0], saddles.pair[:, 1])), shape=(n, n)).tocsr()
    cost, before, _ = dijkstra(link, directed=False, indices=onto, min_only=True, return_predecessors=True)
    # The saddle over which each keypoint off the skeleton is reached.
    key = np.minimum(np.arange(n), before) * n + np.maximum(np.arange(n), before)
    over = np.searchsorted(saddles.pair[:, 0] * n + saddles.pair[:, 1], key)
    room, n_routes = 0, -1
    while n_routes < 0:
        room = max(2 * room, 2 * (len(previous) + n))
        line = np.empty(room, np.int64)
        n_routes = _walk_routes(
            outer, saddles.pair, saddles.voxel, before, over, np.isfinite(cost), previous, offset, line
        )  # fmt: skip
    return offset[: n_routes + 1], line[: offset[n_routes]]
