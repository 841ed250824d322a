"""Straight trees bent into smooth vessels with Murray radii."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vesselgraph.phantom.growth import StraightTree
from vesselgraph.space import FloatArray

STEP = 0.5
"""Distance of neighbouring path points, mm."""

TAPER = 0.001
"""Relative growth of the radius per mm towards the root, along a branch."""

# How much a narrower daughter leans into the direction of the flow as it leaves.
_LEAN = 0.15
# Cosine of the largest angle of an end tangent to its chord.
_MOST_TURN = 0.65


def children_of(tree: StraightTree) -> list[list[int]]:
    """Return the children of each node, the one with more tips first."""
    children: list[list[int]] = [[] for _ in tree.parent]
    for node, above in enumerate(tree.parent):
        if above >= 0:
            children[above].append(node)
    for family in children:
        family.sort(key=lambda node: -tree.n_tips[node])
    return children


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))


def tangents(tree: StraightTree) -> tuple[FloatArray, FloatArray]:
    """Return the unit tangent of each segment at its start and at its end, both (n, 3); row 0 is unused.

    The wider daughter leaves a junction in the direction its parent arrives (tangent continuity); the narrower one leans
    towards it.
    """
    position = np.array(tree.position)
    children = children_of(tree)
    chord = np.zeros_like(position)
    for node in range(1, len(position)):
        chord[node] = _unit(position[node] - position[tree.parent[node]])
    begin, finish = chord.copy(), chord.copy()

    def near(direction: FloatArray, node: int) -> FloatArray:
        """Turn a tangent towards the chord until they are within about 50 degrees: no path may set out backwards."""
        while direction @ chord[node] < _MOST_TURN:
            direction = _unit(direction + 0.5 * chord[node])
        return direction

    for node, family in enumerate(children):
        if node == 0 or not family:
            continue
        flow = _unit(chord[node] + chord[family[0]])
        finish[node], begin[family[0]] = near(flow, node), near(flow, family[0])
        for side in family[1:]:
            begin[side] = near(_unit(chord[side] + _LEAN * flow), side)
    return begin, finish


def bend(start: FloatArray, end: FloatArray, t0: FloatArray, t1: FloatArray, wiggle: FloatArray, slack: float) -> FloatArray:
    """Return a smooth path, (n, 3) mm, with the given ends and end tangents.

    Parameters
    ----------
    wiggle : (2, 3) mm
        Sideways swing of the first and second half wave; it vanishes at the ends together with its slope.
    slack : float
        Length of the end tangents over the chord: 1 is a full Hermite curve, 0 the straight line.
    """
    length = float(np.linalg.norm(end - start))
    s = np.linspace(0.0, 1.0, max(3, int(np.ceil(length / STEP)) + 1))[:, None]
    chord = end - start
    tangent0, tangent1 = (slack * length * t + (1.0 - slack) * chord for t in (t0, t1))
    path = (
        (2 * s**3 - 3 * s**2 + 1) * start
        + (s**3 - 2 * s**2 + s) * tangent0
        + (3 * s**2 - 2 * s**3) * end
        + (s**3 - s**2) * tangent1
    )
    window = 16.0 * s**2 * (1.0 - s) ** 2
    path += window * (wiggle[0] + wiggle[1] * np.sin(2.0 * np.pi * s))
    path[0], path[-1] = start, end
    return np.asarray(path)


@dataclass(eq=False)
class CurvedTree:
    """A straight tree with a path and radii for each segment.

    Parameters
    ----------
    tree : StraightTree
        Its nodes; segment ``i`` runs from ``tree.parent[i]`` to ``i``.
    wiggle : (n, 2, 3) mm
        Swing of each segment, see :func:`bend`.
    slack : (n,)
        How far each segment may leave its chord.
    tip_radius : (n,) mm
        Radius of a segment's end if it is a tip.
    paths, radii : lists of (m, 3) and (m,) arrays, mm
        Index 0 is empty.
    """

    tree: StraightTree
    wiggle: FloatArray
    slack: FloatArray
    tip_radius: FloatArray
    paths: list[FloatArray] = field(default_factory=list)
    radii: list[FloatArray] = field(default_factory=list)

    @classmethod
    def of(cls, tree: StraightTree, curvature: float, rng: np.random.Generator) -> CurvedTree:
        """Return a bent tree; the swing is about ``curvature`` times each segment's length."""
        position = np.array(tree.position)
        length = np.linalg.norm(position - position[tree.parent], axis=1)
        swing = np.clip(rng.normal(0.0, curvature, (len(position), 2, 3)), -1.5 * curvature, 1.5 * curvature)
        wiggle = swing * length[:, None, None]
        tip_radius = tree.tip_radius * rng.uniform(0.75, 1.3, len(position))
        curved = cls(tree, wiggle, np.ones(len(position)), tip_radius)
        curved.draw()
        return curved

    def draw(self) -> None:
        """Compute paths and radii."""
        begin, finish = tangents(self.tree)
        position = self.tree.position
        self.paths = [np.zeros((0, 3))]
        for node in range(1, len(position)):
            start = position[self.tree.parent[node]]
            self.paths.append(
                bend(start, position[node], begin[node], finish[node], self.wiggle[node], float(self.slack[node]))
            )
        self._widen()

    def _widen(self) -> None:
        """Set the radii from the tips up: Murray's law at every junction, a slight taper along every segment."""
        power = self.tree.exponent
        arriving = np.zeros(len(self.tree.position))
        self.radii = [np.zeros(0)] * len(arriving)
        for node in reversed(self.tree.top_down()[1:]):
            end = arriving[node] ** (1.0 / power) if arriving[node] > 0 else float(self.tip_radius[node])
            along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.paths[node], axis=0), axis=1))])
            self.radii[node] = end * (1.0 + TAPER * (along[-1] - along))
            arriving[self.tree.parent[node]] += self.radii[node][0] ** power

    def without(self, dead: set[int]) -> CurvedTree:
        """Return the tree without the subtrees below the given segments."""
        kept = self.tree.survivors(dead)
        curved = CurvedTree(self.tree.reduced(kept), self.wiggle[kept], self.slack[kept], self.tip_radius[kept])
        curved.draw()
        return curved
