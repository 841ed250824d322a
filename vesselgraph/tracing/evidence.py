"""Evidence: what speaks for or against each branch, as edge columns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.tracing.geometry import sample_path
from vesselgraph.tracing.radii import ring_values
from vesselgraph.volume import Volume

# Multiples of the radius at which the surroundings of a branch are read.
_SHELL = (1.5, 2.0, 2.5)


def measure_evidence(graph: VesselGraph, heat: Volume, image: Volume | None = None) -> VesselGraph:
    """Return the graph with its evidence: the path columns ``heat`` and ``contrast``, and edge columns.

    ``mean_heat``, ``min_heat``, ``low_heat`` (lower quartile): heat along the branch. ``mean_radius`` mm. ``gap_length`` mm:
    length of a bridge, 0 for a traced branch. ``protrusion`` mm: how far a branch with one free end sticks out of the vessel
    it leaves (its length plus the radius of its tip minus the radius at its junction), infinite for others. ``contrast``, if
    an image is given: image value on the branch minus that of a ring at 1.5 to 2.5 radii around it.
    """
    along = np.zeros(graph.n_points)
    sample_path(np.asarray(heat.array, dtype=np.float32), heat.space.to_index(graph.path_position), along)
    columns = {
        "mean_heat": _per_branch(graph, along, np.mean),
        "min_heat": _per_branch(graph, along, np.min),
        "low_heat": _per_branch(graph, along, lambda values: np.quantile(values, 0.25)),
        "mean_radius": _per_branch(graph, graph.path_radius, np.mean),
        "gap_length": np.where(graph.edge_data["generator"] == 2, graph.edge_length, 0.0),
        "protrusion": protrusion(graph),
    }
    path = {"heat": along}
    if image is not None:
        path["contrast"] = _contrast(graph, image)
        columns["contrast"] = _per_branch(graph, path["contrast"], np.mean)
    return graph.with_columns(edge=columns, path=path)


def _per_branch(
    graph: VesselGraph, values: NDArray[np.float64], reduce: Callable[[NDArray[np.float64]], Any]
) -> NDArray[np.float64]:
    bounds = graph.path_offset
    return np.array([reduce(values[a:b]) for a, b in pairwise(bounds)], dtype=np.float64)


def protrusion(graph: VesselGraph) -> NDArray[np.float64]:
    """Return how far each branch with one free end sticks out of the vessel it leaves, (E,) mm; infinite for others."""
    result = np.full(graph.n_edges, np.inf)
    free = graph.degree[graph.edge_nodes] == 1
    for e in np.flatnonzero(free[:, 0] != free[:, 1]):
        node = graph.edge_nodes[e, 0] if free[e, 1] else graph.edge_nodes[e, 1]
        tip_radius = graph.radius_along(int(e))[-1 if free[e, 1] else 0]
        result[e] = graph.edge_length[e] + tip_radius - graph.node_radius[node]
    return result


def _contrast(graph: VesselGraph, image: Volume) -> NDArray[np.float64]:
    """Return the image on the path minus the median of rings around it, (M,)."""
    if graph.n_points == 0:
        return np.zeros(0)
    centre = ring_values(graph, image, np.zeros(graph.n_points))[0]
    reach = np.maximum(graph.path_radius, 1.0)
    rings = [ring_values(graph, image, factor * reach) for factor in _SHELL]
    return np.asarray(centre - np.median(np.concatenate(rings), axis=0))
