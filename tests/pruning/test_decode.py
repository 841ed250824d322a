"""The best sub-forest against every sub-forest of small graphs."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vesselgraph import VesselGraph
from vesselgraph.config import PruneConfig
from vesselgraph.pruning import decode
from vesselgraph.pruning.decode import best_forest, choose_roots, point_gain, resistance, side_gain


@st.composite
def weighed_graphs(draw, max_nodes=9, n_extra=0):
    """Trees (plus ``n_extra`` closing branches) with heat from cold to hot; several pieces may come."""
    n_nodes = draw(st.integers(2, max_nodes))
    places = draw(st.lists(st.tuples(*[st.integers(0, 30)] * 3), min_size=n_nodes, max_size=n_nodes, unique=True))
    nodes = np.array(places, dtype=float)
    ends = [(i, draw(st.integers(0, i - 1))) for i in range(1, n_nodes) if draw(st.integers(0, 6))]
    for _ in range(n_extra):
        a, b = draw(st.integers(0, n_nodes - 1)), draw(st.integers(0, n_nodes - 1))
        if a != b:
            ends.append((a, b))
    assume(ends)
    heat = st.sampled_from([0.0, 0.05, 0.2, 0.3, 0.6, 0.9])
    paths, heats = [], []
    for a, b in ends:
        middle = 0.5 * (nodes[a] + nodes[b])
        paths.append(np.stack([nodes[a], [*middle[:2], middle[2] + 0.25], nodes[b]]))
        heats.append([draw(heat) for _ in range(3)])
    radii = [[draw(st.floats(0.5, 6.0))] * 3 for _ in ends]
    return VesselGraph.from_paths(paths, radii), np.array(heats).ravel()


def earned(graph, heat, edge, node, config, *, is_side):
    """What a branch earns that leaves ``node``: heat above the threshold along its length, half a step a point and side.

    A side branch pays for its mean radius, and earns nothing within the wall of the vessel at ``node``.
    """
    low, high = graph.path_offset[edge], graph.path_offset[edge + 1]
    total = 0.0
    for i in range(low, high):
        before = np.linalg.norm(graph.path_position[i] - graph.path_position[i - 1]) if i > low else 0.0
        after = np.linalg.norm(graph.path_position[i + 1] - graph.path_position[i]) if i < high - 1 else 0.0
        gain = 0.5 * (before + after) * (heat[i] - config.min_heat)
        in_wall = np.linalg.norm(graph.path_position[i] - graph.node_position[node]) < decode._WALL * graph.node_radius[node]
        total += min(gain, 0.0) if is_side and in_wall else gain
    return total - (config.branch_cost * graph.radius_along(edge).mean() if is_side else 0.0)


def objective(graph, heat, chosen, forest, config):
    """What a choice of tree branches earns.

    Every branch earns its gain; where branches part, all but one (all but two where a tree starts) count as side branches;
    every separate tree costs ``tree_cost``.
    """
    if not chosen:
        return 0.0
    total, leaving = 0.0, {}
    for edge in chosen:
        a, b = graph.edge_nodes[edge].tolist()
        node = a if forest.parent_edge[b] == edge and forest.parent_node[b] == a else b
        straight = earned(graph, heat, edge, node, config, is_side=False)
        side = earned(graph, heat, edge, node, config, is_side=True)
        total += side
        leaving.setdefault(node, []).append(straight - side)
    for node, gained in leaving.items():
        n_straight = 1 if forest.parent_edge[node] in chosen else 2
        total += sum(sorted(gained, reverse=True)[:n_straight])
    nodes = {node for edge in chosen for node in graph.edge_nodes[edge].tolist()}
    n_trees = len(nodes) - len(chosen)  # no loops: every branch joins two pieces
    return total - config.tree_cost * n_trees


def best_by_trying(graph, heat, forest, config):
    edges = np.flatnonzero(forest.is_tree_edge).tolist()
    choices = (list(chosen) for n in range(len(edges) + 1) for chosen in combinations(edges, n))
    return max(objective(graph, heat, chosen, forest, config) for chosen in choices)


@settings(max_examples=150, deadline=None)
@given(weighed_graphs(), st.sampled_from([0.1, 1.0, 3.0]), st.sampled_from([0.0, 2.0, 6.0]))
def test_no_choice_of_branches_earns_more(case, branch_cost, tree_cost):
    graph, heat = case
    config = PruneConfig(min_heat=0.25, branch_cost=branch_cost, tree_cost=tree_cost)
    decoded = best_forest(graph, heat, np.zeros(graph.n_edges, bool), config)
    assert decoded.forest.is_tree_edge.all()
    kept = np.flatnonzero(decoded.keep).tolist()
    assert objective(graph, heat, kept, decoded.forest, config) == pytest.approx(
        best_by_trying(graph, heat, decoded.forest, config), abs=1e-9
    )


@settings(max_examples=40, deadline=None)
@given(weighed_graphs(max_nodes=6, n_extra=2), st.lists(st.booleans(), min_size=12, max_size=12))
def test_with_loops_and_blocked_branches(case, stops):
    graph, heat = case
    config = PruneConfig(min_heat=0.25, branch_cost=1.0, tree_cost=3.0)
    blocked = np.array(stops[: graph.n_edges])
    decoded = best_forest(graph, heat, blocked, config)
    assert not decoded.keep[blocked].any()
    assert not decoded.keep[~decoded.forest.is_tree_edge].any()
    assert not decoded.forest.is_tree_edge[blocked].any()
    kept = np.flatnonzero(decoded.keep).tolist()
    assert objective(graph, heat, kept, decoded.forest, config) == pytest.approx(
        best_by_trying(graph, heat, decoded.forest, config), abs=1e-9
    )


@settings(max_examples=30, deadline=None)
@given(weighed_graphs())
def test_dearer_trees_never_earn_more(case):
    graph, heat = case
    totals = []
    for tree_cost in (0.0, 4.0, 1e6):
        config = PruneConfig(min_heat=0.25, branch_cost=1.0, tree_cost=tree_cost)
        decoded = best_forest(graph, heat, np.zeros(graph.n_edges, bool), config)
        totals.append(objective(graph, heat, np.flatnonzero(decoded.keep).tolist(), decoded.forest, config))
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] == 0.0


def test_gain_by_hand():
    graph = VesselGraph.from_paths([[[0, 0, 0], [2, 0, 0], [6, 0, 0]], [[0, 0, 0], [0, 3, 0]]])
    heat = np.array([0.5, 1.0, 0.0, 0.25, 0.75])
    gain = point_gain(graph, heat, 0.25)
    # Points stand for 1, 1 + 2 and 2 mm, and for 1.5 mm each.
    assert gain.tolist() == [0.25, 2.25, -0.5, 0.0, 0.75]
    # Resistance: length over squared heat, point by point; cold points resist up to a bound.
    warm = np.array([0.5, 1.0, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(resistance(graph, warm), [1 / 0.25 + 3 + 2 / 0.25, 3 / 0.25])


def test_a_side_branch_earns_nothing_inside_the_wall():
    path = [[float(x), 0, 0] for x in range(7)]
    graph = VesselGraph.from_paths([path], [[2.5, 1, 1, 1, 1, 1, 1.0]])
    start = int(graph.edge_nodes[0, 0])
    gain = np.array([1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0])
    # Points at 0, 1 and 2 mm lie inside the wall: their earnings are lost, their costs are not.
    assert side_gain(graph, gain, np.array([start])).tolist() == [3.0]


def test_roots_by_hand():
    chain = VesselGraph.from_paths([[[0, 0, 0], [5, 0, 0]], [[5, 0, 0], [9, 0, 0]]], [[2.0, 3.0], [3.0, 2.5]])
    assert chain.node_position[choose_roots(chain), 0].tolist() == [9.0]
    circle = np.linspace(0, 2 * np.pi, 13)
    ring = np.stack([np.cos(circle), np.sin(circle), 0 * circle], axis=1)
    ring[-1] = ring[0]
    both = VesselGraph.from_paths([ring, [[5, 0, 0], [5, 9, 0]]], [np.ones(13), [1.0, 0.5]])
    assert sorted(map(tuple, both.node_position[choose_roots(both)].tolist())) == [(1.0, 0.0, 0.0), (5.0, 0.0, 0.0)]
