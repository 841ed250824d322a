"""compare_graphs on graphs small enough to count by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.drawn import graph_of, line
from vesselgraph import Space, VesselGraph, Volume, compare_graphs
from vesselgraph.errors import RangeError
from vesselgraph.metrics import betti_of_graph, sample_graph

STRAIGHT = graph_of(line((0, 0, 0), (10, 0, 0)))
Y_SHAPE = graph_of(line((0, 0, 0), (10, 0, 0)), line((10, 0, 0), (18, 6, 0)), line((10, 0, 0), (18, -6, 0)))


def test_a_graph_against_itself_is_perfect():
    scores = compare_graphs(Y_SHAPE, Y_SHAPE)
    for group in (scores.centerline, scores.nearest):
        assert all((s.precision, s.recall, s.f1) == (1, 1, 1) for s in group.values())
    assert scores.branch.f1 == scores.bifurcation.f1 == scores.tip.f1 == scores.cldice == scores.length_ratio == 1.0
    assert (scores.radius.mae, scores.radius.bias, scores.mean_distance) == (0, 0, 0)
    assert scores.bifurcation.n_truth == 1
    assert scores.tip.n_truth == 3
    assert scores.betti_error == (0, 0)


def test_half_a_line_has_all_precision_and_half_recall():
    half = graph_of(line((0, 0, 0), (5, 0, 0)))
    score = compare_graphs(half, STRAIGHT, tolerances=(0.25,)).centerline[0.25]
    # 20 pieces of 0.5 mm against 10: the same middles, so exactly 10 pairs.
    assert (score.n_predicted, score.n_truth, score.n_right) == (10, 20, 10)
    assert (score.precision, score.recall) == (1.0, 0.5)
    assert score.f1 == pytest.approx(2 / 3)


def test_a_shifted_line_counts_only_within_the_tolerance():
    shifted = graph_of(line((0, 1.5, 0), (10, 1.5, 0)))
    scores = compare_graphs(shifted, STRAIGHT)
    assert [scores.centerline[t].f1 for t in (1.0, 2.0, 4.0)] == [0.0, 1.0, 1.0]


def test_a_vessel_drawn_twice_is_right_once():
    twice = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 0.2, 0), (10, 0.2, 0)))
    scores = compare_graphs(twice, STRAIGHT, tolerances=(0.3,))
    assert (scores.centerline[0.3].precision, scores.centerline[0.3].recall) == (0.5, 1.0)
    assert (scores.nearest[0.3].precision, scores.nearest[0.3].recall) == (1.0, 1.0)


def test_missing_length_within_the_tolerance_is_forgiven_and_no_more():
    short = graph_of(line((1, 0, 0), (10, 0, 0)))
    scores = compare_graphs(short, STRAIGHT)
    # 18 points against 20: all predicted ones are right, two true ones stay alone at any tolerance.
    assert [(s.n_right, s.n_truth) for s in scores.centerline.values()] == [(18, 20)] * 3
    assert scores.nearest[1.0].recall == 1.0


def test_branch_needs_one_branch_over_more_than_80_percent():
    whole = graph_of(line((0, 0, 0), (20, 0, 0)))
    cut = graph_of(line((0, 0, 0), (10, 0, 0)), line((10, 0, 0), (20, 0, 0)), line((10, 0, 0), (10, 15, 0)))
    scores = compare_graphs(cut, whole, branch_tolerance=1.0)
    # Neither half covers the whole line; both halves are covered by it, the side branch is not.
    assert (scores.branch.n_found, scores.branch.n_truth) == (0, 1)
    assert (scores.branch.n_right, scores.branch.n_predicted) == (2, 3)


def test_a_node_of_degree_two_does_not_cut_a_branch():
    whole = graph_of(line((0, 0, 0), (20, 0, 0)))
    passing = graph_of(line((0, 0, 0), (10, 0, 0)), line((10, 0, 0), (20, 0, 0)))
    scores = compare_graphs(passing, whole)
    assert (scores.branch.n_predicted, scores.branch.f1, scores.bifurcation.n_predicted) == (1, 1.0, 0)


def test_bifurcations_match_one_to_one_within_3_mm():
    moved = graph_of(line((0, 0, 0), (12.9, 0, 0)), line((12.9, 0, 0), (18, 6, 0)), line((12.9, 0, 0), (18, -6, 0)))
    far = graph_of(line((0, 0, 0), (13.1, 0, 0)), line((13.1, 0, 0), (18, 6, 0)), line((13.1, 0, 0), (18, -6, 0)))
    assert compare_graphs(moved, Y_SHAPE).bifurcation.f1 == 1.0
    assert compare_graphs(far, Y_SHAPE).bifurcation.f1 == 0.0


def test_radius_error_is_predicted_minus_true_by_calibre():
    truth = graph_of(line((0, 0, 0), (10, 0, 0), radius=1.0), line((0, 50, 0), (10, 50, 0), radius=3.0))
    predicted = graph_of(line((0, 0, 0), (10, 0, 0), radius=1.5), line((0, 50, 0), (10, 50, 0), radius=2.8))
    scores = compare_graphs(predicted, truth)
    assert scores.radius.mae == pytest.approx(0.35)
    assert scores.radius.bias == pytest.approx(0.15)
    assert scores.radius_by_calibre["<1.5"].bias == pytest.approx(0.5)
    assert scores.radius_by_calibre["1.5-3"].n == 0
    assert scores.radius_by_calibre[">=3"].bias == pytest.approx(-0.2)


def test_recall_by_calibre():
    truth = graph_of(line((0, 0, 0), (10, 0, 0), radius=1.0), line((0, 50, 0), (10, 50, 0), radius=4.0))
    recall = compare_graphs(graph_of(line((0, 50, 0), (10, 50, 0))), truth).recall_by_calibre[1.0]
    assert (recall["<1.5"], recall[">=3"]) == (0.0, 1.0)
    assert np.isnan(recall["1.5-3"])


def test_region_leaves_out_points_and_nodes_of_both():
    array = np.zeros((3, 5, 30), dtype=bool)
    array[:, :, :6] = True  # x below 5.5 mm
    region = Volume(array, Space.axial(origin=(0, -2, -1)))
    wrong_outside = graph_of(line((0, 0, 0), (10, 0, 0)), line((10, 0, 0), (10, 2, 0)), line((10, 0, 0), (20, 0, 0)))
    scores = compare_graphs(wrong_outside, STRAIGHT, region=region)
    assert scores.centerline[1.0].f1 == 1.0
    assert scores.centerline[1.0].n_truth == 11
    assert scores.bifurcation.n_predicted == 0
    assert scores.length_truth == pytest.approx(5.5)


def test_loops_and_pieces():
    ring = graph_of(line((0, 0, 0), (5, 5, 0), (10, 0, 0)), line((0, 0, 0), (5, -5, 0), (10, 0, 0)))
    assert betti_of_graph(ring) == (1, 1)
    assert compare_graphs(ring, graph_of(line((0, 0, 0), (9, 0, 0)), line((0, 9, 0), (9, 9, 0)))).betti_error == (1, 1)


@pytest.mark.parametrize("other", [STRAIGHT, Y_SHAPE])
def test_nothing_against_something_is_zero(other):
    empty = VesselGraph.empty()
    for scores in (compare_graphs(empty, other), compare_graphs(other, empty)):
        for part in (scores.centerline[2.0], scores.nearest[2.0], scores.branch, scores.tip):
            assert (part.precision, part.recall, part.f1) == (0, 0, 0)
        assert scores.radius.n == 0
        json.dumps(scores.to_dict(), allow_nan=False)


def test_nothing_against_nothing_is_perfect():
    scores = compare_graphs(VesselGraph.empty(), VesselGraph.empty())
    assert scores.centerline[1.0].f1 == scores.branch.f1 == scores.bifurcation.f1 == scores.length_ratio == 1.0


def test_unknown_radii_leave_only_their_own_figures_undefined():
    unknown = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0]]])
    scores = compare_graphs(unknown, STRAIGHT)
    assert scores.centerline[1.0].f1 == 1.0
    assert scores.to_dict()["radius"] == {"n": 0, "mae": None, "bias": None}
    assert scores.to_dict()["cldice"] is None


def test_tube_cldice_uses_the_radii():
    # 1.5 mm apart: outside of tubes of 1 mm, inside of tubes of 2 mm.
    shifted = graph_of(line((0, 1.5, 0), (10, 1.5, 0), radius=2.0))
    thin, wide = STRAIGHT, graph_of(line((0, 0, 0), (10, 0, 0), radius=2.0))
    assert compare_graphs(shifted, wide).cldice == 1.0
    assert compare_graphs(shifted, thin).cldice == 0.0


@pytest.mark.parametrize("wrong", [{"tolerances": (0.0,)}, {"tolerances": ()}, {"bifurcation_tolerance": np.inf}])
def test_tolerances_must_be_positive(wrong):
    with pytest.raises(RangeError, match="tolerances > 0 mm"):
        compare_graphs(STRAIGHT, STRAIGHT, **wrong)


def test_step_and_calibres_are_checked():
    with pytest.raises(RangeError, match="sampling step > 0 mm"):
        compare_graphs(STRAIGHT, STRAIGHT, step=0.0)
    with pytest.raises(RangeError, match="rising calibres"):
        compare_graphs(STRAIGHT, STRAIGHT, calibres=(3.0, 1.0))


def test_samples_stand_for_equal_lengths_and_keep_off_the_nodes():
    samples = sample_graph(Y_SHAPE, step=0.5)
    assert samples.weight.sum() == pytest.approx(Y_SHAPE.length)
    assert np.ptp(samples.weight) < 1e-9
    nearest = np.linalg.norm(samples.position[:, None] - Y_SHAPE.node_position[None], axis=2).min()
    assert nearest == pytest.approx(0.25)
    assert np.bincount(samples.branch).tolist() == [20, 20, 20]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_swapping_prediction_and_truth_swaps_precision_and_recall(seed):
    rng = np.random.default_rng(seed)
    one, other = (graph_of(*(line(*rng.uniform(0, 12, (4, 3))) for _ in range(3))) for _ in range(2))
    there, back = compare_graphs(one, other), compare_graphs(other, one)
    for tolerance in (1.0, 2.0, 4.0):
        a, b = there.centerline[tolerance], back.centerline[tolerance]
        assert (a.precision, a.recall) == (b.recall, b.precision)
    assert (there.branch.precision, there.branch.recall) == (back.branch.recall, back.branch.precision)
    assert there.cldice == pytest.approx(back.cldice)
    rising = [score.f1 for score in there.centerline.values()]
    assert rising == sorted(rising)


def test_adaptive_tolerance_is_a_share_of_the_true_radius_and_at_least_1_mm():
    # 1.5 mm off: inside of 0.5 * 4 and 0.75 * 4 mm, outside of 0.25 * 4 and of the floor at the thin line.
    shifted = graph_of(line((0, 1.5, 0), (10, 1.5, 0)), line((0, 51.5, 0), (10, 51.5, 0)))
    truth = graph_of(line((0, 0, 0), (10, 0, 0), radius=4.0), line((0, 50, 0), (10, 50, 0), radius=0.5))
    recall = {factor: score.recall for factor, score in compare_graphs(shifted, truth).adaptive.items()}
    assert recall == {0.25: 0.0, 0.5: 0.5, 0.75: 0.5}
    near = graph_of(line((0, 0.9, 0), (10, 0.9, 0)))
    unknown = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0]]])
    assert [score.f1 for score in compare_graphs(near, unknown).adaptive.values()] == [1.0, 1.0, 1.0]
    # The largest tolerance may exceed every fixed one.
    far = graph_of(line((0, 6, 0), (10, 6, 0)))
    vast = graph_of(line((0, 0, 0), (10, 0, 0), radius=10.0))
    assert [score.f1 for score in compare_graphs(far, vast).adaptive.values()] == [0.0, 0.0, 1.0]


def test_trees_by_name_and_by_number():
    truth = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 50, 0), (30, 50, 0)), tree=[1, 2])
    swapped = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 50, 0), (30, 50, 0)), tree=[2, 1])
    identity = compare_graphs(swapped, truth).identity
    assert (identity.accuracy, identity.matched_accuracy, identity.length) == (0.0, 1.0, 40.0)
    assert identity.confusion == {"1": {"2": 10.0}, "2": {"1": 30.0}}
    merged = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 50, 0), (30, 50, 0)), tree_id=[1, 1])
    assert compare_graphs(merged, truth).identity.accuracy == pytest.approx(0.25)
    assert compare_graphs(merged, truth).identity.matched_accuracy == pytest.approx(0.75)
    # Unknown is wrong; what was not found, and true branches without a tree, play no part.
    half = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 50, 0), (15, 50, 0)), tree_id=[1, 0])
    assert compare_graphs(half, truth).identity.accuracy == pytest.approx(10 / 25)
    unnamed = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 50, 0), (30, 50, 0)), tree=[1, 0])
    assert compare_graphs(merged, unnamed).identity.accuracy == 1.0
    assert compare_graphs(STRAIGHT, truth).identity is None
    named = graph_of(line((0, 0, 0), (10, 0, 0)), line((0, 50, 0), (30, 50, 0)), tree=["portal", ""])
    assert compare_graphs(named, truth).identity.confusion == {"1": {"1": 10.0}, "2": {"0": 30.0}}
    nothing = compare_graphs(graph_of(line((0, 200, 0), (10, 200, 0)), tree=[1]), truth)
    assert nothing.to_dict()["identity"] == {"accuracy": None, "matched_accuracy": None, "length": 0.0, "confusion": {}}


def test_one_comparison_holds_the_average_path_length_similarity():
    half = graph_of(line((0, 0, 0), (5, 0, 0)))
    assert compare_graphs(half, STRAIGHT).apls.to_dict() == {
        "score": 0.0,
        "precision": 1.0,
        "recall": 0.0,
        "n_predicted": 1,
        "n_truth": 1,
    }
