"""From the presence of every piece to the branches that stay and the trees they belong to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import PruneConfig
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.pruning.decode import best_forest
from vesselgraph.space import FloatArray
from vesselgraph.topology import Forest

LOWEST = 0.02
"""Presence below which nothing is kept, whatever recall is asked for."""

_SWITCH = 15.0
"""What it costs that a branch belongs to another tree than the one it leaves, in nats times mm."""

_NAMED = 0.5
"""Least mean probability, weighted by length, for a run of branches to be named."""


def keep_present(
    pieces: VesselGraph, presence: FloatArray, config: PruneConfig, min_presence: float
) -> tuple[NDArray[np.bool_], Forest]:
    """Return which pieces belong to the best sub-forest, (P,), and the forest it was chosen from.

    A millimetre of a piece earns its presence above ``min_presence``, so a weak parent of a strong child stays and a part that
    is not connected stays only if it earns ``config.tree_cost``. If less than ``config.least_recall`` of the length that
    is expected to be real would be kept, ``min_presence`` is lowered until it is, down to :data:`LOWEST`.
    """
    expected = presence * pieces.edge_length
    along = presence[pieces.edge_of_point]
    nothing = np.zeros(pieces.n_edges, np.bool_)
    while True:
        # At a low threshold a separate tree may earn little too.
        decoded = best_forest(pieces, along, nothing, config.model_copy(update={"min_heat": min_presence}))
        kept = expected[decoded.keep].sum()
        if kept >= config.least_recall * expected.sum() or min_presence <= LOWEST:
            return decoded.keep, decoded.forest
        min_presence = max(LOWEST, 0.8 * min_presence)


def name_trees(pieces: VesselGraph, keep: NDArray[np.bool_], forest: Forest, probability: FloatArray) -> IntArray:
    """Return the tree of every kept piece, (P,): 1 portal, 2 hepatic, 3 artery; 0 where it is not kept or not clear.

    The names along the kept forest that are most probable together, where a change of name costs as much as 15 mm of
    branch whose name is off by a factor of e: the exact minimum, by dynamic programming from the tips.

    Parameters
    ----------
    pieces : VesselGraph
    keep : (P,) bool
        Pieces of ``forest`` that stay.
    forest : Forest
    probability : (P, 3)
        Of each tree, each in [0, 1].
    """
    share = probability / np.maximum(probability.sum(axis=1, keepdims=True), 1e-9)
    cost = -np.log(np.maximum(share, 1e-3)) * pieces.edge_length[:, None]
    n = cost.shape[1]
    total = np.zeros((pieces.n_nodes, n))
    change = _SWITCH * (1.0 - np.eye(n))
    edge, above = forest.parent_edge, forest.parent_node
    tied = np.zeros(pieces.n_nodes, np.bool_)
    tied[edge >= 0] = keep[edge[edge >= 0]]
    for node in forest.order[::-1].tolist():
        if tied[node]:
            total[node] += cost[edge[node]]
            total[above[node]] += (total[node][:, None] + change).min(axis=0)
    name = np.zeros(pieces.n_nodes, np.int64)
    run = np.arange(pieces.n_nodes)
    for node in forest.order.tolist():
        here = total[node] + (change[:, name[above[node]]] if tied[node] else 0.0)
        name[node] = int(np.argmin(here))
        if tied[node] and name[node] == name[above[node]]:
            run[node] = run[above[node]]
    child = np.where(
        edge[pieces.edge_nodes[:, 0]] == np.arange(pieces.n_edges), pieces.edge_nodes[:, 0], pieces.edge_nodes[:, 1]
    )
    tree = np.where(keep, name[child] + 1, 0)
    weight = np.bincount(run[child[keep]], pieces.edge_length[keep], pieces.n_nodes)
    said = np.bincount(run[child[keep]], (share[keep, tree[keep] - 1] * pieces.edge_length[keep]), pieces.n_nodes)
    return np.where(said[run[child]] >= _NAMED * weight[run[child]], tree, 0)


def separate_trees(graph: VesselGraph) -> VesselGraph:
    """Return the graph with a node of its own for each named tree (edge column ``tree``) where several meet.

    Trees that only touch are no longer connected. Branches without a name (0) stay with the lowest named tree of the node.
    """
    if graph.n_edges == 0:
        return graph
    node = graph.edge_nodes.ravel()
    tree = np.repeat(graph.edge_data["tree"], 2)
    lowest = np.full(graph.n_nodes, np.iinfo(np.int64).max)
    np.minimum.at(lowest, node[tree > 0], tree[tree > 0])
    mine = np.where(tree > 0, tree, np.where(lowest[node] < np.iinfo(np.int64).max, lowest[node], 0))
    pair, new = np.unique(np.stack([node, mine], axis=1), axis=0, return_inverse=True)
    lone = np.flatnonzero(graph.degree == 0)
    old = np.concatenate([pair[:, 0], lone])
    return replace(
        graph,
        node_position=graph.node_position[old],
        node_radius=graph.node_radius[old],
        node_data={name: column[old] for name, column in graph.node_data.items()},
        edge_nodes=new.reshape(-1, 2),
    )
