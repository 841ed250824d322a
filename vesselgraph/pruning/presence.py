"""Named trees that touch come apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vesselgraph.graph import VesselGraph


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
