"""Names by where trees come from: a drawn liver with a portal tree and hepatic veins that touch."""

import numpy as np
import pytest

from tests.pruning.drawn import CONFIG, drawn
from vesselgraph import Heatmap, VesselGraph, Volume, prune
from vesselgraph.edit import connected_components
from vesselgraph.pruning.naming import ARTERY, HEPATIC, PORTAL, can_name, decide_names, name_trees, named_by, organ_box
from vesselgraph.space import Space

SIZE = 160.0
BOX = np.array([[0.0, 0.0, 0.0], [SIZE, SIZE, SIZE]])


def _portal():
    gate = [75.0, 72.0, 66.0]
    right, left = [45.0, 80.0, 70.0], [105.0, 55.0, 75.0]
    branches = [([gate, right], [6.0, 5.0], 1.0), ([gate, left], [5.5, 4.5], 1.0)]
    branches += [([right, end], [3.5, 1.5], 1.0) for end in ([20.0, 70.0, 105.0], [15.0, 90.0, 60.0], [30.0, 110.0, 30.0])]
    branches += [([left, end], [3.0, 1.2], 1.0) for end in ([135.0, 40.0, 90.0], [110.0, 25.0, 50.0])]
    return branches


def _hepatic():
    ostium = [78.0, 88.0, 140.0]
    middle = [60.0, 60.0, 110.0]
    branches = [([ostium, middle], [6.0, 4.0], 1.0)]
    branches += [([middle, end], [3.0, 1.2], 1.0) for end in ([45.0, 40.0, 60.0], [80.0, 40.0, 85.0])]
    return [*branches, ([ostium, [25.0, 100.0, 110.0]], [5.0, 2.0], 1.0)]


def _touching():
    """Both trees and a twig between a portal tip and the middle of a hepatic vein's branch, which make them one piece."""
    return drawn(*_portal(), *_hepatic(), ([[20.0, 70.0, 105.0], [25.0, 100.0, 110.0]], [1.0, 1.0], 0.3))


def _true_names():
    return np.array([PORTAL] * len(_portal()) + [HEPATIC] * len(_hepatic()))


def _share_right(graph):
    """Share of the length whose name is that of the drawn branch it lies on."""
    whole = drawn(*_portal(), *_hepatic())
    truth = _true_names()[whole.edge_of_point]
    found = np.zeros(0)
    for e in range(graph.n_edges):
        middle = graph.path(e)[len(graph.path(e)) // 2]
        nearest = np.linalg.norm(whole.path_position - middle, axis=1).argmin()
        found = np.append(found, graph.edge_length[e] * (graph.edge_data["tree"][e] == truth[nearest]))
    return found.sum() / graph.length


def _silent(graph):
    return np.zeros((graph.n_points, 3))


def test_trees_that_touch_are_named_and_taken_apart():
    whole = _touching()
    assert len(np.unique(connected_components(whole))) == 1
    named = named_by(whole, _silent(whole), BOX)
    assert _share_right(named) > 0.9
    assert named.length == pytest.approx(whole.length)
    component = connected_components(named)[named.edge_nodes[:, 0]]
    pairs = set(zip(component.tolist(), named.edge_data["tree"].tolist(), strict=True))
    assert {tree for _, tree in pairs} == {PORTAL, HEPATIC}
    assert len(pairs) == len({c for c, _ in pairs}), "a piece has one name"
    assert named.node_data["contact"].sum() >= 2
    assert ((named.edge_data["tree_confidence"] > 0.5) & (named.edge_data["tree_confidence"] <= 1)).all()


def test_names_follow_the_patient_and_not_the_order_of_branches():
    branches = [*_portal(), *_hepatic()]
    forwards = drawn(*branches)
    backwards = drawn(*((corners[::-1], radius[::-1], heat) for corners, radius, heat in branches[::-1]))
    for graph in (forwards, backwards):
        assert _share_right(named_by(graph, _silent(graph), BOX)) > 0.95
    # The same tree that comes in at the cava is one of hepatic veins.
    moved = drawn(*((np.add(corners, [0.0, 16.0, 74.0]), radius, heat) for corners, radius, heat in _portal()))
    assert (named_by(moved, _silent(moved), BOX).edge_data["tree"] == HEPATIC).all()


def test_the_network_names_arteries():
    graph = drawn(*_portal(), ([[70.0, 50.0, 60.0], [60.0, 20.0, 60.0]], [1.0, 0.8], 1.0))
    odds = _silent(graph)
    odds[graph.edge_of_point == graph.n_edges - 1] = [-4.0, -4.0, 4.0]
    tree, confidence, pieces = decide_names(graph, odds, BOX)
    is_artery = pieces.node_position[pieces.edge_nodes].mean(axis=1)[:, 1] < 50.0
    is_artery &= np.abs(pieces.node_position[pieces.edge_nodes][:, :, 2] - 60.0).max(axis=1) < 1e-6
    assert (tree[is_artery] == ARTERY).all()
    assert (confidence[is_artery] == 0.9).all()
    assert not (tree[~is_artery] == ARTERY).any()


def test_the_box_follows_the_patient_on_an_oblique_grid():
    inside = np.zeros((50, 60, 70), np.bool_)
    inside[10:41, 10:51, 10:61] = True
    straight = organ_box(Volume(inside, Space.axial((2.0, 2.0, 2.0))))
    np.testing.assert_allclose(straight, [[20, 20, 20], [120, 100, 80]], atol=2.1)
    turned = Space((2.0, 2.0, 2.0), (140.0, 0.0, 0.0), [[0, 0, -1], [0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(organ_box(Volume(inside, turned)), [[20, 20, 20], [120, 100, 80]], atol=25.0)


def _seen(graph):
    """Organ and heatmap of a network that says nothing."""
    grid = Space.axial((4.0, 4.0, 4.0))
    ones = Volume(np.ones((41, 41, 41), np.float32), grid)
    organ = ones.with_array(np.ones(ones.shape, np.bool_))
    even = np.full((3, *ones.shape), 0.5, np.float16)
    return organ, Heatmap(ones, source="network", identity=even)


def test_pruning_names_with_an_organ_and_a_network_only():
    whole = _touching()
    organ, heatmap = _seen(whole)
    named = prune(whole, CONFIG, organ=organ, heatmap=heatmap)
    assert set(named.edge_data["tree"].tolist()) >= {PORTAL, HEPATIC}
    assert len(set(zip(named.edge_data["tree_id"].tolist(), named.edge_data["tree"].tolist(), strict=True))) >= 2
    assert "tree" not in prune(whole, CONFIG, organ=organ).edge_data
    assert "tree" not in prune(whole, CONFIG, heatmap=heatmap).edge_data


def test_a_slab_of_a_liver_is_not_named():
    organ, heatmap = _seen(None)
    assert can_name(organ, heatmap)
    assert not can_name(organ, Heatmap(heatmap.heat))
    slab = np.zeros(organ.shape, np.bool_)
    slab[10:20] = True
    slab[:, 0] = slab[:, -1] = slab[:, :, 0] = slab[:, :, -1] = False
    assert can_name(organ.with_array(slab), heatmap), "a small organ, all of it"
    slab[:10] = False
    slab[0:10] = True
    assert not can_name(organ.with_array(slab), heatmap)
    assert not can_name(organ.with_array(np.zeros(organ.shape, np.bool_)), heatmap)


def test_nothing_to_name():
    organ, heatmap = _seen(None)
    named = name_trees(VesselGraph.empty(), organ, heatmap)
    assert named.edge_data["tree"].shape == named.edge_data["tree_confidence"].shape == (0,)
    assert named.node_data["contact"].shape == (0,)
