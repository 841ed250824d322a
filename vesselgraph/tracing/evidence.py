"""Evidence: what speaks for or against each branch, as edge columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.space import Space
from vesselgraph.tracing.geometry import sample_path
from vesselgraph.volume import Volume

_SHELL_INNER, _SHELL_OUTER = 1.5, 2.5


def measure_evidence(graph: VesselGraph, heat: NDArray[np.float32], space: Space, image: Volume | None = None) -> VesselGraph:
    """Return the graph with its evidence: the path column ``heat`` and edge columns.

    ``mean_heat``, ``min_heat``, ``low_heat`` (lower quartile): heat along the branch. ``mean_radius`` mm. ``gap_length`` mm:
    length of a bridge, 0 for a traced branch. ``protrusion`` mm: how far a branch with one free end sticks out of the vessel
    it leaves (its length plus the radius of its tip minus the radius at its junction), infinite for others. ``contrast``, if
    an image is given: image value on the branch minus that of a ring at 1.5 to 2.5 radii around it.
    """
    along = np.zeros(graph.n_points)
    sample_path(heat, space.to_index(graph.path_position), along)
    columns = {
        "mean_heat": _per_branch(graph, along, np.mean),
        "min_heat": _per_branch(graph, along, np.min),
        "low_heat": _per_branch(graph, along, lambda values: np.quantile(values, 0.25)),
        "mean_radius": _per_branch(graph, graph.path_radius, np.mean),
        "gap_length": np.where(graph.edge_data["generator"] == 2, graph.edge_length, 0.0),
        "protrusion": protrusion(graph),
    }
    if image is not None:
        columns["contrast"] = _per_branch(graph, _contrast(graph, image), np.mean)
    return graph.with_columns(edge=columns, path={"heat": along})


def _per_branch(graph: VesselGraph, values: NDArray[np.float64], reduce) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
    bounds = graph.path_offset
    return np.array([reduce(values[a:b]) for a, b in zip(bounds[:-1], bounds[1:], strict=True)], dtype=np.float64)


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
    array = np.ascontiguousarray(image.array, dtype=np.float32)
    centre = np.zeros(graph.n_points)
    sample_path(array, image.space.to_index(graph.path_position), centre)
    tangent = np.gradient(graph.path_position, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    helper = np.eye(3)[np.argmin(np.abs(tangent), axis=1)]
    first = np.cross(tangent, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(tangent, first)
    around = []
    for factor in (_SHELL_INNER, 0.5 * (_SHELL_INNER + _SHELL_OUTER), _SHELL_OUTER):
        reach = factor * np.maximum(graph.path_radius, 1.0)[:, None]
        for angle in np.arange(8) * np.pi / 4:
            values = np.zeros(graph.n_points)
            ring = graph.path_position + reach * (np.cos(angle) * first + np.sin(angle) * second)
            sample_path(array, image.space.to_index(ring), values)
            around.append(values)
    return centre - np.median(around, axis=0)
