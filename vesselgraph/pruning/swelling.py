"""Free ends that swell: a vessel does not widen towards its tip, but its radius does where nothing bounds it.

At the rim of the region and at the border of the image a path runs on into tissue without a wall, and the radius measured there
is that of whatever comes next. What is swollen has left the vessel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vesselgraph.edit import merge_degree_two, subset
from vesselgraph.graph import VesselGraph
from vesselgraph.polyline import arc_length

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# An end is swollen where it is this much wider than what its branch is farther in, its taper carried on.
_SWOLLEN = 1.4
# The radius that sizes a swelling is looked for so close to the tip, mm; a swelling is at most three of these radii long, and
# half of the branch. It is compared with as much of the branch again as this, at least 10 mm.
_TIP, _RADII, _COMPARED, _LEAST_COMPARED = 2.0, 3.0, 2.0, 10.0
_FEWEST = 3
# By Murray's law a vessel that parts into four is 1.6 times as wide as they are, into two 1.26 times.
_BULB, _OF_WIDEST = 1.6, 1.26


def swollen_points(graph: VesselGraph, keep: BoolArray) -> BoolArray:
    """Return which path points lie in the swollen free ends of the branches of ``keep``, (M,) bool.

    Parameters
    ----------
    graph : VesselGraph
        Over-complete, maybe cut into pieces.
    keep : (E,) bool
        The branches believed so far; an end is free if it is one of the graph that they make. Unattached pieces have two.
    """
    rows = replace(graph, path_data={"row": np.arange(graph.n_points)}, edge_data={}, node_data={})
    whole, _ = merge_degree_two(subset(rows, edges=keep, drop_isolated=True)[0])
    swollen = np.zeros(graph.n_points, np.bool_)
    along = arc_length(whole.path_position, whole.path_offset)
    is_free = whole.degree[whole.edge_nodes] == 1
    for edge, end in np.argwhere(is_free):
        points = slice(whole.path_offset[edge], whole.path_offset[edge + 1])
        row, radius, way = whole.path_data["row"][points], whole.path_radius[points], along[points]
        if end:
            row, radius, way = row[::-1], radius[::-1], way[-1] - way[::-1]
        swollen[row[: _n_swollen(radius, way)]] = True
    return swollen


def _n_swollen(radius: FloatArray, way: FloatArray) -> int:
    """Return how many points from a free tip inwards are swollen; ``way`` is how far they are from it, mm."""
    widest = np.fmax.reduce(radius[way <= _TIP])
    reach = min(0.5 * way[-1], _RADII * widest)
    inner = (way > reach) & (way <= reach + max(_LEAST_COMPARED, _COMPARED * reach)) & np.isfinite(radius)
    if not np.isfinite(widest) or inner.sum() < _FEWEST:
        return 0
    x, y = way[inner] - way[inner].mean(), radius[inner]
    # A taper of the branch goes on to its tip; that it narrows there is not counted on.
    widening = min(float(x @ y) / float(x @ x), 0.0)
    expected = np.median(y) + widening * (way - np.median(way[inner]))
    wide = np.flatnonzero((way <= reach) & (radius > _SWOLLEN * expected))
    return int(wide[-1]) + 1 if len(wide) else 0


def without_bulbs(graph: VesselGraph) -> VesselGraph:
    """Return the graph with the radius of bulbs held to what the branches they hang on can feed.

    A bulb is a branch with one free end that somewhere is above 1.6 times as wide as the widest branch that it meets (median
    radius); it keeps its path and gets at most 1.26 times that width. Its points are no longer marked ``radius_measured``.
    """
    width = np.array([_median(graph.path_radius[low:high]) for low, high in _bounds(graph)])
    is_free = graph.degree[graph.edge_nodes] == 1
    limit = np.full(graph.n_edges, np.inf)
    for edge in np.flatnonzero(is_free[:, 0] != is_free[:, 1]):
        base = graph.edge_nodes[edge, int(is_free[edge, 0])]
        others = (graph.edge_nodes == base).any(axis=1)
        others[edge] = False
        met = np.fmax.reduce(width[others], initial=0.0)
        if 0.0 < _BULB * met < np.fmax.reduce(graph.path_radius[graph.path_offset[edge] : graph.path_offset[edge + 1]]):
            limit[edge] = _OF_WIDEST * met
    return _held(graph, limit)


def _held(graph: VesselGraph, limit: FloatArray) -> VesselGraph:
    """Return the graph with no radius above the ``limit`` of its branch, (E,) mm."""
    is_held = np.isfinite(limit)
    if not is_held.any():
        return graph
    radius = np.fmin(graph.path_radius, limit[graph.edge_of_point])
    widest = np.full(graph.n_nodes, -np.inf)
    for end, point in ((0, graph.path_offset[:-1]), (1, graph.path_offset[1:] - 1)):
        np.fmax.at(widest, graph.edge_nodes[:, end], radius[point])
    node_radius = graph.node_radius.copy()
    ends = np.unique(graph.edge_nodes[is_held])
    node_radius[ends] = np.fmin(node_radius[ends], widest[ends])
    result = replace(graph, path_radius=radius, node_radius=node_radius)
    if "radius_measured" in graph.path_data and "radius_measured" in graph.edge_data:
        measured = graph.path_data["radius_measured"].astype(bool) & ~is_held[graph.edge_of_point]
        share = np.where(is_held, 0.0, graph.edge_data["radius_measured"])
        result = result.with_columns(path={"radius_measured": measured}, edge={"radius_measured": share})
    return result


def _bounds(graph: VesselGraph) -> zip[tuple[int, int]]:
    return zip(graph.path_offset[:-1].tolist(), graph.path_offset[1:].tolist(), strict=True)


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
