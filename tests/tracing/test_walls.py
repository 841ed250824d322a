"""Junctions and ends of masks against the round cones they were drawn from."""

import numpy as np
import pytest

from tests.tracing.drawn import as_heatmap, grid_around
from vesselgraph import Space, VesselGraph, Volume, judge, prune, trace
from vesselgraph.metrics import betti_of_graph
from vesselgraph.phantom import clean_mask


def narrow_fork(half_angle_deg, *, radii=(2.6, 2.1, 2.0), reach=26.0, turn=0.0):
    """A vessel along x that parts in the origin into two daughters, and its mask on a grid off the lattice."""
    half = np.deg2rad(half_angle_deg)
    ways = [(-1.0, 0.0), (np.cos(half), np.sin(half)), (np.cos(half), -np.sin(half))]
    paths = [[[0, 0, 0], [reach * x * np.cos(turn), reach * y, reach * x * np.sin(turn)]] for x, y in ways]
    truth = VesselGraph.from_paths(paths, [[r, r] for r in radii])
    space, shape = grid_around(truth, offset=(0.3, 0.6, 0.2))
    return truth, as_heatmap(Volume(clean_mask(truth, space, shape), space))


@pytest.mark.parametrize("half_angle", [15, 22, 35])
@pytest.mark.parametrize("turn", [0.0, 0.5])
def test_a_fork_lies_where_the_axes_part_and_not_at_the_crotch(half_angle, turn):
    _, heatmap = narrow_fork(half_angle, turn=turn)
    graph = prune(trace(heatmap))
    assert sorted(graph.degree.tolist()) == [1, 1, 1, 3]
    fork = graph.node_position[graph.degree == 3][0]
    # The walls of the daughters part 2 / sin(angle) mm behind the fork: 7.9, 5.5 and 3.6 mm.
    crotch = 2.05 / np.sin(np.deg2rad(half_angle))
    assert np.linalg.norm(fork) < max(0.35 * crotch, 1.6)
    assert graph.node_radius[graph.degree == 3][0] == pytest.approx(2.6, abs=0.3)


@pytest.mark.parametrize("turn", [0.0, 0.5, 1.0])
def test_a_narrow_fork_is_found_upstream_of_where_the_search_begins(turn):
    # From where the axes of the branches meet, the search alone ends 2.3 mm downstream.
    _, heatmap = narrow_fork(18, turn=turn)
    graph = prune(trace(heatmap))
    assert np.linalg.norm(graph.node_position[graph.degree == 3][0]) < 1.1


