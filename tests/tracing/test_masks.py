"""Centerlines and radii of drawn masks against the shapes they were drawn from."""

import numpy as np
import pytest

from tests.tracing.drawn import AXIAL, OBLIQUE, as_heatmap, covered, drawn, errors, grid_around, inner_length
from vesselgraph import Space, VesselGraph, Volume, prune, trace
from vesselgraph.config import TraceConfig
from vesselgraph.edit import subset
from vesselgraph.metrics import betti_of_graph
from vesselgraph.phantom import clean_mask

# Below the voxel, and not on a lattice.
OFFSETS = [(0.31, 0.62, 0.17), (0.5, 0.24, 0.83)]
GRIDS = {
    "isotropic": {},
    "oblique": {"direction": OBLIQUE},
    "thick slices": {"spacing": (2.0, 0.8, 0.8)},
    "oblique thick slices": {"spacing": (1.6, 0.8, 0.8), "direction": OBLIQUE},
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("kind", "radius", "length"), [("straight", 3.0, 30.0), ("arc", 3.0, 32.0), ("cone", 4.0, 30.0)])
def test_a_tube_is_a_line_along_its_axis(kind, radius, length, grid):
    for offset in OFFSETS[: 2 if grid == "isotropic" else 1]:
        truth, heatmap = drawn(kind, radius=radius, length=length, offset=offset, **GRIDS[grid])
        graph = prune(trace(heatmap))
        voxel = heatmap.heat.space.spacing.min()
        # Round caps may leave a small fork; between them there is one line.
        distance, difference = errors(graph, truth, skip=3.0 * radius)
        assert betti_of_graph(graph) == (1, 0)
        expected = inner_length(truth, truth, 3.0 * radius)
        assert inner_length(graph, truth, 3.0 * radius) == pytest.approx(expected, rel=0.05, abs=1.5)
        assert distance.max() < 1.0 * voxel
        assert distance.mean() < 0.3 * voxel
        assert np.abs(difference).mean() < 0.15 * voxel
        assert covered(graph, truth, 2.0 * radius) == 1.0


@pytest.mark.parametrize("grid", ["isotropic", "oblique"])
def test_a_helix_is_a_line_along_its_axis(grid):
    truth, heatmap = drawn("helix", radius=2.5, length=32.0, offset=OFFSETS[0], **GRIDS[grid])
    graph = prune(trace(heatmap))
    distance, difference = errors(graph, truth, skip=7.5)
    assert betti_of_graph(graph) == (1, 0)
    assert inner_length(graph, truth, 7.5) == pytest.approx(inner_length(truth, truth, 7.5), rel=0.05)
    assert distance.mean() < 0.3
    assert np.abs(difference).mean() < 0.15
    assert abs(difference.mean()) < 0.1


def test_wide_tubes_leave_one_line_and_not_one_for_every_step_of_their_wall():
    truth, heatmap = drawn("arc", radius=5.0, length=36.0, **GRIDS["thick slices"])
    graph = prune(trace(heatmap))
    distance, difference = errors(graph, truth, skip=12.0)
    assert graph.n_edges <= 6
    assert distance.mean() < 0.3
    assert np.abs(difference).mean() < 0.15


def test_radii_are_right_on_average():
    bias = []
    for offset in OFFSETS:
        for radius in (2.0, 2.5, 3.0):
            truth, heatmap = drawn("straight", radius=radius, length=20.0, offset=offset, direction=OBLIQUE)
            bias.append(errors(prune(trace(heatmap)), truth, skip=2.5 * radius)[1].mean())
    assert abs(np.mean(bias)) < 0.05
    assert np.abs(bias).max() < 0.15


@pytest.mark.parametrize("grid", ["isotropic", "oblique"])
def test_a_fork_is_one_node_of_degree_three(grid):
    truth, heatmap = drawn("y", radius=2.5, length=44.0, offset=OFFSETS[0], **GRIDS[grid])
    graph = prune(trace(heatmap))
    assert sorted(graph.degree.tolist()) == [1, 1, 1, 3]
    fork = graph.node_position[graph.degree == 3][0]
    true_fork = truth.node_position[truth.degree == 3][0]
    assert np.linalg.norm(fork - true_fork) < 2.0


def test_a_ring_is_one_loop():
    truth, heatmap = drawn("ring", radius=2.0, length=20.0, offset=OFFSETS[1])
    graph = prune(trace(heatmap))
    assert betti_of_graph(graph) == (1, 1)
    assert graph.length == pytest.approx(truth.length, rel=0.05)


def test_two_vessels_apart_stay_apart():
    truth = VesselGraph.from_paths([[[0, 0, 0], [24, 0, 0]], [[0, 9, 0], [24, 9, 0]]], [[2.0, 2.0], [2.0, 2.0]])
    space, shape = grid_around(truth)
    graph = prune(trace(as_heatmap(Volume(clean_mask(truth, space, shape), space))))
    assert betti_of_graph(graph) == (2, 0)


def test_the_foreground_keeps_its_components_and_loops_without_bridges():
    # Two boxes and a frame: traced branches have the topology of the mask, whatever it looks like.
    mask = np.zeros((12, 30, 40), bool)
    mask[4:8, 3:9, 3:15] = True
    mask[4:8, 12:27, 3:20] = True
    mask[4:8, 16:23, 8:15] = False
    mask[4:8, 14:18, 30:38] = True
    graph = trace(as_heatmap(Volume(mask, Space.axial())), TraceConfig(max_gap=0.0))
    traced = (graph.edge_data["generator"] & 1) > 0
    assert betti_of_graph(subset(graph, edges=traced)[0]) == (3, 1)


def test_the_type_of_a_mask_does_not_matter():
    _, heatmap = drawn("straight", radius=3.0, length=20.0)
    as_bool = heatmap.heat.with_array(heatmap.heat.array.astype(np.uint8))
    assert trace(as_heatmap(as_bool)).path_position.tobytes() == trace(heatmap).path_position.tobytes()


def test_a_branch_in_a_flat_trunk_is_as_wide_as_the_branch_and_not_as_the_trunk_cut_lengthwise():
    z, y, x = np.meshgrid(np.arange(41.0), np.arange(91.0), np.arange(61.0), indexing="ij")
    trunk = (((y - 30.0) / 16.0) ** 2 + ((z - 10.0) / 4.0) ** 2 <= 1.0) & (x >= 2.0) & (x <= 58.0)
    # It leaves at 20 degrees to the trunk's flat side, radius 2.
    away = np.array([0.0, np.cos(np.deg2rad(20.0)), np.sin(np.deg2rad(20.0))])
    place = np.stack([x - 30.0, y - 30.0, z - 10.0], axis=-1)
    along = place @ away
    branch = (np.linalg.norm(place - along[..., None] * away, axis=-1) <= 2.0) & (along > 0.0) & (along < 50.0)
    mask = Volume(trunk | branch, Space((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), AXIAL))
    graph = prune(trace(as_heatmap(mask)))
    tip = int(np.argmax(graph.path_position[:, 1]))
    radius = graph.radius_along(int(graph.edge_of_point[tip]))
    assert radius.size > 30
    assert radius == pytest.approx(2.0, abs=0.3)
