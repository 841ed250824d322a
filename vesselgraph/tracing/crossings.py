"""Through paths: where vessels touch, thinning welds them in one node, and no choice of branches keeps them apart.

Strategy. Outside of the node's own width every branch has a clear axis. Where two of the branches at a node of four or more go
straight on into each other, a curve from one clear point to the other is proposed beside the node: one vessel that passes. The
node stays, so whoever prunes may take the one course or the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesselgraph.edit import split_edges
from vesselgraph.graph import VesselGraph
from vesselgraph.tracing.evidence import THINNED

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

THROUGH = 16
"""Bit flag of the generator."""

# The axis of a branch is taken between these multiples of the node's radius; two with a cosine below the third go straight on.
_CLEAR_FROM, _CLEAR_TO, _STRAIGHT = 1.0, 2.5, -0.5
_STEP_MM = 1.0


@dataclass(frozen=True)
class _Arm:
    """One branch end at a node: its branch, its first clear point (a row of all path points), the axis away from the node."""

    edge: int
    row: int
    axis: FloatArray


def with_through_paths(graph: VesselGraph) -> VesselGraph:
    """Return the graph with a path beside every node of four or more branches of thinning, for each pair that goes straight on.

    Parameters
    ----------
    graph : VesselGraph
        Over-complete, with the edge column ``generator`` and node radii. Nodes of unknown radius stay as they are.

    Returns
    -------
    graph : VesselGraph
        Branches are cut where they are clear of the node. The new ones come last, with :data:`THROUGH` as generator, the
        smaller radius of both ends and the other columns of a piece at their start: evidence has to be measured again.

    Examples
    --------
    >>> lines = [[[x, y, 0] for x, y in zip(np.linspace(0, 9 * a, 10), np.linspace(0, 9 * b, 10))] for a, b in
    ...          ((1, 0), (-1, 0), (0, 1), (0, -1))]
    >>> cross = VesselGraph.from_paths(lines, [np.ones(10)] * 4)
    >>> cross = with_through_paths(cross.with_columns(edge={"generator": np.ones(4, np.int64)}))
    >>> cross.n_edges, cross.edge_data["generator"][-2:].tolist()
    (10, [16, 16])
    """
    thinned = (graph.edge_data["generator"] & THINNED) > 0
    degree = np.bincount(graph.edge_nodes[thinned].ravel(), minlength=graph.n_nodes)
    slots = np.argsort(graph.edge_nodes.ravel(), kind="stable")
    start = np.concatenate([[0], np.cumsum(graph.degree)])
    pairs: list[tuple[_Arm, _Arm]] = []
    for node in np.flatnonzero((degree >= 4) & (graph.node_radius > 0)):
        ends = [int(slot) for slot in slots[start[node] : start[node + 1]] if thinned[slot // 2]]
        arms = [arm for end in ends if (arm := _arm(graph, end, float(graph.node_radius[node]))) is not None]
        pairs += [(a, b) for k, a in enumerate(arms) for b in arms[k + 1 :] if a.axis @ b.axis < _STRAIGHT]
    if not pairs:
        return graph
    # The new nodes follow the old ones in the order of their points.
    rows, number = np.unique([[a.row, b.row] for a, b in pairs], return_inverse=True)
    pieces, _ = split_edges(graph, at=rows)
    return _added(pieces, graph.n_nodes + number.reshape(-1, 2), pairs)


def _arm(graph: VesselGraph, end: int, radius: float) -> _Arm | None:
    """Return the arm of a branch end (2 branch + side) at a node of a radius; None if it is too short to have an axis."""
    edge, at_start = end // 2, end % 2 == 0
    path = graph.path(edge) if at_start else graph.path(edge)[::-1]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    # Half of a branch at the most belongs to one of its two nodes.
    first = int(np.searchsorted(along, min(_CLEAR_FROM * radius, 0.4 * along[-1])))
    last = int(np.searchsorted(along, min(_CLEAR_TO * radius, 0.9 * along[-1])))
    if first < 1 or last <= first or along[last] - along[first] < 0.5 * radius:
        return None
    axis = path[last] - path[first]
    row = graph.path_offset[edge] + first if at_start else graph.path_offset[edge + 1] - 1 - first
    return _Arm(edge, int(row), axis / max(float(np.linalg.norm(axis)), 1e-12))


def _added(graph: VesselGraph, ends: IntArray, pairs: list[tuple[_Arm, _Arm]]) -> VesselGraph:
    """Return the graph with a smooth curve between each pair of nodes, leaving both along the axes of its arms."""
    radius = graph.node_radius[ends].min(axis=1)
    place = graph.node_position[ends]
    lines = [_curve(place[k, 0], place[k, 1], a, b) for k, (a, b) in enumerate(pairs)]
    size = np.array([len(line) for line in lines])
    piece = np.full(graph.n_nodes, -1, np.int64)
    piece[graph.edge_nodes[:, 0]] = np.arange(graph.n_edges)
    source = piece[ends[:, 0]]
    row = np.repeat(graph.path_offset[source], size)
    edge_data = {name: np.concatenate([column, column[source]]) for name, column in graph.edge_data.items()}
    edge_data["generator"][graph.n_edges :] = THROUGH
    return replace(
        graph,
        edge_nodes=np.concatenate([graph.edge_nodes, ends]),
        path_offset=np.concatenate([graph.path_offset, graph.n_points + np.cumsum(size)]),
        path_position=np.concatenate([graph.path_position, *lines]),
        path_radius=np.concatenate([graph.path_radius, np.repeat(radius, size)]),
        edge_data=edge_data,
        path_data={name: np.concatenate([column, column[row]]) for name, column in graph.path_data.items()},
    )


def _curve(start: FloatArray, end: FloatArray, first: _Arm, second: _Arm) -> FloatArray:
    """Return the points of the cubic Bezier between two clear points, both included."""
    gap = float(np.linalg.norm(end - start))
    t = np.linspace(0.0, 1.0, max(3, int(gap / _STEP_MM) + 2))[:, None]
    inner = 3 * t * (1 - t) ** 2 * (start - gap / 3 * first.axis) + 3 * t**2 * (1 - t) * (end - gap / 3 * second.axis)
    line = (1 - t) ** 3 * start + inner + t**3 * end
    line[0], line[-1] = start, end
    return line
