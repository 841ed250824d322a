"""Keeping bent vessels apart: exact distances between paths, and repair of what is too close."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.phantom.curves import CurvedTree
from vesselgraph.space import FloatArray

IntArray = NDArray[np.int64]

_ROUNDS = 5
# Vessels of one tree touch near their junction by nature. They must part at this rate: two points at a distance d along the
# tree are at least this share of d apart (daughters at an angle a: sin(a / 2)), until the wanted clearance is reached.
_OPENING = 0.25


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
    """Return the smallest surface distance of two paths; ``junction`` is NaN for paths of different trees.

    Points near the junction of both paths count with what they lack to the opening of a fork.
    """
    best = np.inf
    for i in range(len(p)):
        for j in range(len(q)):
            apart = np.sqrt((p[i, 0] - q[j, 0]) ** 2 + (p[i, 1] - q[j, 1]) ** 2 + (p[i, 2] - q[j, 2]) ** 2)
            if apart - rp[i] - rq[j] >= best:
                continue
            needed = rp[i] + rq[j] + wanted
            if not np.isnan(junction):
                along = abs(dp[i] - dq[j]) if np.isinf(junction) else dp[i] + dq[j] - 2.0 * junction
                needed = min(needed, _OPENING * along)
            best = min(best, apart - needed + wanted)
    return best


class Flat(NamedTuple):
    """Both trees as one set of arrays; the segments of the second follow those of the first.

    Parameters
    ----------
    offset : (n + 1,)
        Segment ``s`` owns points ``offset[s]:offset[s + 1]``.
    position, radius, along : (m, 3), (m,), (m,) mm
        Points, their radii and their distance from the root along the tree.
    tree, parent, level, depth : (n,)
        Which tree; the segment above; number of segments above; distance of the segment's end from the root, mm.
    """

    offset: IntArray
    position: FloatArray
    radius: FloatArray
    along: FloatArray
    tree: IntArray
    parent: IntArray
    level: IntArray
    depth: FloatArray


@numba.njit(cache=True)
def close_pairs(flat: Flat, wanted: float) -> list[tuple[int, int, float]]:
    """Return the pairs of segments that are closer than ``wanted``, with their clearance."""
    offset, position, radius, along = flat.offset, flat.position, flat.radius, flat.along
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
            junction = _junction_depth(a, b, flat.parent, flat.level, flat.depth) if flat.tree[a] == flat.tree[b] else np.nan
            here, there = slice(offset[a], offset[a + 1]), slice(offset[b], offset[b + 1])
            gap = _pair_clearance(
                position[here], radius[here], along[here], position[there], radius[there], along[there], junction, wanted
            )
            if gap < wanted:
                found.append((a, b, gap))
    return found


def flatten(trees: tuple[CurvedTree, CurvedTree]) -> Flat:
    """Return the two trees as one set of arrays."""
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
    return Flat(
        offset=np.concatenate([[0], np.cumsum(sizes)]),
        position=np.concatenate([path for curved in trees for path in curved.paths]),
        radius=np.concatenate([values for curved in trees for values in curved.radii]),
        along=np.concatenate(along),
        tree=np.repeat([0, 1], [len(curved.paths) for curved in trees]),
        parent=np.concatenate(parents),
        level=np.concatenate(levels),
        depth=np.concatenate(depths),
    )


def separate(trees: tuple[CurvedTree, CurvedTree], wanted: float, contact: float) -> tuple[CurvedTree, CurvedTree]:
    """Return the trees with every pair of vessels at least ``wanted`` mm apart, surface to surface.

    Branches that are too close are straightened step by step; where this is not enough the smaller one is cut off with all
    that hangs on it.

    Parameters
    ----------
    contact : float, mm
        Smallest distance between the trees where one branch is marked ``may_touch``; negative means overlap.
    """
    for _ in range(_ROUNDS):
        for side in {side for pair in _conflicts(trees, wanted, contact) for side in pair}:
            _straighten(trees[side[0]], side[1])
        for curved in trees:
            curved.draw()
    while pairs := _conflicts(trees, wanted, contact):
        dead: tuple[set[int], set[int]] = (set(), set())
        for pair in pairs:
            if not any(node in dead[which] for which, node in pair):
                which, node = min(pair, key=lambda side: trees[side[0]].tree.n_tips[side[1]])
                dead[which].add(node)
        trees = trees[0].without(dead[0]), trees[1].without(dead[1])
    return trees


Side = tuple[int, int]
"""Which tree, and which of its segments."""


def _conflicts(trees: tuple[CurvedTree, CurvedTree], wanted: float, contact: float) -> list[tuple[Side, Side]]:
    """Return the pairs of segments that are too close, the closest first."""
    split = len(trees[0].paths)
    found = []
    for a, b, gap in sorted(close_pairs(flatten(trees), wanted), key=lambda pair: pair[2]):
        one, two = ((int(s >= split), s - split * int(s >= split)) for s in (a, b))
        touch = one[0] != two[0] and any(trees[which].tree.may_touch[node] for which, node in (one, two))
        if not (touch and gap >= contact):
            found.append((one, two))
    return found


def _straighten(curved: CurvedTree, node: int) -> None:
    curved.wiggle[node] *= 0.5
    curved.slack[node] = max(0.4, curved.slack[node] - 0.2)
