"""APLS on graphs whose ways can be counted by hand."""

import json
from itertools import pairwise

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.drawn import graph_of, line, moved, random_tree, rotation, taken
from tests.strategies import vessel_graphs
from vesselgraph import Space, VesselGraph, Volume
from vesselgraph.errors import RangeError
from vesselgraph.metrics import apls
from vesselgraph.metrics.routes import Places, control_places, positions, route_lengths, snap
from vesselgraph.metrics.sampling import clip_graph

LONG = graph_of(line((0, 0, 0), (20, 0, 0)))
TWO_TREES = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 2, 0), (10, 2, 0)))


def test_half_a_line_keeps_one_way_of_three():
    result = apls(graph_of(line((0, 0, 0), (10, 0, 0))), LONG)
    # Control points at 0, 10, 20 mm. 20 has no counterpart within 3 mm: two ways lost.
    assert (result.precision, result.n_predicted, result.n_truth) == (1.0, 1, 3)
    assert result.recall == pytest.approx(1 / 3)
    assert result.score == pytest.approx(0.5)


def test_a_gap_loses_the_ways_across_it():
    gap = graph_of(line((0, 0, 0), (9, 0, 0)), line((11, 0, 0), (20, 0, 0)))
    result = apls(gap, LONG)
    # 0-10 becomes 0-9 (or 11-20 mm away if 10 went to the other side), one of 0-10 and 10-20 is lost, and 0-20 is.
    assert result.recall == pytest.approx(1 - (0.1 + 1 + 1) / 3)
    assert result.precision == 1.0


def test_two_trees_joined_by_mistake_cost_precision_only():
    joined = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 2, 0), (10, 2, 0)), line((0, 0, 0), (0, 2, 0)))
    result = apls(joined, TWO_TREES, step=100.0)
    assert result.recall == 1.0
    # One chain of 22 mm with control points at its ends only; with no way between them in the truth.
    assert (result.n_predicted, result.precision, result.score) == (1, 0.0, 0.0)
    fine = apls(joined, TWO_TREES, step=5.5)
    # Control points at 0, 5.5, 11, 16.5, 22 mm of the chain; the middle one lies between the trees and goes to one of
    # them, at its start. Of 10 ways, 0-5.5 and 16.5-22 are right; to the middle two are 10 / 11 and 4.5 / 5.5 long.
    assert fine.n_predicted == 10
    assert fine.precision == pytest.approx((2 + 10 / 11 + 4.5 / 5.5) / 10)


def test_a_detour_counts_its_relative_length_and_at_most_one():
    detour = graph_of(line((0, 0, 0), (5, 2, 0), (10, 0, 0)))
    straight = graph_of(line((0, 0, 0), (10, 0, 0)))
    length = 2 * np.hypot(5, 2)
    result = apls(detour, straight, step=100.0)
    assert result.recall == pytest.approx(1 - (length - 10) / 10)
    assert result.precision == pytest.approx(1 - (length - 10) / length)
    far = graph_of(line((0, 0, 0), (5, 30, 0), (10, 0, 0)))
    assert apls(far, straight, step=100.0).recall == 0.0


def test_a_point_too_far_from_the_other_graph_loses_its_ways():
    shifted = graph_of(line((0, 2.9, 0), (20, 2.9, 0)))
    assert apls(shifted, LONG).score == 1.0
    assert apls(shifted, LONG, tolerance=2.8).score == 0.0


def test_control_points_of_a_fork_a_ring_and_a_passing_node():
    fork = graph_of(line((0, 0, 0), (10, 0, 0)), line((10, 0, 0), (10, 20, 0)), line((10, 0, 0), (10, 0, 4)))
    assert sorted(positions(fork, control_places(fork, 10.0)).tolist()) == sorted(
        [[0, 0, 0], [10, 0, 0], [10, 20, 0], [10, 0, 4], [10, 10, 0]]
    )
    ring = graph_of(line((0, 0, 0), (2, 0, 0), (2, 2, 0), (0, 2, 0), (0, 0, 0)))
    assert positions(ring, control_places(ring, 10.0)).tolist() == [[0, 0, 0], [2, 2, 0]]
    passing = graph_of(line((0, 0, 0), (3, 0, 0)), line((20, 0, 0), (3, 0, 0)))
    assert positions(passing, control_places(passing, 10.0)).tolist() == [[0, 0, 0], [20, 0, 0], [10, 0, 0]]


