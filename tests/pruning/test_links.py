"""Smoothing along pieces and the best two labels, against sums done by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesselgraph import VesselGraph
from vesselgraph.pruning.links import Links, best_labels, smoothed
from vesselgraph.pruning.ways import Ways


def _chain(*corners):
    return VesselGraph.from_paths([[a, b] for a, b in itertools.pairwise(corners)])


def _links(graph):
    return Links.of(Ways.of(graph, np.ones(graph.n_edges)))


def test_links_know_forks_and_angles():
    graph = VesselGraph.from_paths([[[0, 0, 0], [5, 0, 0]], [[5, 0, 0], [9, 0, 0]], [[5, 0, 0], [5, 3, 0]]])
    links = _links(graph)
    found = {
        frozenset((a, b)): round(c, 6)
        for a, b, c in zip(links.first.tolist(), links.second.tolist(), links.cosine, strict=True)
    }
    assert found == {frozenset((0, 1)): 1.0, frozenset((0, 2)): 0.0, frozenset((1, 2)): 0.0}
    assert links.is_fork.all()
    assert not _links(_chain([0, 0, 0], [1, 0, 0], [2, 0, 0])).is_fork.any()


def test_smoothing_keeps_constants_and_means_and_evens_out():
    graph = _chain(*([float(x), 0.0, 0.0] for x in range(0, 50, 5)))
    links, length = _links(graph), graph.edge_length
    np.testing.assert_allclose(smoothed(np.full(9, 2.5), length, links, 20.0), 2.5)
    step = np.where(np.arange(9) < 4, 0.0, 1.0)
    even = smoothed(step, length, links, 10.0)
    assert np.average(even, weights=length) == pytest.approx(np.average(step, weights=length))
    assert (np.diff(even) > 0).all()
    assert 0.2 < even[3] < even[4] < 0.8
    np.testing.assert_allclose(smoothed(step, length, links, 0.0), step)


@given(st.data())
def test_the_cut_is_the_best_of_all_labels(data):
    n = data.draw(st.integers(1, 7))
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] != p[1]), max_size=9)
    )
    quarters = st.integers(-12, 12).map(lambda q: q / 4.0)
    gain = np.array(data.draw(st.lists(quarters, min_size=n, max_size=n)))
    cost = np.array(data.draw(st.lists(quarters.map(abs), min_size=len(pairs), max_size=len(pairs))))
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    links = Links(ends[:, 0], ends[:, 1], np.ones(len(pairs)), np.zeros(len(pairs), bool))

    def worth(labels):
        labels = np.asarray(labels)
        return gain[labels].sum() - cost[labels[links.first] != labels[links.second]].sum()

    best = max(worth(np.array(labels)) for labels in itertools.product([False, True], repeat=n))
    assert worth(best_labels(gain, links, cost)) == pytest.approx(best)


def test_nothing_to_label():
    links = _links(VesselGraph.empty())
    assert best_labels(np.zeros(0), links, np.zeros(0)).shape == smoothed(np.zeros(0), np.zeros(0), links, 1.0).shape == (0,)
