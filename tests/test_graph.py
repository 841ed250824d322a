"""VesselGraph: its invariants, its derived quantities, and networkx both ways."""

from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.strategies import vessel_graphs
from vesselgraph.errors import GraphInvariantError
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.space import Space


def fields(**changes: object) -> dict[str, object]:
    """A valid graph of two branches in a row, with changes."""
    base: dict[str, object] = {
        "node_position": [[0, 0, 0], [1, 0, 0], [1, 2, 0]],
        "node_radius": [1.0, np.nan, 0.5],
        "edge_nodes": [[0, 1], [1, 2]],
        "path_offset": [0, 2, 5],
        "path_position": [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 2, 0]],
        "path_radius": [1, 1, 1, 0.5, 0.5],
    }
    return base | changes


def test_lengths_and_degrees_are_counted_by_hand() -> None:
    graph = VesselGraph(**fields())
    assert graph.edge_length.tolist() == [1.0, 2.0]
    assert graph.degree.tolist() == [1, 2, 1]
    assert graph.edge_of_point.tolist() == [0, 0, 1, 1, 1]
    assert graph.length == 3.0
    assert graph.path(1).tolist() == [[1, 0, 0], [1, 1, 0], [1, 2, 0]]


def test_a_short_branch_after_a_long_one_keeps_its_length() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [1e9, 0, 0]], [[0, 0, 0], [0, 1e-9, 0]]])
    assert graph.edge_length.tolist() == [1e9, 1e-9]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"node_position": [[0, 0], [1, 0], [1, 2]]}, r"I1: node_position of shape \(n, 3\); got shape \(3, 2\)"),
        ({"node_position": [[0, 0, 0], [np.nan, 0, 0], [1, 2, 0]]}, "I1: finite node_position; got 1 of them: 1"),
        ({"node_radius": [1.0, 0.0, -1.0]}, "I2: node_radius > 0 or NaN; got 2 of them: 1, 2"),
        ({"path_radius": [1, 1, 1, 0.5]}, "I2: 5 values of path_radius"),
        ({"path_radius": [1, 1, 1, 0.5, np.inf]}, "I2: path_radius > 0 or NaN; got 1 of them: 4"),
        ({"edge_nodes": [[0, 1], [1, 3]]}, r"I3: node ids in \[0, 3\); got 1 of them: 1"),
        ({"edge_nodes": [0, 1]}, "I3: edge_nodes of shape"),
        ({"path_offset": [0, 2, 4]}, "I4: 3 offsets rising from 0 to 5"),
        ({"path_offset": [0, 1, 5]}, "I5: two path points a branch; got 1 of them: 0"),
        ({"edge_nodes": [[0, 1], [2, 1]]}, "I6: paths that end on their nodes; got 1 of them: 1"),
        ({"node_data": {"root": [True]}}, r"I7: node column 'root' of shape \(3,\)"),
        ({"edge_data": {"x": np.array([1j, 2j])}}, "I7: edge column 'x'"),
    ],
)
def test_each_invariant_is_named_when_broken(changes: dict[str, object], message: str) -> None:
    with pytest.raises(GraphInvariantError, match=message):
        VesselGraph(**fields(**changes))


def test_branch_without_length_is_refused() -> None:
    with pytest.raises(GraphInvariantError, match="I5: branches longer than 0 mm; got 1 of them: 0"):
        VesselGraph([[0, 0, 0]], [1], [[0, 0]], [0, 2], [[0, 0, 0], [0, 0, 0]], [1, 1])


def test_columns_added_later_are_checked_and_copied_too() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [3, 4, 0]], [[3, 4, 0], [9, 4, 0]]])
    with pytest.raises(GraphInvariantError, match=r"I7: edge column 'score' of shape \(2,\)"):
        graph.with_columns(edge={"score": np.zeros(3)})
    score = np.array([0.5, 1.0])
    scored = graph.with_columns(edge={"score": score}).with_step(Step("judge", "0", "1"))
    score[0] = 9.0
    assert scored.edge_data["score"].tolist() == [0.5, 1.0]
    assert "score" not in graph.edge_data
    assert (len(graph.history), len(scored.history)) == (0, 1)
    assert scored.edge_length.tolist() == [5.0, 6.0]


def test_arrays_are_copies_nobody_can_write() -> None:
    position = np.array([[0.0, 0, 0], [1, 0, 0], [1, 2, 0]])
    graph = VesselGraph(**fields(node_position=position, node_data={"root": np.array([True, False, False])}))
    position[0] = 9
    assert graph.node_position[0].tolist() == [0, 0, 0]
    for array in (graph.node_position, graph.edge_length, graph.node_data["root"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_from_paths_joins_equal_ends_and_takes_the_larger_radius() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0]], [[2, 0, 0], [1, 0, 0]]], radii=[[1, 2], [1, 3]])
    assert graph.n_nodes == 3
    assert graph.node_radius.tolist() == [1.0, 3.0, 1.0]
    assert graph.edge_nodes.tolist() == [[0, 1], [2, 1]]
    assert VesselGraph.from_paths([]).n_nodes == 0


@given(graph=vessel_graphs(with_columns=False))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_networkx_and_back_is_the_same_graph(graph: VesselGraph) -> None:
    back = VesselGraph.from_networkx(graph.to_networkx())
    for name in ("node_position", "node_radius", "edge_nodes", "path_offset", "path_position", "path_radius"):
        np.testing.assert_array_equal(getattr(graph, name), getattr(back, name), err_msg=name)
    assert (back.space, back.history) == (graph.space, graph.history)


def test_networkx_carries_columns() -> None:
    graph = VesselGraph(
        **fields(
            node_data={"root": np.array([True, False, False])},
            edge_data={"score": np.array([0.5, 1.0]), "reason": np.array(["", "kept"])},
            path_data={"heat": np.arange(5.0)},
            space=Space.axial(),
            history=(Step("trace"),),
        )
    )
    source = graph.to_networkx()
    assert source.edges[1, 2, 1]["length"] == 2.0
    back = VesselGraph.from_networkx(source)
    assert back.edge_data["reason"].tolist() == ["", "kept"]
    assert back.path_data["heat"].tolist() == [0, 1, 2, 3, 4]
    assert back.node_data["root"].dtype == bool


@pytest.mark.parametrize("kind", [nx.MultiGraph, nx.Graph, nx.DiGraph])
def test_networkx_graphs_of_any_kind_and_labels_are_read(kind: Callable[[], nx.Graph]) -> None:
    source = kind()
    source.add_node("tip", position=[1, 0, 0], radius=2.0)
    source.add_node("root", position=[0, 0, 0])
    source.add_edge("root", "tip", path=[[0, 0, 0], [1, 0, 0]])
    graph = VesselGraph.from_networkx(source)
    assert graph.edge_length.tolist() == [1.0]
    assert graph.edge_nodes[0].tolist() in ([0, 1], [1, 0])


def test_networkx_without_geometry_is_refused() -> None:
    with pytest.raises(GraphInvariantError, match=r"I1: nodes with `position` .* got none on \[0, 1, 2, \(0, 1\), \(1, 2\)\]"):
        VesselGraph.from_networkx(nx.MultiDiGraph(nx.path_graph(3).edges))


def test_columns_named_like_attributes_do_not_overwrite_them() -> None:
    with pytest.raises(GraphInvariantError, match=r"got columns \['path', 'radius'\]; rename them"):
        VesselGraph(**fields(node_data={"radius": np.ones(3)}, edge_data={"path": np.ones(2)})).to_networkx()
