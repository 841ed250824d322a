"""Morphology against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.strategies import vessel_graphs
from vesselgraph.errors import RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.morphology import (
    betti_numbers,
    bifurcation_table,
    branch_table,
    chord,
    generation,
    lateral_surface,
    mean_radius,
    murray_exponent,
    radius_range,
    strahler_order,
    tortuosity,
    volume,
)


def graph_of(nodes: list[list[float]], edges: list[list[int]], radii: list[float] | None = None, root: int = 0) -> VesselGraph:
    """Straight branches of one radius each."""
    position = np.array(nodes, dtype=float)
    ends = np.array(edges)
    radius = np.repeat(np.full(len(edges), np.nan) if radii is None else radii, 2)
    label = np.arange(len(nodes)) == root
    return VesselGraph(
        position,
        np.full(len(nodes), np.nan),
        ends,
        np.arange(0, 2 * len(edges) + 1, 2),
        position[ends.ravel()],
        radius,
        node_data={"root": label},
    )


def test_lengths_and_radii_of_a_bent_branch() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [3, 0, 0], [3, 4, 0]]], radii=[[1.0, 2.0, 4.0]])
    assert chord(graph).tolist() == [5.0]
    assert tortuosity(graph).tolist() == [1.4]
    assert mean_radius(graph)[0] == pytest.approx((1.5 * 3 + 3 * 4) / 7)
    assert [r.tolist() for r in radius_range(graph)] == [[1.0], [4.0]]
    assert volume(graph)[0] == pytest.approx(np.pi / 3 * (3 * (1 + 2 + 4) + 4 * (4 + 8 + 16)))
    assert lateral_surface(graph)[0] == pytest.approx(np.pi * (3 * np.hypot(3, 1) + 6 * np.hypot(4, 2)))


def test_unknown_radii_are_said_not_guessed() -> None:
    path = [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]
    graph = VesselGraph.from_paths([path] * 3, radii=[[np.nan] * 4, [1, np.nan, np.nan, 1], [1, np.nan, 3, 3]])
    np.testing.assert_allclose(mean_radius(graph), [np.nan, 1.0, (1 + 3 + 3) / 3])
    np.testing.assert_allclose(volume(graph), [np.nan, np.nan, np.pi * (1 + 9 + 9)])
    np.testing.assert_allclose(radius_range(graph)[1], [np.nan, 1.0, 3.0])


def test_a_loop_has_no_tortuosity() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]])
    assert tortuosity(graph).tolist() == [np.inf]
    assert betti_numbers(graph).n_loops == 1


#   0 --e0-- 1 --e1-- 2 --e3-- 4
#            |        +--e4-- 5
#            +--e2-- 3 --e5-- 6      (3 has one daughter)
ORDERED = graph_of(
    [[0, 0, 0], [10, 0, 0], [20, 0, 0], [10, 9, 0], [30, 1, 0], [30, -1, 0], [10, 20, 0]],
    [[0, 1], [1, 2], [1, 3], [2, 4], [5, 2], [3, 6]],
)


def test_orders_of_a_small_tree() -> None:
    assert strahler_order(ORDERED).tolist() == [2, 2, 1, 1, 1, 1]
    assert generation(ORDERED).tolist() == [1, 2, 2, 3, 3, 2]


def test_three_equal_daughters_raise_the_order_once() -> None:
    graph = graph_of([[0, 0, 0], [1, 0, 0], [2, 1, 0], [2, 0, 0], [2, -1, 0]], [[0, 1], [1, 2], [1, 3], [1, 4]])
    assert strahler_order(graph).tolist() == [2, 1, 1, 1]


def test_branches_outside_the_trees_have_no_order() -> None:
    nodes = [[0, 0, 0], [1, 0, 0], [1, 5, 0], [9, 9, 9], [8, 9, 9]]
    graph = graph_of(nodes, [[0, 1], [1, 2], [2, 0], [3, 4]])
    # The way 0-2 (5.1) is shorter than 0-1-2 (6): branch 1 closes the loop, branch 3 has no root.
    assert strahler_order(graph).tolist() == [1, 0, 1, 0]
    assert generation(graph, roots=[0, 4]).tolist() == [1, 0, 1, 1]
    assert betti_numbers(graph).n_components == 2


def test_bifurcation_of_a_murray_fork() -> None:
    graph = graph_of(
        [[0, 0, 0], [10, 0, 0], [20, 10, 0], [20, -10 * np.sqrt(3), 0]],
        [[0, 1], [1, 2], [3, 1]],
        radii=[2.0, 1.0, 7 ** (1 / 3)],
    )
    table = bifurcation_table(graph)
    values = {name: column[0] for name, column in table.items()}
    assert (values["node"], values["parent"], values["major"], values["minor"]) == (1, 0, 2, 1)
    assert values["angle_deg"] == pytest.approx(105.0)
    assert values["major_angle_deg"] == pytest.approx(60.0)
    assert values["minor_angle_deg"] == pytest.approx(45.0)
    assert values["murray_exponent"] == pytest.approx(3.0)
    assert values["murray_deviation"] == pytest.approx(0.0, abs=1e-12)


def test_bifurcation_directions_reach_only_so_far() -> None:
    graph = VesselGraph.from_paths(
        [[[0, 0, 0], [10, 0, 0]], [[10, 0, 0], [12, 2, 0], [12, 50, 0]], [[30, 0, 0], [13, 0, 0], [10, 0, 0]]]
    )
    root = int(np.flatnonzero((graph.node_position == 0).all(axis=1))[0])
    near = bifurcation_table(graph, roots=[root], reach=2.0)
    assert near["angle_deg"].tolist() == pytest.approx([45.0])
    assert np.isnan(near["murray_exponent"]).all()
    assert len(bifurcation_table(graph)["node"]) == 0
    with pytest.raises(RangeError, match="reach > 0"):
        bifurcation_table(graph, reach=0.0)
    with pytest.raises(RangeError, match=r"root ids in \[0, 4\)"):
        bifurcation_table(graph, roots=[4])


def test_nodes_where_a_loop_closes_are_no_bifurcations() -> None:
    graph = graph_of([[0, 0, 0], [1, 0, 0], [2, 1, 0], [2, -1, 0]], [[0, 1], [1, 2], [1, 3], [2, 3]])
    assert bifurcation_table(graph)["node"].tolist() == [1]


def test_murray_exponent_is_found_or_refused() -> None:
    parent = np.array([2.0, np.sqrt(2.0), 1.0, 1.0, np.nan, 1.0])
    first = np.array([1.0, 1.0, 1.0, 2.0, 1.0, 0.99999])
    second = np.array([1.0, 1.0, 0.5, 0.5, 1.0, 0.99999])
    np.testing.assert_allclose(murray_exponent(parent, first, second), [1.0, 2.0, np.nan, np.nan, np.nan, np.nan])


def test_branch_table_starts_with_its_own_columns() -> None:
    graph = ORDERED.with_columns(edge={"score": np.arange(6) / 6, "length": np.zeros(6)})
    table = branch_table(graph)
    assert list(table)[:5] == ["branch_id", "start_node", "end_node", "length", "chord"]
    assert table["length"][0] == 10.0
    assert table["score"].tolist() == graph.edge_data["score"].tolist()


@given(graph=vessel_graphs())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_tables_fit_any_graph(graph: VesselGraph) -> None:
    table = branch_table(graph)
    assert all(column.shape == (graph.n_edges,) for column in table.values())
    assert (table["tortuosity"] >= 1).all()
    assert (table["chord"] <= graph.edge_length * (1 + 1e-9)).all()
    low, mean, high = table["min_radius"], table["mean_radius"], table["max_radius"]
    known = ~np.isnan(mean)
    assert (low[known] <= mean[known] * (1 + 1e-9)).all()
    assert (mean[known] <= high[known] * (1 + 1e-9)).all()
    forks = bifurcation_table(graph)
    assert len({len(column) for column in forks.values()}) == 1
    numbers = betti_numbers(graph)
    assert numbers.n_loops == graph.n_edges - graph.n_nodes + numbers.n_components >= 0
