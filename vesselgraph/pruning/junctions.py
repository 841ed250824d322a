"""Junctions where centerlines meet: a thinned skeleton forks at the crotch, downstream of where the vessels' axes cross.

Strategy. Outside of the junction's own width every branch has a clear axis. Each junction moves to the point nearest to the
axes of its branches, carried on in straight lines, and the part of each branch inside the junction is redrawn as a smooth
curve from there to where its axis is clear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph

FloatArray = NDArray[np.float64]

# The axis of a branch is taken between these multiples of the junction's radius, along the branch.
_CLEAR_FROM, _CLEAR_TO = 1.0, 2.5
# Pull back to the skeleton's own junction, against nearly parallel axes; and the farthest move, in junction radii.
_STAY_WEIGHT = 0.05
_FARTHEST = 1.5


@dataclass(frozen=True)
class _Arm:
    """One branch end at a junction: how many points lie inside, the first clear point and the axis away from the node."""

    edge: int
    at_start: bool
    n_inside: int
    clear: FloatArray
    axis: FloatArray


def settle_junctions(graph: VesselGraph) -> VesselGraph:
    """Return the graph with every node of degree three or more moved to where the axes of its branches meet.

    Parameters
    ----------
    graph : VesselGraph
        With node radii; junctions of unknown radius, those whose branches are all too short to have an axis, and those the node
        column ``fitted`` marks as placed by the wall of a mask, stay.

    Returns
    -------
    graph : VesselGraph
        Same nodes, branches and columns; paths are redrawn inside the junctions, their path columns taken from the nearest
        old point of the branch.
    """
    position = graph.node_position.copy()
    arms_of_end: dict[tuple[int, bool], _Arm] = {}
    fitted = graph.node_data.get("fitted", np.zeros(graph.n_nodes, np.bool_))
    for node in np.flatnonzero((graph.degree >= 3) & ~fitted.astype(bool)):
        arms = _arms(graph, int(node))
        if len(arms) < 2:
            continue
        moved = _meeting_point(graph.node_position[node], arms, float(graph.node_radius[node]))
        position[node] = moved
        arms_of_end.update({(arm.edge, arm.at_start): arm for arm in arms})
    return _redrawn(graph, position, arms_of_end)


def _arms(graph: VesselGraph, node: int) -> list[_Arm]:
    radius = float(graph.node_radius[node])
    if not radius > 0:
        return []
    arms = []
    for edge in np.flatnonzero((graph.edge_nodes == node).any(axis=1)):
        start, end = graph.edge_nodes[edge]
        if start == end:
            continue
        path = graph.path(int(edge)) if start == node else graph.path(int(edge))[::-1]
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        # Half of a branch at the most belongs to one of its two junctions.
        first = int(np.searchsorted(along, min(_CLEAR_FROM * radius, 0.4 * along[-1])))
        last = int(np.searchsorted(along, min(_CLEAR_TO * radius, 0.9 * along[-1])))
        if first < 1 or last <= first or along[last] - along[first] < 0.5 * radius:
            continue
        axis = path[last] - path[first]
        norm = float(np.linalg.norm(axis))
        if norm > 0:
            arms.append(_Arm(int(edge), bool(start == node), first, path[first], axis / norm))
    return arms


def _meeting_point(position: FloatArray, arms: list[_Arm], radius: float) -> FloatArray:
    """Return the point with the least squared distance to all axes, held to the old position and near to it."""
    matrix = _STAY_WEIGHT * np.eye(3)
    right = _STAY_WEIGHT * position
    for arm in arms:
        across = np.eye(3) - np.outer(arm.axis, arm.axis)
        matrix += across
        right = right + across @ arm.clear
    move = np.linalg.solve(matrix, right) - position
    size = float(np.linalg.norm(move))
    return np.asarray(position + move * min(1.0, _FARTHEST * radius / max(size, 1e-12)))


def _redrawn(graph: VesselGraph, position: FloatArray, arms: dict[tuple[int, bool], _Arm]) -> VesselGraph:
    paths, sources = [], []
    for edge in range(graph.n_edges):
        low, high = int(graph.path_offset[edge]), int(graph.path_offset[edge + 1])
        first, last = arms.get((edge, True)), arms.get((edge, False))
        head = 0 if first is None else first.n_inside
        tail = high - low if last is None else high - low - last.n_inside
        if head >= tail:
            first = last = None
            head, tail = 0, high - low
        start, end = position[graph.edge_nodes[edge, 0]], position[graph.edge_nodes[edge, 1]]
        path = graph.path(edge)[head:tail].copy()
        source = np.arange(low + head, low + tail)
        if first is not None:
            curve = _curve(start, first)
            path, source = np.concatenate([curve, path]), np.concatenate([np.full(len(curve), low + head), source])
        if last is not None:
            curve = _curve(end, last)[::-1]
            path, source = np.concatenate([path, curve]), np.concatenate([source, np.full(len(curve), low + tail - 1)])
        path[0], path[-1] = start, end
        paths.append(path)
        sources.append(source)
    if not paths:
        return graph
    old = np.concatenate(sources)
    return replace(
        graph,
        node_position=position,
        path_offset=np.concatenate([[0], np.cumsum([len(path) for path in paths])]),
        path_position=np.concatenate(paths),
        path_radius=graph.path_radius[old],
        path_data={name: column[old] for name, column in graph.path_data.items()},
    )


def _curve(start: FloatArray, arm: _Arm) -> FloatArray:
    """Return the points of a quadratic Bezier from ``start`` to the first clear point, that one left out."""
    gap = float(np.linalg.norm(arm.clear - start))
    control = arm.clear - 0.5 * gap * arm.axis
    t = np.linspace(0.0, 1.0, max(2, arm.n_inside + 1))[:-1, None]
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * arm.clear)
