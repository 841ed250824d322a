"""The best sub-forest: which branches of an over-complete graph to keep so that together they earn most.

Strategy. Every branch has a gain: its heat above a threshold, summed over its length, negative where it is cold. From each
piece's root a tree of least-resistance paths is grown. Going back from the tips, a node is worth the sum of what its branches
earn with all that hangs on them, and a branch that is worth less than nothing is left out with its whole subtree, unless that
subtree earns enough to stand alone. So a weak parent of a strong child stays, and a faint tail goes. At a junction one branch
continues the vessel for free; every other one pays a cost that grows with its own radius and earns nothing inside the wall of
the vessel it leaves, so that bumps of the wall do not count as branches.

References
----------
Peng et al., "Automatic 3D neuron tracing using all-path pruning", Bioinformatics 27 (2011), for over-reconstruction followed
by a coverage-maximising tree; the recursion is the usual maximum-weight rooted subtree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import PruneConfig
from vesselgraph.edit import subset
from vesselgraph.graph import VesselGraph
from vesselgraph.topology import Forest, component_labels, grow_forest

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_RESISTANCE_FLOOR = 0.02
# A vessel's wall is looked for up to this multiple of its radius: walls are not round.
_WALL = 1.15
# A loop shorter than this multiple of its vessels' radius leaves no hole.
_TUNNEL = 4.0 * np.pi
# Shares of what a bump of a mask's wall reaches: a last branch that reaches more is a vessel, one that reaches less is none.
_STANDS_OUT, _HIDDEN = 0.9, 0.4


@dataclass(frozen=True)
class Decoded:
    """The verdict on each branch.

    Attributes
    ----------
    keep : (E,) bool
        Whether the branch belongs to the best sub-forest.
    worth : (E,) mm
        What is lost if the branch is cut: what it earns together with all that hangs on it and could not stand alone;
        NaN for branches outside the forest.
    forest : Forest
        Least-resistance trees from the roots.
    """

    keep: NDArray[np.bool_]
    worth: FloatArray
    forest: Forest


def point_gain(graph: VesselGraph, heat: FloatArray, min_heat: float) -> FloatArray:
    """Return what each path point earns, (M,) mm of heat: heat above ``min_heat`` times the length it stands for."""
    step = np.zeros(graph.n_points)
    between = np.linalg.norm(np.diff(graph.path_position, axis=0), axis=1)
    between[graph.path_offset[1:-1] - 1] = 0.0
    step[:-1] += 0.5 * between
    step[1:] += 0.5 * between
    return (heat - min_heat) * step


def resistance(graph: VesselGraph, heat: FloatArray) -> FloatArray:
    """Return the resistance of each branch, (E,): its length divided point by point by the squared heat."""
    return _sum_per_branch(graph, point_gain(graph, 1.0 / np.maximum(heat, _RESISTANCE_FLOOR) ** 2, 0.0))


def _sum_per_branch(graph: VesselGraph, values: FloatArray) -> FloatArray:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(total[graph.path_offset[1:]] - total[graph.path_offset[:-1]])


def side_gain(graph: VesselGraph, gain: FloatArray, parent: IntArray) -> FloatArray:
    """Return what each branch earns outside the wall of the vessel at its ``parent`` node, (E,) mm of heat.

    Points nearer to the parent node than its radius (and a little more) earn nothing but can still cost.
    """
    owner = graph.edge_of_point
    node = parent[owner]
    away = np.linalg.norm(graph.path_position - graph.node_position[node], axis=1)
    inside = away < _WALL * np.nan_to_num(graph.node_radius[node], nan=0.0)
    return _sum_per_branch(graph, np.where(inside, np.minimum(gain, 0.0), gain))


def _width(graph: VesselGraph) -> FloatArray:
    """Return the mean radius of each branch, (E,) mm; 1 where it is unknown."""
    known = np.isfinite(graph.path_radius)
    count = _sum_per_branch(graph, known.astype(np.float64))
    total = _sum_per_branch(graph, np.where(known, graph.path_radius, 0.0))
    return np.where(count > 0, total / np.maximum(count, 1.0), 1.0)


def _side_cost(graph: VesselGraph, parent: IntArray, child: IntArray, config: PruneConfig) -> tuple[FloatArray, FloatArray]:
    """Return what each branch pays as a side branch, and what it pays on top if nothing hangs on it, (E,) mm of heat each.

    The cost is ``branch_cost`` times its radius. Of a mask (edge column ``wall_step``) bumps are as wide as the vessel they sit
    on, so there the radius is that of the vessel; and since the ends of a mask's branches lie a radius before the wall, a last
    branch gets that radius back, less the steps of the wall.
    """
    if "wall_step" not in graph.edge_data:
        return config.branch_cost * _width(graph), np.zeros(graph.n_edges)
    radius = np.nan_to_num(graph.node_radius, nan=0.0)
    last = (1.0 - config.min_heat) * (graph.edge_data["wall_step"] - radius[child])
    return config.branch_cost * radius[parent], np.asarray(last)


def _judged_by_wall(graph: VesselGraph, last: FloatArray, sideways: FloatArray) -> FloatArray:
    """Return what last branches pay, (E,): of a mask, those hidden in its wall all.

    Those that stand out of it pay less than they earn (``sideways``), so that they stay.
    """
    if "stands_out" not in graph.edge_data:
        return last
    out = graph.edge_data["stands_out"]
    # Infinite: no free end, so nothing is known of it.
    sure = np.isfinite(out) & (out > _STANDS_OUT)
    return np.where(sure, np.minimum(last, sideways - 1.0), np.where(out < _HIDDEN, np.inf, last))


def choose_roots(graph: VesselGraph) -> IntArray:
    """Return one root a piece, sorted: the end node with the widest branch, any node where a piece has no end.

    An end where the tree was parted from another (node column ``contact``) is no end.
    """
    contact = graph.node_data.get("contact", np.zeros(graph.n_nodes, np.bool_)).astype(bool)
    return _first_per_piece(graph, (graph.degree != 1) | contact)


def _widest_nodes(graph: VesselGraph) -> IntArray:
    """Return the widest inner node of each piece, sorted; an end where a piece has no inner node."""
    return _first_per_piece(graph, graph.degree == 1)


def _first_per_piece(graph: VesselGraph, is_second_choice: NDArray[np.bool_]) -> IntArray:
    label = component_labels(graph.edge_nodes, graph.n_nodes)
    radius = np.nan_to_num(graph.node_radius, nan=0.0)
    order = np.lexsort((np.arange(graph.n_nodes), -radius, is_second_choice, label))
    _, first = np.unique(label[order], return_index=True)
    roots = order[first]
    return np.sort(roots[graph.degree[roots] > 0])


def best_forest(graph: VesselGraph, heat: FloatArray, blocked: NDArray[np.bool_], config: PruneConfig) -> Decoded:
    """Return the sub-forest that earns most.

    Parameters
    ----------
    graph : VesselGraph
        Over-complete; long branches cut into pieces.
    heat : (M,)
        Heat along the paths.
    blocked : (E,) bool
        Branches that are not to be kept whatever they lead to.
    config : PruneConfig
        ``min_heat``, ``branch_cost`` and ``tree_cost`` are used.
    """
    open_edges = np.flatnonzero(~blocked)
    forest = _without_blocked(graph, resistance(graph, heat), open_edges)
    # What a mask shows to hang together is one tree.
    tree_cost = np.inf if "wall_step" in graph.edge_data else config.tree_cost
    parent = graph.edge_nodes[:, 0].copy()
    child = graph.edge_nodes[:, 1].copy()
    turned = forest.parent_edge[graph.edge_nodes[:, 0]] == np.arange(graph.n_edges)
    parent[turned], child[turned] = child[turned], parent[turned]
    points = point_gain(graph, heat, config.min_heat)
    cost, last_cost = _side_cost(graph, parent, child, config)
    through, sideways = _sum_per_branch(graph, points), side_gain(graph, points, parent) - cost
    last_cost = _judged_by_wall(graph, last_cost, sideways)
    worth = np.full(graph.n_edges, np.nan)
    # The verdicts and what they are worth, if the way back from a node is kept and if a tree starts there.
    keep, keep_alone = np.zeros(graph.n_edges, np.bool_), np.zeros(graph.n_edges, np.bool_)
    value, value_alone = np.zeros(graph.n_nodes), np.zeros(graph.n_nodes)
    children = _children(forest, graph.n_nodes)
    for node in forest.order[::-1]:
        edges = children[node]
        if not edges:
            continue
        # What hangs on a branch can stand alone as a tree of its own if it earns more than such a tree costs.
        ahead = value[child[edges]] - np.maximum(value_alone[child[edges]] - tree_cost, 0.0)
        is_last = np.array([not keep[children[c]].any() for c in child[edges]])
        straight = through[edges] + ahead
        side = sideways[edges] + ahead - np.where(is_last, last_cost[edges], 0.0)
        # The branch that loses most by turning aside goes straight on; from where a tree starts a vessel runs both ways.
        by_loss = np.argsort(np.maximum(side, 0.0) - straight, kind="stable")
        final, final_alone = side.copy(), side.copy()
        final[by_loss[:1]], final_alone[by_loss[:2]] = straight[by_loss[:1]], straight[by_loss[:2]]
        worth[edges] = final if forest.parent_edge[node] >= 0 else final_alone
        keep[edges], keep_alone[edges] = final > 0.0, final_alone > 0.0
        value[node], value_alone[node] = np.maximum(final, 0.0).sum(), np.maximum(final_alone, 0.0).sum()
    return Decoded(_alive(forest, keep, keep_alone, value_alone, config.tree_cost, apart=np.isfinite(tree_cost)), worth, forest)


def is_tunnel(graph: VesselGraph, forest: Forest, edges: IntArray) -> NDArray[np.bool_]:
    """Return which branches close a loop that leaves no hole between its vessels, (E,) bool; False for all but ``edges``.

    A ring of radius R around a vessel of radius r has a hole only if R > r. So a loop shorter than ``4 pi r`` (twice the
    shortest possible) has a hole narrower than its vessels: walls that touch again behind their fork. And a loop around less
    than the cross-section ``pi r^2`` has none: two courses through one vessel.
    """
    result = np.zeros(graph.n_edges, np.bool_)
    width = _width(graph)
    for edge in edges:
        ring, closed = _ring(forest, int(edge), *graph.edge_nodes[edge])
        around = [step for step, _ in ring]
        length = graph.edge_length[around]
        radius = float(np.average(width[around], weights=length))
        result[edge] = length.sum() < _TUNNEL * radius or (closed and _area(graph, ring) < np.pi * radius**2)
    return result


def _ring(forest: Forest, edge: int, first: int, second: int) -> tuple[list[tuple[int, int]], bool]:
    """Return the loop an edge from ``first`` to ``second`` closes, as edges with the node each is walked from, and True.

    If the two nodes are in different trees, the edges up to both roots and False.
    """
    up: list[list[tuple[int, int]]] = []
    roots = []
    for start in (first, second):
        way, node = [], int(start)
        while forest.parent_edge[node] >= 0:
            way.append((int(forest.parent_edge[node]), node))
            node = int(forest.parent_node[node])
        up.append(way)
        roots.append(node)
    shared = set(up[0]) & set(up[1])
    down = [(step, int(forest.parent_node[node])) for step, node in up[0] if (step, node) not in shared]
    return [(edge, int(first)), *(step for step in up[1] if step not in shared), *down], roots[0] == roots[1]


def _area(graph: VesselGraph, ring: list[tuple[int, int]]) -> float:
    """Return the area within a closed loop of branches, in mm^2: half of the integral of position x step (Stokes)."""
    twice = np.zeros(3)
    origin = graph.node_position[ring[0][1]]
    for edge, start in ring:
        path = graph.path(edge) - origin
        around = np.cross(path[:-1], path[1:]).sum(axis=0)
        twice += around if graph.edge_nodes[edge, 0] == start else -around
    return 0.5 * float(np.linalg.norm(twice))


def _without_blocked(graph: VesselGraph, cost: FloatArray, open_edges: IntArray) -> Forest:
    """Return the least-resistance forest over the open branches, with edge ids of the whole graph."""
    edge_nodes = graph.edge_nodes[open_edges]
    roots = _widest_nodes(subset(graph, edges=open_edges)[0])
    part = grow_forest(edge_nodes, cost[open_edges], graph.n_nodes, roots)
    is_tree_edge = np.zeros(graph.n_edges, np.bool_)
    is_tree_edge[open_edges] = part.is_tree_edge
    parent = np.where(part.parent_edge >= 0, open_edges[part.parent_edge], -1) if len(open_edges) else part.parent_edge
    return Forest(part.order, parent, part.parent_node, part.distance, is_tree_edge)


def _children(forest: Forest, n_nodes: int) -> list[list[int]]:
    children: list[list[int]] = [[] for _ in range(n_nodes)]
    for node in forest.order:
        if forest.parent_edge[node] >= 0:
            children[forest.parent_node[node]].append(int(forest.parent_edge[node]))
    return children


def _alive(
    forest: Forest,
    keep: NDArray[np.bool_],
    keep_alone: NDArray[np.bool_],
    value_alone: FloatArray,
    tree_cost: float,
    *,
    apart: bool,
) -> NDArray[np.bool_]:
    """Return the branches that stay: those wanted from where a tree that earns ``tree_cost`` starts.

    A tree starts at a root or, if trees may be taken ``apart``, wherever the way back is cut.
    """
    alive = np.zeros(len(value_alone), np.bool_)
    starts = np.zeros(len(value_alone), np.bool_)
    kept = np.zeros(len(keep), np.bool_)
    for node in forest.order:
        edge, before = forest.parent_edge[node], forest.parent_node[node]
        if edge >= 0 and alive[before] and (keep_alone if starts[before] else keep)[edge]:
            kept[edge] = alive[node] = True
        elif edge < 0 or apart:
            alive[node] = starts[node] = value_alone[node] >= tree_cost
    return kept
