"""From presence to what stays: weak parents of strong children, names along a tree, trees that touch."""

import numpy as np
import pytest

from tests.pruning.test_branch_graph import traced
from vesselgraph.config import PruneConfig
from vesselgraph.edit import connected_components
from vesselgraph.pruning.presence import keep_present, name_trees, separate_trees

CONFIG = PruneConfig(branch_cost=0.0, tree_cost=3.0)


@pytest.fixture
def chain():
    """Four pieces of 10 mm in a row, and one of 10 mm far away."""
    rows = [([10.0 * k, 0, 0], [10.0 * k + 10, 0, 0]) for k in range(4)]
    return traced([*rows, ([0, 50, 0], [10, 50, 0])], radii=[4.0, 3.0, 2.0, 1.0, 1.0])


def test_a_weak_parent_of_a_strong_child_stays_and_a_faint_tail_goes(chain):
    keep, _ = keep_present(chain, np.array([0.9, 0.3, 0.9, 0.1, 0.1]), CONFIG, 0.5)
    assert keep.tolist() == [True, True, True, False, False]


def test_what_is_not_connected_stays_if_it_is_worth_a_tree(chain):
    presence = np.array([0.9, 0.9, 0.9, 0.9, 0.9])
    assert keep_present(chain, presence, CONFIG, 0.5)[0].all()
    keep, _ = keep_present(chain, presence, CONFIG.model_copy(update={"tree_cost": 5.0}), 0.5)
    assert keep.tolist() == [True, True, True, True, False]


def test_a_floor_for_the_recall_lowers_the_threshold(chain):
    presence = np.array([0.9, 0.9, 0.45, 0.4, 0.02])
    assert keep_present(chain, presence, CONFIG, 0.5)[0].tolist() == [True, True, False, False, False]
    for least, n_kept in ((0.6, 2), (0.8, 3), (0.95, 4)):
        keep, _ = keep_present(chain, presence, CONFIG.model_copy(update={"least_recall": least}), 0.5)
        assert keep.sum() >= n_kept
        assert presence[keep].sum() >= least * presence.sum()


def test_names_are_smooth_along_a_vessel_and_change_where_they_must(chain):
    keep, forest = keep_present(chain, np.full(5, 0.9), CONFIG, 0.5)
    portal, hepatic, unsure = [0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.4, 0.5, 0.1]
    smooth = name_trees(chain, keep, forest, np.array([portal, unsure, portal, portal, hepatic]))
    assert smooth.tolist() == [1, 1, 1, 1, 2]
    changed = name_trees(chain, keep, forest, np.array([portal, portal, hepatic, hepatic, hepatic]))
    assert changed.tolist() == [1, 1, 2, 2, 2]


def test_what_is_not_clear_or_not_kept_has_no_name(chain):
    keep, forest = keep_present(chain, np.array([0.9, 0.9, 0.9, 0.9, 0.0]), CONFIG, 0.5)
    even = np.full((5, 3), 1 / 3)
    assert name_trees(chain, keep, forest, even).tolist() == [0, 0, 0, 0, 0]


def test_trees_that_touch_are_separated_and_unnamed_branches_stay():
    cross = traced([([0, 0, 0], [9, 0, 0]), ([9, 0, 0], [18, 0, 0]), ([9, 0, 0], [9, 9, 0]), ([9, 0, 0], [9, 0, 9])])
    apart = separate_trees(cross.with_columns(edge={"tree": np.array([1, 2, 0, 2])}))
    assert (apart.n_nodes, apart.n_edges) == (cross.n_nodes + 1, 4)
    piece = connected_components(apart)[apart.edge_nodes[:, 0]]
    assert piece[0] == piece[2] != piece[1] == piece[3]
    np.testing.assert_array_equal(apart.path_position, cross.path_position)
    assert separate_trees(cross.with_columns(edge={"tree": np.array([1, 1, 0, 1])})).n_nodes == cross.n_nodes
