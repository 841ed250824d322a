"""Trees that a user names by their roots."""

import numpy as np
import pytest

from vesselgraph import VesselGraph
from vesselgraph.errors import InputError
from vesselgraph.pruning import Planted, plant
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def two_trees_that_touch():
    """Two trunks of 10 mm whose branches meet at (20, 0, 0), and a lone vessel above."""
    lines = [
        [[0, 0, 0], [10, 0, 0]],
        [[10, 0, 0], [20, 0, 0]],
        [[10, 0, 0], [10, 8, 0]],
        [[40, 0, 0], [30, 0, 0]],
        [[30, 0, 0], [20, 0, 0]],
        [[30, 0, 0], [30, 8, 0]],
        [[0, 0, 50], [20, 0, 50]],
    ]
    return VesselGraph.from_paths(lines, [np.full(2, 2.0)] * len(lines))


def named_at(graph, *points):
    """The tree of the branch whose middle lies nearest to each point."""
    middle = np.array([graph.path(edge).mean(axis=0) for edge in range(graph.n_edges)])
    return [int(graph.edge_data["tree"][np.linalg.norm(middle - point, axis=1).argmin()]) for point in points]


def test_what_grows_from_a_named_root_takes_its_name():
    graph = plant(two_trees_that_touch(), Planted.of({"portal": [0, 0, 0], "hepatic": [40, 0, 0]}, None, None))
    assert named_at(graph, [5, 0, 0], [15, 0, 0], [10, 4, 0]) == [1, 1, 1]
    assert named_at(graph, [35, 0, 0], [25, 0, 0], [30, 4, 0], [10, 0, 50]) == [2, 2, 2, 0]
    assert graph.edge_data["tree_confidence"].tolist() == (graph.edge_data["tree"] > 0).astype(float).tolist()
    # Where they met there is a node of each.
    met = (graph.node_position == [20, 0, 0]).all(axis=1)
    assert met.sum() == 2
    assert graph.node_data["contact"].tolist() == met.tolist()
    roots = graph.node_position[graph.node_data["root"]]
    assert sorted(roots[:, 0].tolist())[-1] == 40.0
    assert len(roots) == 3


def test_a_root_at_which_another_tree_ends_stays_one_root():
    line = VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]], [[9, 0, 0], [30, 0, 0]]], [np.ones(2)] * 2)
    graph = plant(line, Planted.of({"artery": [8.9, 0, 0], "portal": [0, 0, 0]}, None, None))
    assert graph.node_position[graph.node_data["root"]].tolist() == [[0, 0, 0], [9, 0, 0]]


def test_roots_without_a_name_change_no_name():
    before = two_trees_that_touch().with_columns(edge={"tree": np.full(7, 2), "tree_confidence": np.full(7, 0.7)})
    graph = plant(before, Planted.of([[0, 0, 0]], None, None))
    assert graph.edge_data["tree"].tolist() == [2] * 7
    graph = plant(before, Planted.of({"portal": [0, 0, 50], "": [0, 0, 0]}, None, None))
    assert named_at(graph, [10, 0, 50], [5, 0, 0], [35, 0, 0]) == [1, 2, 2]
    assert sorted(set(graph.edge_data["tree_confidence"].tolist())) == [0.7, 1.0]


def labelled(**values):
    array = np.zeros((60, 12, 45), np.uint8)
    for place, value in values.items():
        z, x = map(int, place[1:].split("_"))
        array[z, 0, x] = value
    return Volume(array, Space.axial())


def test_labels_are_named_by_their_values():
    labels = labelled(r0_0=5, r0_40=7, r50_0=9)
    for no_points in (None, {}):
        graph = plant(two_trees_that_touch(), Planted.of(no_points, labels, {7: "portal", 5: "hepatic"}))
        assert named_at(graph, [5, 0, 0], [35, 0, 0], [10, 0, 50]) == [2, 1, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({"porta": [0, 0, 0]}, None, None), "a tree called portal, hepatic, artery; got 'porta'"),
        ((None, labelled(r0_0=1), {2: "portal"}), "root labels of the value 2; got 1; name values"),
        ((None, None, {2: "portal"}), "root labels of the value 2; got no labels"),
        ((None, labelled(r0_0=1), {1: "vein"}), "a tree called portal, hepatic, artery; got 'vein'"),
    ],
)
def test_names_that_mean_nothing_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Planted.of(*given)


def test_two_names_at_one_end_are_refused():
    planted = Planted.of({"portal": [0, 0, 0], "hepatic": [1, 0, 0]}, None, None)
    with pytest.raises(InputError, match=r"portal and hepatic both at .0.0, 0.0, 0.0.; give places nearer to the two vessels"):
        plant(two_trees_that_touch(), planted)
