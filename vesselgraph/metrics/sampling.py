"""Graphs as equally spaced points: the common ground on which two graphs are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from vesselgraph.errors import RangeError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.space import FloatArray
from vesselgraph.volume import Volume


@dataclass(frozen=True, eq=False)
class Samples:
    """Points along a graph at (nearly) equal arc-length distance; S of them.

    Parameters
    ----------
    position : (S, 3) mm
        World LPS.
    radius : (S,) mm
        Interpolated along the path; NaN where unknown.
    branch : (S,) int64
        Which branch a point lies on; branches that meet at a node of degree 2 count as one.
    weight : (S,) mm
        Length of vessel the point stands for.
    edge : (S,) int64
        Edge of the graph a point lies on.
    """

    position: FloatArray
    radius: FloatArray
    branch: IntArray
    weight: FloatArray
    edge: IntArray

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.position)

    def subset(self, keep: NDArray[np.bool_]) -> Samples:
        """Return the points of a bool mask, (S,)."""
        return Samples(self.position[keep], self.radius[keep], self.branch[keep], self.weight[keep], self.edge[keep])


def sample_graph(graph: VesselGraph, step: float = 0.5) -> Samples:
    """Return the graph's branches as points at equal arc-length distance.

    A branch of length L is cut into ``max(1, round(L / step))`` equal pieces, and the middle of each piece is a point. So
    no point falls on a node, where several branches would each put one, and every millimetre of vessel counts once.

    Parameters
    ----------
    graph : VesselGraph
        May be empty.
    step : mm
        Distance of the points, > 0.

    Raises
    ------
    RangeError
        The step is not positive and finite.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [2, 0, 0]]])
    >>> sample_graph(graph, step=1.0).position[:, 0].tolist()
    [0.5, 1.5]
    """
    if not (np.isfinite(step) and step > 0):
        raise RangeError("a sampling step > 0 mm", f"{step}", "pass a step like 0.5")
    length = graph.edge_length
    if not len(length):
        none = np.zeros(0)
        return Samples(np.zeros((0, 3)), none, np.zeros(0, np.int64), none, np.zeros(0, np.int64))
    count = np.maximum(1, np.round(length / step)).astype(np.int64)
    edge = np.repeat(np.arange(graph.n_edges), count)
    first = np.cumsum(count) - count
    piece = length / count
    arc = (np.arange(len(edge)) - first[edge] + 0.5) * piece[edge]
    where, running = _on_one_line(graph, edge, arc)
    position = np.stack([np.interp(where, running, graph.path_position[:, i]) for i in range(3)], axis=1)
    radius = np.interp(where, running, graph.path_radius)
    return Samples(position, radius, joined_branches(graph)[edge], piece[edge], edge)


def position_at(graph: VesselGraph, edge: IntArray, arc: FloatArray) -> FloatArray:
    """Return the world positions, (P, 3) mm, at arc lengths (P,) mm along branches (P,) of a graph that has any."""
    where, running = _on_one_line(graph, edge, arc)
    return np.stack([np.interp(where, running, graph.path_position[:, i]) for i in range(3)], axis=1)


def _on_one_line(graph: VesselGraph, edge: IntArray, arc: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return places on branches as lengths along all paths laid end to end, (P,), and that length at each path point, (M,)."""
    # A millimetre between paths, or the end of one and the start of the next would be one place.
    steps = np.linalg.norm(np.diff(graph.path_position, axis=0), axis=1)
    steps[graph.path_offset[1:-1] - 1] = 1.0
    running = np.concatenate([[0.0], np.cumsum(steps)])
    return running[graph.path_offset[:-1]][edge] + arc, running


def joined_branches(graph: VesselGraph) -> IntArray:
    """Return a branch number for every edge, (E,): edges that meet at a node of degree 2 share one."""
    if not graph.n_edges:
        return np.zeros(0, np.int64)
    ends = graph.edge_nodes.ravel()
    edge = np.repeat(np.arange(graph.n_edges), 2)
    at_pass = graph.degree[ends] == 2
    order = np.argsort(ends[at_pass], kind="stable")
    pairs = edge[at_pass][order].reshape(-1, 2)
    link = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(graph.n_edges,) * 2)
    return csgraph.connected_components(link, directed=False)[1].astype(np.int64)


