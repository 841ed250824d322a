"""Where trees start: for metrics that ask for parents, orders and generations."""

from __future__ import annotations

import numpy as np

from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.space import FloatArray
from vesselgraph.topology import component_labels


def root_nodes(graph: VesselGraph) -> IntArray:
    """Return the roots of a graph: its node column ``root``, else the widest tip of each connected piece with branches.

    The width of a tip is the radius of its node; pieces without a tip or a known radius have no root then.
    """
    if "root" in graph.node_data:
        return np.flatnonzero(graph.node_data["root"].astype(bool))
    tips = np.flatnonzero((graph.degree == 1) & np.isfinite(graph.node_radius))
    piece = component_labels(graph.edge_nodes, graph.n_nodes)[tips]
    order = np.lexsort((tips, -graph.node_radius[tips], piece))
    _, first = np.unique(piece[order], return_index=True)
    return tips[order][first]


def roots_near(graph: VesselGraph, positions: FloatArray) -> IntArray:
    """Return of each connected piece with branches the node nearest to any of the positions, (R, 3) mm; none without any."""
    if not len(positions) or not graph.n_edges:
        return np.zeros(0, np.int64)
    nodes = np.flatnonzero(graph.degree > 0)
    distance = np.full(len(nodes), np.inf)
    for position in positions:
        np.minimum(distance, np.linalg.norm(graph.node_position[nodes] - position, axis=1), out=distance)
    piece = component_labels(graph.edge_nodes, graph.n_nodes)[nodes]
    order = np.lexsort((nodes, distance, piece))
    _, first = np.unique(piece[order], return_index=True)
    return nodes[order][first]
