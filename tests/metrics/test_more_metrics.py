"""Street-mover distance, NetMets, DIADEM-style, orders and the Rivulet-compatible metric, counted by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.drawn import graph_of, line, moved, random_tree, rotation, taken
from tests.strategies import vessel_graphs
from vesselgraph import Space, VesselGraph, Volume
from vesselgraph.errors import RangeError
from vesselgraph.metrics import diadem_score, netmets, recall_by_order, rivulet_score, street_mover_distance

EMPTY = VesselGraph.empty()
SINGLE = VesselGraph(np.zeros((1, 3)), np.ones(1), np.zeros((0, 2), int), np.zeros(1, int), np.zeros((0, 3)), np.zeros(0))
STRAIGHT = graph_of(line((0, 0, 0), (20, 0, 0)))
# A stem of 20 mm, a fork into two arms of 20 mm, the upper of which forks again into two twigs of 10 mm.
TREE = graph_of(
    line((0, 0, 0), (20, 0, 0), radius=4.0),
    line((20, 0, 0), (20, 20, 0), radius=3.0),
    line((20, 0, 0), (20, -20, 0), radius=2.0),
    line((20, 20, 0), (30, 20, 0), radius=1.0),
    line((20, 20, 0), (10, 20, 0), radius=1.0),
)
REGION = Volume(np.ones((3, 5, 11), dtype=bool), Space.axial(origin=(0, -2, -1)))  # x up to 10.5 mm


def without(graph, *edges):
    return taken(graph, [e for e in range(graph.n_edges) if e not in edges])


# Street-mover distance


def test_street_mover_of_a_shift_is_the_shift():
    assert street_mover_distance(moved(STRAIGHT, np.eye(3), [0, 3, 4]), STRAIGHT) == pytest.approx(5.0)


def test_half_a_line_is_moved_by_a_quarter_on_average():
    # Mass at x in [0, 10] is stretched to [0, 20]: x to 2 x, 5 mm on average.
    half = graph_of(line((0, 0, 0), (10, 0, 0)))
    assert street_mover_distance(half, STRAIGHT) == pytest.approx(5.0, abs=0.3)
    assert street_mover_distance(half, STRAIGHT, region=REGION) == pytest.approx(0.25, abs=0.3)


def test_street_mover_of_a_lost_branch_is_how_far_its_share_goes():
    # A quarter of the vessel, 50 mm away, is lost: its mass is drawn from the rest, whose mass is moved up.
    truth = graph_of(line((0, 0, 0), (30, 0, 0)), line((0, 50, 0), (10, 50, 0)))
    lost = street_mover_distance(graph_of(line((0, 0, 0), (30, 0, 0))), truth)
    assert 0.25 * 50 < lost < 0.25 * 50 + 10


def test_street_mover_finds_a_shift_exactly_and_leaves_in_place_what_is_right():
    tree = random_tree(0, 101)
    for far in (1.5, 6.0):
        assert street_mover_distance(moved(tree, np.eye(3), [far, 0, 0]), tree) == pytest.approx(far)
    twig = tree.n_edges - 1
    # The share of the twig has to come from at most the size of the whole tree.
    most = tree.edge_length[twig] / tree.length * np.ptp(tree.path_position, axis=0).max()
    assert street_mover_distance(without(tree, twig), tree) < most


def test_street_mover_degenerate():
    assert street_mover_distance(EMPTY, SINGLE) == 0.0
    assert street_mover_distance(STRAIGHT, EMPTY) == street_mover_distance(EMPTY, STRAIGHT) == np.inf
    with pytest.raises(RangeError, match="n_points >= 1"):
        street_mover_distance(STRAIGHT, STRAIGHT, n_points=0)


# Rivulet-compatible


def test_rivulet_counts_predicted_points_on_both_sides():
    truth = graph_of(line((0, 0, 0), (10, 0, 0), (20, 0, 0), (30, 0, 0)))
    predicted = graph_of(line((0, 1, 0), (1, 1, 0), (2, 1, 0), (10, 3.9, 0), (10, 9, 0)))
    result = rivulet_score(predicted, truth)
    # Four of five predicted points are near; of the true ones 20 and 30 are missed.
    assert (result.n_predicted, result.n_near, result.n_missed) == (5, 4, 2)
    assert (result.precision, result.recall) == (4 / 5, 4 / 6)
    assert result.f1 == pytest.approx(2 * 0.8 * (2 / 3) / (0.8 + 2 / 3))


def test_rivulet_points_at_exactly_the_tolerance_are_neither_near_nor_missed():
    result = rivulet_score(graph_of(line((0, 4, 0), (10, 4, 0))), graph_of(line((0, 0, 0), (10, 0, 0))))
    assert (result.n_near, result.n_missed, result.precision, result.recall) == (0, 0, 0.0, 0.0)


def test_rivulet_counts_junctions_once():
    assert rivulet_score(TREE, TREE).n_predicted == 6
    # x <= 10.5 and |y| <= 2.5: of the six nodes only the root.
    assert rivulet_score(TREE, TREE, region=REGION).n_predicted == 1


def test_rivulet_degenerate():
    assert (rivulet_score(EMPTY, EMPTY).f1, rivulet_score(EMPTY, TREE).f1, rivulet_score(TREE, EMPTY).f1) == (1, 0, 0)
    with pytest.raises(RangeError, match="a tolerance > 0 mm"):
        rivulet_score(TREE, TREE, tolerance=0)


# Orders


def test_recall_by_strahler_order_and_generation():
    result = recall_by_order(without(TREE, 3), TREE, tolerance=0.3)
    assert result.length_strahler == {1: 40.0, 2: 40.0}
    assert result.strahler == {1: 0.75, 2: 1.0}
    assert result.length_generation == {1: 20.0, 2: 40.0, 3: 20.0}
    assert result.generation == {1: 1.0, 2: 1.0, 3: 0.5}


def test_orders_start_at_the_root_column_if_there_is_one():
    at_twig = np.zeros(TREE.n_nodes, dtype=bool)
    at_twig[np.flatnonzero((TREE.node_position == [30, 20, 0]).all(axis=1))] = True
    turned = TREE.with_columns(node={"root": at_twig})
    # From the twig at (30, 20): its own 10 mm, then 10 mm twig and 20 mm arm, then stem and lower arm.
    assert recall_by_order(TREE, turned).length_generation == {1: 10.0, 2: 30.0, 3: 40.0}


def test_orders_of_what_lies_inside_and_of_nothing():
    assert recall_by_order(TREE, TREE, region=REGION).length_generation == {1: 10.5}
    unknown = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0]]])
    assert recall_by_order(TREE, unknown).strahler == recall_by_order(EMPTY, EMPTY).generation == {}
    assert recall_by_order(EMPTY, TREE).strahler == {1: 0.0, 2: 0.0}
    with pytest.raises(RangeError, match="a tolerance > 0 mm"):
        recall_by_order(TREE, TREE, tolerance=np.inf)


# NetMets


def test_netmets_geometry_is_one_minus_the_gaussian():
    rates = netmets(moved(STRAIGHT, np.eye(3), [0, 2, 0]), STRAIGHT, sigma=2.0)
    assert rates.gfpr == rates.gfnr == pytest.approx(1 - np.exp(-0.5))
    assert (rates.cfpr, rates.cfnr) == (0.0, 0.0)
    far = netmets(moved(STRAIGHT, np.eye(3), [0, 200, 0]), STRAIGHT)
    assert (far.gfpr, far.gfnr, far.cfpr, far.cfnr) == pytest.approx((1, 1, 1, 1))


def test_netmets_a_gap_costs_the_run_and_both_stumps():
    gap = graph_of(line((0, 0, 0), (5, 0, 0)), line((15, 0, 0), (20, 0, 0)))
    rates = netmets(gap, STRAIGHT)
    assert (rates.cfpr, rates.cfnr) == (1.0, 1.0)
    # Of the 20 mm the points up to 5 and from 15 mm are right; the others are up to 5 mm away.
    away = np.minimum(np.arange(5.25, 15, 0.5) - 5, 15 - np.arange(5.25, 15, 0.5))
    assert rates.gfnr == pytest.approx((1 - np.exp(-(away**2) / 8)).sum() / 40)


def test_netmets_a_lost_twig_is_one_wrong_run():
    # The fork of the lost twig is no node any more, and is passed through in the truth.
    rates = netmets(without(TREE, 3), TREE)
    # Truth: twig taken away (wrong), arm and other twig become one run; stem and lower arm: 3 right of 4.
    assert (rates.cfpr, rates.cfnr) == (0.0, 0.25)


def test_netmets_a_false_join_of_two_trees():
    trees = graph_of(line((0, 0, 0), (20, 0, 0)), line((0, 9, 0), (20, 9, 0)))
    joined = graph_of(
        line((0, 0, 0), (10, 0, 0)), line((10, 0, 0), (20, 0, 0)), line((10, 0, 0), (10, 9, 0)),
        line((0, 9, 0), (10, 9, 0)), line((10, 9, 0), (20, 9, 0)),
    )  # fmt: skip
    rates = netmets(joined, trees)
    # The two forks are unpaired and have three runs each: all five runs are wrong. The truth's two runs are joined there.
    assert (rates.cfpr, rates.cfnr) == (1.0, 0.0)


def test_netmets_counts_parallel_runs():
    ring = graph_of(line((0, 0, 0), (10, 4, 0), (20, 0, 0)), line((0, 0, 0), (10, -4, 0), (20, 0, 0)),
                    line((-9, 0, 0), (0, 0, 0)), line((20, 0, 0), (29, 0, 0)))  # fmt: skip
    cut = without(ring, 1)
    rates = netmets(cut, ring)
    # The ring's nodes pass in the cut graph and are unpaired; their four runs stay as they are with three runs at each.
    assert (rates.cfpr, rates.cfnr) == (0.0, 1.0)
    assert netmets(ring, ring).cfnr == 0.0


def test_netmets_inside_a_region():
    wrong_outside = graph_of(line((0, 0, 0), (20, 0, 0)), line((20, 0, 0), (20, 9, 0)), line((20, 0, 0), (29, 0, 0)))
    rates = netmets(wrong_outside, STRAIGHT, region=REGION)
    assert (rates.gfpr, rates.gfnr, rates.cfpr, rates.cfnr) == pytest.approx((0, 0, 0, 0), abs=1e-9)


def test_netmets_degenerate():
    assert netmets(EMPTY, SINGLE).to_dict() == {"gfpr": 0.0, "gfnr": 0.0, "cfpr": 0.0, "cfnr": 0.0}
    assert netmets(EMPTY, TREE).to_dict() == {"gfpr": 0.0, "gfnr": 1.0, "cfpr": 0.0, "cfnr": 1.0}
    assert netmets(TREE, EMPTY).to_dict() == {"gfpr": 1.0, "gfnr": 0.0, "cfpr": 1.0, "cfnr": 0.0}
    with pytest.raises(RangeError, match="sigma, node_tolerance and step > 0 mm"):
        netmets(TREE, TREE, sigma=0)


# DIADEM-style


def test_diadem_weighs_nodes_by_the_tips_beyond_them():
    result = diadem_score(without(TREE, 3), TREE)
    # Weights: first fork 3, second fork 2, tips 1 each: 8. The second fork is a passing point and its twig is lost.
    assert (result.n_truth, result.n_right, result.n_excess) == (5, 3, 0)
    assert result.score == result.score_with_excess == pytest.approx((3 + 1 + 1) / 8)


def test_diadem_a_piece_cut_off_hangs_on_the_wrong_ancestor():
    # The upper arm is cut off 8 mm above the fork and is rooted at its own cut end: the twigs still hang on their fork,
    # the fork on nothing that is there.
    cut = graph_of(
        line((0, 0, 0), (20, 0, 0)), line((20, 0, 0), (20, -20, 0)),
        line((20, 8, 0), (20, 20, 0)), line((20, 20, 0), (30, 20, 0)), line((20, 20, 0), (10, 20, 0)),
    )  # fmt: skip
    result = diadem_score(cut, TREE)
    # Right: three tips. Lost: the first fork (a passing point now, weight 3) and the second (weight 2).
    assert (result.n_right, result.score) == (3, pytest.approx(3 / 8))


def test_diadem_a_detour_is_forgiven_up_to_a_share_of_the_way():
    way = graph_of(line((0, 0, 0), (20, 0, 0), radius=2.0))
    by_24 = graph_of(line((0, 0, 0), (10, np.sqrt(44.0), 0), (20, 0, 0)))  # 2 x 12 mm
    by_28 = graph_of(line((0, 0, 0), (10, np.sqrt(96.0), 0), (20, 0, 0)))  # 2 x 14 mm
    assert (diadem_score(by_24, way, path_error_fraction=0.21).score, diadem_score(by_28, way).score) == (1.0, 0.0)


def test_diadem_counts_excess_only_where_asked():
    spur = graph_of(line((0, 0, 0), (10, 0, 0)), line((10, 0, 0), (20, 0, 0)), line((10, 0, 0), (10, 9, 0)))
    result = diadem_score(spur, graph_of(line((0, 0, 0), (20, 0, 0), radius=2.0)))
    # Excess: the false fork (weight 2) and the false tip (1).
    assert (result.score, result.n_excess, result.score_with_excess) == (1.0, 2, pytest.approx(1 / 4))


def test_diadem_takes_a_predicted_node_once():
    close = graph_of(line((0, 0, 0), (10, 0, 0), radius=3.0), line((10, 0, 0), (20, 1, 0)), line((10, 0, 0), (20, -1, 0)))
    one = graph_of(line((0, 0, 0), (10, 0, 0)), line((10, 0, 0), (20, 0, 0)), line((10, 0, 0), (10, 20, 0)))
    assert diadem_score(one, close).n_right == 2


def test_diadem_degenerate():
    assert np.isnan(diadem_score(TREE, EMPTY).score)
    assert diadem_score(TREE, EMPTY).to_dict()["score"] is None
    assert diadem_score(EMPTY, TREE).score == 0.0
    assert np.isnan(diadem_score(TREE, VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]]])).score)
    with pytest.raises(RangeError, match="fraction >= 0"):
        diadem_score(TREE, TREE, path_error_fraction=-0.1)


# Properties of all


@pytest.mark.parametrize("seed", range(3))
def test_perfect_against_itself_and_the_same_under_motion_and_order(seed):
    tree = random_tree(seed)
    rates = netmets(tree, tree)
    assert (rates.gfpr, rates.gfnr, rates.cfpr, rates.cfnr) == pytest.approx((0, 0, 0, 0), abs=1e-12)
    assert (diadem_score(tree, tree).score_with_excess, rivulet_score(tree, tree).f1) == (1.0, 1.0)
    assert street_mover_distance(tree, tree) == 0.0
    assert set(recall_by_order(tree, tree).strahler.values()) == {1.0}
    part = without(tree, 11, 17, 30)
    rng = np.random.default_rng(seed)
    matrix, shift = rotation(seed), rng.normal(0, 50, 3)
    there, whole = moved(part, matrix, shift), moved(tree, matrix, shift)
    order = rng.permutation(tree.n_edges)
    for a, b in ((there, whole), (part, taken(tree, order))):
        assert list(netmets(a, b).to_dict().values()) == pytest.approx(list(netmets(part, tree).to_dict().values()), abs=1e-9)
        assert diadem_score(a, b) == diadem_score(part, tree)
        assert rivulet_score(a, b) == rivulet_score(part, tree)
        assert street_mover_distance(a, b) == pytest.approx(street_mover_distance(part, tree), abs=0.1)
        assert recall_by_order(a, b).strahler == pytest.approx(recall_by_order(part, tree).strahler)


def test_losing_branches_never_helps():
    tree = random_tree(4)
    parts = [taken(tree, range(n)) for n in range(1, tree.n_edges + 1, 8)]
    for figures in (
        [diadem_score(part, tree).score for part in parts],
        [rivulet_score(part, tree).recall for part in parts],
        [-netmets(part, tree).gfnr for part in parts],
        [-street_mover_distance(part, tree, n_points=200) for part in parts],
    ):
        assert figures == sorted(figures)


@settings(max_examples=15, deadline=None)
@given(vessel_graphs(), vessel_graphs(), st.booleans())
def test_any_two_graphs_can_be_compared(one, other, same):
    other = one if same else other
    rates, back = netmets(one, other), netmets(other, one)
    assert (rates.gfpr, rates.gfnr) == pytest.approx((back.gfnr, back.gfpr))
    assert all(0 <= rate <= 1 for rate in (rates.gfpr, rates.cfpr, rates.cfnr))
    assert street_mover_distance(one, other, n_points=20) == pytest.approx(street_mover_distance(other, one, n_points=20))
    for result in (rates, diadem_score(one, other), rivulet_score(one, other), recall_by_order(one, other)):
        json.dumps(result.to_dict(), allow_nan=False)
    assert 0 <= rivulet_score(one, other).f1 <= 1