def is_inside(region: Volume, position: FloatArray) -> NDArray[np.bool_]:
    """Return which world positions, (S, 3) mm, lie in a True voxel of a region mask; outside of its grid is outside."""
    index = np.rint(region.space.to_index(position)).astype(np.int64)
    on_grid = ((index >= 0) & (index < np.array(region.shape))).all(axis=1)
    inside = np.zeros(len(position), dtype=bool)
    inside[on_grid] = region.array[tuple(index[on_grid].T)] != 0
    return inside


def clip_graph(graph: VesselGraph, region: Volume, *, step: float = 0.5) -> VesselGraph:
    """Return the part of a graph inside a region mask: branches end where they leave it, each end in a node of its own.

    Paths get points every ``step`` mm at most; every stretch between two neighbouring points with both inside stays, and
    so do nodes inside. Branch columns stay with their pieces, node and path columns are left out.
    """
    inside_nodes = is_inside(region, graph.node_position)
    if not graph.n_edges:
        return VesselGraph(
            graph.node_position[inside_nodes], graph.node_radius[inside_nodes], *_no_branches(), space=graph.space
        )
    at, edge = _finer(graph, step)
    points = np.arange(graph.n_points)
    position = np.stack([np.interp(at, points, graph.path_position[:, i]) for i in range(3)], axis=1)
    radius = np.interp(at, points, graph.path_radius)
    inside = is_inside(region, position)
    stays = np.concatenate([[False], (edge[1:] == edge[:-1]) & inside[1:] & inside[:-1], [False]])
    first = np.flatnonzero(~stays[:-1] & stays[1:])
    last = np.flatnonzero(stays[:-1] & ~stays[1:])
    long = np.array([(position[a : b + 1] != position[a]).any() for a, b in zip(first, last, strict=True)], dtype=bool)
    first, last = first[long], last[long]
    # The ends of a run are old nodes where the run is as long as the branch, else new ones.
    at_start, at_end = at[first] == graph.path_offset[edge[first]], at[last] == graph.path_offset[edge[last] + 1] - 1
    number = np.cumsum(inside_nodes) - 1
    n_old, n_cut = int(inside_nodes.sum()), int((~at_start).sum())
    start, end = number[graph.edge_nodes[edge[first], 0]], number[graph.edge_nodes[edge[last], 1]]
    start[~at_start] = n_old + np.arange(n_cut)
    end[~at_end] = n_old + n_cut + np.arange(int((~at_end).sum()))
    cut = np.concatenate([first[~at_start], last[~at_end]])
    run = np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)] or [np.zeros(0, np.int64)])
    return VesselGraph(
        np.concatenate([graph.node_position[inside_nodes], position[cut]]),
        np.concatenate([graph.node_radius[inside_nodes], radius[cut]]),
        np.stack([start, end], axis=1),
        np.concatenate([[0], np.cumsum(last - first + 1)]),
        position[run],
        radius[run],
        edge_data={name: column[edge[first]] for name, column in graph.edge_data.items()},
        space=graph.space,
    )


def _finer(graph: VesselGraph, step: float) -> tuple[FloatArray, IntArray]:
    """Return path points every ``step`` mm at most, as fractional numbers of the old ones, and their branches."""
    steps = np.linalg.norm(np.diff(graph.path_position, axis=0), axis=1)
    pieces = np.maximum(1, np.ceil(steps / step)).astype(np.int64)
    pieces[graph.path_offset[1:-1] - 1] = 1
    before = np.repeat(np.arange(len(pieces)), pieces)
    share = (np.arange(len(before)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[before]
    at = np.append(before + share, graph.n_points - 1.0)
    return at, graph.edge_of_point[at.astype(np.int64)]


def _no_branches() -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    return np.zeros((0, 2), np.int64), np.zeros(1, np.int64), np.zeros((0, 3)), np.zeros(0)