@pytest.mark.parametrize(("angle", "radius", "daughter", "bend"), [(25, 2.4, 1.0, 0.0), (30, 2.8, 1.2, 0.01)])
def test_a_thin_daughter_leaves_where_its_axis_leaves_the_trunk_s(angle, radius, daughter, bend):
    # Its skeleton leaves the trunk's a trunk's radius over sin(angle) downstream: 5.7 and 5.6 mm.
    along = np.linspace(0.0, 22.0, 23)
    flat, way = np.zeros(23), np.deg2rad(angle)
    paths = [
        [[-18, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [22, 0, 0]],
        np.stack([along * np.cos(way), along * np.sin(way) + bend * along**2, flat], axis=1),
    ]
    truth = VesselGraph.from_paths(paths, [[radius] * 2, [0.97 * radius] * 2, [daughter] * 23])
    space, shape = grid_around(truth, offset=(0.3, 0.6, 0.2))
    graph = prune(trace(as_heatmap(Volume(clean_mask(truth, space, shape), space))))
    assert np.linalg.norm(graph.node_position[graph.degree == 3], axis=1) == pytest.approx([0.0], abs=0.5 * radius)


def test_ends_lie_a_radius_before_the_wall():
    truth = VesselGraph.from_paths([[[0, 0, 0], [30, 0, 0]]], [[3.0, 3.0]])
    space, shape = grid_around(truth, offset=(0.3, 0.6, 0.2))
    graph = prune(trace(as_heatmap(Volume(clean_mask(truth, space, shape), space))))
    ends = np.sort(graph.node_position[:, 0])
    assert ends == pytest.approx([0.0, 30.0], abs=0.8)
    assert graph.path_radius[[0, -1]] == pytest.approx([3.0, 3.0], abs=0.2)
    # The ball that fits in at an end is a little smaller than the tube.
    assert ((graph.node_radius > 2.0) & (graph.node_radius < 3.1)).all()


def trunk_with_twig(length):
    """A trunk of radius 3 with a twig of radius 1.5 at right angles, and its mask."""
    trunk = [[-20, 0, 0], [0, 0, 0]], [[0, 0, 0], [20, 0, 0]]
    truth = VesselGraph.from_paths([*trunk, [[0, 0, 0], [0, length, 0]]], [[3.0, 3.0], [3.0, 3.0], [1.5, 1.5]])
    space, shape = grid_around(truth, offset=(0.3, 0.6, 0.2))
    return as_heatmap(Volume(clean_mask(truth, space, shape), space))


def twig_of(graph):
    """The branch that reaches farthest from the trunk."""
    return np.argmax(np.abs(graph.node_position[graph.edge_nodes][:, :, 1]).max(axis=1))


@pytest.mark.parametrize(("length", "n_tips"), [(6.5, 3), (4.0, 3), (2.2, 2)])
def test_a_short_twig_stays_and_a_bump_goes(length, n_tips):
    graph = trace(trunk_with_twig(length))
    assert (prune(graph).degree == 1).sum() == n_tips
    if n_tips == 3:
        # Its round end lies a tip's radius beyond its axis; half of the trunk's radius is more than a voxel.
        exact = (length + 1.5 - 3.0) / 1.5
        out = graph.edge_data["stands_out"]
        assert 0.7 * exact < out[twig_of(graph)] < 1.05 * exact
        assert (np.delete(out, twig_of(graph)) > 5.0).all()


def test_how_far_a_twig_stands_out_decides():
    for length, share, n_tips in ((3.2, 0.95, 3), (3.2, 0.85, 2), (5.0, 0.45, 3), (5.0, 0.35, 2)):
        graph = trace(trunk_with_twig(length))
        out = graph.edge_data["stands_out"].copy()
        out[twig_of(graph)] = share
        assert (prune(graph.with_columns(edge={"stands_out": out})).degree == 1).sum() == n_tips


def test_corners_of_a_blunt_end_do_not_stand_out():
    # A box ends in four corners.
    mask = np.zeros((15, 15, 60), bool)
    mask[4:11, 4:11, 4:56] = True
    graph = trace(as_heatmap(Volume(mask, Space.axial())))
    out = graph.edge_data["stands_out"]
    short = np.isfinite(out) & (graph.edge_length < 6.0)
    assert short.any()
    assert (out[short] <= 0.4).all()


def test_the_steps_of_thick_slices_are_no_twigs_and_do_not_take_the_mask_apart():
    # A slanted vessel drawn slice by slice, four times as thick as the pixels are wide.
    planes, rows, columns = np.indices((14, 40, 90)).astype(float)
    mask = (rows - 20) ** 2 + ((columns - 12 - 5 * planes) * 0.6) ** 2 < 6.0**2
    space = Space.axial((2.8, 0.7, 0.7))
    graph = prune(trace(as_heatmap(Volume(mask, space))))
    assert betti_of_graph(graph) == (1, 0)
    assert (graph.degree == 1).sum() <= 3


def test_daughters_that_touch_again_behind_their_fork_leave_no_loop():
    paths = [
        [[-15, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [4, 2.6, 0], [8, 1.6, 0], [20, 8, 0]],
        [[0, 0, 0], [4, -2.6, 0], [8, -1.6, 0], [20, -8, 0]],
    ]
    radii = [[2.0] * 2, [1.7] * 4, [1.7] * 4]
    truth = VesselGraph.from_paths(paths, radii)
    space, shape = grid_around(truth, offset=(0.3, 0.6, 0.2))
    mask = clean_mask(truth, space, shape)
    graph = prune(trace(as_heatmap(Volume(mask, space))))
    assert betti_of_graph(graph) == (1, 0)


def test_what_is_fitted_is_said_and_survives_pruning():
    _, heatmap = narrow_fork(22)
    traced = trace(heatmap)
    assert traced.node_data["fitted"].sum() == 1
    assert (traced.edge_data["wall_step"] == 0.0).all()
    fitted = traced.node_position[traced.node_data["fitted"]]
    pruned = prune(judge(traced))
    np.testing.assert_allclose(pruned.node_position[pruned.degree == 3], fitted)


def test_an_isolated_voxel_and_a_ball_give_a_graph():
    for radius in (0.4, 4.0):
        planes, rows, columns = np.indices((12, 12, 12)).astype(float)
        mask = (planes - 5.8) ** 2 + (rows - 6) ** 2 + (columns - 6) ** 2 < radius**2
        graph = trace(as_heatmap(Volume(mask, Space.axial())))
        assert np.isfinite(graph.node_position).all()
        assert "fitted" in graph.node_data or graph.n_edges == 0
