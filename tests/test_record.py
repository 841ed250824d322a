"""What a run's record says of graphs."""

import numpy as np

import vesselgraph as vg
from vesselgraph.record import describe_graph, dropped_branches, named_vessels


def test_empty_graph_is_described():
    assert describe_graph(vg.VesselGraph.empty()) == {
        "n_nodes": 0,
        "n_branches": 0,
        "n_trees": 0,
        "n_pieces": 0,
        "n_loops": 0,
        "length": 0.0,
    }


def test_trees_pieces_and_loops_are_counted():
    paths = [[[0, 0, 0], [1, 0, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 0]], [[9, 9, 9], [9, 9, 8]]]
    graph = vg.VesselGraph.from_paths(paths, edge_data={"tree_id": np.array([1, 1, 0])})
    found = describe_graph(graph)
    assert (found["n_trees"], found["n_pieces"], found["n_loops"]) == (1, 2, 1)


def test_dropped_branches_are_summed_by_reason_longest_first():
    paths = [[[0, 0, 0], [1, 0, 0]], [[0, 5, 0], [2, 5, 0]], [[0, 9, 0], [8, 9, 0]], [[0, 7, 0], [4, 7, 0]]]
    columns = {"keep": np.array([False, False, True, False]), "reason": np.array(["short", "faint", "", "short"])}
    assert dropped_branches(vg.VesselGraph.from_paths(paths, edge_data=columns)) == {
        "short": {"n_branches": 2, "length": 5.0},
        "faint": {"n_branches": 1, "length": 2.0},
    }


def test_named_vessels_are_summed_by_name():
    paths = [[[0, 0, 0], [1, 0, 0]], [[0, 5, 0], [2, 5, 0]], [[0, 9, 0], [8, 9, 0]]]
    graph = vg.VesselGraph.from_paths(paths)
    assert named_vessels(graph) == {}
    assert named_vessels(graph.with_columns(edge={"tree": np.array([2, 0, 2])})) == {
        "hepatic": {"n_branches": 2, "length": 9.0},
        "not named": {"n_branches": 1, "length": 2.0},
    }
