"""Places on a graph and the shortest ways between them along its branches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.metrics.sampling import position_at
from vesselgraph.polyline import arc_length
from vesselgraph.space import FloatArray
from vesselgraph.topology import chains

_SNAP_STEP = 1.0
_SNAP_CANDIDATES = 8
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Places:
    """Points on the branches of a graph; P of them.

    Parameters
    ----------
    edge : (P,) int64
        The branch, or -1: nowhere on the graph.
    arc : (P,) mm
        How far from the start of the branch, along it.
    """

    edge: IntArray
    arc: FloatArray

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self.edge)

    def subset(self, keep: NDArray[np.bool_] | IntArray) -> Places:
        """Return the places of a bool mask, (P,), or of ids."""
        return Places(self.edge[keep], self.arc[keep])


def control_places(graph: VesselGraph, step: float) -> Places:
    """Return the nodes that end a run of branches, and points at equal distances of about ``step`` mm within every run.

    A run passes nodes of degree 2, so that these play no part. A run of length L is cut into ``max(1, round(L / step))``
    equal pieces, a ring into two at least. Isolated nodes lie on no branch and are left out.
    """
    if not graph.n_edges:
        return Places(np.zeros(0, np.int64), np.zeros(0))
    runs = chains(graph.edge_nodes, graph.n_nodes)
    length = graph.edge_length[runs.edge]
    end = np.cumsum(length)
    total = np.add.reduceat(length, runs.offset[:-1])
    start = end[runs.offset[:-1]] - length[runs.offset[:-1]]
    first, last = runs.offset[:-1], runs.offset[1:] - 1
    side = np.where(runs.is_forward, 0, 1)
    head = graph.edge_nodes[runs.edge[first], side[first]]
    tail = graph.edge_nodes[runs.edge[last], 1 - side[last]]
    n_pieces = np.maximum(np.round(total / step).astype(np.int64), np.where(head == tail, 2, 1))
    run = np.repeat(np.arange(len(total)), n_pieces - 1)
    number = np.arange(len(run)) - np.repeat(np.cumsum(n_pieces - 1) - (n_pieces - 1), n_pieces - 1) + 1
    along = start[run] + number * (total / n_pieces)[run]
    link = np.clip(np.searchsorted(end, along), first[run], last[run])
    ahead = np.clip(along - (end[link] - length[link]), 0.0, length[link])
    arc = np.where(runs.is_forward[link], ahead, length[link] - ahead)
    nodes = _node_places(graph, np.unique(np.concatenate([head, tail])))
    return Places(np.concatenate([nodes.edge, runs.edge[link]]), np.concatenate([nodes.arc, arc]))


def _node_places(graph: VesselGraph, nodes: IntArray) -> Places:
    """Return nodes that have branches as places on the first branch end at each."""
    ends = graph.edge_nodes.ravel()
    at, first = np.unique(ends, return_index=True)
    half = first[np.searchsorted(at, nodes)]
    return Places(half >> 1, np.where(half & 1, graph.edge_length[half >> 1], 0.0))


def snap(graph: VesselGraph, points: FloatArray, tolerance: float) -> Places:
    """Return the nearest place on the graph's branches to each world point, (P, 3) mm; nowhere if none is near enough."""
    places, distance = nearest_place(graph, points)
    is_near = distance <= tolerance * (1.0 + 1e-9)
    return Places(np.where(is_near, places.edge, -1), np.where(is_near, places.arc, 0.0))


def nearest_place(graph: VesselGraph, points: FloatArray) -> tuple[Places, FloatArray]:
    """Return the nearest place on the graph's branches to each world point, (P, 3) mm, and how far it is, (P,) mm.

    Without branches the places are nowhere and infinitely far.
    """
    if not graph.n_edges or not len(points):
        return Places(np.full(len(points), -1, np.int64), np.zeros(len(points))), np.full(len(points), np.inf)
    before = np.flatnonzero(np.diff(graph.edge_of_point) == 0)
    a, b = graph.path_position[before], graph.path_position[before + 1]
    length = np.linalg.norm(b - a, axis=1)
    n_samples = np.ceil(length / _SNAP_STEP).astype(np.int64) + 1
    segment = np.repeat(np.arange(len(before)), n_samples)
    number = np.arange(len(segment)) - np.repeat(np.cumsum(n_samples) - n_samples, n_samples)
    share = number / np.maximum(n_samples - 1, 1)[segment]
    samples = a[segment] + share[:, None] * (b - a)[segment]
    # The nearest sample need not lie on the nearest segment: some more are tried, each with its exact foot point.
    k = min(_SNAP_CANDIDATES, len(samples))
    candidate = segment[cKDTree(samples).query(points, k=k)[1].reshape(len(points), k)]
    along = (b - a)[candidate]
    offset = points[:, None] - a[candidate]
    squared = np.maximum(length[candidate] ** 2, np.finfo(np.float64).tiny)
    foot = np.clip(np.einsum("pki,pki->pk", offset, along) / squared, 0.0, 1.0)
    distance = np.linalg.norm(offset - foot[:, :, None] * along, axis=2)
    best = distance.argmin(axis=1)
    row = np.arange(len(points))
    chosen = candidate[row, best]
    arc = arc_length(graph.path_position, graph.path_offset)[before[chosen]] + foot[row, best] * length[chosen]
    return Places(graph.edge_of_point[before[chosen]], arc), distance[row, best]


def positions(graph: VesselGraph, places: Places) -> FloatArray:
    """Return the world positions of places on the graph, (P, 3) mm."""
    return position_at(graph, places.edge, places.arc)


def route_lengths(graph: VesselGraph, places: Places) -> FloatArray:
    """Return the length of the shortest way between every two places, (P, P) mm; infinite where there is none."""
    result = np.full((len(places),) * 2, np.inf)
    on = np.flatnonzero(places.edge >= 0)
    if not len(on):
        return result
    edge, arc = places.edge[on], places.arc[on]
    ends, at = np.unique(graph.edge_nodes[edge], return_inverse=True)
    at = at.reshape(-1, 2)
    between = _node_distances(graph, ends)
    offset = np.stack([arc, graph.edge_length[edge] - arc], axis=1)
    ways = np.full((len(on),) * 2, np.inf)
    for i in range(2):
        for j in range(2):
            through = offset[:, i, None] + between[np.ix_(at[:, i], at[:, j])] + offset[None, :, j]
            np.minimum(ways, through, out=ways)
    direct = np.where(edge[:, None] == edge[None], np.abs(arc[:, None] - arc[None]), np.inf)
    result[np.ix_(on, on)] = np.minimum(ways, direct)
    return result


def _node_distances(graph: VesselGraph, nodes: IntArray) -> FloatArray:
    """Return the shortest ways between every two of some nodes, (K, K) mm."""
    low, high = np.sort(graph.edge_nodes, axis=1).T
    order = np.lexsort((graph.edge_length, high, low))
    low, high, length = low[order], high[order], graph.edge_length[order]
    # Of parallel branches the shortest counts: a sparse matrix would add them up.
    is_first = np.concatenate([[True], (np.diff(low) != 0) | (np.diff(high) != 0)])
    keep = is_first & (low != high)
    shape = (graph.n_nodes,) * 2
    links = sparse.csr_array((length[keep], (low[keep], high[keep])), shape=shape)
    result = np.empty((len(nodes), len(nodes)))
    for start in range(0, len(nodes), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        result[rows] = csgraph.dijkstra(links, directed=False, indices=nodes[rows])[:, nodes]
    return result
