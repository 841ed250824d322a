"""One-to-one matching against scipy's and against what can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from vesselgraph.metrics import Score, match_nearest_first, match_one_to_one, pairs_within
from vesselgraph.metrics.matching import pairs_within_each


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 3.0))
def test_matching_is_largest_and_valid(seed, tolerance):
    rng = np.random.default_rng(seed)
    predicted, truth = rng.uniform(0, 6, (60, 3)), rng.uniform(0, 6, (70, 3))
    pairs = pairs_within(predicted, truth, tolerance)
    partner = match_one_to_one(pairs)
    ids = np.flatnonzero(partner >= 0)
    assert len(np.unique(partner[ids])) == len(ids)
    assert (np.linalg.norm(predicted[ids] - truth[partner[ids]], axis=1) <= tolerance).all()
    links = csr_matrix((np.ones(len(pairs.truth)), (pairs.predicted, pairs.truth)), shape=(60, 70))
    assert len(ids) == (maximum_bipartite_matching(links, perm_type="column") >= 0).sum()


def test_a_chain_of_swaps_is_found():
    # Point i lies 0.6 from true point i and 0.4 from i + 1; only the last true point is near nothing else.
    truth = np.arange(6.0)[:, None] * [1.0, 0, 0]
    predicted = truth + np.array([0.6, 0, 0])
    pairs = pairs_within(predicted, truth, 0.7)
    assert match_nearest_first(pairs).tolist() == [1, 2, 3, 4, 5, -1]
    assert match_one_to_one(pairs).tolist() == [0, 1, 2, 3, 4, 5]


def test_pairs_of_a_smaller_tolerance_are_the_first_of_a_larger():
    rng = np.random.default_rng(3)
    a, b = rng.uniform(0, 4, (40, 3)), rng.uniform(0, 4, (40, 3))
    cut, direct = pairs_within(a, b, 2.0).within(0.8), pairs_within(a, b, 0.8)
    assert cut.predicted.tolist() == direct.predicted.tolist()
    assert cut.truth.tolist() == direct.truth.tolist()


def test_pairs_within_each_ones_tolerance():
    rng = np.random.default_rng(5)
    a, b, tolerance = rng.uniform(0, 9, (50, 3)), rng.uniform(0, 9, (60, 3)), rng.uniform(0.1, 5, 60)
    pairs = pairs_within_each(a, b, tolerance)
    near = np.linalg.norm(a[:, None] - b[None], axis=2) <= tolerance
    assert sorted(zip(pairs.predicted.tolist(), pairs.truth.tolist(), strict=True)) == [
        tuple(p) for p in np.argwhere(near).tolist()
    ]
    assert (np.diff(pairs.distance) >= 0).all()
    assert len(pairs_within_each(a, b[:0], tolerance[:0]).predicted) == 0


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_empty_sides_have_no_pairs(n, m):
    pairs = pairs_within(np.zeros((n, 3)), np.zeros((m, 3)), 1.0)
    assert match_one_to_one(pairs).tolist() == [-1] * n


def test_score_shares():
    score = Score(n_predicted=4, n_truth=10, n_right=3, n_found=5)
    assert (score.precision, score.recall) == (0.75, 0.5)
    assert score.f1 == pytest.approx(0.6)
    assert Score(0, 0, 0, 0).f1 == 1.0
    assert (Score(0, 2, 0, 0).precision, Score(2, 0, 0, 0).recall) == (0.0, 0.0)
