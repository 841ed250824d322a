"""Junctions where centerlines meet: a thinned skeleton forks at the crotch, downstream of where the vessels' axes cross.

Strategy. Outside of the junction's own width every branch has a clear axis. Each junction moves to the point nearest to the
axes of its branches, carried on in straight lines, and the part of each branch inside the junction is redrawn as a smooth
curve from there to where its axis is clear. Daughters bend outwards behind a fork, so axes that open widely meet a little
downstream of it: there the junction moves on towards the parent.

Four branches at one node are two forks in a row, joined by a short branch, or vessels that pass each other. Axes of the first
meet in pairs; those of the second go straight on in pairs, and they keep one node.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph

FloatArray = NDArray[np.float64]

# The axis of a branch is taken between these multiples of the junction's radius, along the branch.
_CLEAR_FROM, _CLEAR_TO = 1.0, 2.5
# Pull back to the skeleton's own junction, against nearly parallel axes; and the farthest move, in junction radii and in mm: in
# wide vessels the axes of short branches point anywhere.
_STAY_WEIGHT = 0.05
_FARTHEST, _FARTHEST_MM = 1.5, 1.0
# Where the daughters' axes open by more than this cosine says, the fork lies so many junction radii farther towards the parent.
_WIDE_COSINE, _BEND = 0.64, 0.2
# Two forks of one node lie at least so many of its radii apart; pairs whose cosine is beyond this pass each other straight on.
_LEAST_APART, _STRAIGHT = 0.25, -0.5
# How a fork's branches pull to one side counts so much, against squared distances to their axes in junction radii.
_PULL = 0.1
_PAIRINGS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))


@dataclass(frozen=True)
class _Arm:
    """One branch end at a junction: how many points lie inside, the first clear point and the axis away from the node."""

    edge: int
    at_start: bool
    n_inside: int
    clear: FloatArray
    axis: FloatArray


def settle_junctions(graph: VesselGraph) -> VesselGraph:
    """Return the graph with every node of degree three or more moved to where its branches' axes meet, in one or two forks.

    Parameters
    ----------
    graph : VesselGraph
        With node radii; junctions of unknown radius, those whose branches are all too short to have an axis, and those the node
        column ``fitted`` marks as placed by the wall of a mask, stay.

    Returns
    -------
    graph : VesselGraph
        Same nodes, branches and columns; paths are redrawn inside the junctions, their path columns taken from the nearest
        old point of the branch. A node of four branches whose axes meet in two places becomes two, joined by a branch; these
        come last, and such a branch has the columns of the widest of the four.
    """
    graph, is_parted = _parted(graph)
    position = graph.node_position.copy()
    arms_of_end: dict[tuple[int, bool], _Arm] = {}
    fitted = graph.node_data.get("fitted", np.zeros(graph.n_nodes, np.bool_))
    for node in np.flatnonzero((graph.degree >= 3) & ~fitted.astype(bool)):
        arms = _arms(graph, int(node))
        if len(arms) < 2:
            continue
        if not is_parted[node]:
            position[node] = _meeting_point(graph.node_position[node], arms, float(graph.node_radius[node]))
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
    if len(arms) == 3:
        move = move + _BEND * radius * _towards_parent(np.array([arm.axis for arm in arms]))
    size = float(np.linalg.norm(move))
    return np.asarray(position + move * min(1.0, min(_FARTHEST * radius, _FARTHEST_MM) / max(size, 1e-12)))


def _towards_parent(axes: FloatArray) -> FloatArray:
    """Return the direction from a fork of three axes (3, 3) up its parent; zeros if its daughters open narrowly."""
    cosines = axes @ axes.T - 3.0 * np.eye(3)
    first, second = np.unravel_index(int(np.argmax(cosines)), (3, 3))
    if cosines[first, second] > _WIDE_COSINE:
        return np.zeros(3)
    way = axes[3 - first - second] - 0.5 * (axes[first] + axes[second])
    return np.asarray(way / max(float(np.linalg.norm(way)), 1e-12))


def _off_axes(position: FloatArray, arms: list[_Arm]) -> float:
    """Return the sum of squared distances of a point to the axes of arms."""
    off = [position - arm.clear - (position - arm.clear) @ arm.axis * arm.axis for arm in arms]
    return float(np.sum(np.square(off)))


def _pull(arms: list[_Arm], onward: FloatArray) -> float:
    """Return the squared sum of the directions of two arms and of the way onward to the other fork; 0 if they pull evenly."""
    return float(np.sum((arms[0].axis + arms[1].axis + onward) ** 2))


def _two_forks(position: FloatArray, arms: list[_Arm], radius: float) -> tuple[FloatArray, list[_Arm], FloatArray] | None:
    """Return where two of four arms fork, these two, and where the other two do; None if all meet in one place or pass."""
    found = []
    for i, j, k, m in _PAIRINGS:
        first, second = [arms[i], arms[j]], [arms[k], arms[m]]
        if max(arms[i].axis @ arms[j].axis, arms[k].axis @ arms[m].axis) < _STRAIGHT:
            return None
        here, there = _meeting_point(position, first, radius), _meeting_point(position, second, radius)
        off = (_off_axes(here, first) + _off_axes(there, second)) / radius**2
        way = (there - here) / max(float(np.linalg.norm(there - here)), 1e-12)
        found.append((off + _PULL * (_pull(first, way) + _pull(second, -way)), here, first, there))
    _, here, first, there = min(found, key=lambda pair: pair[0])
    return (here, first, there) if np.linalg.norm(here - there) >= _LEAST_APART * radius else None


def _parted(graph: VesselGraph) -> tuple[VesselGraph, NDArray[np.bool_]]:
    """Return the graph with nodes of four branches that are two forks made two, joined by a short branch, and which."""
    fitted = graph.node_data.get("fitted", np.zeros(graph.n_nodes, np.bool_)).astype(bool)
    ends, position, path = graph.edge_nodes.copy(), list(graph.node_position), graph.path_position.copy()
    node_old, edge_old, row_old = list(range(graph.n_nodes)), list(range(graph.n_edges)), [np.arange(graph.n_points)]
    new_ends, lines = [], []
    for node in np.flatnonzero((graph.degree == 4) & ~fitted):
        arms = _arms(graph, int(node))
        forks = _two_forks(graph.node_position[node], arms, float(graph.node_radius[node])) if len(arms) == 4 else None
        if forks is None:
            continue
        here, first, there = forks
        widest = max(arms, key=lambda arm: float(np.nan_to_num(np.nanmedian(graph.radius_along(arm.edge)))))
        row = int(graph.path_offset[widest.edge] if widest.at_start else graph.path_offset[widest.edge + 1] - 1)
        position[node] = there
        for arm in first:
            ends[arm.edge, 0 if arm.at_start else 1] = len(position)
        new_ends.append((int(node), len(position)))
        position.append(here)
        lines.append(np.stack([there, 0.5 * (here + there), here]))
        node_old.append(int(node))
        edge_old.append(widest.edge)
        row_old.append(np.full(3, row))
    is_parted = np.zeros(len(position), np.bool_)
    if not lines:
        return graph, is_parted
    is_parted[np.array(new_ends)] = True
    where = np.array(position)
    path[graph.path_offset[:-1]], path[graph.path_offset[1:] - 1] = where[ends[:, 0]], where[ends[:, 1]]
    rows = np.concatenate(row_old)
    parted = replace(
        graph,
        node_position=where,
        node_radius=graph.node_radius[node_old],
        edge_nodes=np.concatenate([ends, np.array(new_ends)]),
        path_offset=np.concatenate([graph.path_offset, graph.n_points + 3 * np.arange(1, len(lines) + 1)]),
        path_position=np.concatenate([path, *lines]),
        path_radius=graph.path_radius[rows],
        node_data={name: column[node_old] for name, column in graph.node_data.items()},
        edge_data={name: column[edge_old] for name, column in graph.edge_data.items()},
        path_data={name: column[rows] for name, column in graph.path_data.items()},
    )
    return parted, is_parted


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
