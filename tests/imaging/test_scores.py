import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesselgraph.errors import ShapeError
from vesselgraph.imaging.scores import auc, auc_at, calibration_error, mean_auc, rejection_curve, score_table, with_interval


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_auc_counts_the_pairs_in_the_right_order(pairs):
    score = np.array([float(value) for value, _ in pairs])
    label = np.array([float(positive) for _, positive in pairs])
    if label.min() == label.max():
        assert np.isnan(auc(score, label))
    else:
        ones, zeros = score[label == 1, None], score[None, label == 0]
        assert auc(score, label) == pytest.approx(((ones > zeros) + 0.5 * (ones == zeros)).mean())


def test_unknown_labels_are_left_out():
    score, label = np.array([0.1, 0.9, 0.5]), np.array([0.0, 1.0, np.nan])
    assert auc(score, label) == 1.0
    two = np.column_stack([label, np.full(3, np.nan)])
    assert mean_auc(np.column_stack([score, score]), two) == 1.0
    assert np.isnan(mean_auc(score[:, None], np.full((3, 1), np.nan)))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Normal scores one deviation apart: the true AUC is Phi(1 / sqrt 2) = 0.7602."""
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        label = np.repeat([0.0, 1.0], 40)
        found = with_interval(auc, rng.normal(label, 1.0), label, n_resamples=200, seed=seed)
        hits += found.low <= 0.7602 <= found.high
    assert 51 <= hits <= 60


def test_calibration_by_hand():
    p, y = np.array([0.1, 0.1, 0.9, 0.9]), np.array([0.0, 1.0, 1.0, 1.0])
    assert calibration_error(p, y) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert calibration_error(np.array([1.0]), np.array([1.0])) == 0.0
    assert np.isnan(calibration_error(p, np.full(4, np.nan)))


def test_rejection_by_hand():
    p, y = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1.0, 0.0, 1.0, 0.0])
    curve = rejection_curve(p, y, 1.0 - p)
    assert curve.coverage.tolist() == [1.0, 0.75, 0.5, 0.25]
    assert curve.risk.tolist() == pytest.approx([0.5, 1 / 3, 0.5, 0.0])
    assert curve.area == pytest.approx((0.5 + 1 / 3 + 0.5) / 4)
    assert auc_at(p, y, 1.0 - p, 1.0) == 0.75
    assert auc_at(p, y, 1.0 - p, 0.75) == 0.5
    assert np.isnan(auc_at(p, y, 1.0 - p, 0.25))
    with pytest.raises(ShapeError, match="of one length"):
        rejection_curve(p, y, p[:2])


@given(st.integers(0, 1000))
def test_knowing_the_errors_is_the_best_order(seed):
    rng = np.random.default_rng(seed)
    p, y = rng.random(30), (rng.random(30) < 0.5).astype(float)
    wrong = ((p >= 0.5) != (y > 0.5)).astype(float)
    best = rejection_curve(p, y, wrong).area
    assert best <= rejection_curve(p, y, rng.random(30)).area + 1e-12
    assert best <= rejection_curve(p, y, -np.abs(p - 0.5)).area + 1e-12


def test_table_has_a_row_for_labels_groups_and_all():
    rng = np.random.default_rng(0)
    label = (rng.random((40, 3)) < 0.5).astype(float)
    label[:, 2] = np.nan
    p = 0.3 + 0.4 * np.nan_to_num(label) + rng.normal(0, 0.1, (40, 3))
    table = score_table(p, np.full((40, 3), 0.2), label, ["a", "b", "c"], {"pair": ["a", "b"]}, n_resamples=20)
    assert list(table) == ["a", "b", "c", "pair", "all"]
    assert table["pair"]["auc"] == pytest.approx((table["a"]["auc"] + table["b"]["auc"]) / 2)
    assert table["a"]["auc_low"] <= table["a"]["auc"] <= table["a"]["auc_high"]
    assert np.isnan(table["c"]["auc"])
    assert table["c"]["n"] == 0
