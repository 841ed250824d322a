"""The vessels of a study: anatomical trunks by name, grown branches, and what runs along the portal tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from vesselgraph.config import StudyConfig
from vesselgraph.phantom.study.backbone import Backbone, hepatic_backbone, portal_backbone, systemic_backbone
from vesselgraph.phantom.study.body import Body
from vesselgraph.phantom.study.field import distances
from vesselgraph.phantom.study.growth import Growing, GrowthRules, IntArray, grow, segments_of
from vesselgraph.space import FloatArray

_STEP = 1.0
_ROUNDS = 8
_CANDIDATES = 8
_TRIES = 3
# Narrower daughters lean into the flow of their parent by this much; end tangents stay within this cosine of the chord.
_LEAN = 0.25
_MOST_TURN = 0.7


class DrawnTree(NamedTuple):
    """A tree with the path of every segment; segment ``i`` (i >= 1) runs from node ``parent[i]`` to node ``i``.

    Parameters
    ----------
    position : (n, 3) mm
    parent : (n,)
    offset : (n + 1,)
        Segment ``i`` owns points ``offset[i]:offset[i + 1]``; segment 0 is empty.
    path : (m, 3) mm
    radius : (m,) mm
    """

    position: FloatArray
    parent: IntArray
    offset: IntArray
    path: FloatArray
    radius: FloatArray


@dataclass(frozen=True, eq=False)
class Vessels:
    """All vessels of a patient.

    Parameters
    ----------
    portal, hepatic : DrawnTree
        Grown in the liver and drawn on outside of it (splenic and mesenteric vein; cava and renal veins).
    artery : DrawnTree
        Aorta, its branches, and the hepatic artery along the portal tree.
    ducts : DrawnTree
        Bile ducts along the portal tree; no vessels of the truth.
    """

    portal: DrawnTree
    hepatic: DrawnTree
    artery: DrawnTree
    ducts: DrawnTree


def make_vessels(config: StudyConfig, body: Body, rng: np.random.Generator) -> Vessels:
    """Return the vessels of a patient; portal and hepatic tree grow in turns and share the room."""
    bones = (portal_backbone(body, config, rng), hepatic_backbone(body, config, rng))
    wanted = (config.n_portal_tips, config.n_hepatic_tips)
    rules = [
        GrowthRules(config.tip_radius, config.murray_exponent, config.min_clearance, wall=1.5, min_step=2.0) for _ in bones
    ]
    trees = [_start(bone, count) for bone, count in zip(bones, wanted, strict=True)]
    counts = [len(bone.parent) for bone in bones]
    for turn in range(1, _ROUNDS + 1):
        for t in (0, 1):
            other = 1 - t
            obstacles = segments_of(trees[other], counts[other])
            goal = round(wanted[t] * (turn / _ROUNDS) ** 2)
            tries = max(0, _TRIES * (goal - int(trees[t].tips[0])))
            candidates = _inside(body, tries * _CANDIDATES, config, rng).reshape(-1, _CANDIDATES, 3)
            counts[t] = grow(trees[t], counts[t], candidates, goal, wanted[t], body.organ, rules[t], obstacles)
    portal, hepatic = (_draw(trees[t], counts[t], bones[t].radius, config, rng) for t in (0, 1))
    first = bones[0].hilum
    artery = companion(portal, trees[0].tips, first, config.artery_ratio, config.smallest_artery, 0.0, rng)
    ducts = companion(portal, trees[0].tips, first, config.duct_ratio, 0.25, 2.4, rng)
    aorta = systemic_backbone(body, config, artery.position[0], rng)
    systemic = _start(aorta, 0)
    trunk = _draw(systemic, len(aorta.parent), aorta.radius, config, rng)
    return Vessels(portal, hepatic, _joined(trunk, aorta.hilum, artery), ducts)


def _inside(body: Body, count: int, config: StudyConfig, rng: np.random.Generator) -> FloatArray:
    """Return so many random points in the liver, deep enough for a tip."""
    nz, ny, nx = body.organ.values.shape
    size = np.array([nx, ny, nz]) * body.organ.step
    found = np.zeros((0, 3))
    while len(found) < count:
        points = body.organ.origin + rng.uniform(0.0, 1.0, (4 * count + 64, 3)) * size
        found = np.concatenate([found, points[distances(body.organ, points) < -1.6 - config.tip_radius]])
    return found[:count]


def _start(bone: Backbone, n_tips: int) -> Growing:
    """Return arrays with the backbone at their beginning."""
    size = len(bone.parent)
    capacity = size + 2 * n_tips + 2
    tree = Growing(
        np.zeros((capacity, 3)),
        np.full(capacity, -1, np.int64),
        np.zeros(capacity, np.int64),
        np.zeros(capacity, np.bool_),
        np.ones(capacity),
    )
    tree.position[:size], tree.parent[:size], tree.open[:size] = bone.position, bone.parent, bone.open
    has_child = np.zeros(size, bool)
    has_child[bone.parent[1:]] = True
    # Only what carries a bed in the liver counts for the radii.
    tree.tips[:size] = ~has_child & bone.open
    for node in range(size - 1, 0, -1):
        tree.tips[bone.parent[node]] += tree.tips[node]
    return tree


@numba.njit(cache=True, nogil=True)
def _top_down(parent: IntArray) -> IntArray:
    """Return the nodes so that parents come before their children (counting sort by depth)."""
    n = len(parent)
    depth = np.full(n, -1, np.int64)
    depth[0] = 0
    for i in range(1, n):
        steps, node = 0, i
        while depth[node] < 0:
            node = parent[node]
            steps += 1
        base, node = depth[node] + steps, i
        while depth[node] < 0:
            depth[node] = base
            base -= 1
            node = parent[node]
    return np.argsort(depth, kind="mergesort")


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _tangents(position: FloatArray, parent: IntArray, weight: FloatArray, order: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the unit tangent of each segment at its start and at its end.

    The widest daughter goes on in the direction of its parent; the others lean towards it.
    """
    n = len(parent)
    chord = np.zeros((n, 3))
    widest = np.full(n, -1, np.int64)
    for i in range(1, n):
        chord[i] = position[i] - position[parent[i]]
        chord[i] /= np.sqrt((chord[i] ** 2).sum()) + 1e-12
        if widest[parent[i]] < 0 or weight[i] > weight[widest[parent[i]]]:
            widest[parent[i]] = i
    begin, finish = chord.copy(), chord.copy()
    for i in order[1:]:
        main = widest[i]
        if main >= 0:
            flow = chord[i] + chord[main]
            finish[i] = flow / (np.sqrt((flow**2).sum()) + 1e-12)
    for i in order[1:]:
        above = parent[i]
        if above > 0:
            flow = finish[above]
            begin[i] = flow if widest[above] == i else chord[i] + _LEAN * flow
        for k in range(2):
            t = begin[i] if k == 0 else finish[i]
            t /= np.sqrt((t**2).sum()) + 1e-12
            while (t * chord[i]).sum() < _MOST_TURN:
                t += 0.3 * chord[i]
                t /= np.sqrt((t**2).sum())
    return begin, finish


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _bend(
    position: FloatArray, parent: IntArray, begin: FloatArray, finish: FloatArray, swing: FloatArray, offset: IntArray
) -> FloatArray:
    """Return the points of all segments: Hermite curves with a sideways swing that vanishes at both ends."""
    path = np.empty((offset[-1], 3))
    for i in range(1, len(parent)):
        a, b = position[parent[i]], position[i]
        length = np.sqrt(((b - a) ** 2).sum())
        m = offset[i + 1] - offset[i]
        for n in range(m):
            s = n / (m - 1.0)
            window = 16.0 * s * s * (1.0 - s) * (1.0 - s)
            for k in range(3):
                path[offset[i] + n, k] = (
                    (2 * s**3 - 3 * s**2 + 1) * a[k]
                    + (s**3 - 2 * s**2 + s) * length * begin[i, k]
                    + (3 * s**2 - 2 * s**3) * b[k]
                    + (s**3 - s**2) * length * finish[i, k]
                    + window * length * (swing[i, 0, k] + swing[i, 1, k] * np.sin(2.0 * np.pi * s))
                )
        path[offset[i]], path[offset[i + 1] - 1] = a, b
    return path


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _widen(
    parent: IntArray, order: IntArray, offset: IntArray, tip: FloatArray, fixed: FloatArray, exponent: float, taper: float
) -> FloatArray:
    """Return the radius at every path point: Murray's law from the tips up, fixed radii where they are given."""
    n = len(parent)
    arriving = np.zeros(n)
    radius = np.empty(offset[-1])
    for i in order[::-1]:
        if i == 0:
            continue
        end = arriving[i] ** (1.0 / exponent) if arriving[i] > 0.0 else tip[i]
        m = offset[i + 1] - offset[i]
        if fixed[i] > 0.0:
            end = fixed[i]
        for k in range(m):
            radius[offset[i] + k] = end * (1.0 + taper * (m - 1 - k))
        arriving[parent[i]] += radius[offset[i]] ** exponent
    for i in order[1:]:
        above = parent[i]
        # Trunks go over into each other without a step.
        if fixed[i] > 0.0 and above > 0 and fixed[above] > 0.0:
            m = offset[i + 1] - offset[i]
            first = max(fixed[above], fixed[i]) if fixed[i] > 0.6 * fixed[above] else fixed[i]
            for k in range(m):
                radius[offset[i] + k] = first + (fixed[i] - first) * k / (m - 1.0)
    return radius


