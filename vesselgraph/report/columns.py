"""Per-branch numbers the tables, the pictures and the 3-D view share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.morphology import mean_radius, radius_range
from vesselgraph.space import FloatArray


def tree_of_edge(graph: VesselGraph) -> NDArray[np.int64]:
    """Return the tree each branch belongs to, (E,): the column ``tree_id``, or all 1 where it is missing."""
    column = graph.edge_data.get("tree_id")
    return np.ones(graph.n_edges, np.int64) if column is None else column.astype(np.int64)


def branch_score(graph: VesselGraph) -> FloatArray:
    """Return the column ``score``, (E,); NaN where it is missing."""
    column = graph.edge_data.get("score")
    return np.full(graph.n_edges, np.nan) if column is None else column.astype(np.float64)


def thinnest_and_mean_radius(graph: VesselGraph) -> tuple[float, float]:
    """Return the smallest known radius and the length-weighted mean, mm; NaN where no radius is known."""
    mean, smallest = mean_radius(graph), radius_range(graph)[0]
    known = np.isfinite(mean)
    if not known.any():
        return float("nan"), float("nan")
    return float(np.nanmin(smallest)), float(np.average(mean[known], weights=graph.edge_length[known]))
