"""Per-branch numbers the tables, the pictures and the 3-D view share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.space import FloatArray


def tree_of_edge(graph: VesselGraph) -> NDArray[np.int64]:
    """Return the tree each branch belongs to, (E,): the column ``tree_id``, or all 1 where it is missing."""
    column = graph.edge_data.get("tree_id")
    return np.ones(graph.n_edges, np.int64) if column is None else column.astype(np.int64)


def densified(graph: VesselGraph, step: float) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Return points at most ``step`` mm apart along all branches: (n, 3) positions, (n,) radii, (n,) branch ids."""
    start = np.flatnonzero(np.diff(graph.edge_of_point) == 0)
    gap = np.linalg.norm(graph.path_position[start + 1] - graph.path_position[start], axis=1)
    pieces = np.maximum(1, np.ceil(gap / step)).astype(np.int64)
    first = np.repeat(start, pieces)
    place = np.arange(len(first)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = place / np.repeat(pieces, pieces)
    points = graph.path_position[first] * (1.0 - share[:, None]) + graph.path_position[first + 1] * share[:, None]
    radius = graph.path_radius[first] * (1.0 - share) + graph.path_radius[first + 1] * share
    ends = graph.path_offset[1:] - 1
    return (
        np.concatenate([points, graph.path_position[ends]]),
        np.concatenate([radius, graph.path_radius[ends]]),
        np.concatenate([graph.edge_of_point[first], graph.edge_of_point[ends]]),
    )


def _segments(graph: VesselGraph) -> tuple[NDArray[np.int64], FloatArray]:
    """Return the first path point of every straight piece and the piece's length, mm."""
    start = np.flatnonzero(np.diff(graph.edge_of_point) == 0)
    return start, np.linalg.norm(graph.path_position[start + 1] - graph.path_position[start], axis=1)


def branch_radius(graph: VesselGraph) -> FloatArray:
    """Return the length-weighted mean radius of each branch, (E,) mm; NaN where no piece has a known radius."""
    start, length = _segments(graph)
    middle = (graph.path_radius[start] + graph.path_radius[start + 1]) / 2.0
    known = np.isfinite(middle)
    edge = graph.edge_of_point[start]
    weight = np.bincount(edge[known], length[known], graph.n_edges)
    total = np.bincount(edge[known], (length * middle)[known], graph.n_edges)
    return np.divide(total, weight, out=np.full(graph.n_edges, np.nan), where=weight > 0)


def branch_volume(graph: VesselGraph) -> FloatArray:
    """Return the volume of the truncated cones along each branch, (E,) cubic mm; pieces of unknown radius count 0.

    Overlap at junctions is counted once for each branch, so that the sum is a little above the surface's volume.
    """
    start, length = _segments(graph)
    a, b = graph.path_radius[start], graph.path_radius[start + 1]
    cone = np.nan_to_num(np.pi / 3.0 * length * (a * a + a * b + b * b))
    return np.bincount(graph.edge_of_point[start], cone, graph.n_edges).astype(np.float64)


def branch_score(graph: VesselGraph) -> FloatArray:
    """Return the column ``score``, (E,); NaN where it is missing."""
    column = graph.edge_data.get("score")
    return np.full(graph.n_edges, np.nan) if column is None else column.astype(np.float64)


def branch_tortuosity(graph: VesselGraph) -> FloatArray:
    """Return length over the straight distance between the ends, (E,), >= 1; NaN for a closed loop."""
    ends = graph.node_position[graph.edge_nodes]
    chord = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    return np.divide(graph.edge_length, chord, out=np.full(graph.n_edges, np.nan), where=chord > 1e-9)