def _draw(tree: Growing, count: int, fixed: FloatArray, config: StudyConfig, rng: np.random.Generator) -> DrawnTree:
    """Return the bent paths and radii of a grown tree; ``fixed`` holds given radii of its first nodes (NaN: by Murray)."""
    position, parent = tree.position[:count], tree.parent[:count]
    order = _top_down(parent)
    given = np.zeros(count)
    given[: len(fixed)] = np.nan_to_num(fixed)
    # Splitting keeps the id at the lower end, so given radii stay with the trunk they were given to.
    weight = tree.tips[:count] + 1e6 * given
    begin, finish = _tangents(position, parent, weight, order)
    length = np.linalg.norm(position - position[np.maximum(parent, 0)], axis=1)
    points = np.maximum(3, np.ceil(length / _STEP).astype(np.int64) + 1)
    points[0] = 0
    offset = np.concatenate([[0], np.cumsum(points)])
    swing = np.clip(rng.normal(0.0, config.curvature, (count, 2, 3)), -2.0 * config.curvature, 2.0 * config.curvature)
    path = _bend(position, parent, begin, finish, swing, offset)
    tip = config.tip_radius * rng.uniform(0.7, 1.4, count)
    radius = _widen(parent, order, offset, tip, given, config.murray_exponent, 0.001)
    return DrawnTree(position, parent, offset, path, radius)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _perpendicular(v: FloatArray, t: FloatArray) -> FloatArray:
    """Return the unit part of ``v`` across ``t``."""
    w = v - (v * t).sum() * t
    size = np.sqrt((w**2).sum())
    if size < 1e-3:
        w = np.array([t[1], t[2], -t[0]])
        w = w - (w * t).sum() * t
        size = np.sqrt((w**2).sum())
    return w / size


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _run_along(
    tree: DrawnTree,
    kept: IntArray,
    label: IntArray,
    ratio: float,
    smallest: float,
    room: float,
    side: FloatArray,
    turn: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return node positions, path points and radii of a thin vessel along the segments ``kept`` (parents first)."""
    count = len(kept)
    total = 0
    for i in kept[1:]:
        total += tree.offset[i + 1] - tree.offset[i]
    position, path, radius = np.empty((count, 3)), np.empty((total, 3)), np.empty(total)
    way = np.empty((count, 3))
    size = np.empty(count)
    at = 0
    for n in range(count):
        i = kept[n]
        lo, hi = tree.offset[i], tree.offset[i + 1]
        tangent = tree.path[hi - 1] - tree.path[hi - 2]
        tangent = tangent / np.sqrt((tangent**2).sum())
        wide = tree.radius[hi - 1]
        size[n] = wide + max(ratio * wide, smallest) + room
        if n == 0:
            way[0] = _perpendicular(side, tangent)
            position[0] = tree.position[i] + size[0] * way[0]
            continue
        up = label[tree.parent[i]]
        across = _perpendicular(way[up] + 0.0, tangent)
        third = np.array(
            [
                tangent[1] * across[2] - tangent[2] * across[1],
                tangent[2] * across[0] - tangent[0] * across[2],
                tangent[0] * across[1] - tangent[1] * across[0],
            ]
        )
        way[n] = np.cos(turn[n]) * across + np.sin(turn[n]) * third
        position[n] = tree.position[i] + size[n] * way[n]
        m = hi - lo
        first = position[up] - tree.position[tree.parent[i]]
        for k in range(m):
            s = k / (m - 1.0)
            here = tree.path[min(lo + k + 1, hi - 1)] - tree.path[max(lo + k - 1, lo)]
            here = here / np.sqrt((here**2).sum())
            aim = _perpendicular((1.0 - s) * way[up] + s * way[n], here)
            out = tree.radius[lo + k] + max(ratio * tree.radius[lo + k], smallest) + room
            blend = min(k / max(2.0 * size[up], 1.0), 1.0)
            blend = blend * blend * (3.0 - 2.0 * blend)
            late = min((m - 1.0 - k) / 3.0, 1.0)
            target = late * out * aim + (1.0 - late) * size[n] * way[n]
            path[at + k] = tree.path[lo + k] + blend * target + (1.0 - blend) * first
            radius[at + k] = max(ratio * tree.radius[lo + k], smallest)
        path[at], path[at + m - 1] = position[up], position[n]
        at += m
    return position, path, radius


def companion(
    portal: DrawnTree, tips: IntArray, first: int, ratio: float, smallest: float, angle: float, rng: np.random.Generator
) -> DrawnTree:
    """Return a thin vessel that runs along the portal tree from node ``first`` on, where it would be wide enough."""
    del tips
    count = len(portal.parent)
    order = _top_down(portal.parent)
    wide = np.zeros(count)
    wide[1:] = portal.radius[portal.offset[2:] - 1]
    below = np.zeros(count, np.bool_)
    below[first] = True
    for i in order[1:]:
        below[i] |= below[portal.parent[i]] and ratio * wide[i] >= 0.75 * smallest
    kept = order[below[order]]
    label = np.full(count, -1, np.int64)
    label[kept] = np.arange(len(kept))
    side = np.array([np.cos(angle) * 0.6, -0.8, np.sin(angle)]) + rng.normal(0.0, 0.3, 3)
    turn = rng.normal(0.0, 0.35, len(kept))
    position, path, radius = _run_along(portal, kept, label, ratio, smallest, 0.5, side, turn)
    length = np.diff(portal.offset)[kept]
    length[0] = 0
    parent = label[portal.parent[kept]]
    parent[0] = -1
    return DrawnTree(position, parent, np.concatenate([[0], np.cumsum(length)]), path, radius)


def _joined(trunk: DrawnTree, at: int, tree: DrawnTree) -> DrawnTree:
    """Return ``tree`` put onto node ``at`` of ``trunk``, whose position is that of the tree's root."""
    shift = len(trunk.parent) - 1
    parent = np.where(tree.parent[1:] == 0, at, tree.parent[1:] + shift)
    return DrawnTree(
        np.concatenate([trunk.position, tree.position[1:]]),
        np.concatenate([trunk.parent, parent]),
        np.concatenate([trunk.offset, trunk.offset[-1] + tree.offset[2:]]),
        np.concatenate([trunk.path, tree.path]),
        np.concatenate([trunk.radius, tree.radius]),
    )


def branches(tree: DrawnTree) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return path and radii of each branch between root, junctions and tips."""
    count = len(tree.parent)
    children = np.bincount(tree.parent[1:], minlength=count)
    stops = (children != 1) | (np.arange(count) == 0)
    paths, radii = [], []
    for end in np.flatnonzero(stops[1:]) + 1:
        chain = [int(end)]
        while not stops[tree.parent[chain[-1]]]:
            chain.append(int(tree.parent[chain[-1]]))
        chain.reverse()
        cuts = [slice(tree.offset[i] + (n > 0), tree.offset[i + 1]) for n, i in enumerate(chain)]
        paths.append(np.concatenate([tree.path[cut] for cut in cuts]))
        radii.append(np.concatenate([tree.radius[cut] for cut in cuts]))
    return paths, radii
