"""Fast growth of a vessel tree in an organ given as a sampled signed distance.

Constrained constructive optimisation (Schreiner and Buxbaum 1993, IEEE TBME 40(5); Karch et al. 1999, Comput. Biol. Med. 29(1))
on straight segments: each new tip is joined to one of the nearest segments, where the blood volume of the tree grows least among
the places that keep to angle, clearance and wall. Everything is arrays and compiled, so that a liver of a few thousand tips takes
about a second.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.phantom.growth import segment_gap
from vesselgraph.space import FloatArray

IntArray = NDArray[np.int64]

_NEAREST = 10
_ALONG = np.array([0.12, 0.32, 0.52, 0.72, 0.9])
_TOWARD = np.array([0.06, 0.18, 0.32, 0.5])
_OPTIONS = 20
_TRIED = 16


class Field(NamedTuple):
    """A signed distance (mm, negative inside) sampled on a regular grid of axes z, y, x.

    Parameters
    ----------
    values : (planes, rows, columns) float32
    origin : (3,) mm
        World x, y, z of the first sample.
    step : float, mm
    """

    values: NDArray[np.float32]
    origin: FloatArray
    step: float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def field_at(field: Field, x: float, y: float, z: float) -> float:
    """Return the trilinear value at a world position; outside of the grid that of its border."""
    nz, ny, nx = field.values.shape
    u = min(max((x - field.origin[0]) / field.step, 0.0), nx - 1.001)
    v = min(max((y - field.origin[1]) / field.step, 0.0), ny - 1.001)
    w = min(max((z - field.origin[2]) / field.step, 0.0), nz - 1.001)
    i, j, k = int(w), int(v), int(u)
    c, b, a = w - i, v - j, u - k
    f = field.values
    low = (f[i, j, k] * (1 - a) + f[i, j, k + 1] * a) * (1 - b) + (f[i, j + 1, k] * (1 - a) + f[i, j + 1, k + 1] * a) * b
    i += 1
    high = (f[i, j, k] * (1 - a) + f[i, j, k + 1] * a) * (1 - b) + (f[i, j + 1, k] * (1 - a) + f[i, j + 1, k + 1] * a) * b
    return low * (1 - c) + high * c


class Growing(NamedTuple):
    """A growing tree; segment ``i`` runs from node ``parent[i]`` to node ``i``. Arrays have room for more.

    Parameters
    ----------
    position : (capacity, 3) mm
    parent, tips : (capacity,) int64
        Upper node (-1 for the root) and number of tips at or below each node.
    open : (capacity,) bool
        Whether new branches may join the segment.
    """

    position: FloatArray
    parent: IntArray
    tips: IntArray
    open: NDArray[np.bool_]


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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _radius(tips: float, share: float, rules: GrowthRules) -> float:
    """Return the radius a segment with so many tips now will have when the tree is full grown."""
    final = tips / share
    if tips == 1:
        final = min(final, 3.0)
    return rules.tip_radius * final ** (1.0 / rules.exponent)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _gap_to_point(p: FloatArray, a: FloatArray, b: FloatArray) -> float:
    """Return the distance of a point to a segment."""
    dot, length2 = 0.0, 0.0
    for k in range(3):
        dot += (p[k] - a[k]) * (b[k] - a[k])
        length2 += (b[k] - a[k]) ** 2
    t = min(max(dot / max(length2, 1e-12), 0.0), 1.0)
    total = 0.0
    for k in range(3):
        total += (p[k] - a[k] - t * (b[k] - a[k])) ** 2
    return np.sqrt(total)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _far_apart(p: FloatArray, q: FloatArray, a: FloatArray, b: FloatArray, reach: float) -> bool:
    """Return whether the boxes of two segments, one grown by ``reach``, do not meet."""
    for k in range(3):
        if max(p[k], q[k]) + reach < min(a[k], b[k]) or min(p[k], q[k]) - reach > max(a[k], b[k]):
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _collides(
    p: FloatArray, q: FloatArray, radius: float, start: FloatArray, end: FloatArray, radii: FloatArray, clearance: float
) -> bool:
    """Return whether a segment comes nearer than ``clearance`` (surface to surface) to one of others."""
    for s in range(len(radii)):
        reach = radius + radii[s] + clearance
        if not _far_apart(p, q, start[s], end[s], reach) and segment_gap(p, q, start[s], end[s]) < reach:
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _collides_own(
    p: FloatArray, q: FloatArray, radius: float, tree: Growing, count: int, segment: int, share: float, rules: GrowthRules
) -> bool:
    """Return whether a new piece at ``segment`` comes too near to its own tree, its close relatives left out."""
    above = tree.parent[segment]
    further = tree.parent[above]
    for j in range(1, count):
        pj = tree.parent[j]
        if j in (segment, above) or pj in (segment, above, further) or tree.parent[pj] == segment:
            continue
        reach = radius + _radius(tree.tips[j], share, rules) + rules.clearance
        a, b = tree.position[pj], tree.position[j]
        if not _far_apart(p, q, a, b, reach) and segment_gap(p, q, a, b) < reach:
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _stays_inside(p: FloatArray, q: FloatArray, depth: float, organ: Field) -> bool:
    for n in range(5):
        t = (n + 1) / 5.0
        x, y, z = p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1]), p[2] + t * (q[2] - p[2])
        if field_at(organ, x, y, z) > -depth:
            return False
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _dot(u: FloatArray, v: FloatArray) -> float:
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _length(u: FloatArray) -> float:
    return np.sqrt(_dot(u, u))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _nearest(tree: Growing, count: int, tip: FloatArray) -> IntArray:
    """Return the open segments nearest to a point, the nearest first; -1 where there are fewer."""
    found = np.full(_NEAREST, -1, np.int64)
    gaps = np.full(_NEAREST, np.inf)
    for i in range(1, count):
        if not tree.open[i]:
            continue
        gap = _gap_to_point(tip, tree.position[tree.parent[i]], tree.position[i])
        if gap >= gaps[-1]:
            continue
        place = _NEAREST - 1
        while place > 0 and gaps[place - 1] > gap:
            gaps[place], found[place] = gaps[place - 1], found[place - 1]
            place -= 1
        gaps[place], found[place] = gap, i
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _join_cost(tree: Growing, segment: int, x: FloatArray, tip: FloatArray, upstream: float, share: float, rules: GrowthRules) -> float:
    """Return the added volume (over pi) of joining ``tip`` at ``x``; infinite if lengths or angles forbid it."""
    a, b = tree.position[tree.parent[segment]], tree.position[segment]
    before, old, new = x - a, b - x, tip - x
    l0, l1, l2 = _length(before), _length(old), _length(new)
    count = float(tree.tips[segment])
    thick = _radius(count, share, rules)
    if min(l0, l1) < max(rules.min_step, 0.9 * thick) or l2 < max(rules.min_step, 1.6 * thick):
        return np.inf
    turn = _dot(before, old) / (l0 * l1)
    if _dot(old, new) > 0.75 * l1 * l2 or _dot(before, new) < -0.3 * l0 * l2 or turn < 0.35:
        return np.inf
    power = 2.0 / rules.exponent
    now, later = count**power, (count + 1.0) ** power
    added = l0 * later + l1 * now + l2 - _length(b - a) * now
    return rules.tip_radius**2 * added + upstream


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _upstream_cost(tree: Growing, segment: int, rules: GrowthRules) -> float:
    power = 2.0 / rules.exponent
    cost, node = 0.0, tree.parent[segment]
    while tree.parent[node] >= 0:
        count = float(tree.tips[node])
        extra = (count + 1.0) ** power - count**power
        cost += extra * _length(tree.position[node] - tree.position[tree.parent[node]])
        node = tree.parent[node]
    return rules.tip_radius**2 * cost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _try_join(
    tree: Growing,
    count: int,
    tip: FloatArray,
    share: float,
    organ: Field,
    rules: GrowthRules,
    others: tuple[FloatArray, FloatArray, FloatArray],
) -> bool:
    """Join ``tip`` at the cheapest allowed place; return whether there was one. The tree takes nodes count and count + 1."""
    near = _nearest(tree, count, tip)
    costs = np.full(_NEAREST * _OPTIONS, np.inf)
    points = np.empty((_NEAREST * _OPTIONS, 3))
    for m in range(_NEAREST):
        segment = near[m]
        if segment < 0:
            break
        upstream = _upstream_cost(tree, segment, rules)
        a, b = tree.position[tree.parent[segment]], tree.position[segment]
        for n in range(_OPTIONS):
            s, u = _ALONG[n % 5], _TOWARD[n // 5]
            for k in range(3):
                points[m * _OPTIONS + n, k] = (1.0 - u) * ((1.0 - s) * a[k] + s * b[k]) + u * tip[k]
            costs[m * _OPTIONS + n] = _join_cost(tree, segment, points[m * _OPTIONS + n], tip, upstream, share, rules)
    new_radius = _radius(1.0, share, rules)
    for _ in range(_TRIED):
        best = int(np.argmin(costs))
        if not np.isfinite(costs[best]):
            return False
        costs[best] = np.inf
        segment, x = near[best // _OPTIONS], points[best]
        if _fits(tree, count, segment, x, tip, new_radius, share, organ, rules, others):
            _insert(tree, count, segment, x, tip)
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fits(
    tree: Growing,
    count: int,
    segment: int,
    x: FloatArray,
    tip: FloatArray,
    new_radius: float,
    share: float,
    organ: Field,
    rules: GrowthRules,
    others: tuple[FloatArray, FloatArray, FloatArray],
) -> bool:
    """Return whether the three pieces of a join stay in the organ and clear of the vessels around."""
    if not _stays_inside(x, tip, rules.wall + new_radius, organ):
        return False
    a, b = tree.position[tree.parent[segment]], tree.position[segment]
    thick = _radius(float(tree.tips[segment]), share, rules)
    start, end, radii = others
    for p, q, r in ((x, tip, new_radius), (a, x, thick), (x, b, thick)):
        if _collides(p, q, r, start, end, radii, rules.clearance):
            return False
        if _collides_own(p, q, r, tree, count, segment, share, rules):
            return False
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _insert(tree: Growing, count: int, segment: int, x: FloatArray, tip: FloatArray) -> None:
    tree.position[count], tree.position[count + 1] = x, tip
    tree.parent[count], tree.parent[count + 1] = tree.parent[segment], count
    tree.tips[count], tree.tips[count + 1] = tree.tips[segment] + 1, 1
    tree.open[count] = tree.open[count + 1] = True
    tree.parent[segment] = count
    above = tree.parent[count]
    while above >= 0:
        tree.tips[above] += 1
        above = tree.parent[above]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def grow(
    tree: Growing,
    count: int,
    candidates: FloatArray,
    wanted: int,
    final: int,
    organ: Field,
    rules: GrowthRules,
    others: tuple[FloatArray, FloatArray, FloatArray],
) -> int:
    """Join tips until the tree has ``wanted`` of them or the candidates are used up; return its number of nodes.

    Parameters
    ----------
    candidates : (n, c, 3) mm
        Each try takes the one of c points that is farthest from the tree (best-candidate sampling fills the organ evenly).
    final : int
        Tips of the full-grown tree, to foresee radii.
    others : (m, 3), (m, 3), (m,) mm
        Start, end and radius of segments to keep clear of.
    """
    start, end, radii = others
    for t in range(len(candidates)):
        if tree.tips[0] >= wanted or count + 2 > len(tree.parent):
            break
        share = max(tree.tips[0] / final, 1e-3)
        best, chosen = 0.0, -1
        for c in range(candidates.shape[1]):
            point = candidates[t, c]
            gap = np.inf
            for i in range(1, count):
                gap = min(gap, _gap_to_point(point, tree.position[tree.parent[i]], tree.position[i]))
                if gap <= best:
                    break
            if gap > best and not _collides(point, point, rules.tip_radius, start, end, radii, rules.clearance):
                best, chosen = gap, c
        if chosen >= 0 and _try_join(tree, count, candidates[t, chosen].copy(), share, organ, rules, others):
            count += 2
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def segments_of(tree: Growing, count: int, share: float, rules: GrowthRules) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return start and end (n, 3) and the foreseen radius (n,) of all segments, mm."""
    start, end, radii = np.empty((count - 1, 3)), np.empty((count - 1, 3)), np.empty(count - 1)
    for i in range(1, count):
        start[i - 1], end[i - 1] = tree.position[tree.parent[i]], tree.position[i]
        radii[i - 1] = _radius(float(tree.tips[i]), share, rules)
    return start, end, radii
