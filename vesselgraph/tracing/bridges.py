"""Candidate bridges over gaps: minimal paths from curve ends, through cold voxels, to nearby vessels.

Strategy. Around each tip the skeleton voxels ahead of it are listed, the best of each vessel by distance and turn. What it
costs to go straight there ranks them; for the first few the cheapest path is sought inside a capsule around the straight line.
A step costs its length over the heat, so a path prefers a faint ridge to nothing, and each step goes forward along the line.
So the voxels of the capsule, in the order in which the line passes them, settle one after the other, without a heap. Which
voxels belong to a capsule and their order are decided in integers: no rounding can change a bridge. Only the list of the
skeleton and heat at single voxels are read; work grows with the number of tips.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.threads import run_parts
from vesselgraph.tracing.ends import free_ends
from vesselgraph.tracing.skeleton import Chains
from vesselgraph.tracing.topology import OFFSETS

IntArray = NDArray[np.int64]

# A step through voxels without any heat costs this many times a step through certain vessel.
_COLD_COST = 20.0
# Half the width of the capsule in which a path may bend, voxels.
_CAPSULE = 2
# A gap ends where heat is just above the threshold, the skeleton up to so many voxels later.
_SLACK = 3.0
# A path from voxel to voxel is up to so much longer than the curve it follows.
_ON_GRID = 1.15
# A voxel beside the tip, squared distance below this, is no vessel ahead.
_NEAREST = 1.5**2
_MOST_VESSELS = 24
_WIDE = 1 << 30
_STEP = np.sqrt((OFFSETS**2).sum(axis=1))


@njit(cache=True, nogil=True)
def squared_distance(a, b):  # type: ignore[no-untyped-def]
    """Return the squared distance of two points, axis by axis: no array is made."""
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2


@njit(cache=True, nogil=True)
def _vessel_of(node_of_voxel, chain_of, v, n_chains):  # type: ignore[no-untyped-def]
    """Return a number for the branch, or else the node, a skeleton voxel belongs to; -1 for a lone voxel."""
    if node_of_voxel[v] >= 0:
        return n_chains + node_of_voxel[v]
    return chain_of[v]


@njit(cache=True, nogil=True)
def _straight_cost(heat, threshold, a, b):  # type: ignore[no-untyped-def]
    """Return the cost of the straight line between two voxels, read once a voxel; infinite if it crosses no gap."""
    length = np.sqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2)
    n = max(int(length + 0.5), 1)
    total, crosses = 0.0, False
    for i in range(n):
        t = (i + 0.5) / n
        z, y, x = int(a[0] + t * (b[0] - a[0]) + 0.5), int(a[1] + t * (b[1] - a[1]) + 0.5), int(a[2] + t * (b[2] - a[2]) + 0.5)
        total += 1.0 / (heat[z, y, x] + 1.0 / _COLD_COST)
        crosses |= heat[z, y, x] <= threshold
    return total * length / n if crosses else np.inf


@njit(cache=True, nogil=True)
def _extent_of_cone(along, cosine, reach):  # type: ignore[no-untyped-def]
    """Return how many voxels a cone whose axis has this share along a grid axis reaches back and forth on that one."""
    aside, sine = np.sqrt(max(0.0, 1.0 - along * along)), np.sqrt(max(0.0, 1.0 - cosine * cosine))
    front = 1.0 if along >= cosine else along * cosine + aside * sine
    back = 1.0 if -along >= cosine else aside * sine - along * cosine
    # Half a voxel more than needed, so that rounding leaves none out.
    return int(max(0.0, reach * back + 0.5)), int(max(0.0, reach * front + 0.5))


@njit(cache=True, nogil=True)
def _find_feet(tip, outward, own, reach, min_cosine, ends, skeleton, threshold, heat, feet, order):  # type: ignore[no-untyped-def]
    """Fill ``feet`` with the best skeleton voxel of each vessel ahead, ``order`` by straight cost; return how many to try."""
    voxels, on_plane, line_start, node_of_voxel, chain_of, n_chains = skeleton
    n_planes, n_rows, _ = heat.shape
    vessel = np.empty(_MOST_VESSELS, np.int64)
    score = np.empty(_MOST_VESSELS)
    n = 0
    a = voxels[tip]
    back0, front0 = _extent_of_cone(outward[0], min_cosine, reach)
    back1, front1 = _extent_of_cone(outward[1], min_cosine, reach)
    for z in range(max(a[0] - back0, 0), min(a[0] + front0 + 1, n_planes)):
        dz = z - a[0]
        half = int(np.sqrt(max(0.0, reach * reach - dz * dz)) + 0.5)
        first, last = max(a[1] - min(back1, half), 0), min(a[1] + min(front1, half), n_rows - 1)
        # Lines of a plane follow one another in the list, and are walked as one.
        for v in range(line_start[z * n_rows + first], line_start[z * n_rows + last + 1]):
            dy, dx = on_plane[v, 0] - a[1], on_plane[v, 1] - a[2]
            square = dz * dz + dy * dy + dx * dx
            ahead = dz * outward[0] + dy * outward[1] + dx * outward[2]
            # Most voxels of a line lie far from the tip: one question asks all.
            if (square > reach * reach) | (square < _NEAREST) | ((ahead < 0.0) & (min_cosine >= 0.0)):
                continue
            distance = np.sqrt(np.float64(square))
            cosine = ahead / distance
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
        score[i] = _straight_cost(heat, threshold, a, b) * (score[i] / distance)
    n_crossing = 0
    for i in range(n):
        j = i
        while j > 0 and score[order[j - 1]] > score[i]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
        n_crossing += score[i] < np.inf
    return n_crossing


@njit(cache=True, nogil=True)
def _columns_near(dot, square, way, length2, far):  # type: ignore[no-untyped-def]
    """Return a range of steps along a line of voxels outside of which none is inside the capsule; it may be a little wide."""
    bend = length2 - way[2] * way[2]
    if bend == 0:
        return (-_WIDE, _WIDE) if square * length2 - dot * dot <= far else (0, 0)
    root = dot * dot * way[2] * way[2] - bend * (square * length2 - dot * dot - far)
    if root < 0:
        return 0, 0
    # Rounding may only make the range wider: a whole number, rounded off, is still rounded away from the middle.
    inverse = 1.0 / bend
    half, middle = np.sqrt(np.float64(root)) * inverse, dot * way[2] * inverse
    return int(np.floor(middle - half)), int(np.ceil(middle + half)) + 1


@njit(cache=True, nogil=True)
def _list_capsule(a, way, low, size, heat, threshold, cells):  # type: ignore[no-untyped-def]
    """Fill box place, place along the line, cost and coldness of each voxel of a capsule ahead of ``a``; return how many.

    The box has an empty voxel all around. The place along the line is the dot product with ``way``, exact.
    """
    places, along, toll, is_cold = cells
    length2 = way[0] * way[0] + way[1] * way[1] + way[2] * way[2]
    far = _CAPSULE * _CAPSULE * length2
    n = 0
    for z in range(max(low[0] + 1, 0), min(low[0] + size[0] - 1, heat.shape[0])):
        dz = z - a[0]
        for y in range(max(low[1] + 1, 0), min(low[1] + size[1] - 1, heat.shape[1])):
            dy = y - a[1]
            dot0, square0 = dz * way[0] + dy * way[1], dz * dz + dy * dy
            base = ((z - low[0]) * size[1] + y - low[1]) * size[2] - low[2]
            begin, end = _columns_near(dot0, square0, way, length2, far)
            for x in range(max(low[2] + 1, 0, a[2] + begin), min(low[2] + size[2] - 1, heat.shape[2], a[2] + end)):
                dx = x - a[2]
                dot = dot0 + dx * way[2]
                # Written first and counted afterwards, which needs no branch.
                places[n], along[n] = base + x, dot
                toll[n], is_cold[n] = 1.0 / (heat[z, y, x] + 1.0 / _COLD_COST), heat[z, y, x] <= threshold
                n += (dot > 0) & (dot <= length2) & ((square0 + dx * dx) * length2 - dot * dot <= far)
    return n


@njit(cache=True, nogil=True)
def _by_place_along(along, n, length2, start, order):  # type: ignore[no-untyped-def]
    """Fill ``order`` with the cells by their place along the line, by counting."""
    start[: length2 + 2] = 0
    for i in range(n):
        start[along[i] + 1] += 1
    for k in range(length2 + 1):
        start[k + 1] += start[k]
    for i in range(n):
        order[start[along[i]]] = i
        start[along[i]] += 1


@njit(cache=True, nogil=True)
def _skeleton_at(on_plane, line_start, n_rows, low, size, place):  # type: ignore[no-untyped-def]
    """Return the skeleton voxel at a place of the box, -1 if there is none."""
    z, y = place // (size[1] * size[2]) + low[0], place // size[2] % size[1] + low[1]
    x = place % size[2] + low[2]
    for v in range(line_start[z * n_rows + y], line_start[z * n_rows + y + 1]):
        if on_plane[v, 1] == x:
            return v
    return -1


@njit(cache=True, nogil=True)
def _cheapest_path(tip, foot, own, ends, skeleton, threshold, heat, room, path):  # type: ignore[no-untyped-def]
    """Fill the cheapest forward path from a tip to a skeleton voxel of another vessel beyond a gap; return length and foot.

    The path stays inside the capsule around the straight line to ``foot``, between tip and foot, and every step has a part
    along that line. Length 0: none.
    """
    voxels, on_plane, line_start, node_of_voxel, chain_of, n_chains = skeleton
    cells, order, start, cost, parent, crossed = room
    places, along, toll, is_cold = cells
    a = voxels[tip]
    way, low, size = voxels[foot] - a, np.empty(3, np.int64), np.empty(3, np.int64)
    for k in range(3):
        low[k] = min(0, way[k]) + a[k] - _CAPSULE - 1
        size[k] = abs(way[k]) + 2 * _CAPSULE + 3
    n = _list_capsule(a, way, low, size, heat, threshold, cells)
    _by_place_along(along, n, (way * way).sum(), start, order)
    back, stride, n_steps = np.empty(26, np.int64), np.empty(26), 0
    for k in range(26):
        if OFFSETS[k, 0] * way[0] + OFFSETS[k, 1] * way[1] + OFFSETS[k, 2] * way[2] > 0:
            back[n_steps] = (OFFSETS[k, 0] * size[1] + OFFSETS[k, 1]) * size[2] + OFFSETS[k, 2]
            stride[n_steps] = _STEP[k]
            n_steps += 1
    first = ((a[0] - low[0]) * size[1] + a[1] - low[1]) * size[2] + a[2] - low[2]
    cost[first], parent[first], crossed[first] = 0.0, -1, False
    best, last, stop = np.inf, -1, -1
    for turn in range(n):
        i = order[turn]
        here = places[i]
        least, before, pay = best, -1, toll[i]
        for k in range(n_steps):
            onward = cost[np.uint64(here - back[k])] + stride[k] * pay
            is_less = onward < least
            least, before = onward if is_less else least, k if is_less else before
        if before < 0:
            continue
        before = here - back[before]
        cost[here], parent[here], crossed[here] = least, before, crossed[before] or is_cold[i]
        v = _skeleton_at(on_plane, line_start, heat.shape[1], low, size, here) if crossed[here] and not is_cold[i] else -1
        if v >= 0:
            cost[here] = np.inf
            name = _vessel_of(node_of_voxel, chain_of, v, n_chains)
            if name not in (own, n_chains + ends[0], n_chains + ends[1]):
                best, last, stop = least, here, v
    cost[first] = np.inf
    for i in range(n):
        cost[places[i]] = np.inf
    return (_unwind(last, parent, low, size, path), stop) if last >= 0 else (0, -1)


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
def _gap(path, heat, threshold):  # type: ignore[no-untyped-def]
    """Return the length of a path outside of the foreground, voxels."""
    total = 0.0
    before = True
    for i in range(len(path)):
        inside = heat[path[i, 0], path[i, 1], path[i, 2]] > threshold
        if i > 0 and not (inside and before):
            total += np.sqrt(np.float64(squared_distance(path[i], path[i - 1])))
        before = inside
    return total


@njit(cache=True, nogil=True)
def _make_room(reach):  # type: ignore[no-untyped-def]
    """Return the arrays that one search after the other uses."""
    n_box = (reach + 2 * _CAPSULE + 3) ** 3
    cells = (np.empty(n_box, np.int64), np.empty(n_box, np.int64), np.empty(n_box), np.empty(n_box, np.bool_))
    start = np.empty(reach * reach + 3, np.int64)
    return (
        cells, np.empty(n_box, np.int64), start, np.full(n_box, np.inf), np.empty(n_box, np.int64), np.empty(n_box, np.bool_)
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _search_all(begin, end, tips, branch, outward, cosines, skeleton, ends, heat, threshold, max_gap, foot, length, path):  # type: ignore[no-untyped-def]
    """Fill for some tips up to ``foot.shape[1]`` bridges each: foot (-1: none), number of voxels, and the voxels."""
    reach = max_gap + _SLACK
    room = _make_room(int(reach) + 1)
    feet, order = np.empty(_MOST_VESSELS, np.int64), np.empty(_MOST_VESSELS, np.int64)
    for i in range(begin, end):
        own, own_ends = branch[i], ends[branch[i]]
        n_feet = _find_feet(tips[i], outward[i], own, reach, cosines[i], own_ends, skeleton, threshold, heat, feet, order)
        found = 0
        for rank in range(n_feet):
            if found == foot.shape[1]:
                break
            goal = feet[order[rank]]
            n, stop = _cheapest_path(tips[i], goal, own, own_ends, skeleton, threshold, heat, room, path[i, found])
            is_new = n > 0
            for other in range(found):
                is_new &= foot[i, other] != stop
            if is_new and _gap(path[i, found, :n], heat, threshold) <= _ON_GRID * max_gap:
                foot[i, found], length[i, found] = stop, n
                found += 1


def propose_bridges(
    heat: NDArray[np.float32],
    threshold: float,
    voxels: IntArray,
    chains: Chains,
    max_gap: float,
    max_turn_deg: float,
    n_candidates: int,
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return candidate bridges from every free end to the vessels ahead of it.

    Parameters
    ----------
    heat : (planes, rows, columns)
        In [0, 1].
    threshold : float
        Hotter voxels are those that were thinned. A path that never leaves them crosses no gap and is no bridge.
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
    shape = heat.shape
    tips, branch, outward, cosines = free_ends(voxels, chains, max_turn_deg)
    n = len(tips)
    line = voxels[:, 0] * shape[1] + voxels[:, 1]
    line_start = np.concatenate([[0], np.cumsum(np.bincount(line, minlength=shape[0] * shape[1]))])
    chain_of = np.full(len(voxels), -1, np.int64)
    chain_of[chains.members] = np.repeat(np.arange(len(chains.ends)), np.diff(chains.offset))
    on_plane = voxels[:, 1:].astype(np.int32)
    ids = (np.ascontiguousarray(voxels, dtype=np.int64), on_plane, line_start, chains.node_of_voxel, chain_of)
    skeleton = (*ids, len(chains.ends))
    foot = np.full((n, n_candidates), -1, np.int64)
    length = np.zeros((n, n_candidates), np.int64)
    path = np.empty((n, n_candidates, _longest(max_gap), 3), np.int32)
    found = (foot, length, path)
    fixed = (tips, branch, outward, cosines, skeleton, chains.ends, heat, np.float32(threshold), float(max_gap), *found)
    run_parts(lambda begin, end: _search_all(begin, end, *fixed), n)
    i, j = np.nonzero(foot >= 0)
    offset = np.concatenate([[0], np.cumsum(length[i, j])]).astype(np.int64)
    inside = np.arange(path.shape[2]) < length[i, j][:, None]
    return tips[i], foot[i, j], offset, path[i, j][inside].astype(np.int64)


def _longest(max_gap: float) -> int:
    """Return the most voxels of a path: twice the reach, for those that bend."""
    return 2 * int(max_gap + _SLACK) + 4
