"""What pruning keeps and drops, on graphs whose heat is drawn by hand."""

import numpy as np
import pytest
from hypothesis import given, settings

from tests.pruning.drawn import CONFIG, drawn
from tests.pruning.test_decode import weighed_graphs
from tests.strategies import assert_same_graph
from vesselgraph import VesselGraph, judge, prune
from vesselgraph.config import PruneConfig
from vesselgraph.errors import InputError
from vesselgraph.metrics import betti_of_graph

HOT = 0.9
STEM = ([[0, 0, 0], [40, 0, 0]], 2.0, HOT)


def circle(radius, turns=1.0):
    angle = np.linspace(0.0, 2 * np.pi * turns, 25)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=1)
    if turns == 1.0:
        points[-1] = points[0]
    return points


def test_a_hot_vessel_stays_whole():
    graph = prune(drawn(STEM), CONFIG)
    assert (graph.n_edges, graph.length) == (1, pytest.approx(40.0))
    assert graph.edge_data["score"][0] == pytest.approx(HOT, abs=1e-6)


def test_a_faint_vessel_goes():
    assert prune(drawn(([[0, 0, 0], [40, 0, 0]], 2.0, 0.1)), CONFIG).n_edges == 0


def test_a_short_separate_piece_goes_and_a_long_one_stays():
    # They earn 0.7 a mm: 4.9 and 5.6 against a price of 5.
    short, long = ([[0, 50, 0], [7, 50, 0]], 2.0, HOT), ([[0, 80, 0], [8, 80, 0]], 2.0, HOT)
    graph = prune(drawn(STEM, short, long), CONFIG)
    assert graph.edge_length.tolist() == pytest.approx([40.0, 8.0])


def test_a_weak_parent_of_a_strong_child_stays():
    weak = ([[40, 0, 0], [46, 0, 0]], 1.5, 0.1)
    strong = ([[46, 0, 0], [80, 0, 0]], 1.5, HOT)
    graph = prune(drawn(STEM, weak, strong), CONFIG)
    assert (graph.n_edges, graph.length) == (1, pytest.approx(80.0))


def test_a_faint_tail_goes():
    judged = judge(drawn(STEM, ([[40, 0, 0], [52, 0, 0]], 1.5, 0.1)), CONFIG)
    assert judged.edge_data["keep"].tolist() == [True, False]
    assert prune(judged, CONFIG).length == pytest.approx(40.0)


def test_only_the_cold_end_of_a_branch_goes():
    fading = drawn(([[0, 0, 0], [40, 0, 0], [41, 0, 0], [80, 0, 0]], 2.0, [HOT, HOT, 0.05, 0.05]))
    config = CONFIG.model_copy(update={"piece_length": 8.0})
    judged = judge(fading, config)
    assert judged.n_edges == 10
    assert prune(judged, config).length == pytest.approx(40.0, abs=8.0)


def test_a_bump_of_a_wide_vessel_goes_and_a_branch_stays():
    wide = ([[0, 0, 0], [40, 0, 0]], 5.0, HOT)
    on = ([[40, 0, 0], [80, 0, 0]], 5.0, HOT)
    # Outside the wall, 5 mm from the axis, a side branch earns 0.7 a mm against a price of 2, its radius.
    bump = ([[40, 0, 0], [40, 5.5, 0]], 2.0, HOT)
    branch = ([[40, 0, 0], [40, 0, 9]], 2.0, HOT)
    assert prune(drawn(wide, on, bump), CONFIG).length == pytest.approx(80.0, abs=0.5)
    assert prune(drawn(wide, on, branch), CONFIG).n_edges == 3
    judged = judge(drawn(wide, on, bump, branch), CONFIG)
    assert judged.edge_data["keep"].tolist() == [True, True, False, True]
    assert "bump" in judged.edge_data["reason"][2]


