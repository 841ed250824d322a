"""Basins: ways at the least cost from many sources, without a heap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from vesselgraph.tracing.basins import find_basins
from vesselgraph.tracing.foreground import find_foreground
from vesselgraph.tracing.topology import OFFSETS


def steps_of(found, slowness):
    """Costs of all steps as a sparse matrix."""
    first, slot = np.nonzero(found.neighbours >= 0)
    second = found.neighbours[first, slot]
    cost = np.sqrt((OFFSETS**2).sum(axis=1))[slot] * 0.5 * (slowness[first] + slowness[second])
    return sparse.csr_matrix((cost, (first, second)), shape=(len(found),) * 2)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.9), st.integers(1, 6))
def test_times_are_those_of_dijkstra_and_the_ways_back_cost_them(seed, density, n_sources):
    rng = np.random.default_rng(seed)
    found = find_foreground((rng.random((6, 9, 12)) < density).astype(np.float32), 0.5)
    slowness = (1.0 / (rng.random(len(found)) + 0.05) ** 3).astype(np.float32)
    sources = rng.permutation(len(found))[:n_sources]
    time, source, previous = find_basins(found, slowness, sources)
    steps = steps_of(found, slowness.astype(np.float64))
    expected = dijkstra(steps, indices=sources)
    assert np.allclose(time, expected.min(axis=0), rtol=1e-5)
    assert ((source >= 0) == np.isfinite(time)).all()
    assert source[sources].tolist() == list(range(len(sources)))
    assert (previous[sources] == -1).all()
    for v in np.flatnonzero(previous >= 0):
        assert time[v] == pytest.approx(time[previous[v]] + steps[v, previous[v]], rel=1e-5)
        assert source[v] == source[previous[v]]
        assert expected[source[v], v] == pytest.approx(time[v], rel=1e-5)


def test_a_way_that_turns_back_again_and_again_is_followed_to_its_end():
    drawn = np.zeros((1, 21, 31), np.float32)
    drawn[0, ::2] = 1.0
    drawn[0, 1::4, -1] = drawn[0, 3::4, 0] = 1.0
    found = find_foreground(drawn, 0.5)
    slowness = np.ones(len(found), np.float32)
    time, _, previous = find_basins(found, slowness, np.array([0]))
    assert np.allclose(time, dijkstra(steps_of(found, slowness), indices=0), rtol=1e-5)
    assert time.max() > 300
    assert (previous >= 0).sum() == len(found) - 1


def test_pieces_without_a_source_are_not_reached():
    found = find_foreground(np.array([[[1.0, 1.0, 0.0, 1.0]]], np.float32), 0.5)
    time, source, previous = find_basins(found, np.ones(3, np.float32), np.array([1]))
    assert time.tolist() == [1.0, 0.0, np.inf]
    assert (source.tolist(), previous.tolist()) == ([0, 0, -1], [1, -1, -1])
    nowhere = find_basins(found, np.ones(3, np.float32), np.zeros(0, np.int64))
    assert (nowhere[1] == -1).all()
