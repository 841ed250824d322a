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
    """

    position: FloatArray
    radius: FloatArray
    branch: IntArray
    weight: FloatArray

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.position)

    def subset(self, keep: NDArray[np.bool_]) -> Samples:
        """Return the points of a bool mask, (S,)."""
        return Samples(self.position[keep], self.radius[keep], self.branch[keep], self.weight[keep])


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
        return Samples(np.zeros((0, 3)), none, np.zeros(0, np.int64), none)
    count = np.maximum(1, np.round(length / step)).astype(np.int64)
    edge = np.repeat(np.arange(graph.n_edges), count)
    first = np.cumsum(count) - count
    piece = length / count
    # One running length over all paths, without the jump from the end of a path to the start of the next.
    steps = np.linalg.norm(np.diff(graph.path_position, axis=0), axis=1)
    steps[graph.path_offset[1:-1] - 1] = 0.0
    running = np.concatenate([[0.0], np.cumsum(steps)])
    where = running[graph.path_offset[:-1]][edge] + (np.arange(len(edge)) - first[edge] + 0.5) * piece[edge]
    position = np.stack([np.interp(where, running, graph.path_position[:, i]) for i in range(3)], axis=1)
    radius = np.interp(where, running, graph.path_radius)
    return Samples(position, radius, joined_branches(graph)[edge], piece[edge])


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