def test_a_cold_bridge_leaves_two_trees():
    bridge = ([[40, 0, 0], [43, 0, 0], [46, 0, 0]], 1.0, [HOT, 0.0, HOT])
    other = ([[46, 0, 0], [70, 0, 0]], 2.0, HOT)
    graph = prune(drawn(STEM, bridge, other, bridges=[1]), CONFIG)
    assert sorted(zip(graph.edge_length.tolist(), graph.edge_data["tree_id"].tolist(), strict=True)) == [(24.0, 2), (40.0, 1)]
    assert betti_of_graph(graph) == (2, 0)


def test_a_warm_bridge_joins_two_pieces():
    bridge = ([[40, 0, 0], [43, 0, 0], [46, 0, 0]], 1.0, [HOT, 0.1, HOT])
    other = ([[46, 0, 0], [70, 0, 0]], 2.0, HOT)
    graph = prune(drawn(STEM, bridge, other, bridges=[1]), CONFIG)
    assert (graph.n_edges, graph.length) == (1, pytest.approx(70.0))
    assert graph.edge_data["generator"].tolist() == [3]
    assert graph.edge_data["gap_length"].tolist() == pytest.approx([6.0])


def test_a_bridge_into_nothing_goes():
    bridge = ([[40, 0, 0], [46, 0, 0]], 1.0, 0.1)
    faint = ([[46, 0, 0], [50, 0, 0]], 2.0, 0.1)
    assert prune(drawn(STEM, bridge, faint, bridges=[1]), CONFIG).length == pytest.approx(40.0)


def ring_with_tails(closing_heat, radius=1.0):
    """Two half circles of radius 10 between tails; the second one as hot, both as wide as asked."""
    half = circle(10.0, 0.5)
    other = half * [1.0, -1.0, 1.0]
    half[-1] = other[-1] = [-10.0, 0.0, 0.0]
    return drawn(
        (half, radius, HOT),
        (other, radius, closing_heat),
        ([[10, 0, 0], [40, 0, 0]], 2.0, HOT),
        ([[-10, 0, 0], [-40, 0, 0]], 1.0, HOT),
    )


def test_a_hot_loop_stays_and_is_counted():
    graph = prune(ring_with_tails(0.7), CONFIG)
    assert betti_of_graph(graph) == (1, 1)
    assert (graph.edge_data["tree_id"] == 1).all()


def test_a_loop_without_a_hole_between_its_vessels_is_opened_with_a_reason():
    # A ring of radius 10 is closed over at radius 10; a hole as wide as its vessel is asked for: 10 / 2 = 5.
    assert betti_of_graph(prune(ring_with_tails(0.7, radius=4.5), CONFIG)) == (1, 1)
    judged = judge(ring_with_tails(0.7, radius=5.5), CONFIG)
    assert betti_of_graph(prune(judged, CONFIG)) == (1, 0)
    assert judged.edge_data["reason"][~judged.edge_data["keep"]].tolist() == ["loop around no hole"]


def test_a_cold_loop_is_opened_with_a_reason():
    config = CONFIG.model_copy(update={"piece_length": 12.0})
    judged = judge(ring_with_tails(0.1), config)
    assert betti_of_graph(prune(judged, config)) == (1, 0)
    gone = ~judged.edge_data["keep"]
    assert judged.edge_length[gone].sum() == pytest.approx(np.pi * 10, rel=0.02)
    assert "cold loop" in judged.edge_data["reason"][gone].tolist()


def test_a_whole_ring_stays_a_ring():
    graph = prune(drawn((circle(10.0), 2.0, HOT)), CONFIG.model_copy(update={"piece_length": 15.0}))
    assert betti_of_graph(graph) == (1, 1)
    assert graph.length == pytest.approx(2 * np.pi * 10, rel=0.02)


