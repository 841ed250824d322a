"""Roots: by calibre, near the organ's border, by clicks and by labels."""

import numpy as np
import pytest

from vesselgraph import Space, VesselGraph, Volume
from vesselgraph.edit.roots import find_roots, require_near_region, root_points, root_trees
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


def test_an_end_that_touched_another_tree_is_no_root():
    graph = two_trees()
    contact = np.zeros(graph.n_nodes, bool)
    contact[at(graph, 0, 0, 0)] = True
    found = find_roots(graph.with_columns(node={"contact": contact}))
    assert at(graph, 0, 0, 0) not in found
    assert len(found) == 2


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
    with pytest.raises(InputError, match=r"within 20 mm of the point \[440.0, 10.0, 0.0\].*nearest vessel is 400.0 mm away"):
        find_roots(two_trees(), points=[[440, 10, 0]])
    with pytest.raises(InputError, match="there is no vessel at all"):
        find_roots(VesselGraph.empty(), points=[[0, 0, 0]])


def test_rings_unknown_radii_and_nothing():
    ring = VesselGraph.from_paths([[[0, 0, 0], [5, 5, 0], [10, 0, 0]], [[0, 0, 0], [5, -5, 0], [10, 0, 0]]])
    assert len(find_roots(ring)) == 1
    assert find_roots(VesselGraph.empty()).tolist() == []
    assert find_roots(VesselGraph.from_paths([[[0, 0, 0], [5, 0, 0]]])).tolist() == [0]


def test_a_click_beside_a_long_branch_takes_its_nearer_end():
    graph = VesselGraph.from_paths([np.linspace([0, 0, 0], [100, 0, 0], 51), [[60, 12, 0], [60, 30, 0]]])
    assert find_roots(graph, points=[60, 3, 0]).tolist() == sorted([at(graph, 100, 0, 0), at(graph, 60, 12, 0)])


@pytest.mark.parametrize("points", [[[1.0, 2.0]], [[np.nan, 0.0, 0.0]], [[[0.0, 0.0, 0.0]]]])
def test_what_is_no_place_is_refused(points):
    with pytest.raises(InputError, match="world LPS millimetres"):
        find_roots(two_trees(), points=points)


def test_probabilities_are_no_labels():
    labels = Volume(np.full((3, 3, 3), 0.4, np.float32), Space.axial())
    with pytest.raises(InputError, match="whole numbers"):
        find_roots(two_trees(), labels=labels)


def test_trees_run_away_from_a_click_and_keep_their_ids():
    graph = two_trees().with_columns(edge={"tree_id": np.array([7, 7, 7, 3])})
    rooted = root_trees(graph, points=[[40, 10, 0]])
    assert rooted.edge_data["tree_id"].tolist() == [7, 7, 7, 3]
    assert np.flatnonzero(rooted.node_data["root"]).tolist() == sorted([at(graph, 40, 10, 0), at(graph, 0, 30, 0)])
    starts = rooted.node_position[rooted.edge_nodes[:, 0]].tolist()
    assert starts == [[20, 0, 0], [40, 10, 0], [20, 0, 0], [0, 30, 0]]
    assert rooted.path(1)[0].tolist() == [40, 10, 0]


def test_touching_trees_are_parted_at_equal_ways_to_their_roots():
    paths = [[[0, 0, 0], [10, 0, 0]], [[10, 0, 0], [10, 9, 0]], [[10, 0, 0], [35, 0, 0]], [[35, 0, 0], [40, 0, 0]]]
    graph = VesselGraph.from_paths(paths).with_columns(edge={"tree_id": np.ones(4, np.int64)})
    rooted = root_trees(graph, points=[[0, 0, 0], [40, 0, 0]])
    # The long branch starts at x = 35, 5 mm from the root at 40, not at x = 10: 30 mm against 19.
    assert rooted.node_data["root"].sum() == 2
    assert rooted.edge_data["tree_id"].tolist() == [2, 2, 1, 1]
    assert rooted.path(2)[0].tolist() == [35, 0, 0]


def test_a_root_far_from_the_region_is_refused_before_any_vessel_is_known():
    array = np.zeros((10, 10, 80), bool)
    array[:, :, :10] = True
    region = Volume(array, Space.axial((2.0, 1.0, 1.0)))
    # The region ends at x = 9 mm.
    require_near_region(root_points([[5, 5, 5], [29, 5, 4]]), region)
    with pytest.raises(InputError, match=r"within 20 mm of the region.*\[35.0, 5.0, 4.0\], 26.0 mm away"):
        require_near_region(root_points([[5, 5, 5], [35, 5, 4]]), region)
    with pytest.raises(InputError, match=r"41\.0 mm away"):
        require_near_region(root_points([50, 5, 4]), region, max_distance=40.0)
    with pytest.raises(InputError, match="empty region"):
        require_near_region(root_points([5, 5, 5]), Volume(array & False, region.space))
    require_near_region(root_points(None), region)
