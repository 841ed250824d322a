"""Trees that touch come apart where they have names."""

import numpy as np

from tests.pruning.test_branch_graph import traced
from vesselgraph.edit import connected_components
from vesselgraph.pruning.presence import separate_trees


def test_trees_that_touch_are_separated_and_unnamed_branches_stay():
    cross = traced([([0, 0, 0], [9, 0, 0]), ([9, 0, 0], [18, 0, 0]), ([9, 0, 0], [9, 9, 0]), ([9, 0, 0], [9, 0, 9])])
    apart = separate_trees(cross.with_columns(edge={"tree": np.array([1, 2, 0, 2])}))
    assert (apart.n_nodes, apart.n_edges) == (cross.n_nodes + 1, 4)
    piece = connected_components(apart)[apart.edge_nodes[:, 0]]
    assert piece[0] == piece[2] != piece[1] == piece[3]
    np.testing.assert_array_equal(apart.path_position, cross.path_position)
    assert separate_trees(cross.with_columns(edge={"tree": np.array([1, 1, 0, 1])})).n_nodes == cross.n_nodes