def test_ways_take_the_shorter_of_parallel_branches_and_of_both_ways_round():
    ring = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 0, 0), (0, 5, 0), (10, 5, 0), (10, 0, 0)))
    places = snap(ring, np.array([[1.0, 0, 0], [9, 0, 0], [0, 4, 0], [10, 4, 0], [5, 80, 0]]), 1.0)
    assert places.edge[-1] == -1
    # (0, 4) to (10, 4): 4 + 10 + 4 through the straight branch, 1 + 10 + 1 along their own.
    assert route_lengths(ring, places)[:4, :4].tolist() == [[0, 8, 5, 13], [8, 0, 13, 5], [5, 13, 0, 12], [13, 5, 12, 0]]
    assert np.isinf(route_lengths(ring, places)[4]).all()
    tailed = graph_of(
        line((0, 0, 0), (10, 0, 0)), line((0, 0, 0), (0, 5, 0), (10, 5, 0), (10, 0, 0)),
        line((-5, 0, 0), (0, 0, 0)), line((10, 0, 0), (15, 0, 0)),
    )  # fmt: skip
    ends = snap(tailed, np.array([[-5.0, 0, 0], [15, 0, 0]]), 1.0)
    assert route_lengths(tailed, ends)[0, 1] == 20


@settings(max_examples=40, deadline=None)
@given(vessel_graphs(), st.integers(0, 100))
def test_ways_agree_with_networkx(graph, seed):
    if not graph.n_edges:
        assert len(control_places(graph, 5.0)) == 0
        return
    rng = np.random.default_rng(seed)
    edge = rng.integers(0, graph.n_edges, 4)
    arc = rng.uniform(0, 1, 4) * graph.edge_length[edge]
    network = networkx.MultiGraph()
    network.add_nodes_from(range(graph.n_nodes))
    for e, (a, b) in enumerate(graph.edge_nodes.tolist()):
        here = np.flatnonzero(edge == e)
        stops = [(0.0, a), *sorted((arc[i], f"p{i}") for i in here), (graph.edge_length[e], b)]
        for (s, m), (t, n) in pairwise(stops):
            network.add_edge(m, n, weight=t - s)
    ways = route_lengths(graph, Places(edge, arc))
    for i in range(4):
        reached = networkx.single_source_dijkstra_path_length(network, f"p{i}")
        expected = [reached.get(f"p{j}", np.inf) for j in range(4)]
        np.testing.assert_allclose(ways[i], expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(vessel_graphs(), st.integers(0, 1000))
def test_the_nearest_place_is_the_nearest(graph, seed):
    points = np.random.default_rng(seed).uniform(-30, 30, (5, 3))
    places = snap(graph, points, np.inf)
    if not graph.n_edges:
        assert (places.edge == -1).all()
        return
    found = np.linalg.norm(positions(graph, places) - points, axis=1)
    share = np.linspace(0, 1, 200)[:, None]
    dense = [a + share * (b - a) for e in range(graph.n_edges) for a, b in pairwise(graph.path(e))]
    best = np.linalg.norm(points[:, None] - np.concatenate(dense)[None], axis=2).min(axis=1)
    assert (found <= best + 0.5).all()


@settings(max_examples=30, deadline=None)
@given(vessel_graphs())
def test_a_graph_against_itself(graph):
    result = apls(graph, graph, step=5.0)
    assert result.precision == result.recall
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_against_itself_is_perfect_also_moved_and_in_another_order(seed):
    tree, rng = random_tree(seed), np.random.default_rng(seed)
    other = taken(tree, [e for e in range(tree.n_edges) if e % 7])
    result = apls(other, tree)
    assert apls(tree, tree).score == pytest.approx(1.0, abs=1e-9)
    assert result.precision == pytest.approx(1.0, abs=1e-9)
    assert result.recall < 1
    matrix, shift = rotation(seed), rng.normal(0, 100, 3)
    assert apls(moved(other, matrix, shift), moved(tree, matrix, shift)).score == pytest.approx(result.score, abs=1e-6)
    order = rng.permutation(tree.n_edges)
    assert apls(other, taken(tree, order)).score == pytest.approx(result.score, abs=1e-6)
    swapped = apls(tree, other)
    assert (swapped.precision, swapped.recall) == pytest.approx((result.recall, result.precision))


def test_the_score_falls_as_branches_are_lost():
    tree = random_tree(5)
    scores = [apls(taken(tree, range(n)), tree).score for n in range(1, tree.n_edges + 1, 8)]
    assert scores == sorted(scores)


def test_a_draw_of_control_points_comes_close():
    tree = random_tree(2, 101)
    part = taken(tree, [e for e in range(tree.n_edges) if e % 9 != 4])
    every, drawn = apls(part, tree, n_points=10_000), apls(part, tree, n_points=120)
    assert drawn.n_truth == 120 * 119 // 2
    assert drawn.score == pytest.approx(every.score, abs=0.1)
    assert drawn == apls(part, tree, n_points=120)


def test_degenerate_graphs():
    empty, single = (
        VesselGraph.empty(),
        VesselGraph(np.zeros((1, 3)), np.ones(1), np.zeros((0, 2), int), np.zeros(1, int), np.zeros((0, 3)), np.zeros(0)),
    )
    for nothing in (empty, single):
        assert apls(nothing, empty).score == 1.0
        assert apls(nothing, LONG).score == apls(LONG, nothing).score == 0.0
    unsampled = apls(TWO_TREES, TWO_TREES, n_points=2, step=0.1, seed=3)
    assert unsampled.n_truth in {0, 1}
    json.dumps(unsampled.to_dict(), allow_nan=False)


def test_a_region_cuts_both_graphs():
    array = np.zeros((3, 5, 12), dtype=bool)
    array[:, :, :10] = True  # x up to 9.5 mm
    region = Volume(array, Space.axial(origin=(0, -2, -1)))
    wrong_outside = graph_of(line((0, 0, 0), (9, 0, 0)), line((9, 0, 0), (9, 0, 50)))
    # Of the 50 mm of the wrong branch 1.5 mm lie inside: a way of 10.5 mm that is 9 mm in truth.
    assert apls(wrong_outside, LONG, region=region).precision == pytest.approx(9 / 10.5)
    there_and_back = graph_of(line((2, 0, 0), (30, 0, 0), (30, 1, 0), (2, 1, 0)))
    cut = clip_graph(there_and_back, region)
    assert (cut.n_edges, cut.n_nodes) == (2, 4)
    assert cut.length == pytest.approx(2 * 7.5, abs=1.0)


def test_clipping_keeps_columns_touching_trees_and_everything_inside():
    region = Volume(np.ones((50, 50, 50), dtype=bool), Space.axial(origin=(-10, -10, -10)))
    touching = VesselGraph(
        np.array([[0.0, 0, 0], [5, 0, 0], [5, 0, 0], [5, 9, 0]]),
        np.ones(4),
        np.array([[0, 1], [2, 3]]),
        np.array([0, 2, 4]),
        np.array([[0.0, 0, 0], [5, 0, 0], [5, 0, 0], [5, 9, 0]]),
        np.ones(4),
        edge_data={"tree_id": np.array([1, 3])},
    )
    kept = clip_graph(touching, region)
    assert kept.edge_nodes.tolist() == [[0, 1], [2, 3]]
    assert kept.edge_data["tree_id"].tolist() == [1, 3]
    assert kept.edge_length.tolist() == pytest.approx([5, 9])
    nowhere = Volume(np.zeros((2, 2, 2), dtype=bool), Space.axial())
    assert clip_graph(touching, nowhere).n_nodes == 0
    assert clip_graph(VesselGraph.empty(), region).n_nodes == 0


@pytest.mark.parametrize("wrong", [{"step": 0.0}, {"tolerance": np.nan}, {"n_points": 1}])
def test_settings_are_checked(wrong):
    with pytest.raises(RangeError, match="n_points >= 2"):
        apls(LONG, LONG, **wrong)
