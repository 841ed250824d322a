"""A score of parents and children in the manner of the DIADEM challenge, for rooted trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from vesselgraph.errors import RangeError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.metrics.matching import plain_value
from vesselgraph.metrics.rooting import root_nodes, roots_near
from vesselgraph.metrics.sampling import clip_graph
from vesselgraph.topology import Forest, grow_forest
from vesselgraph.volume import Volume


@dataclass(frozen=True)
class Diadem:
    """How much of the true trees hangs together as it should, 0 to 1.

    Parameters
    ----------
    score : float
        Weight of the right nodes over the weight of all true nodes.
    score_with_excess : float
        The same with the weight of the predicted nodes that are no true node's partner added below the line.
    n_right, n_truth, n_excess : int
        Nodes: right ones, all true ones (without roots), excess ones in the prediction.
    """

    score: float
    score_with_excess: float
    n_right: int
    n_truth: int
    n_excess: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Return plain values for JSON; undefined is None."""
        return {
            "score": plain_value(self.score),
            "score_with_excess": plain_value(self.score_with_excess),
            "n_right": self.n_right,
            "n_truth": self.n_truth,
            "n_excess": self.n_excess,
        }


def diadem_score(
    predicted: VesselGraph,
    truth: VesselGraph,
    *,
    tolerance: float = 3.0,
    path_error_fraction: float = 0.2,
    region: Volume | None = None,
) -> Diadem:
    """Return a DIADEM-style score: are forks and tips in place, and do they hang on the right ancestor.

    Both graphs are looked at as rooted trees of shortest ways. A true fork or tip is right if

    - a predicted fork or tip that no other true node has taken lies within the tolerance (the nearest that fits is taken), and
    - of its true ancestors (forks, then the root), the first that has a counterpart within the tolerance among the
      predicted one's ancestors is as far away along the branches as there, up to ``path_error_fraction`` of that way or
      the tolerance, whichever is larger.

    Each node weighs as much as the tips beyond it (a tip: 1), so the loss of a main branch weighs more than that of a twig.
    The published metric differs in its thresholds (in voxels, apart for xy and z) and in special rules for nodes the
    prediction passes without a fork; these are left out. Hence the name: compare such scores with each other only.

    Parameters
    ----------
    predicted, truth : VesselGraph
        World LPS mm. Roots of the truth: node column ``root``, else the widest tip of each connected piece. Each piece of
        the prediction is rooted at its node nearest to a true root. Both scores are NaN if the truth has no rooted branch.
    tolerance : mm
        Largest distance of partners, and the smallest error of a way that is forgiven.
    path_error_fraction : float
        Largest relative error of a way, >= 0.
    region : Volume, optional
        Bool mask; branches of both graphs are cut where they leave it, and each true piece left is rooted at its widest tip.

    Raises
    ------
    RangeError
        The tolerance is not positive, or the fraction is negative.

    References
    ----------
    Gillette, Brown and Ascoli, The DIADEM metric, Neuroinformatics 9: 233-245, 2011.

    Examples
    --------
    One of two twigs is missing: the fork (weight 2) is a passing point there, so one tip (weight 1) of 4 is right.

    >>> root, fork, left, right = [0, 0, 0], [20, 0, 0], [30, 9, 0], [30, -9, 0]
    >>> truth = VesselGraph.from_paths([[root, fork], [fork, left], [fork, right]], radii=[[3, 3], [1, 1], [1, 1]])
    >>> one = VesselGraph.from_paths([[root, fork, left]])
    >>> diadem_score(one, truth).score
    0.25
    """
    if not (np.isfinite(tolerance) and tolerance > 0 and path_error_fraction >= 0):
        raise RangeError(
            "a tolerance > 0 mm and a fraction >= 0", f"{tolerance}, {path_error_fraction}", "pass values like 3 and 0.2"
        )
    if region is not None:
        predicted, truth = clip_graph(predicted, region), clip_graph(truth, region)
    roots = root_nodes(truth)
    theirs = _Trees.of(truth, roots)
    ours = _Trees.of(predicted, roots_near(predicted, truth.node_position[roots]))
    total = float(theirs.weight[theirs.nodes].sum())
    if not total:
        return Diadem(np.nan, np.nan, 0, 0, len(ours.nodes))
    partner = _partners(ours, theirs, tolerance, path_error_fraction)
    right = np.array(sorted(partner), dtype=np.int64)
    excess = np.setdiff1d(ours.nodes, np.array(list(partner.values()), dtype=np.int64))
    kept = float(theirs.weight[right].sum())
    return Diadem(
        score=kept / total,
        score_with_excess=kept / (total + float(ours.weight[excess].sum())),
        n_right=len(right),
        n_truth=len(theirs.nodes),
        n_excess=len(excess),
    )


@dataclass(frozen=True, eq=False)
class _Trees:
    """Forks and tips of rooted trees: ``nodes`` without roots and passing nodes; ``weight`` (N,) tips beyond each node."""

    graph: VesselGraph
    forest: Forest
    nodes: IntArray
    weight: IntArray

    @classmethod
    def of(cls, graph: VesselGraph, roots: IntArray) -> _Trees:
        forest = grow_forest(graph.edge_nodes, graph.edge_length, graph.n_nodes, roots)
        parent = forest.parent_node
        n_children = np.bincount(parent[parent >= 0], minlength=graph.n_nodes)
        weight = np.where(n_children == 0, 1, 0)
        for node in forest.order[::-1].tolist():
            if parent[node] >= 0:
                weight[parent[node]] += weight[node]
        reached = forest.order[parent[forest.order] >= 0]
        return cls(graph, forest, reached[n_children[reached] != 1], weight)

    def ancestors(self, node: int) -> list[int]:
        """Return the nodes from a node (left out) to its root, the nearest first."""
        found = []
        while (node := int(self.forest.parent_node[node])) >= 0:
            found.append(node)
        return found


def _partners(ours: _Trees, theirs: _Trees, tolerance: float, fraction: float) -> dict[int, int]:
    """Return the predicted partner of every right true node, from the roots outwards."""
    if not len(ours.nodes):
        return {}
    place, true_place = ours.graph.node_position, theirs.graph.node_position
    tree = cKDTree(place[ours.nodes])
    taken: set[int] = set()
    partner: dict[int, int] = {}
    for node in theirs.nodes.tolist():
        near = ours.nodes[tree.query_ball_point(true_place[node], tolerance)]
        near = near[np.argsort(np.linalg.norm(place[near] - true_place[node], axis=1), kind="stable")]
        for candidate in near.tolist():
            if candidate not in taken and _same_descent(ours, theirs, candidate, node, tolerance, fraction):
                taken.add(candidate)
                partner[node] = candidate
                break
    return partner


def _same_descent(ours: _Trees, theirs: _Trees, candidate: int, node: int, tolerance: float, fraction: float) -> bool:
    """Return whether the first true ancestor with a counterpart above the candidate is as far away as there."""
    above = ours.ancestors(candidate)
    place = ours.graph.node_position[above]
    for ancestor in theirs.ancestors(node):
        gap = np.linalg.norm(place - theirs.graph.node_position[ancestor], axis=1)
        if len(gap) and gap.min() <= tolerance:
            way = float(theirs.forest.distance[node] - theirs.forest.distance[ancestor])
            ways = ours.forest.distance[candidate] - ours.forest.distance[above]
            error = np.abs(ways[gap <= tolerance] - way).min()
            return bool(error <= max(fraction * way, tolerance))
    return False
