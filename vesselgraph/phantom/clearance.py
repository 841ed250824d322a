"""Keeping bent vessels apart: exact distances between paths, and repair of what is too close."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.phantom.curves import CurvedTree
from vesselgraph.space import FloatArray

IntArray = NDArray[np.int64]

_ROUNDS = 5
# Daughters of one junction touch near it by nature; beyond this many times the needed distance along the tree they may not.
_NEAR_JUNCTION = 4.0


@numba.njit(cache=True)
def _junction_depth(a: int, b: int, parent: IntArray, level: IntArray, depth: FloatArray) -> float:
    """Return the distance from the root of the last common point of two segments; infinite if one lies above the other."""
    if a == b:
        return np.inf
    i, j = a, b
    while level[i] > level[j]:
        i = parent[i]
    while level[j] > level[i]:
        j = parent[j]
    if i == j:
        return np.inf
    while parent[i] != parent[j]:
        i, j = parent[i], parent[j]
    return depth[parent[i]]


@numba.njit(cache=True)
def _pair_clearance(
    p: FloatArray, rp: FloatArray, dp: FloatArray, q: FloatArray, rq: FloatArray, dq: FloatArray, junction: float, wanted: float
) -> float:
    """Return the smallest surface distance of two paths; ``junction`` is NaN for paths of different trees."""
    best = np.inf
    for i in range(len(p)):
        for j in range(len(q)):
            gap = np.sqrt((p[i, 0] - q[j, 0]) ** 2 + (p[i, 1] - q[j, 1]) ** 2 + (p[i, 2] - q[j, 2]) ** 2) - rp[i] - rq[j]
            if gap >= best:
                continue
            if not np.isnan(junction):
                along = abs(dp[i] - dq[j]) if np.isinf(junction) else dp[i] + dq[j] - 2.0 * junction
                if along < _NEAR_JUNCTION * (rp[i] + rq[j] + wanted):
                    continue
            best = gap
    return best


@numba.njit(cache=True)
def close_pairs(
    offset: IntArray,
    position: FloatArray,
    radius: FloatArray,
    along: FloatArray,
    tree: IntArray,
    parent: IntArray,
    level: IntArray,
    depth: FloatArray,
    wanted: float,
) -> list[tuple[int, int, float]]:
    """Return the pairs of segments that are closer than ``wanted``, with their clearance."""
    n = len(offset) - 1
    low, high = np.full((n, 3), np.inf), np.full((n, 3), -np.inf)
    for s in range(n):
        for m in range(offset[s], offset[s + 1]):
            for k in range(3):
                low[s, k] = min(low[s, k], position[m, k] - radius[m])
                high[s, k] = max(high[s, k], position[m, k] + radius[m])
    found = [(0, 0, 0.0)][:0]
    for a in range(n):
        for b in range(a + 1, n):
            apart = False
            for k in range(3):
                apart = apart or low[a, k] - high[b, k] >= wanted or low[b, k] - high[a, k] >= wanted
            if apart:
                continue
            junction = _junction_depth(a, b, parent, level, depth) if tree[a] == tree[b] else np.nan
            here, there = slice(offset[a], offset[a + 1]), slice(offset[b], offset[b + 1])
            gap = _pair_clearance(
                position[here], radius[here], along[here], position[there], radius[there], along[there], junction, wanted
            )
            if gap < wanted:
                found.append((a, b, gap))
    return found


def _flat(trees: tuple[CurvedTree, CurvedTree]) -> tuple[IntArray, FloatArray, FloatArray, FloatArray, IntArray, IntArray, IntArray, FloatArray]:
    """Return the two trees as one set of arrays; node ids of the second tree follow those of the first."""
    sizes, along, depths, levels, parents = [], [], [], [], []
    first = 0
    for curved in trees:
        count = len(curved.paths)
        depth, level = np.zeros(count), np.zeros(count, np.int64)
        own = [np.zeros(0)] * count
        for node in curved.tree.top_down()[1:]:
            above = curved.tree.parent[node]
            steps = np.linalg.norm(np.diff(curved.paths[node], axis=0), axis=1)
            own[node] = depth[above] + np.concatenate([[0.0], np.cumsum(steps)])
            depth[node], level[node] = own[node][-1], level[above] + 1
        sizes += [len(path) for path in curved.paths]
        along += own
        depths.append(depth)
        levels.append(level)
        parents.append(np.array(curved.tree.parent) + first)
        first += count
    tree = np.repeat([0, 1], [len(curved.paths) for curved in trees])
    position = np.concatenate([path for curved in trees for path in curved.paths])
    radius = np.concatenate([values for curved in trees for values in curved.radii])
    offset = np.concatenate([[0], np.cumsum(sizes)])
    return offset, position, radius, np.concatenate(along), tree, np.concatenate(parents), np.concatenate(levels), np.concatenate(depths)


def separate(trees: tuple[CurvedTree, CurvedTree], wanted: float, contact: float) -> tuple[CurvedTree, CurvedTree]:
    """Return the trees with every pair of vessels at least ``wanted`` mm apart, surface to surface.

    Branches that are too close are straightened step by step; where this is not enough the smaller one is cut off with all
    that hangs on it.

    Parameters
    ----------
    contact : float, mm
        Smallest distance between the trees where one branch is marked ``may_touch``; negative means overlap.
    """
    for attempt in range(100):
        split = len(trees[0].paths)
        dead: tuple[set[int], set[int]] = (set(), set())
        pairs = close_pairs(*_flat(trees), wanted)
        clean = True
        for a, b, gap in pairs:
            sides = [(trees[0], a, 0) if a < split else (trees[1], a - split, 1)]
            sides += [(trees[0], b, 0) if b < split else (trees[1], b - split, 1)]
            touch = any(curved.tree.may_touch[node] for curved, node, _ in sides)
            if sides[0][2] != sides[1][2] and touch and gap >= contact:
                continue
            clean = False
            if attempt < _ROUNDS:
                for curved, node, _ in sides:
                    curved.wiggle[node] *= 0.5
                    curved.slack[node] = max(0.0, curved.slack[node] - 0.25)
            else:
                _, node, which = min(sides, key=lambda side: side[0].tree.n_tips[side[1]])
                dead[which].add(node)
        if clean:
            break
        if attempt < _ROUNDS:
            for curved in trees:
                curved.draw()
        else:
            trees = trees[0].without(dead[0]), trees[1].without(dead[1])
    return trees
