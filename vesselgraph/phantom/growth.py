"""Two trees grown into one organ: constrained constructive optimisation on straight segments.

Each new tip is joined to the segment where the blood volume of the whole tree grows least (Schreiner and Buxbaum 1993, IEEE
TBME 40(5), "Computer-optimization of vascular trees"; Karch et al. 1999, Comput. Biol. Med. 29(1), for three dimensions). Here
the bifurcation point is chosen among a few candidates in the plane of segment and tip, and a join that leaves the organ, makes
an unlikely angle or comes too close to another vessel is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.phantom.anatomy import Organ
from vesselgraph.space import FloatArray

_ALONG = np.array([0.15, 0.35, 0.55, 0.75, 0.9])
_TOWARD = np.array([0.08, 0.2, 0.35, 0.5])
_TRIED = 24
_CANDIDATES = 60
# So many tips in a row without a place mean that there is no room left.
_PATIENCE = 300


@dataclass(eq=False)
class StraightTree:
    """A growing tree of straight segments; segment ``i`` (i >= 1) runs from node ``parent[i]`` to node ``i``.

    Parameters
    ----------
    tip_radius : float, mm
        Radius of a tip; a segment with n tips downstream has ``tip_radius * n ** (1 / exponent)`` (Murray's law).
    exponent : float
        Murray's exponent.
    """

    tip_radius: float
    exponent: float
    position: list[FloatArray] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    n_tips: list[int] = field(default_factory=list)
    may_touch: list[bool] = field(default_factory=list)

    @property
    def total_tips(self) -> int:
        """Number of tips."""
        return self.n_tips[0] if self.n_tips else 0

    def radius(self, n_tips: NDArray[np.float64]) -> FloatArray:
        """Return the radius of segments with that many tips downstream, mm."""
        return np.asarray(self.tip_radius * np.maximum(n_tips, 1) ** (1.0 / self.exponent))

    def start(self, root: FloatArray, first_tip: FloatArray) -> None:
        """Make the tree one segment."""
        self.position, self.parent, self.n_tips = [root, first_tip], [-1, 0], [1, 1]
        self.may_touch = [False, False]

    def join(self, segment: int, bifurcation: FloatArray, tip: FloatArray, *, may_touch: bool) -> None:
        """Split ``segment`` at ``bifurcation`` and run a new segment from there to ``tip``."""
        middle = len(self.position)
        self.position += [bifurcation, tip]
        self.parent += [self.parent[segment], middle]
        self.n_tips += [self.n_tips[segment] + 1, 1]
        self.may_touch += [self.may_touch[segment], may_touch]
        self.parent[segment] = middle
        above = self.parent[middle]
        while above >= 0:
            self.n_tips[above] += 1
            above = self.parent[above]

    def segments(self, share_grown: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return start and end (n, 3) and the radius (n,) each segment will have when the tree is full grown."""
        position = np.array(self.position)
        final = np.array(self.n_tips[1:]) / max(share_grown, 1e-3)
        # A segment that ends in a tip now may stay one: it grows by less than its share.
        final = np.where(np.array(self.n_tips[1:]) == 1, np.minimum(final, 3.0), final)
        return position[self.parent[1:]], position[1:], self.radius(final)

    def upstream_cost(self) -> FloatArray:
        """Return, for each node, the added volume (over pi) of the path above its segment for one more tip, (n,) mm3."""
        position = np.array(self.position)
        count = np.array(self.n_tips, dtype=np.float64)
        power = 2.0 / self.exponent
        extra = self.tip_radius**2 * ((count + 1) ** power - count**power)
        parent = np.array(self.parent)
        length = np.linalg.norm(position - position[parent], axis=1)
        cost = np.zeros(len(parent))
        for node in self.top_down():
            above = parent[node]
            if above > 0:
                cost[node] = cost[above] + extra[above] * length[above]
        return cost

    def survivors(self, dead: set[int]) -> list[int]:
        """Return the nodes left, parents first, when the given segments and all below them are cut off.

        A junction that loses a daughter is no junction any more: the parent and the other daughter become one segment. One
        that loses both goes with its parent segment.
        """
        gone = set(dead)
        while True:
            kept = []
            for node in self.top_down():
                if node in gone or self.parent[node] in gone:
                    gone.add(node)
                else:
                    kept.append(node)
            families = Counter(self.parent[node] for node in kept)
            bare = (set(kept) & set(self.parent)) - set(families) - {0}
            if not bare:
                return [node for node in kept if node == 0 or families[node] != 1]
            gone |= bare

    def reduced(self, kept: list[int]) -> StraightTree:
        """Return the tree of the nodes ``kept``, which come parents first; segments run over nodes left out."""
        label = {node: i for i, node in enumerate(kept)}
        tree = StraightTree(self.tip_radius, self.exponent)
        for node in kept:
            above = self.parent[node]
            while above >= 0 and above not in label:
                above = self.parent[above]
            tree.position.append(self.position[node])
            tree.parent.append(label.get(above, -1))
            tree.may_touch.append(self.may_touch[node])
        inner = set(tree.parent)
        tree.n_tips = [0 if i in inner else 1 for i in range(len(kept))]
        for i in range(len(kept) - 1, 0, -1):
            tree.n_tips[tree.parent[i]] += tree.n_tips[i]
        return tree

    def top_down(self) -> list[int]:
        """Return the node ids so that parents come before their children."""
        children: list[list[int]] = [[] for _ in self.parent]
        for node, above in enumerate(self.parent):
            if above >= 0:
                children[above].append(node)
        order, stack = [], [0]
        while stack:
            node = stack.pop()
            order.append(node)
            stack.extend(children[node])
        return order


@numba.njit(cache=True)
def segment_gap(p1: FloatArray, q1: FloatArray, p2: FloatArray, q2: FloatArray) -> float:
    """Return the shortest distance between two segments (closest points by clamping, Ericson 2005, section 5.1.9)."""
    d1, d2, r = q1 - p1, q2 - p2, p1 - p2
    a, e, f = np.dot(d1, d1), np.dot(d2, d2), np.dot(d2, r)
    s = 0.0
    t = 0.0
    if a > 1e-12 and e > 1e-12:
        b, c = np.dot(d1, d2), np.dot(d1, r)
        det = a * e - b * b
        if det > 1e-12:
            s = min(max((b * f - c * e) / det, 0.0), 1.0)
        t = (b * s + f) / e
        if t < 0.0:
            t, s = 0.0, min(max(-c / a, 0.0), 1.0)
        elif t > 1.0:
            t, s = 1.0, min(max((b - c) / a, 0.0), 1.0)
    elif a > 1e-12:
        s = min(max(-np.dot(d1, r) / a, 0.0), 1.0)
    elif e > 1e-12:
        t = min(max(f / e, 0.0), 1.0)
    gap = r + s * d1 - t * d2
    return np.sqrt(np.dot(gap, gap))


@numba.njit(cache=True)
def smallest_clearance(
    p: FloatArray, q: FloatArray, radius: float, start: FloatArray, end: FloatArray, radii: FloatArray, skip: NDArray[np.bool_]
) -> float:
    """Return the smallest surface-to-surface distance of one segment to many, mm; infinite if all are skipped."""
    best = np.inf
    for s in range(len(start)):
        if not skip[s]:
            best = min(best, segment_gap(p, q, start[s], end[s]) - radius - radii[s])
    return best


@dataclass(frozen=True)
class GrowthRules:
    """What a join must keep.

    Parameters
    ----------
    clearance : float, mm
        Free distance between vessels that do not meet, room for bends included.
    min_step : float, mm
        Shortest segment.
    wall : float, mm
        Free distance between a vessel and the surface of the organ.
    gate : float, mm
        Around the root no distance to the surface is kept.
    """

    clearance: float
    min_step: float
    wall: float
    gate: float


def _angles_fit(before: FloatArray, old: FloatArray, new: FloatArray) -> bool:
    """Whether the new branch leaves at 12 to 110 degrees of the flow, at 45 or more of the old branch, which turns little."""
    u, v, w = (x / np.linalg.norm(x) for x in (before, old, new))
    return bool(v @ w < 0.7 and u @ w > -0.34 and u @ v > 0.2 and u @ w < 0.98)


def try_join(
    tree: StraightTree,
    other: StraightTree,
    tip: FloatArray,
    share_grown: float,
    organ: Organ,
    rules: GrowthRules,
    across: float,
) -> bool:
    """Join ``tip`` where the tree's volume grows least among the allowed places; return whether there was one.

    Parameters
    ----------
    share_grown : float
        Number of tips now over the number wanted, to foresee final radii.
    across : float, mm
        Clearance asked to the other tree; negative allows contact.
    """
    start, end, radii = tree.segments(share_grown)
    o_start, o_end, o_radii = other.segments(share_grown)
    nobody = np.zeros(len(o_start), np.bool_)
    cost, points = _join_costs(tree, start, end, tip)
    new_radius = float(tree.radius(np.array([min(1.0 / share_grown, 3.0)]))[0])
    for flat in np.argsort(cost, axis=None)[:_TRIED]:
        segment, option = divmod(int(flat), cost.shape[1])
        x = points[segment, option]
        a, b = start[segment], end[segment]
        steps = [np.linalg.norm(x - a), np.linalg.norm(b - x), np.linalg.norm(tip - x)]
        thick = radii[segment]
        if min(steps) < max(rules.min_step, 1.8 * thick) or not _angles_fit(x - a, b - x, tip - x):
            continue
        line = np.concatenate([np.linspace(x, end_point, 6) for end_point in (a, b, tip)])
        # The trunk comes from outside through the hilum: near the root the wall does not count.
        inner = line[np.linalg.norm(line - tree.position[0], axis=1) > rules.gate]
        if len(inner) and organ.distance(inner).max() > -rules.wall - new_radius:
            continue
        skip = _neighbours(tree, segment)
        pieces = ((a, x, thick), (x, b, thick), (x, tip, new_radius))
        if all(
            smallest_clearance(p, q, r, start, end, radii, skip) >= rules.clearance
            and smallest_clearance(p, q, r, o_start, o_end, o_radii, nobody) >= across
            for p, q, r in pieces
        ):
            tree.join(segment + 1, x, tip, may_touch=across < rules.clearance)
            return True
    return False


def _join_costs(tree: StraightTree, start: FloatArray, end: FloatArray, tip: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the added volume (segments, options) of each way to join the tip, and the bifurcation points."""
    s, u = (grid.ravel()[None, :, None] for grid in np.meshgrid(_ALONG, _TOWARD))
    points = (1 - u) * ((1 - s) * start[:, None] + s * end[:, None]) + u * tip
    count = np.array(tree.n_tips[1:], dtype=np.float64)[:, None]
    power = 2.0 / tree.exponent
    now, later = tree.tip_radius**2 * count**power, tree.tip_radius**2 * (count + 1) ** power
    before = np.linalg.norm(points - start[:, None], axis=2)
    after = np.linalg.norm(points - end[:, None], axis=2)
    new = np.linalg.norm(points - tip, axis=2)
    old = np.linalg.norm(end - start, axis=1)[:, None]
    added = before * later + after * now + new * tree.tip_radius**2 - old * now
    return added + tree.upstream_cost()[1:, None], points


def _neighbours(tree: StraightTree, segment: int) -> NDArray[np.bool_]:
    """Return which segments are ``segment``, share a node with it, or share a node with one that does.

    Near a junction vessels touch by nature; what is too close there is repaired on the bent paths.
    """
    parent = np.array(tree.parent[1:])
    node = np.arange(1, len(tree.parent))
    near = np.zeros(len(tree.parent), np.bool_)
    near[[segment + 1, tree.parent[segment + 1]]] = True
    touching = near[node] | near[parent]
    near[node[touching]] = near[parent[touching]] = True
    return np.asarray(near[node] | near[parent])


def grow(
    roots: tuple[FloatArray, FloatArray],
    seeds: tuple[FloatArray, FloatArray],
    organ: Organ,
    rules: GrowthRules,
    n_tips: int,
    touching: float,
    trees: tuple[StraightTree, StraightTree],
    rng: np.random.Generator,
) -> None:
    """Grow two trees in turn, so that they share the room, until both have ``n_tips`` or no room is left.

    Every tip is the farthest from its own tree among some random points (best-candidate sampling), which fills the organ
    evenly.

    Parameters
    ----------
    roots, seeds : ((3,), (3,)), ((n, 3), (n, 3)) mm
        Root of each tree and the ends of its first branches, in order.
    touching : float
        Share of the tips whose branch may touch the other tree.
    trees : two StraightTree
        Empty; filled in place.
    """
    for tree, root, seed in zip(trees, roots, seeds, strict=True):
        tree.start(root, seed[0])
    waiting = [list(seed[1:]) for seed in seeds]
    failures = 0
    while min(tree.total_tips for tree in trees) < n_tips and failures < _PATIENCE:
        turn = 0 if trees[0].total_tips <= trees[1].total_tips else 1
        tree, other = trees[turn], trees[1 - turn]
        share = tree.total_tips / n_tips
        tip = waiting[turn].pop(0) if waiting[turn] else _farthest(tree, other, share, organ, rules, rng)
        across = -0.4 * tree.tip_radius if rng.random() < touching else rules.clearance
        joined = tip is not None and try_join(tree, other, tip, share, organ, rules, across)
        failures = 0 if joined else failures + 1


def _farthest(
    tree: StraightTree, other: StraightTree, share: float, organ: Organ, rules: GrowthRules, rng: np.random.Generator
) -> FloatArray | None:
    """Return the best of some random points for a new tip; None if none is free."""
    points = rng.uniform(-1.0, 1.0, (_CANDIDATES, 3)) * organ.half
    points = points[organ.distance(points) < -rules.wall - 1.5 * tree.tip_radius]
    best, chosen = 2.0 * rules.clearance, None
    nobody = np.zeros(max(len(tree.parent), len(other.parent)), np.bool_)
    own, theirs = tree.segments(share), other.segments(share)
    for point in points:
        gap = smallest_clearance(point, point, tree.tip_radius, *own, nobody)
        if gap > best and smallest_clearance(point, point, tree.tip_radius, *theirs, nobody) >= rules.clearance:
            best, chosen = gap, point
    return chosen
