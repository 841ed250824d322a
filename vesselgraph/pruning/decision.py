"""From what every point of an over-complete graph earns to the pieces that stay; the rules and the learned judge share it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import PruneConfig
from vesselgraph.graph import VesselGraph
from vesselgraph.pruning.decode import best_forest, is_tunnel
from vesselgraph.space import FloatArray
from vesselgraph.topology import Forest

THINNED = 1
"""Bit of ``generator`` of the branches that thinning found."""

LOWEST = 0.02
"""Presence below which nothing is kept, whatever recall is asked for."""


@dataclass(frozen=True)
class Decision:
    """Which pieces stay.

    Attributes
    ----------
    keep : (P,) bool
        Pieces of the best sub-forest and those that close hot loops.
    tunnel : (P,) bool
        Pieces that would close a loop around no hole; they go.
    forest : Forest
        What the sub-forest was chosen from.
    """

    keep: NDArray[np.bool_]
    tunnel: NDArray[np.bool_]
    forest: Forest


def decide(pieces: VesselGraph, earned: FloatArray, config: PruneConfig, least: float) -> Decision:
    """Return the pieces that are worth most together.

    A millimetre earns its value above ``least``, so a weak parent of a strong child stays and a part that is not connected
    stays only if it earns ``config.tree_cost``. Bridges colder than ``config.min_bridge_heat`` go; what closes a loop between
    kept pieces stays if each of its points reaches ``config.loop_heat``.

    Parameters
    ----------
    pieces : VesselGraph
        With the path column ``heat`` and the edge columns ``gap_length`` and ``min_heat``.
    earned : (M,)
        Of every path point, 0 to 1: its heat, or the presence of its piece.
    config : PruneConfig
        Costs; its ``min_heat`` is not looked at.
    least : float
        Value at which a millimetre neither earns nor costs.
    """
    # The columns of a piece are those of its whole branch, so a bridge goes or stays as one.
    blocked = (pieces.edge_data["gap_length"] > 0) & (pieces.edge_data["min_heat"] < config.min_bridge_heat)
    if "wall_step" in pieces.edge_data:
        # What is inside of a mask its thinning shows; other paths cut through the same vessel.
        blocked |= ((pieces.edge_data["generator"] & THINNED) == 0) & (pieces.edge_data["gap_length"] == 0.0)
    decoded = best_forest(pieces, earned, blocked, config.model_copy(update={"min_heat": least}))
    hot = _closes_loop(pieces, earned, decoded.keep, decoded.forest.is_tree_edge, config)
    tunnel = hot & is_tunnel(pieces, decoded.forest, np.flatnonzero(hot))
    return Decision(decoded.keep | (hot & ~tunnel), tunnel, decoded.forest)


def keep_present(pieces: VesselGraph, presence: FloatArray, config: PruneConfig, min_presence: float) -> Decision:
    """Return the pieces that stay by their presence, (P,).

    If less than ``config.least_recall`` of the length that is expected to be real would be kept, ``min_presence`` is lowered
    until it is, down to :data:`LOWEST`.
    """
    expected = presence * pieces.edge_length
    along = presence[pieces.edge_of_point]
    while True:
        decision = decide(pieces, along, config, min_presence)
        kept = expected[decision.keep].sum()
        if kept >= config.least_recall * expected.sum() or min_presence <= LOWEST:
            return decision
        min_presence = max(LOWEST, 0.8 * min_presence)


def _closes_loop(
    graph: VesselGraph, earned: FloatArray, keep: NDArray[np.bool_], is_tree_edge: NDArray[np.bool_], config: PruneConfig
) -> NDArray[np.bool_]:
    """Return the branches outside the forest that are hot enough to close a loop between kept branches."""
    alive = np.zeros(graph.n_nodes, np.bool_)
    alive[graph.edge_nodes[keep].ravel()] = True
    coldest = np.full(graph.n_edges, np.inf)
    np.minimum.at(coldest, graph.edge_of_point, earned)
    closes = ~is_tree_edge & (coldest >= config.loop_heat) & alive[graph.edge_nodes].all(axis=1)
    if "wall_step" in graph.edge_data:
        # A mask shows its loops itself; other paths add none.
        closes &= (graph.edge_data["generator"] & THINNED) > 0
    return np.asarray(closes)
