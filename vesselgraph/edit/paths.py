"""New points on branches: equal steps, and cuts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from vesselgraph.edit.parts import mask_of, offsets, ranges, rows
from vesselgraph.errors import RangeError
from vesselgraph.graph import Column, IntArray, VesselGraph
from vesselgraph.polyline import arc_length, chord, step_length
from vesselgraph.space import FloatArray
from vesselgraph.topology import BoolArray

_LEAST_LOOP_SEGMENTS = 3


def resample(graph: VesselGraph, step: float) -> VesselGraph:
    """Return the graph with every branch as the fewest equal arc-length steps that are no longer than ``step``.

    Nodes are untouched and path ends exact. Radii and floating path columns are interpolated linearly (the known one if one
    of the two neighbours is NaN); other path columns come from the nearer point. A branch whose ends coincide keeps at
    least three steps.

    Parameters
    ----------
    graph : VesselGraph
        Left as it is.
    step : float
        Longest step, mm.

    Raises
    ------
    RangeError
        The step is not a positive number.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [3, 0, 0]]], radii=[[1.0, 4.0]])
    >>> resample(graph, 1.5).path(0).tolist(), resample(graph, 1.5).path_radius.tolist()
    ([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [3.0, 0.0, 0.0]], [1.0, 2.5, 4.0])
    """
    if not (np.isfinite(step) and step > 0):
        raise RangeError("a step > 0 mm", f"{step}", "pass a length in mm")
    length = graph.edge_length
    # A length that is a whole number of steps up to rounding must not get one more.
    n_steps = np.maximum(np.ceil(length / step * (1.0 - 1e-12)), 1.0).astype(np.int64)
    closed = chord(graph.path_position, graph.path_offset) == 0
    n_steps[closed] = np.maximum(n_steps[closed], _LEAST_LOOP_SEGMENTS)
    edge = np.repeat(np.arange(graph.n_edges), n_steps + 1)
    rank = np.arange(len(edge)) - offsets(n_steps + 1)[edge]
    return _with_points(graph, edge, length[edge] * rank / n_steps[edge])


def _with_points(graph: VesselGraph, edge: IntArray, arc: FloatArray) -> VesselGraph:
    """Return the graph whose paths have the points at ``arc`` along ``edge`` (sorted, both ends of each branch included)."""
    offset = offsets(np.bincount(edge, minlength=graph.n_edges))
    low, weight = _locate(graph, edge, arc)
    position = _between(graph.path_position, low, weight[:, None])
    ends = np.stack([offset[:-1], offset[1:] - 1], axis=1)
    position[ends] = graph.node_position[graph.edge_nodes]
    return replace(
        graph,
        path_offset=offset,
        path_position=position,
        path_radius=_between(graph.path_radius, low, weight),
        path_data={name: _between(column, low, weight) for name, column in graph.path_data.items()},
    )


def _locate(graph: VesselGraph, edge: IntArray, arc: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the path point before each place and how far the place is on the way to the next point, in [0, 1]."""
    if not len(edge):
        return np.zeros(0, np.int64), np.zeros(0)
    offset = graph.path_offset
    total = np.cumsum(step_length(graph.path_position, offset))
    low = np.searchsorted(total, total[offset[edge]] + arc, side="right") - 1
    low = np.clip(low, offset[edge], offset[edge + 1] - 2)
    along = arc_length(graph.path_position, offset)
    span = along[low + 1] - along[low]
    weight = np.divide(arc - along[low], span, out=np.ones_like(arc), where=span > 0)
    return low, np.clip(weight, 0.0, 1.0)


def _between(column: Column, low: IntArray, weight: FloatArray) -> Column:
    before, after = column[low], column[low + 1]
    if column.dtype.kind != "f":
        return np.where(weight < 0.5, before, after)
    # Infinite values and exact ends must not meet 0 * inf.
    with np.errstate(invalid="ignore"):
        mixed = np.where(weight <= 0, before, np.where(weight >= 1, after, before * (1 - weight) + after * weight))
    known = np.where(np.isnan(before), after, np.where(np.isnan(after), before, mixed))
    return known.astype(column.dtype)


