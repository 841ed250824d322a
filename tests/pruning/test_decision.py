"""From what points earn to what stays: weak parents of strong children, separate parts, bridges, loops, least recall."""

import numpy as np
import pytest

from tests.pruning.test_branch_graph import traced
from vesselgraph.config import PruneConfig
from vesselgraph.pruning.decision import decide, keep_like_rules, keep_present

CONFIG = PruneConfig(branch_cost=0.0, tree_cost=3.0)


@pytest.fixture
def chain():
    """Four pieces of 10 mm in a row, and one of 10 mm far away."""
    rows = [([10.0 * k, 0, 0], [10.0 * k + 10, 0, 0]) for k in range(4)]
    return traced([*rows, ([0, 50, 0], [10, 50, 0])], radii=[4.0, 3.0, 2.0, 1.0, 1.0])


def test_a_weak_parent_of_a_strong_child_stays_and_a_faint_tail_goes(chain):
    keep = keep_present(chain, np.array([0.9, 0.3, 0.9, 0.1, 0.1]), CONFIG, 0.5).keep
    assert keep.tolist() == [True, True, True, False, False]


def test_what_is_not_connected_stays_if_it_is_worth_a_tree(chain):
    presence = np.array([0.9, 0.9, 0.9, 0.9, 0.9])
    assert keep_present(chain, presence, CONFIG, 0.5).keep.all()
    keep = keep_present(chain, presence, CONFIG.model_copy(update={"tree_cost": 5.0}), 0.5).keep
    assert keep.tolist() == [True, True, True, True, False]


def test_a_floor_for_the_recall_lowers_the_threshold(chain):
    presence = np.array([0.9, 0.9, 0.45, 0.4, 0.02])
    assert keep_present(chain, presence, CONFIG, 0.5).keep.tolist() == [True, True, False, False, False]
    for least, n_kept in ((0.6, 2), (0.8, 3), (0.95, 4)):
        keep = keep_present(chain, presence, CONFIG.model_copy(update={"least_recall": least}), 0.5).keep
        assert keep.sum() >= n_kept
        assert presence[keep].sum() >= least * presence.sum()


def test_as_much_is_kept_as_the_rules_keep_but_by_presence(chain):
    heat = np.array([0.9, 0.9, 0.1, 0.1, 0.1])
    graph = chain.with_columns(path={"heat": heat[chain.edge_of_point]})
    presence = np.array([0.45, 0.3, 0.1, 0.05, 0.45])
    config = CONFIG.model_copy(update={"tree_cost": 0.0})
    assert keep_present(graph, presence, config, 0.5).keep.sum() == 0
    # The rules keep the first two, 20 mm: the two most present are as long.
    assert keep_like_rules(graph, presence, config, 0.5).keep.tolist() == [True, False, False, False, True]
    # A third of the pieces is too little present for anyone.
    cold = graph.with_columns(path={"heat": np.ones(graph.n_points)})
    assert keep_like_rules(cold, presence, config, 0.5).keep.tolist() == [True, True, False, False, True]
    most = config.model_copy(update={"least_recall": 0.99})
    assert keep_like_rules(cold, presence, most, 0.5).keep.all()


def test_a_cold_bridge_goes_whatever_it_leads_to(chain):
    bridge = np.array([0.0, 10.0, 0.0, 0.0, 0.0])
    cold = chain.with_columns(edge={"gap_length": bridge, "min_heat": np.array([0.5, 0.01, 0.5, 0.5, 0.5])})
    assert keep_present(cold, np.full(5, 0.9), CONFIG, 0.5).keep.tolist() == [True, False, True, True, True]


def test_hot_loops_stay_unless_they_leave_no_hole():
    ring = [([0, 0, 0], [20, 0, 0]), ([20, 0, 0], [20, 20, 0]), ([20, 20, 0], [0, 20, 0]), ([0, 20, 0], [0, 0, 0])]
    for radius, presence, stays in ((1.0, 0.9, True), (1.0, 0.45, False), (9.0, 0.9, False)):
        graph = traced(ring, radii=[radius] * 4)
        decision = decide(graph, np.full(graph.n_points, presence), CONFIG, 0.2)
        assert decision.keep.all() == stays
        assert decision.tunnel.sum() == (radius > 5)


def test_two_courses_through_one_vessel_are_no_loop_however_long():
    for apart, stays in ((0.05, False), (2.0, True)):
        there = [([0, 0, 0], [20, apart, 0]), ([20, apart, 0], [40, 0, 0])]
        back = [([0, 0, 0], [20, -apart, 0]), ([20, -apart, 0], [40, 0, 0])]
        graph = traced([*there, *back], radii=[1.0] * 4)
        decision = decide(graph, np.full(graph.n_points, 0.9), CONFIG, 0.2)
        # Between them lie 40 x apart mm^2; the vessel's cross-section is pi mm^2. They are 80 mm round, far over 4 pi.
        assert decision.keep.all() == stays
        assert decision.tunnel.sum() == (not stays)
