"""Per-branch numbers the tables, the pictures and the 3-D view share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.morphology import mean_radius, radius_range
from vesselgraph.report.palette import named_colour_index, tree_colour_index
from vesselgraph.space import FloatArray


def tree_of_edge(graph: VesselGraph) -> NDArray[np.int64]:
    """Return the tree each branch belongs to, (E,): the column ``tree_id``, or all 1 where it is missing."""
    column = graph.edge_data.get("tree_id")
    return np.ones(graph.n_edges, np.int64) if column is None else column.astype(np.int64)


def name_of_edge(graph: VesselGraph) -> NDArray[np.int64] | None:
    """Return the name of each branch's tree, (E,): 1 portal, 2 hepatic, 3 artery, 0 not known; None if no branch has one."""
    column = graph.edge_data.get("tree")
    if column is None or column.dtype.kind not in "iu" or not (column > 0).any():
        return None
    return column.astype(np.int64)


def colour_of_edge(graph: VesselGraph) -> NDArray[np.int64]:
    """Return the place of each branch's colour in ``TREE_COLOURS``, (E,): by its name if there are names, else by its tree."""
    name = name_of_edge(graph)
    return tree_colour_index(tree_of_edge(graph)) if name is None else named_colour_index(name)


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