def split_edges(
    graph: VesselGraph, *, at: ArrayLike | None = None, max_length: float | None = None
) -> tuple[VesselGraph, IntArray]:
    """Return the graph with branches cut at path points, or into equal pieces no longer than a bound, or both.

    Parameters
    ----------
    graph : VesselGraph
        Left as it is.
    at : ids of path points, optional
        Inner points, each becomes a node.
    max_length : float, optional
        Longest piece, mm; longer branches get new points at equal arc lengths.

    Returns
    -------
    VesselGraph
        Old nodes first, then the new ones along the branches; pieces stand where their branch stood and share its columns.
        A new node has the path's radius; its columns are False, 0, NaN or empty text.
    (E_new,) int64
        The old branch of each piece.

    Raises
    ------
    RangeError
        A point does not exist, is an end of its branch, or would cut off a piece of no length.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0]]])
    >>> pieces, old = split_edges(graph, max_length=4.0)
    >>> pieces.edge_nodes.tolist(), old.tolist()
    ([[0, 2], [2, 3], [3, 1]], [0, 0, 0])
    """
    cut = np.zeros(graph.n_points, bool)
    if at is not None:
        cut |= mask_of(at, graph.n_points, "path point")
    ends = np.stack([graph.path_offset[:-1], graph.path_offset[1:] - 1])
    if cut[ends].any():
        raise RangeError("inner points of branches", "branch ends among them", "leave out the ends; they are nodes")
    whole = _cut(graph, cut)
    if max_length is None:
        return whole
    if not (np.isfinite(max_length) and max_length > 0):
        raise RangeError("max_length > 0 mm", f"{max_length}", "pass a length in mm")
    pieces, owner = _cut_long(whole[0], max_length)
    return pieces, whole[1][owner]


def _cut(graph: VesselGraph, cut: BoolArray) -> tuple[VesselGraph, IntArray]:
    """Return the graph with a node at every inner path point of ``cut`` and the old branch of each piece."""
    inner = np.flatnonzero(cut)
    node_at_start, node_at_end = np.full((2, graph.n_points), -1, np.int64)
    node_at_start[inner] = node_at_end[inner] = graph.n_nodes + np.arange(len(inner))
    node_at_start[graph.path_offset[:-1]] = graph.edge_nodes[:, 0]
    node_at_end[graph.path_offset[1:] - 1] = graph.edge_nodes[:, 1]
    start, end = np.flatnonzero(node_at_start >= 0), np.flatnonzero(node_at_end >= 0)
    size = end - start + 1
    points, owner = ranges(start, size), graph.edge_of_point[start]
    position = graph.path_position[points]
    empty = np.add.reduceat(step_length(position, offsets(size)), offsets(size)[:-1]) <= 0 if len(size) else np.zeros(0, bool)
    if empty.any():
        raise RangeError("pieces longer than 0 mm", f"none on branches {owner[empty][:5].tolist()}", "cut elsewhere")
    pieces = replace(
        graph,
        node_position=np.concatenate([graph.node_position, graph.path_position[inner]]),
        node_radius=np.concatenate([graph.node_radius, graph.path_radius[inner]]),
        edge_nodes=np.stack([node_at_start[start], node_at_end[end]], axis=1),
        path_offset=offsets(size),
        path_position=position,
        path_radius=graph.path_radius[points],
        node_data={name: np.concatenate([c, _unknown(len(inner), c.dtype)]) for name, c in graph.node_data.items()},
        edge_data=rows(graph.edge_data, owner),
        path_data=rows(graph.path_data, points),
    )
    return pieces, owner


def _unknown(size: int, dtype: np.dtype[np.generic]) -> Column:
    return np.full(size, np.nan, dtype) if dtype.kind == "f" else np.zeros(size, dtype)


def _cut_long(graph: VesselGraph, max_length: float) -> tuple[VesselGraph, IntArray]:
    n_cuts = np.maximum(np.ceil(graph.edge_length / max_length * (1.0 - 1e-12)), 1.0).astype(np.int64) - 1
    edge = np.repeat(np.arange(graph.n_edges), n_cuts)
    rank = np.arange(len(edge)) - offsets(n_cuts)[edge] + 1
    arc = graph.edge_length[edge] * rank / (n_cuts[edge] + 1)
    dense, is_new = _insert(graph, edge, arc)
    return _cut(dense, is_new)


def _insert(graph: VesselGraph, edge: IntArray, arc: FloatArray) -> tuple[VesselGraph, BoolArray]:
    """Return the graph with path points at ``arc`` along ``edge`` and where they are; an old point there is used as it is."""
    low, weight = _locate(graph, edge, arc)
    along = arc_length(graph.path_position, graph.path_offset)
    gap = np.stack([np.abs(arc - along[low]), np.abs(along[low + 1] - arc)]) if len(edge) else np.zeros((2, 0))
    met = gap.min(axis=0) <= 1e-9 * graph.edge_length[edge]
    is_chosen = np.zeros(graph.n_points, bool)
    is_chosen[(low + (gap[1] < gap[0]))[met]] = True
    edge, arc, low, weight = edge[~met], arc[~met], low[~met], weight[~met]
    all_edge = np.concatenate([graph.edge_of_point, edge])
    order = np.lexsort((np.concatenate([along, arc]), all_edge))

    def fill(column: Column) -> Column:
        shaped = weight[:, None] if column.ndim == 2 else weight
        return np.concatenate([column, _between(column, low, shaped)])[order]

    dense = replace(
        graph,
        path_offset=offsets(np.bincount(all_edge, minlength=graph.n_edges)),
        path_position=fill(graph.path_position),
        path_radius=fill(graph.path_radius),
        path_data={name: fill(column) for name, column in graph.path_data.items()},
    )
    return dense, np.concatenate([is_chosen, np.ones(len(edge), bool)])[order]