def test_trees_are_numbered_by_falling_length_and_rooted_at_their_widest_end():
    lengths = [20, 50, 30]
    pieces = [([[0, 20.0 * i, 0], [n, 20.0 * i, 0]], [1.0, 3.0], HOT) for i, n in enumerate(lengths)]
    graph = prune(drawn(*pieces), CONFIG)
    assert dict(zip(graph.edge_length.round().tolist(), graph.edge_data["tree_id"].tolist(), strict=True)) == {
        50.0: 1,
        30.0: 2,
        20.0: 3,
    }
    roots = np.flatnonzero(graph.node_data["root"])
    assert sorted(graph.node_position[roots, 0].tolist()) == [20.0, 30.0, 50.0]
    # Every branch runs away from its root.
    assert sorted(graph.edge_nodes[:, 0].tolist()) == sorted(roots.tolist())


def test_the_widest_end_is_the_root_even_if_a_junction_is_wider():
    graph = prune(
        drawn(
            ([[0, 0, 0], [30, 0, 0]], [2.0, 4.0], HOT),
            ([[30, 0, 0], [60, 10, 0]], [4.0, 3.0], HOT),
            ([[30, 0, 0], [60, -10, 0]], [4.0, 1.0], HOT),
        ),
        CONFIG,
    )
    root = np.flatnonzero(graph.node_data["root"])
    assert graph.node_position[root].tolist() == [[60.0, 10.0, 0.0]]
    assert graph.degree[root].tolist() == [1]


def test_a_side_branch_below_its_price_leaves_no_trace():
    spur = ([[20, 0, 0], [20, 2, 0]], 1.0, HOT)
    first, second = ([[0, 0, 0], [20, 0, 0]], 2.0, HOT), ([[20, 0, 0], [40, 0, 0]], 2.0, HOT)
    with_spur, without = prune(drawn(first, second, spur), CONFIG), prune(drawn(first, second), CONFIG)
    np.testing.assert_allclose(with_spur.path_position, without.path_position)


@settings(max_examples=60, deadline=None)
@given(weighed_graphs(n_extra=2))
def test_any_graph_is_judged_in_full(case):
    graph, heat = case
    n = graph.n_edges
    graph = graph.with_columns(
        edge={"generator": np.ones(n, np.int64), "gap_length": np.zeros(n), "min_heat": heat.reshape(n, 3).min(axis=1)},
        path={"heat": heat},
    )
    config = PruneConfig(min_heat=0.25, branch_cost=1.0, tree_cost=3.0, piece_length=7.0)
    judged = judge(graph, config)
    assert judged.length == pytest.approx(graph.length)
    assert judged.edge_length.max() <= 7.0 * (1 + 1e-9)
    score, keep, reason = (judged.edge_data[name] for name in ("score", "keep", "reason"))
    assert keep.dtype == bool
    assert ((score >= 0) & (score <= 1)).all()
    assert (reason != "").all()
    assert set(reason[keep]) <= {"kept"}
    assert "kept" not in set(reason[~keep])
    pruned = prune(graph, config)
    assert_same_graph(pruned, prune(judged, config))
    if pruned.n_edges == 0:
        assert not keep.any()
        return
    tree = pruned.edge_data["tree_id"]
    lengths = np.bincount(tree, pruned.edge_length)[1:]
    assert sorted(set(tree.tolist())) == list(range(1, len(lengths) + 1))
    assert (np.diff(lengths) <= 1e-9).all()
    assert int(pruned.node_data["root"].sum()) == len(lengths)
    assert {"keep", "reason"}.isdisjoint(pruned.edge_data)


def test_settings_are_recorded():
    graph = prune(drawn(STEM), CONFIG)
    assert [(step.stage, step.config_digest) for step in graph.history] == [("prune", CONFIG.digest())]


def test_a_graph_without_heat_is_refused():
    with pytest.raises(InputError, match="path column `heat`"):
        judge(VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]]]), CONFIG)


def test_nothing_in_gives_nothing_out():
    for stage in (judge, prune):
        result = stage(VesselGraph.empty(), CONFIG)
        assert (result.n_edges, result.n_nodes) == (0, 0)
        assert {"score", "tree_id" if stage is prune else "keep"} <= set(result.edge_data)
