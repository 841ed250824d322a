"""Fast growth of a vessel tree in an organ given as a sampled signed distance.

Constrained constructive optimisation (Schreiner and Buxbaum 1993, IEEE TBME 40(5); Karch et al. 1999, Comput. Biol. Med. 29(1))
on straight segments: each new tip is joined to one of the nearest segments, where the blood volume of the tree grows least
among the places that keep to angle, clearance and wall. Everything is arrays and compiled: a liver of two thousand tips takes
about a second.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.phantom.study.field import Field, field_at
from vesselgraph.phantom.study.gaps import point_gap, segments_meet
from vesselgraph.space import FloatArray

IntArray = NDArray[np.int64]

_NEAREST = 10
_ALONG = np.array([0.12, 0.32, 0.52, 0.72, 0.9])
_TOWARD = np.array([0.0, 0.08, 0.2, 0.4])
_OPTIONS = 20
_TRIED = 16


class Growing(NamedTuple):
    """A growing tree; segment ``i`` runs from node ``parent[i]`` to node ``i``. Arrays have room for more.

    Parameters
    ----------
    position : (capacity, 3) mm
    parent, tips : (capacity,) int64
        Upper node (-1 for the root) and number of tips at or below each node.
    open : (capacity,) bool
        Whether new branches may join the segment.
    radius : (capacity,) mm
        What the segment will have when the tree is full grown; kept up to date by :func:`grow`.
    """

    position: FloatArray
    parent: IntArray
    tips: IntArray
    open: NDArray[np.bool_]
    radius: FloatArray


class GrowthRules(NamedTuple):
    """What a join must keep; lengths in mm.

    Parameters
    ----------
    tip_radius, exponent : float
        Murray's law: a segment with n tips has radius ``tip_radius * n ** (1 / exponent)``.
    clearance : float
        Free distance to vessels that are not met.
    wall : float
        Free distance to the surface of the organ.
    min_step : float
        Shortest segment.
    """

    tip_radius: float
    exponent: float
    clearance: float
    wall: float
    min_step: float


class Segments(NamedTuple):
    """Start and end (n, 3) and radius (n,) of straight vessels, mm."""

    start: FloatArray
    end: FloatArray
    radius: FloatArray


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _radius(tips: float, share: float, rules: GrowthRules) -> float:
    """Return the radius a segment with so many tips now will have when the tree is full grown."""
    final = tips / share
    if tips == 1:
        final = min(final, 3.0)
    return rules.tip_radius * max(final, 1.0) ** (1.0 / rules.exponent)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _within(low: FloatArray, high: FloatArray, start: FloatArray, end: FloatArray, radius: FloatArray) -> IntArray:
    """Return the segments whose boxes, grown by their radius, meet a box."""
    found = np.empty(len(radius), np.int64)
    count = 0
    for s in range(len(radius)):
        meets = True
        for k in range(3):
            if min(start[s, k], end[s, k]) - radius[s] > high[k] or max(start[s, k], end[s, k]) + radius[s] < low[k]:
                meets = False
                break
        if meets:
            found[count] = s
            count += 1
    return found[:count]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _own_within(low: FloatArray, high: FloatArray, tree: Growing, count: int) -> IntArray:
    """Return the nodes whose segments' boxes, grown by their radius, meet a box."""
    found = np.empty(count, np.int64)
    n = 0
    for j in range(1, count):
        above = tree.parent[j]
        meets = True
        for k in range(3):
            u, v = tree.position[above, k], tree.position[j, k]
            if min(u, v) - tree.radius[j] > high[k] or max(u, v) + tree.radius[j] < low[k]:
                meets = False
                break
        if meets:
            found[n] = j
            n += 1
    return found[:n]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _collides(p: FloatArray, q: FloatArray, radius: float, others: Segments, near: IntArray, clearance: float) -> bool:
    """Return whether a segment comes nearer than ``clearance`` (surface to surface) to one of the others ``near``."""
    meets = False
    for s in near:
        meets = meets or segments_meet(p, q, others.start[s], others.end[s], radius + others.radius[s] + clearance)
    return meets


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _collides_own(
    p: FloatArray, q: FloatArray, radius: float, tree: Growing, near: IntArray, segment: int, clearance: float
) -> bool:
    """Return whether a new piece at ``segment`` comes too near to its own tree, its close relatives left out."""
    above = tree.parent[segment]
    further = tree.parent[above]
    for j in near:
        pj = tree.parent[j]
        if j in (segment, above) or pj in (segment, above, further) or tree.parent[pj] == segment:
            continue
        if segments_meet(p, q, tree.position[pj], tree.position[j], radius + tree.radius[j] + clearance):
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _stays_inside(p: FloatArray, q: FloatArray, depth: float, organ: Field) -> bool:
    for n in range(1, 6):
        t = n / 5.0
        x, y, z = p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1]), p[2] + t * (q[2] - p[2])
        if field_at(organ, x, y, z) > -depth:
            return False
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _nearest(tree: Growing, count: int, tip: FloatArray) -> IntArray:
    """Return the open segments nearest to a point, the nearest first; -1 where there are fewer."""
    found = np.full(_NEAREST, -1, np.int64)
    gaps = np.full(_NEAREST, np.inf)
    for i in range(1, count):
        if not tree.open[i]:
            continue
        gap = point_gap(tip, tree.position, tree.parent[i], tree.position, i)
        if gap >= gaps[-1]:
            continue
        place = _NEAREST - 1
        while place > 0 and gaps[place - 1] > gap:
            gaps[place], found[place] = gaps[place - 1], found[place - 1]
            place -= 1
        gaps[place], found[place] = gap, i
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _join_cost(
    a: FloatArray, b: FloatArray, x: FloatArray, tip: FloatArray, thick: float, later: float, now: float, rules: GrowthRules
) -> float:
    """Return the added volume (over pi) of joining ``tip`` at ``x`` on the way from a to b; infinite where that is refused.

    ``later`` and ``now`` are the powers of the number of tips that the squared radius goes with.
    """
    u0, u1, u2 = x[0] - a[0], x[1] - a[1], x[2] - a[2]
    v0, v1, v2 = b[0] - x[0], b[1] - x[1], b[2] - x[2]
    w0, w1, w2 = tip[0] - x[0], tip[1] - x[1], tip[2] - x[2]
    l0 = np.sqrt(u0 * u0 + u1 * u1 + u2 * u2)
    l1 = np.sqrt(v0 * v0 + v1 * v1 + v2 * v2)
    l2 = np.sqrt(w0 * w0 + w1 * w1 + w2 * w2)
    if min(l0, l1) < max(rules.min_step, 0.9 * thick) or l2 < max(rules.min_step, 1.6 * thick):
        return np.inf
    turn = u0 * v0 + u1 * v1 + u2 * v2
    along, apart = u0 * w0 + u1 * w1 + u2 * w2, v0 * w0 + v1 * w1 + v2 * w2
    # The wider a vessel, the less a side branch turns it.
    straight = 1.0 - 0.65 * (rules.tip_radius / thick)
    if apart > 0.75 * l1 * l2 or along < -0.3 * l0 * l2 or turn < straight * l0 * l1:
        return np.inf
    chord = np.sqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2)
    return rules.tip_radius**2 * (l0 * later + l1 * now + l2 - chord * now)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _upstream_cost(tree: Growing, segment: int, powers: FloatArray, rules: GrowthRules) -> float:
    cost, node = 0.0, tree.parent[segment]
    while tree.parent[node] >= 0:
        above = tree.parent[node]
        extra = powers[tree.tips[node] + 1] - powers[tree.tips[node]]
        squared = 0.0
        for k in range(3):
            squared += (tree.position[node, k] - tree.position[above, k]) ** 2
        cost += extra * np.sqrt(squared)
        node = above
    return rules.tip_radius**2 * cost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _try_join(
    tree: Growing,
    count: int,
    tip: FloatArray,
    share: float,
    organ: Field,
    rules: GrowthRules,
    others: Segments,
    powers: FloatArray,
) -> bool:
    """Join ``tip`` at the cheapest allowed place; return whether there was one. The tree takes nodes count and count + 1."""
    near = _nearest(tree, count, tip)
    costs = np.full(_NEAREST * _OPTIONS, np.inf)
    points = np.empty((_NEAREST * _OPTIONS, 3))
    for m in range(_NEAREST):
        segment = near[m]
        if segment < 0:
            break
        upstream = _upstream_cost(tree, segment, powers, rules)
        a, b = tree.position[tree.parent[segment]], tree.position[segment]
        now, later = powers[tree.tips[segment]], powers[tree.tips[segment] + 1]
        for n in range(_OPTIONS):
            s, u = _ALONG[n % 5], _TOWARD[n // 5]
            x = points[m * _OPTIONS + n]
            for k in range(3):
                x[k] = (1.0 - u) * ((1.0 - s) * a[k] + s * b[k]) + u * tip[k]
            costs[m * _OPTIONS + n] = _join_cost(a, b, x, tip, tree.radius[segment], later, now, rules) + upstream
    new_radius = _radius(1.0, share, rules)
    own, other = _surroundings(tree, count, tip, near, others, rules.clearance + new_radius)
    for _ in range(_TRIED):
        best = int(np.argmin(costs))
        if not np.isfinite(costs[best]):
            return False
        costs[best] = np.inf
        segment, x = near[best // _OPTIONS], points[best]
        if _fits(tree, segment, x, tip, new_radius, organ, rules, others, own, other):
            _insert(tree, count, segment, x, tip, share, rules)
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _surroundings(
    tree: Growing, count: int, tip: FloatArray, near: IntArray, others: Segments, margin: float
) -> tuple[IntArray, IntArray]:
    """Return the segments of the tree and of others that a join of ``tip`` to one of ``near`` could touch."""
    low, high = tip.copy(), tip.copy()
    margin += 1.0
    for segment in near:
        if segment < 0:
            break
        margin = max(margin, tree.radius[segment] + 1.0)
        for node in (segment, tree.parent[segment]):
            for k in range(3):
                low[k], high[k] = min(low[k], tree.position[node, k]), max(high[k], tree.position[node, k])
    low -= margin
    high += margin
    return _own_within(low, high, tree, count), _within(low, high, others.start, others.end, others.radius)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fits(
    tree: Growing,
    segment: int,
    x: FloatArray,
    tip: FloatArray,
    new_radius: float,
    organ: Field,
    rules: GrowthRules,
    others: Segments,
    own: IntArray,
    other: IntArray,
) -> bool:
    """Return whether the three pieces of a join stay in the organ and clear of the vessels around."""
    if not _stays_inside(x, tip, rules.wall + new_radius, organ):
        return False
    a, b = tree.position[tree.parent[segment]], tree.position[segment]
    thick = tree.radius[segment]
    for p, q, r in ((x, tip, new_radius), (a, x, thick), (x, b, thick)):
        if _collides(p, q, r, others, other, rules.clearance):
            return False
        if _collides_own(p, q, r, tree, own, segment, rules.clearance):
            return False
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _insert(tree: Growing, count: int, segment: int, x: FloatArray, tip: FloatArray, share: float, rules: GrowthRules) -> None:
    tree.position[count], tree.position[count + 1] = x, tip
    tree.parent[count], tree.parent[count + 1] = tree.parent[segment], count
    tree.tips[count], tree.tips[count + 1] = tree.tips[segment] + 1, 1
    tree.open[count] = tree.open[count + 1] = True
    tree.radius[count + 1] = _radius(1.0, share, rules)
    tree.radius[count] = _radius(float(tree.tips[count]), share, rules)
    tree.parent[segment] = count
    above = tree.parent[count]
    while above >= 0:
        tree.tips[above] += 1
        tree.radius[above] = _radius(float(tree.tips[above]), share, rules)
        above = tree.parent[above]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _is_free(point: FloatArray, others: Segments, rules: GrowthRules) -> bool:
    """Return whether a tip at this point is clear of the other tree."""
    for s in range(len(others.radius)):
        reach = rules.tip_radius + others.radius[s] + rules.clearance
        if point_gap(point, others.start, s, others.end, s) < reach * reach:
            return False
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def grow(
    tree: Growing,
    count: int,
    candidates: FloatArray,
    wanted: int,
    final: int,
    organ: Field,
    rules: GrowthRules,
    others: Segments,
) -> int:
    """Join tips until the tree has ``wanted`` of them or the candidates are used up; return its number of nodes.

    Parameters
    ----------
    candidates : (n, c, 3) mm
        Each try takes the one of c points that is farthest from the tree (best-candidate sampling fills the organ evenly).
    final : int
        Tips of the full-grown tree, to foresee radii.
    others : Segments
        What to keep clear of.
    """
    powers = np.arange(final + 3.0) ** (2.0 / rules.exponent)
    share = max(tree.tips[0] / final, 1e-3)
    for i in range(count):
        tree.radius[i] = _radius(float(tree.tips[i]), share, rules)
    for t in range(len(candidates)):
        if tree.tips[0] >= wanted or count + 2 > len(tree.parent):
            break
        share = max(tree.tips[0] / final, 1e-3)
        best, chosen = 0.0, -1
        for c in range(candidates.shape[1]):
            point = candidates[t, c]
            gap = np.inf
            for i in range(1, count):
                gap = min(gap, point_gap(point, tree.position, tree.parent[i], tree.position, i))
                if gap <= best:
                    break
            if gap > best and _is_free(point, others, rules):
                best, chosen = gap, c
        if chosen >= 0 and _try_join(tree, count, candidates[t, chosen].copy(), share, organ, rules, others, powers):
            count += 2
    return count


def segments_of(tree: Growing, count: int) -> Segments:
    """Return the segments of a tree with the radii foreseen for them."""
    parent = tree.parent[1:count]
    return Segments(tree.position[parent], tree.position[1:count].copy(), tree.radius[1:count].copy())
