"""Trees that touch come apart; one tree stays one."""

import numpy as np
import pytest
from hypothesis import given, settings

from tests.pruning.drawn import CONFIG, drawn
from tests.pruning.test_decode import weighed_graphs
from vesselgraph import VesselGraph, prune
from vesselgraph.edit import connected_components, orient
from vesselgraph.metrics import betti_of_graph
from vesselgraph.pruning.contacts import part_contacts

HOT = 1.0


def _tree(y, way):
    """A trunk along x with four side branches towards ``way``, the third of which ends at y = 0; 280 mm."""
    branches = [([[x, y, 0], [x + 20, y, 0]], [5.0 - 0.04 * x, 4.2 - 0.04 * x], HOT) for x in range(0, 80, 20)]
    for x in (20, 40, 60, 80):
        reach = y + way * (30 if x == 60 else 25)
        branches.append(([[x, y, 0], [x + 30, reach, 0]], [1.8, 0.8], HOT))
    return branches


def _touching():
    """Two mirrored trees whose third side branches meet tip to tip."""
    return drawn(*_tree(-30.0, 1), *_tree(30.0, -1))


def test_two_trees_that_touch_come_apart_at_the_contact():
    whole = _touching()
    assert betti_of_graph(whole) == (1, 0)
    parted = part_contacts(whole)
    assert betti_of_graph(parted) == (2, 0)
    assert parted.length == pytest.approx(whole.length)
    contacts = np.flatnonzero(parted.node_data["contact"])
    assert parted.node_position[contacts].tolist() == [[90.0, 0.0, 0.0]] * 2
    side = np.sign([parted.path(e)[:, 1].mean() for e in range(parted.n_edges)])
    component = connected_components(parted)[parted.edge_nodes[:, 0]]
    assert len(set(zip(side, component, strict=True))) == 2


def test_a_parted_tree_is_rooted_at_its_trunk_and_not_at_the_contact():
    graph = prune(_touching(), CONFIG)
    roots = graph.node_position[graph.node_data["root"]]
    assert sorted(roots.tolist()) == [[0.0, -30.0, 0.0], [0.0, 30.0, 0.0]]
    assert set(graph.edge_data["tree_id"].tolist()) == {1, 2}


def test_one_tree_stays_one():
    for tree in (_tree(-30.0, 1), _tree(30.0, -1)):
        parted = part_contacts(drawn(*tree))
        assert betti_of_graph(parted)[0] == 1
        assert not parted.node_data["contact"].any()


def test_the_tree_does_not_depend_on_where_its_branches_start():
    whole = _touching()
    turned = orient(whole.with_columns(node={"root": np.arange(whole.n_nodes) == 3}))
    first, second = part_contacts(whole), part_contacts(turned)
    assert betti_of_graph(first) == betti_of_graph(second)
    assert np.allclose(np.sort(first.edge_length), np.sort(second.edge_length))


def test_what_a_mask_joins_stays_joined():
    graph = _touching()
    pruned = prune(graph.with_columns(edge={"wall_step": np.zeros(graph.n_edges)}), CONFIG)
    assert betti_of_graph(pruned)[0] == 1
    assert "contact" not in pruned.node_data


@settings(max_examples=50, deadline=None)
@given(case=weighed_graphs())
def test_parting_moves_and_loses_nothing(case):
    graph = case[0] if isinstance(case, tuple) else case
    parted = part_contacts(graph)
    assert parted.length == pytest.approx(graph.length)
    assert betti_of_graph(parted)[0] >= betti_of_graph(graph)[0]
    assert betti_of_graph(parted)[1] <= betti_of_graph(graph)[1]


def test_nothing_in_gives_nothing_out():
    assert part_contacts(VesselGraph.empty()).node_data["contact"].shape == (0,)
