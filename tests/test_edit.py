"""Edits of graphs: hand-made cases, and what must hold for any graph."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.strategies import assert_same_graph, vessel_graphs
from vesselgraph.edit import connected_components, merge_degree_two, orient, relabel, resample, reverse, split_edges, subset
from vesselgraph.errors import RangeError
from vesselgraph.graph import VesselGraph

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def tree() -> VesselGraph:
    """A trunk 0-1 of length 10, daughters 1-2 of 5 and 1-3 of 3; the last runs towards the fork."""
    return VesselGraph(
        [[0, 0, 0], [10, 0, 0], [10, 5, 0], [10, 0, 3]],
        [2, 2, 1, np.nan],
        [[0, 1], [1, 2], [3, 1]],
        [0, 3, 5, 7],
        [[0, 0, 0], [4, 0, 0], [10, 0, 0], [10, 0, 0], [10, 5, 0], [10, 0, 3], [10, 0, 0]],
        [2, 2, 2, 1.5, 1, np.nan, 1],
        node_data={"root": np.array([True, False, False, False])},
        edge_data={"tree_id": np.array([1, 1, 2]), "reason": np.array(["a", "b", "c"])},
        path_data={"heat": np.arange(7.0), "mark": np.arange(7)},
    )


def test_subset_by_branches_compacts_and_maps(tree: VesselGraph) -> None:
    part, kept = subset(tree, edges=[2, 0], drop_isolated=True)
    assert kept.edge_old.tolist() == [0, 2]
    assert kept.node_old.tolist() == [0, 1, 3]
    assert kept.node_new.tolist() == [0, 1, -1, 2]
    assert kept.edge_new.tolist() == [0, -1, 1]
    assert part.edge_nodes.tolist() == [[0, 1], [2, 1]]
    assert part.path(1).tolist() == [[10, 0, 3], [10, 0, 0]]
    assert part.edge_data["reason"].tolist() == ["a", "c"]
    assert part.path_data["mark"].tolist() == [0, 1, 2, 5, 6]
    assert part.node_data["root"].tolist() == [True, False, False]


def test_subset_by_nodes_drops_their_branches(tree: VesselGraph) -> None:
    part, kept = subset(tree, nodes=np.array([True, True, False, True]))
    assert (part.n_nodes, kept.edge_old.tolist()) == (3, [0, 2])
    alone, _ = subset(tree, nodes=[0, 2])
    assert (alone.n_nodes, alone.n_edges) == (2, 0)
    assert subset(tree, edges=[], drop_isolated=True)[0].n_nodes == 0


def test_subset_refuses_what_is_not_there(tree: VesselGraph) -> None:
    with pytest.raises(RangeError, match=r"branch ids in \[0, 3\); got 3..3"):
        subset(tree, edges=[3])
    with pytest.raises(RangeError, match="a mask of 4 node values"):
        subset(tree, nodes=np.ones(3, bool))


@given(graph=vessel_graphs(), data=st.data())
@few
def test_subset_keeps_every_value_of_what_it_keeps(graph: VesselGraph, data: st.DataObject) -> None:
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=graph.n_edges, max_size=graph.n_edges)), dtype=bool)
    part, kept = subset(graph, edges=chosen, drop_isolated=data.draw(st.booleans()))
    assert kept.edge_old.tolist() == np.flatnonzero(chosen).tolist()
    np.testing.assert_array_equal(part.node_position, graph.node_position[kept.node_old])
    for new, old in enumerate(kept.edge_old):
        np.testing.assert_array_equal(part.path(new), graph.path(old))
        np.testing.assert_array_equal(kept.node_old[part.edge_nodes[new]], graph.edge_nodes[old])
    for name, column in graph.edge_data.items():
        np.testing.assert_array_equal(part.edge_data[name], column[chosen])
    everything, _ = subset(graph)
    assert_same_graph(everything, graph)


@given(graph=vessel_graphs(), data=st.data())
@few
def test_relabel_and_back_is_the_same_graph(graph: VesselGraph, data: st.DataObject) -> None:
    nodes = np.array(data.draw(st.permutations(range(graph.n_nodes))), dtype=np.int64)
    edges = np.array(data.draw(st.permutations(range(graph.n_edges))), dtype=np.int64)
    other, kept = relabel(graph, nodes=nodes, edges=edges)
    np.testing.assert_array_equal(other.node_position, graph.node_position[nodes])
    assert_same_graph(relabel(other, nodes=kept.node_new, edges=kept.edge_new)[0], graph)


def test_relabel_refuses_half_an_order(tree: VesselGraph) -> None:
    with pytest.raises(RangeError, match="each of the 3 branch ids once"):
        relabel(tree, edges=[0, 1, 1])


@given(graph=vessel_graphs(), data=st.data())
@few
def test_reversing_twice_changes_nothing(graph: VesselGraph, data: st.DataObject) -> None:
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=graph.n_edges, max_size=graph.n_edges)), dtype=bool)
    turned = reverse(graph, chosen)
    for e in range(graph.n_edges):
        np.testing.assert_array_equal(turned.path(e), graph.path(e)[:: -1 if chosen[e] else 1])
    assert_same_graph(reverse(turned, chosen), graph)


def test_orient_runs_away_from_the_root(tree: VesselGraph) -> None:
    oriented = orient(tree)
    assert oriented.edge_nodes.tolist() == [[0, 1], [1, 2], [1, 3]]
    assert oriented.path_data["mark"].tolist() == [0, 1, 2, 3, 4, 6, 5]
    assert orient(tree, roots=[2]).edge_nodes.tolist() == [[1, 0], [2, 1], [1, 3]]
    unrooted, _ = subset(tree)
    assert orient(unrooted, roots=[]).edge_nodes.tolist() == tree.edge_nodes.tolist()


def test_orient_turns_a_closing_branch_outwards() -> None:
    nodes = {"a": [0, 0, 0], "b": [1, 0, 0], "c": [0, 3, 0]}
    graph = VesselGraph.from_paths([[nodes["b"], nodes["a"]], [nodes["a"], nodes["c"]], [nodes["c"], nodes["b"]]])
    a, b, c = (graph.node_position.tolist().index(nodes[name]) for name in "abc")
    assert orient(graph, roots=[a]).edge_nodes.tolist() == [[a, b], [a, c], [b, c]]


@given(graph=vessel_graphs(with_columns=False))
@few
def test_components_are_those_of_networkx(graph: VesselGraph) -> None:
    label = connected_components(graph)
    groups = {frozenset(np.flatnonzero(label == i).tolist()) for i in np.unique(label)}
    assert groups == {frozenset(group) for group in nx.connected_components(graph.to_networkx().to_undirected())}
    length = [graph.edge_length[label[graph.edge_nodes[:, 0]] == i].sum() for i in np.unique(label)]
    assert (np.diff(length) <= 1e-9).all()


def test_resample_interpolates_by_hand(tree: VesselGraph) -> None:
    graph = resample(tree, 2.5)
    assert np.diff(graph.path_offset).tolist() == [5, 3, 3]
    assert graph.path(0)[:, 0].tolist() == [0, 2.5, 5, 7.5, 10]
    # heat 0 at 0 mm, 1 at 4 mm, 2 at 10 mm.
    np.testing.assert_allclose(graph.path_data["heat"][:5], [0, 2.5 / 4, 1 + 1 / 6, 1 + 3.5 / 6, 2])
    assert graph.path_data["mark"][:5].tolist() == [0, 1, 1, 2, 2]
    assert graph.radius_along(1).tolist() == [1.5, 1.25, 1.0]
    assert graph.radius_along(2).tolist()[1:] == [1.0, 1.0]


def test_resample_adds_no_step_to_a_whole_number_of_them() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [0.1 * 3, 0, 0]]])
    assert resample(graph, 0.1).n_points == 4


@given(graph=vessel_graphs(), step=st.floats(0.5, 500))
@few
def test_resample_keeps_nodes_and_has_equal_steps(graph: VesselGraph, step: float) -> None:
    assume(graph.length / step < 2000)
    other = resample(graph, step)
    np.testing.assert_array_equal(other.node_position, graph.node_position)
    np.testing.assert_array_equal(other.edge_nodes, graph.edge_nodes)
    assert (other.edge_length <= graph.edge_length * (1 + 1e-9) + 1e-9).all()
    for e in range(graph.n_edges):
        n = len(other.path(e)) - 1
        assert graph.edge_length[e] / n <= step * (1 + 1e-9)
        # Chords of equal arcs are never longer than the arc.
        assert np.linalg.norm(np.diff(other.path(e), axis=0), axis=1).max() <= graph.edge_length[e] / n * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf])
def test_resample_refuses_steps_that_are_none(tree: VesselGraph, step: float) -> None:
    with pytest.raises(RangeError, match="a step > 0 mm"):
        resample(tree, step)


def test_split_at_a_point_makes_a_node_there(tree: VesselGraph) -> None:
    graph, old = split_edges(tree, at=[1])
    assert old.tolist() == [0, 0, 1, 2]
    assert graph.edge_nodes.tolist() == [[0, 4], [4, 1], [1, 2], [3, 1]]
    assert graph.node_position[4].tolist() == [4, 0, 0]
    assert graph.node_radius[4] == 2.0
    assert graph.node_data["root"].tolist() == [True, False, False, False, False]
    assert graph.edge_data["reason"].tolist() == ["a", "a", "b", "c"]
    assert graph.edge_length.tolist() == [4, 6, 5, 3]


def test_split_by_length_makes_equal_pieces(tree: VesselGraph) -> None:
    graph, old = split_edges(tree, max_length=5.0)
    assert old.tolist() == [0, 0, 1, 2]
    assert graph.edge_length.tolist() == [5, 5, 5, 3]
    assert graph.path(0).tolist() == [[0, 0, 0], [4, 0, 0], [5, 0, 0]]
    # The middle of branch 0 is the point at 4 mm if that is where the cut falls: no second point beside it.
    at_point, _ = split_edges(VesselGraph.from_paths([[[0, 0, 0], [4, 0, 0], [8, 0, 0]]]), max_length=4.0)
    assert at_point.n_points == 4


def test_split_refuses_ends_and_pieces_without_length(tree: VesselGraph) -> None:
    with pytest.raises(RangeError, match="inner points of branches"):
        split_edges(tree, at=[0])
    with pytest.raises(RangeError, match=r"path point ids in \[0, 7\)"):
        split_edges(tree, at=[7])
    doubled = VesselGraph.from_paths([[[0, 0, 0], [0, 0, 0], [1, 0, 0]]])
    with pytest.raises(RangeError, match=r"pieces longer than 0 mm; got none on branches \[0\]"):
        split_edges(doubled, at=[1])
    with pytest.raises(RangeError, match="max_length > 0"):
        split_edges(tree, max_length=0.0)


@given(graph=vessel_graphs(), share=st.floats(0.05, 2.0))
@few
def test_split_pieces_are_short_and_add_up(graph: VesselGraph, share: float) -> None:
    assume(graph.n_edges > 0)
    bound = float(graph.edge_length.max()) * share
    assume(graph.edge_length.min() > 1e-6)
    pieces, old = split_edges(graph, max_length=bound)
    assert (pieces.edge_length <= bound * (1 + 1e-9)).all()
    np.testing.assert_allclose(np.bincount(old, weights=pieces.edge_length, minlength=graph.n_edges), graph.edge_length)
    np.testing.assert_array_equal(pieces.node_position[: graph.n_nodes], graph.node_position)
    assert pieces.n_edges - pieces.n_nodes == graph.n_edges - graph.n_nodes
    for name, column in graph.edge_data.items():
        np.testing.assert_array_equal(pieces.edge_data[name], column[old])


def test_merge_combines_columns_by_their_rules() -> None:
    graph = VesselGraph.from_paths(
        [[[0, 0, 0], [1, 0, 0]], [[4, 0, 0], [1, 0, 0]]],
        radii=[[1.0, 2.0], [1.0, 1.5]],
        edge_data={
            "mean_heat": np.array([1.0, 0.5]),
            "part": np.array([np.nan, 0.5], np.float32),
            "min_heat": np.array([0.3, 0.2]),
            "min_known": np.array([0.3, np.nan]),
            "max_heat": np.array([3, 7]),
            "gap_length": np.array([0.5, 0.25]),
            "n_voxels": np.array([3, 4], np.uint8),
            "generator": np.array([1, 2]),
            "keep": np.array([False, True]),
            "tree_id": np.array([5, 6]),
            "reason": np.array(["short", "long"]),
        },
    )
    merged, kept = merge_degree_two(graph)
    assert merged.path(0).tolist() == [[0, 0, 0], [1, 0, 0], [4, 0, 0]]
    assert merged.radius_along(0).tolist() == [1.0, 2.0, 1.0]
    values = {name: column.tolist() for name, column in merged.edge_data.items()}
    assert values == {
        "mean_heat": [(1.0 * 1 + 0.5 * 3) / 4],
        "part": [0.5],
        "min_heat": [0.2],
        "min_known": [0.3],
        "max_heat": [7],
        "gap_length": [0.75],
        "n_voxels": [7],
        "generator": [3],
        "keep": [True],
        "tree_id": [6],
        "reason": ["long"],
    }
    assert merged.edge_data["part"].dtype == np.float32
    assert merged.edge_data["n_voxels"].dtype == np.uint8
    assert kept.edge_new.tolist() == [0, 0]
    assert kept.edge_old.tolist() == [0]
    assert kept.node_new.tolist() == [0, -1, 1]


def test_merge_keeps_roots_and_closes_rings() -> None:
    square = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    ring = VesselGraph.from_paths([[square[i], square[(i + 1) % 4]] for i in range(4)])
    merged, _ = merge_degree_two(ring)
    assert merged.edge_nodes.tolist() == [[0, 0]]
    assert merged.length == 4.0
    rooted, _ = merge_degree_two(ring.with_columns(node={"root": np.array([True, False, False, True])}))
    assert (rooted.n_nodes, rooted.n_edges) == (2, 2)


@given(graph=vessel_graphs())
@few
def test_merge_keeps_length_and_loops(graph: VesselGraph) -> None:
    merged, kept = merge_degree_two(graph)
    assert merged.length == pytest.approx(graph.length)
    assert merged.n_edges - merged.n_nodes == graph.n_edges - graph.n_nodes
    assert len(np.unique(connected_components(merged))) == len(np.unique(connected_components(graph)))
    np.testing.assert_array_equal(merged.node_position, graph.node_position[kept.node_old])
    np.testing.assert_allclose(np.bincount(kept.edge_new, graph.edge_length, merged.n_edges), merged.edge_length)
    again, _ = merge_degree_two(merged)
    assert again.n_edges == merged.n_edges
    root = merged.node_data.get("root", np.zeros(merged.n_nodes, bool)).astype(bool)
    loop_nodes = merged.edge_nodes[merged.edge_nodes[:, 0] == merged.edge_nodes[:, 1], 0]
    assert set(np.flatnonzero((merged.degree == 2) & ~root)) <= set(loop_nodes.tolist())


@given(graph=vessel_graphs(with_columns=False))
@few
def test_merging_what_was_split_gives_it_back(graph: VesselGraph) -> None:
    simple, _ = merge_degree_two(graph)
    assume(simple.n_edges and simple.edge_length.min() > 1e-3)
    again, _ = merge_degree_two(split_edges(simple, max_length=float(simple.edge_length.max()) / 3)[0])
    np.testing.assert_array_equal(again.edge_nodes, simple.edge_nodes)
    np.testing.assert_allclose(again.edge_length, simple.edge_length)
