"""Recall by the place of a branch in its tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesselgraph.errors import RangeError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.metrics.matching import match_one_to_one, pairs_within
from vesselgraph.metrics.rooting import root_nodes
from vesselgraph.metrics.sampling import is_inside, sample_graph
from vesselgraph.topology import generation, grow_forest, strahler_order
from vesselgraph.volume import Volume


@dataclass(frozen=True)
class OrderRecall:
    """One-to-one recall of the true length by the order of its branch.

    Parameters
    ----------
    strahler : dict of Strahler order to recall
        1 = tips.
    generation : dict of generation to recall
        1 = from the root to the first fork.
    length_strahler, length_generation : dict of order to length (mm)
        How much vessel there is.
    """

    strahler: dict[int, float]
    generation: dict[int, float]
    length_strahler: dict[int, float]
    length_generation: dict[int, float]

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return plain values for JSON, with orders as text."""
        return {
            name: {str(order): value for order, value in table.items()}
            for name, table in (
                ("strahler", self.strahler),
                ("generation", self.generation),
                ("length_strahler", self.length_strahler),
                ("length_generation", self.length_generation),
            )
        }


def recall_by_order(
    predicted: VesselGraph, truth: VesselGraph, *, tolerance: float = 2.0, step: float = 0.5, region: Volume | None = None
) -> OrderRecall:
    """Return which share of the true length was found, by Strahler order and by generation of its branches.

    Roots of the truth are its node column ``root``, else the widest tip of each connected piece. Branches outside the rooted
    trees, and those that close a loop, have no order and are left out; so both tables are empty without roots.

    Parameters
    ----------
    predicted, truth : VesselGraph
        World LPS mm.
    tolerance : mm
        Largest distance of matched points.
    step : mm
        Distance of the points along the branches.
    region : Volume, optional
        Bool mask; points of both graphs outside are left out. Orders are those of the whole truth.

    Raises
    ------
    RangeError
        The tolerance or the step is not positive.

    References
    ----------
    Orders: Strahler, Trans. AGU 38, 1957.

    Examples
    --------
    >>> root, fork, left, right = [0, 0, 0], [10, 0, 0], [15, 9, 0], [15, -9, 0]
    >>> truth = VesselGraph.from_paths([[root, fork], [fork, left], [fork, right]], radii=[[3, 3], [1, 1], [1, 1]])
    >>> stem = VesselGraph.from_paths([[root, fork]])
    >>> recall_by_order(stem, truth, tolerance=0.4).strahler
    {1: 0.0, 2: 1.0}
    """
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise RangeError("a tolerance > 0 mm", f"{tolerance}", "pass a distance like 2")
    ours, theirs = sample_graph(predicted, step), sample_graph(truth, step)
    if region is not None:
        ours = ours.subset(is_inside(region, ours.position))
        theirs = theirs.subset(is_inside(region, theirs.position))
    partner = match_one_to_one(pairs_within(ours.position, theirs.position, tolerance))
    is_found = np.zeros(len(theirs))
    is_found[partner[partner >= 0]] = 1.0
    forest = grow_forest(truth.edge_nodes, truth.edge_length, truth.n_nodes, root_nodes(truth))

    def table(order_of_edge: IntArray) -> tuple[dict[int, float], dict[int, float]]:
        order = order_of_edge[theirs.edge]
        length = np.bincount(order, theirs.weight)
        found = np.bincount(order, theirs.weight * is_found)
        present = [int(n) for n in np.flatnonzero(length) if n > 0]
        return {n: float(found[n] / length[n]) for n in present}, {n: float(length[n]) for n in present}

    strahler, length_strahler = table(strahler_order(forest))
    generations, length_generation = table(generation(forest))
    return OrderRecall(strahler, generations, length_strahler, length_generation)
