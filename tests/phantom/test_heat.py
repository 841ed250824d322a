"""Generated heatmaps: the ridge is the formula, cuts are where they say, bytes repeat."""

import numpy as np
import pytest

from vesselgraph.errors import RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom.heat import forest_graph, make_heatmap
from vesselgraph.space import Space


def line(spacing=(1.0, 1.0, 1.0)):
    """A straight vessel along x at y = z = 12 mm."""
    return VesselGraph.from_paths([[[4.0, 12.0, 12.0], [40.0, 12.0, 12.0]]], space=Space.axial(spacing))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.5, 0.5)])
def test_a_quiet_ridge_is_the_formula(spacing):
    shape = tuple(int(s) for s in np.round(np.array([24, 24, 44]) / spacing))
    drawn = make_heatmap(line(spacing), shape, noise=0.0, false_density=0.0)
    grid = np.stack(np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"), axis=-1)
    past = np.maximum(np.maximum(4.0 - grid[..., 2], grid[..., 2] - 40.0), 0.0)
    squared = (grid[..., 0] - 12.0) ** 2 + (grid[..., 1] - 12.0) ** 2 + past**2
    expected = np.where(squared < (3.5 * 1.5) ** 2, 0.75 * np.exp(-squared / (2 * 1.5**2)), 0.0)
    np.testing.assert_allclose(drawn.heatmap.heat.array, expected, atol=1e-6)


def test_cuts_are_cold_and_nothing_else_changes():
    graph = forest_graph((64, 64, 64), seed=3)
    whole = make_heatmap(graph, (64, 64, 64), seed=1).heatmap.heat.array
    drawn = make_heatmap(graph, (64, 64, 64), n_cuts=6, seed=1)
    holed = drawn.heatmap.heat.array
    assert drawn.cuts.shape == (6, 2, 3)
    assert len(set(drawn.cut_edge.tolist())) == 6
    chord = np.linalg.norm(drawn.cuts[:, 1] - drawn.cuts[:, 0], axis=1)
    assert (chord <= 8.0).all()
    changed = np.argwhere(holed != whole)
    distance = np.linalg.norm(changed[:, None, ::-1] - drawn.cuts.mean(axis=1), axis=2).min(axis=1)
    assert len(changed) > 0
    assert distance.max() < 4.0 + 3.5 * 1.5 + 1.0
    assert (holed <= whole).all()


def test_equal_arguments_give_equal_bytes_and_seeds_differ():
    graph = forest_graph((48, 48, 48), seed=2)
    first, again = (make_heatmap(graph, (48, 48, 48), seed=5, n_cuts=2).heatmap.heat.array for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert (first != make_heatmap(graph, (48, 48, 48), seed=6, n_cuts=2).heatmap.heat.array).any()


def test_false_structures_are_added_away_from_the_truth():
    graph = line()
    quiet = make_heatmap(graph, (24, 24, 44), false_density=0.0).heatmap.heat.array
    # The box around a straight line has no volume, so nothing is added.
    assert (make_heatmap(graph, (24, 24, 44), false_density=500.0).heatmap.heat.array == quiet).all()
    tree = forest_graph((48, 48, 48))
    bare = make_heatmap(tree, (48, 48, 48), false_density=0.0).heatmap.heat.array
    more = make_heatmap(tree, (48, 48, 48), false_density=200.0).heatmap.heat.array
    assert (more > bare).sum() > 100
    assert (more >= bare).all()


def test_length_grows_with_the_field_and_trees_stay_apart():
    small, large = forest_graph((50, 50, 50)), forest_graph((50, 50, 500), seed=1)
    assert set(small.edge_data["tree_id"]) == {1, 2}
    assert set(large.edge_data["tree_id"]) == {1, 2, 3, 4, 5, 6}
    assert large.path_position[:, 0].max() > 350


def test_no_vessel_is_no_heat():
    empty = VesselGraph.empty(Space.axial())
    drawn = make_heatmap(empty, (8, 8, 8), n_cuts=3)
    assert not drawn.heatmap.heat.array.any()
    assert drawn.cuts.shape == (0, 2, 3)


def test_refusals():
    with pytest.raises(RangeError, match="at least 40 mm"):
        forest_graph((30, 50, 50))
    with pytest.raises(RangeError, match="a graph with a grid"):
        make_heatmap(VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]]]), (8, 8, 8))
