"""Candidate bridges over gaps: minimal paths from curve ends, through cold voxels, to nearby vessels.

Strategy. Around each tip the skeleton voxels ahead of it are listed, the best of each vessel by distance and turn. What it
costs to go straight there ranks them; for the first few the cheapest path is sought by Dijkstra inside a capsule around the
straight line. A step costs its length over the heat, so a path prefers a faint ridge to nothing. Only the voxel lists and the
heat at single voxels are read; work grows with the number of tips.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.threads import run_parts
from vesselgraph.tracing.ends import free_ends
from vesselgraph.tracing.foreground import Foreground, voxel_at
from vesselgraph.tracing.heap import heap_pop, heap_push
from vesselgraph.tracing.skeleton import Chains
from vesselgraph.tracing.topology import OFFSETS

IntArray = NDArray[np.int64]

# A step through voxels without any heat costs this many times a step through certain vessel.
_COLD_COST = 20.0
# Half the width of the capsule in which a path may bend, voxels.
_CAPSULE = 3.0
# A gap ends where heat is just above the threshold, the skeleton up to so many voxels later.
_SLACK = 3.0
# A path from voxel to voxel is up to so much longer than the curve it follows.
_ON_GRID = 1.15
_MOST_VESSELS = 24
_LONGEST = 96
_STEP = np.sqrt((OFFSETS**2).sum(axis=1))


@njit(cache=True, nogil=True)
def _vessel_of(node_of_voxel, chain_of, v, n_chains):  # type: ignore[no-untyped-def]
    """Return a number for the branch, or else the node, a skeleton voxel belongs to; -1 for a lone voxel."""
    if node_of_voxel[v] >= 0:
        return n_chains + node_of_voxel[v]
    return chain_of[v]


@njit(cache=True, nogil=True)
def _straight_cost(heat, thick, a, b):  # type: ignore[no-untyped-def]
    """Return the cost of the straight line between two voxels, read once a voxel; infinite if it crosses no gap."""
    length = np.sqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2)
    n = max(int(length + 0.5), 1)
    total, crosses = 0.0, False
    for i in range(n):
        t = (i + 0.5) / n
        z, y, x = int(a[0] + t * (b[0] - a[0]) + 0.5), int(a[1] + t * (b[1] - a[1]) + 0.5), int(a[2] + t * (b[2] - a[2]) + 0.5)
        total += 1.0 / (heat[z, y, x] + 1.0 / _COLD_COST)
        if not crosses:
            crosses = voxel_at(thick[0], thick[1], heat.shape[0], heat.shape[1], heat.shape[2], z, y, x) < 0
    return total * length / n if crosses else np.inf


@njit(cache=True, nogil=True)
def _find_feet(tip, outward, own, reach, min_cosine, ends, skeleton, thick, heat, feet, order):  # type: ignore[no-untyped-def]
    """Fill ``feet`` with the best skeleton voxel of each vessel ahead, ``order`` by straight cost; return how many to try."""
    voxels, line_start, node_of_voxel, chain_of, n_chains = skeleton
    n_planes, n_rows, _ = heat.shape
    vessel = np.empty(_MOST_VESSELS, np.int64)
    score = np.empty(_MOST_VESSELS)
    n = 0
    whole = int(reach)
    a = voxels[tip]
    for z in range(max(a[0] - whole, 0), min(a[0] + whole + 1, n_planes)):
        for y in range(max(a[1] - whole, 0), min(a[1] + whole + 1, n_rows)):
            for v in range(line_start[z * n_rows + y], line_start[z * n_rows + y + 1]):
                dz, dy, dx = z - a[0], y - a[1], voxels[v, 2] - a[2]
                distance = np.sqrt(dz * dz + dy * dy + dx * dx)
                if distance > reach or distance < 1.5:
                    continue
                cosine = (dz * outward[0] + dy * outward[1] + dx * outward[2]) / distance
                if cosine < min_cosine:
                    continue
                name = _vessel_of(node_of_voxel, chain_of, v, n_chains)
                if name in (own, n_chains + ends[0], n_chains + ends[1]):
                    continue
                rank = distance * (2.0 - cosine)
                slot = -1
                for i in range(n):
                    if vessel[i] == name:
                        slot = i
                if slot < 0 and n < _MOST_VESSELS:
                    slot = n
                    score[slot] = np.inf
                    n += 1
                if slot >= 0 and rank < score[slot]:
                    vessel[slot], score[slot], feet[slot] = name, rank, v
    for i in range(n):
        b = voxels[feet[i]]
        distance = np.sqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2)
        score[i] = _straight_cost(heat, thick, a, b) * (score[i] / distance)
    order[:n] = np.argsort(score[:n], kind="mergesort")
    return (score[:n] < np.inf).sum()


@njit(cache=True, nogil=True)
def _cheapest_path(tip, foot, own, ends, skeleton, thick, heat, room, path):  # type: ignore[no-untyped-def]
    """Fill the cheapest path from a tip to the first skeleton voxel of another vessel beyond a gap; return length and foot.

    The path stays inside a capsule around the straight line to ``foot``. Length 0: none.
    """
    voxels, line_start, node_of_voxel, chain_of, n_chains = skeleton
    cost, keys, items, place, parent, crossed = room
    margin = int(_CAPSULE) + 1
    a, b = voxels[tip], voxels[foot]
    low, size = np.empty(3, np.int64), np.empty(3, np.int64)
    way, length2 = np.empty(3), 0.0
    for k in range(3):
        low[k] = max(min(a[k], b[k]) - margin, 0)
        size[k] = min(max(a[k], b[k]) + margin + 1, heat.shape[k]) - low[k]
        way[k] = b[k] - a[k]
        length2 += way[k] ** 2
    n_box = size[0] * size[1] * size[2]
    cost[:n_box] = np.inf
    place[:n_box] = -1
    start = ((a[0] - low[0]) * size[1] + a[1] - low[1]) * size[2] + a[2] - low[2]
    cost[start], parent[start], crossed[start] = 0.0, -1, False
    n_heap = heap_push(keys, items, place, 0, 0.0, start)
    while n_heap:
        here, n_heap = heap_pop(keys, items, place, n_heap)
        z, y, x = here // (size[1] * size[2]) + low[0], here // size[2] % size[1] + low[1], here % size[2] + low[2]
        if voxel_at(thick[0], thick[1], heat.shape[0], heat.shape[1], heat.shape[2], z, y, x) < 0:
            crossed[here] = True
        elif crossed[here]:
            v = voxel_at(line_start, voxels, heat.shape[0], heat.shape[1], heat.shape[2], z, y, x)
            if v >= 0:
                name = _vessel_of(node_of_voxel, chain_of, v, n_chains)
                if name in (own, n_chains + ends[0], n_chains + ends[1]):
                    continue
                return _unwind(here, parent, low, size, path), v
        for k in range(26):
            fz, fy, fx = z + OFFSETS[k, 0], y + OFFSETS[k, 1], x + OFFSETS[k, 2]
            iz, iy, ix = fz - low[0], fy - low[1], fx - low[2]
            if iz < 0 or iy < 0 or ix < 0 or iz >= size[0] or iy >= size[1] or ix >= size[2]:
                continue
            there = (iz * size[1] + iy) * size[2] + ix
            if cost[there] <= cost[here]:
                continue
            uz, uy, ux = fz - a[0], fy - a[1], fx - a[2]
            t = min(max((uz * way[0] + uy * way[1] + ux * way[2]) / length2, 0.0), 1.0)
            off = (uz - t * way[0]) ** 2 + (uy - t * way[1]) ** 2 + (ux - t * way[2]) ** 2
            if off > _CAPSULE * _CAPSULE:
                continue
            onward = cost[here] + _STEP[k] / (heat[fz, fy, fx] + 1.0 / _COLD_COST)
            if onward < cost[there]:
                cost[there], parent[there], crossed[there] = onward, here, crossed[here]
                n_heap = heap_push(keys, items, place, n_heap, onward, there)
    return 0, -1


@njit(cache=True, nogil=True)
def _unwind(last, parent, low, size, path):  # type: ignore[no-untyped-def]
    """Fill the path that ends at box voxel ``last``, first voxel first; return its length, 0 if it is longer than the room."""
    n = 0
    step = last
    while step >= 0:
        n += 1
        step = parent[step]
    if n > len(path):
        return 0
    step = last
    for i in range(n - 1, -1, -1):
        path[i, 0] = step // (size[1] * size[2]) + low[0]
        path[i, 1] = step // size[2] % size[1] + low[1]
        path[i, 2] = step % size[2] + low[2]
        step = parent[step]
    return n


@njit(cache=True, nogil=True)
def _gap(path, thick, shape):  # type: ignore[no-untyped-def]
    """Return the length of a path outside of the foreground, voxels."""
    total = 0.0
    before = True
    for i in range(len(path)):
        inside = voxel_at(thick[0], thick[1], shape[0], shape[1], shape[2], path[i, 0], path[i, 1], path[i, 2]) >= 0
        if i > 0 and not (inside and before):
            total += np.sqrt(float(((path[i] - path[i - 1]) ** 2).sum()))
        before = inside
    return total


@njit(cache=True, nogil=True)
def _search_all(begin, end, tips, branch, outward, cosines, skeleton, ends, heat, thick, max_gap, foot, length, path):  # type: ignore[no-untyped-def]
    """Fill for some tips up to ``foot.shape[1]`` bridges each: foot (-1: none), number of voxels, and the voxels."""
    reach = max_gap + _SLACK
    n_room = (int(reach) + 2 * int(_CAPSULE) + 4) ** 3
    for i in range(begin, end):
        own, own_ends = branch[i], ends[branch[i]]
        feet, order = np.empty(_MOST_VESSELS, np.int64), np.empty(_MOST_VESSELS, np.int64)
        n_feet = _find_feet(tips[i], outward[i], own, reach, cosines[i], own_ends, skeleton, thick, heat, feet, order)
        if n_feet == 0:
            continue
        numbers = np.empty((3, n_room), np.int32)
        costs = np.empty((2, n_room))
        room = (costs[0], costs[1], numbers[0], numbers[1], numbers[2], np.empty(n_room, np.bool_))
        found = 0
        for rank in range(n_feet):
            if found == foot.shape[1]:
                break
            goal = feet[order[rank]]
            n, stop = _cheapest_path(tips[i], goal, own, own_ends, skeleton, thick, heat, room, path[i, found])
            is_new = n > 0
            for other in range(found):
                is_new &= foot[i, other] != stop
            if is_new and _gap(path[i, found, :n], thick, heat.shape) <= _ON_GRID * max_gap:
                foot[i, found], length[i, found] = stop, n
                found += 1


def propose_bridges(
    foreground: Foreground,
    heat: NDArray[np.float32],
    voxels: IntArray,
    chains: Chains,
    max_gap: float,
    max_turn_deg: float,
    n_candidates: int,
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return candidate bridges from every free end to the vessels ahead of it.

    Parameters
    ----------
    foreground : Foreground
        The thinned voxels. A path that never leaves them crosses no gap and is no bridge.
    heat : (planes, rows, columns)
        In [0, 1].
    voxels : (S, 3)
        Skeleton voxels in raster order.
    chains : Chains
        Their branches.
    max_gap : voxels
        Longest stretch of a bridge outside of the foreground.
    max_turn_deg : float
        Largest angle between the direction of the end and the straight line of the bridge.
    n_candidates : int
        Most bridges a tip.

    Returns
    -------
    tip, foot : (B,)
        Skeleton voxel ids.
    offset, path : (B + 1,), (K, 3)
        Voxels of each bridge, tip first; two tips that find each other give two bridges.

    Notes
    -----
    Tips are searched in parallel; the answer does not depend on the number of threads.
    """
    shape = foreground.shape
    tips, branch, outward, cosines = free_ends(foreground, voxels, chains, max_turn_deg)
    n = len(tips)
    line = voxels[:, 0] * shape[1] + voxels[:, 1]
    line_start = np.searchsorted(line, np.arange(shape[0] * shape[1] + 1)).astype(np.int64)
    chain_of = np.full(len(voxels), -1, np.int64)
    chain_of[chains.members] = np.repeat(np.arange(len(chains.ends)), np.diff(chains.offset))
    skeleton = (np.ascontiguousarray(voxels, dtype=np.int64), line_start, chains.node_of_voxel, chain_of, len(chains.ends))
    thick = (foreground.row_start, foreground.voxels)
    foot = np.full((n, n_candidates), -1, np.int64)
    length = np.zeros((n, n_candidates), np.int64)
    path = np.empty((n, n_candidates, _LONGEST, 3), np.int64)
    fixed = (tips, branch, outward, cosines, skeleton, chains.ends, heat, thick, float(max_gap), foot, length, path)
    run_parts(lambda begin, end: _search_all(begin, end, *fixed), n)
    i, j = np.nonzero(foot >= 0)
    offset = np.concatenate([[0], np.cumsum(length[i, j])]).astype(np.int64)
    inside = np.arange(_LONGEST) < length[i, j][:, None]
    return tips[i], foot[i, j], offset, path[i, j][inside]
