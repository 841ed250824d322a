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

LEAST_LIKE_RULES = 0.15
"""Presence below which nothing is kept, however much the rules would keep."""

_STEP = 0.025


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
    return _lowered(pieces, presence, config, min_presence, presence, config.least_recall, LOWEST)


def keep_like_rules(pieces: VesselGraph, presence: FloatArray, config: PruneConfig, min_presence: float) -> Decision:
    """Return the pieces that stay by their presence, (P,), at least as much as the rules would keep.

    In images unlike those it learned from a network trusts less, but what is more present stays more present; how much there is
    to keep, heat says better. So ``min_presence`` is lowered, down to :data:`LEAST_LIKE_RULES`, until as much length is kept as
    the rules keep; then as :func:`keep_present`.
    """
    ruled = decide(pieces, pieces.path_data["heat"], config, config.min_heat).keep
    length = pieces.edge_length
    share = float(length[ruled].sum() / max(float(length.sum()), 1e-9))
    lowest = min(LEAST_LIKE_RULES, min_presence)
    decision = _lowered(pieces, presence, config, min_presence, np.ones(pieces.n_edges), share, lowest)
    if _kept_share(decision, presence * length) >= config.least_recall:
        return decision
    return keep_present(pieces, presence, config, min_presence)


def _lowered(
    pieces: VesselGraph,
    presence: FloatArray,
    config: PruneConfig,
    threshold: float,
    weight: FloatArray,
    least_share: float,
    lowest: float,
) -> Decision:
    """Return what stays at the highest threshold, from ``threshold`` down, that keeps a share of the length times a weight."""
    along, amount = presence[pieces.edge_of_point], weight * pieces.edge_length
    while True:
        decision = decide(pieces, along, config, threshold)
        if _kept_share(decision, amount) >= least_share or threshold <= lowest:
            return decision
        threshold = max(lowest, threshold - _STEP)


def _kept_share(decision: Decision, amount: FloatArray) -> float:
    return float(amount[decision.keep].sum() / max(float(amount.sum()), 1e-9))


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
