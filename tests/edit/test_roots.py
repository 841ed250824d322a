"""Roots: by calibre, near the organ's border, by clicks and by labels."""

import numpy as np
import pytest

from vesselgraph import Space, VesselGraph, Volume
from vesselgraph.edit.roots import find_roots
from vesselgraph.errors import InputError


def two_trees():
    """A tree whose widest end is at x = 0, and a line whose widest end is at y = 30."""
    paths = [
        [[0, 0, 0], [10, 0, 0], [20, 0, 0]],
        [[20, 0, 0], [30, 5, 0], [40, 10, 0]],
        [[20, 0, 0], [30, -5, 0], [40, -10, 0]],
        [[0, 20, 0], [0, 25, 0], [0, 30, 0]],
    ]
    radii = [[4, 4, 3], [3, 2, 1], [3, 2, 1], [1, 2, 2.5]]
    return VesselGraph.from_paths(paths, radii)


def at(graph, *where):
    return int(np.flatnonzero((graph.node_position == where).all(axis=1))[0])


def test_the_widest_end_of_every_piece():
    graph = two_trees()
    assert find_roots(graph).tolist() == sorted([at(graph, 0, 0, 0), at(graph, 0, 30, 0)])


def test_ends_at_the_border_of_the_organ_are_preferred():
    paths = [np.linspace([20, 20, 20], [40, 20, 20], 5), np.linspace([40, 20, 20], [59, 20, 20], 5)]
    graph = VesselGraph.from_paths(paths, [np.full(5, 3.2), np.full(5, 3.0)])
    array = np.zeros((41, 41, 61), bool)
    array[1:40, 1:40, 1:60] = True
    organ = Volume(array, Space.axial())
    assert find_roots(graph).tolist() == [at(graph, 20, 20, 20)]
    assert find_roots(graph, organ=organ).tolist() == [at(graph, 59, 20, 20)]


def test_clicks_come_first_and_may_share_a_piece():
    graph = two_trees()
    found = find_roots(graph, points=[[41, 10, 1], [39, -11, 0]])
    assert found.tolist() == sorted([at(graph, 40, 10, 0), at(graph, 40, -10, 0), at(graph, 0, 30, 0)])


def test_labels_take_the_widest_node_inside_or_the_nearest():
    graph = two_trees()
    array = np.zeros((3, 41, 61), np.uint8)
    array[:, 0:6, 15:61] = 2
    array[1, 32, 0] = 7
    labels = Volume(array, Space.axial(origin=(0.0, 0.0, -1.0)))
    assert find_roots(graph, labels=labels).tolist() == sorted([at(graph, 20, 0, 0), at(graph, 0, 30, 0)])


def test_far_clicks_are_refused():
    with pytest.raises(InputError, match=r"within 20 mm of the point \[400.0, 0.0, 0.0\]"):
        find_roots(two_trees(), points=[[400, 0, 0]])
    with pytest.raises(InputError, match="the nearest is inf mm away"):
        find_roots(VesselGraph.empty(), points=[[0, 0, 0]])


def test_rings_unknown_radii_and_nothing():
    ring = VesselGraph.from_paths([[[0, 0, 0], [5, 5, 0], [10, 0, 0]], [[0, 0, 0], [5, -5, 0], [10, 0, 0]]])
    assert len(find_roots(ring)) == 1
    assert find_roots(VesselGraph.empty()).tolist() == []
    assert find_roots(VesselGraph.from_paths([[[0, 0, 0], [5, 0, 0]]])).tolist() == [0]
