"""Centerline graphs of drawn masks against the shapes they were drawn from."""

import numpy as np
import pytest

from vesselgraph import Space, VesselGraph, Volume, compare_graphs
from vesselgraph.errors import InputError
from vesselgraph.metrics import betti_of_graph, betti_of_mask, skeleton_graph
from vesselgraph.metrics.thinning import thin_mask
from vesselgraph.phantom import clean_mask

OBLIQUE = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]) @ np.array(
    [[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]]
)


def drawn(graph, space, shape):
    return Volume(clean_mask(graph, space, shape), space)


def tree(origin=(0.0, 0.0, 0.0)):
    stem = [[5, 20, 20], [25, 20, 20]]
    up, down = [[25, 20, 20], [42, 33, 24]], [[25, 20, 20], [42, 8, 15]]
    paths = [np.array(path, dtype=float) + origin for path in (stem, up, down)]
    return VesselGraph.from_paths(paths, [[3.0, 3.0], [2.0, 2.0], [2.0, 2.0]])


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (Space.axial(), (42, 42, 50)),
        (Space.axial(spacing=(1.6, 0.6, 0.6)), (26, 70, 84)),
        (Space(np.array([0.9, 0.9, 0.9]), np.array([-4.0, -4.0, -8.0]), OBLIQUE), (70, 70, 64)),
    ],
    ids=["isotropic", "thick slices", "oblique"],
)
def test_a_tree_comes_back_from_its_mask(space, shape):
    truth = tree()
    graph = skeleton_graph(drawn(truth, space, shape))
    scores = compare_graphs(graph, truth)
    assert (graph.n_edges, sorted(graph.degree.tolist())) == (3, [1, 1, 1, 3])
    assert scores.centerline[2.0].f1 > 0.94
    assert scores.bifurcation.f1 == scores.tip.f1 == 1.0
    assert scores.mean_distance < 0.6
    assert abs(scores.radius.bias) < 0.35
    assert scores.betti_error == (0, 0)


def test_a_ring_is_one_loop():
    angle = np.linspace(0, 2 * np.pi, 41)
    ring = np.stack([20 + 12 * np.cos(angle), 20 + 12 * np.sin(angle), np.full(41, 6.0)], axis=1)
    ring[-1] = ring[0]
    graph = skeleton_graph(drawn(VesselGraph.from_paths([ring], [np.full(41, 2.0)]), Space.axial(), (13, 41, 41)))
    assert betti_of_graph(graph) == (1, 1)
    assert graph.length == pytest.approx(2 * np.pi * 12, rel=0.05)


def test_two_pieces_stay_two():
    apart = VesselGraph.from_paths([[[5, 8, 8], [40, 8, 8]], [[5, 24, 8], [40, 24, 8]]], [[2.0, 2.0], [2.0, 2.0]])
    graph = skeleton_graph(drawn(apart, Space.axial(), (17, 33, 46)))
    assert (graph.n_edges, betti_of_graph(graph)) == (2, (2, 0))


def test_bumps_of_the_surface_are_not_branches():
    rng = np.random.default_rng(0)
    tube = drawn(VesselGraph.from_paths([[[5, 12, 12], [55, 12, 12]]], [[4.0, 4.0]]), Space.axial(), (25, 25, 60)).array
    moved = np.argwhere(tube) + rng.integers(-1, 2, (int(tube.sum()), 3)) * (rng.random((int(tube.sum()), 1)) < 0.02)
    shell = np.zeros(tube.shape, dtype=bool)
    shell[tuple(moved.T)] = True
    rough = Volume(tube | shell, Space.axial())
    kept, all_ends = skeleton_graph(rough), skeleton_graph(rough, spur_factor=0.0)
    assert (kept.n_edges, all_ends.n_edges > 1) == (1, True)


def test_thinning_keeps_topology_whatever_the_order_of_the_axes():
    mask = drawn(tree(), Space.axial(spacing=(0.6, 0.6, 0.6)), (70, 70, 84)).array
    for axes in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        thin = thin_mask(np.ascontiguousarray(mask.transpose(axes)))
        assert betti_of_mask(thin) == (1, 0, 0)
        # Three arms of 33 to 36 voxels; Lee's thinning eats the whole stem in one of the orders.
        assert thin.sum() > 80


def test_empty_and_single_voxel_masks_have_no_branches():
    array = np.zeros((5, 5, 5), dtype=bool)
    assert skeleton_graph(Volume(array, Space.axial())).n_nodes == 0
    array[2, 2, 2] = True
    assert skeleton_graph(Volume(array, Space.axial())).n_edges == 0


def test_nan_is_refused():
    with pytest.raises(InputError, match="NaN voxels"):
        skeleton_graph(Volume(np.full((3, 3, 3), np.nan), Space.axial()))
