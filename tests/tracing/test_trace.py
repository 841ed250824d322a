"""The tracing stage: contracts, invariances, and evidence measured another way."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from tests.strategies import assert_same_graph
from tests.tracing.drawn import OBLIQUE, drawn, grid_around
from vesselgraph import Heatmap, Space, VesselGraph, Volume, compare_graphs, trace
from vesselgraph.config import TraceConfig
from vesselgraph.errors import BackendUnavailableError, SpaceMismatchError
from vesselgraph.metrics import betti_of_graph
from vesselgraph.phantom import tube_graph
from vesselgraph.tracing.radii import cross_axes

CONFIG = TraceConfig(threshold=0.1, max_gap=6.0, max_turn_deg=60.0)


def heat_of(graph, space, shape, width=1.5):
    """Gaussian heat around the lines of a graph; width in mm, the same as radius."""
    places = space.to_world(np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3))
    distance = cKDTree(graph.path_position).query(places, distance_upper_bound=4.0 * width)[0]
    heat = np.exp(-0.5 * (distance / width) ** 2).reshape(shape).astype(np.float32)
    radius = np.where(heat > 0.01, np.float32(2.0), np.float32(0.0))
    return Heatmap(Volume(heat, space, "heat"), Volume(radius, space, "radius"))


def fork(direction=None, offset=(0.3, 0.1, 0.4)):
    truth = tube_graph("y", length=36.0, radius=2.0, step=0.1)
    axes = {} if direction is None else {"direction": direction}
    return truth, heat_of(truth, *grid_around(truth, offset=offset, **axes))


def same(graph, other, tolerance=1.0):
    return compare_graphs(graph, other, tolerances=(tolerance,)).nearest[tolerance].f1


def stored(volume, axes, flips):
    """The same volume in the world, with its axes in another order and some of them backwards."""
    array, direction, first = volume.array.transpose(axes), volume.space.direction[:, list(axes)].copy(), np.zeros(3)
    for axis in flips:
        array = np.flip(array, axis)
        first[axes[axis]] = volume.shape[axes[axis]] - 1
        direction[:, axis] *= -1
    return Volume(array, Space(volume.space.spacing[list(axes)], volume.space.to_world(first), direction))


@pytest.mark.parametrize("direction", [None, OBLIQUE], ids=["axial", "oblique"])
def test_a_graph_lies_where_its_heat_lies_in_the_world(direction):
    truth, heatmap = fork(direction)
    graph = trace(heatmap, CONFIG)
    scores = compare_graphs(graph, truth, tolerances=(1.0,))
    assert scores.nearest[1.0].recall > 0.99
    assert scores.bifurcation.recall == 1.0
    assert scores.mean_distance < 0.4
    assert graph.space.is_close(heatmap.heat.space.shifted(heatmap.heat.space.to_index(graph.space.origin)))
    shift = np.array([100.0, -50.0, 7.0])
    space = heatmap.heat.space
    moved = Space(space.spacing, space.origin + shift, space.direction)
    again = trace(Heatmap(Volume(heatmap.heat.array, moved), Volume(heatmap.radius.array, moved)), CONFIG)
    np.testing.assert_allclose(again.path_position, graph.path_position + shift, atol=1e-9)


@pytest.mark.parametrize(("axes", "flips"), [((0, 1, 2), (0, 1)), ((2, 0, 1), ()), ((1, 0, 2), (2,))])
def test_the_order_and_sense_of_the_axes_do_not_matter(axes, flips):
    _, heatmap = fork()
    turned = Heatmap(stored(heatmap.heat, axes, flips), stored(heatmap.radius, axes, flips))
    graph, other = trace(heatmap, CONFIG), trace(turned, CONFIG)
    assert same(graph, other) >= 0.99
    assert betti_of_graph(graph) == betti_of_graph(other)


def test_a_crop_with_a_margin_changes_nothing():
    _, heatmap = fork()
    wide = np.pad(heatmap.heat.array, ((5, 3), (2, 6), (4, 4)))
    space = heatmap.heat.space.shifted((-5, -2, -4))
    padded = Heatmap(Volume(wide, space), Volume(np.pad(heatmap.radius.array, ((5, 3), (2, 6), (4, 4))), space))
    np.testing.assert_allclose(trace(padded, CONFIG).path_position, trace(heatmap, CONFIG).path_position, atol=1e-6)


def test_fainter_heat_with_a_lower_threshold_gives_the_same_lines():
    truth, heatmap = fork()
    for factor in (0.9, 0.5):
        faint = Heatmap(heatmap.heat.with_array(heatmap.heat.array * np.float32(factor)), heatmap.radius)
        graph = trace(faint, CONFIG.model_copy(update={"threshold": 0.1 * factor}))
        assert compare_graphs(graph, truth, tolerances=(1.0,)).nearest[1.0].recall > 0.95
        assert graph.path_data["heat"].max() <= factor + 1e-6


def test_thick_slices_of_heat_are_resampled():
    truth = tube_graph("y", length=36.0, radius=2.0, step=0.1)
    graph = trace(heat_of(truth, *grid_around(truth, spacing=(2.0, 1.0, 1.0))), CONFIG)
    assert graph.space.spacing.tolist() == [1.0, 1.0, 1.0]
    assert compare_graphs(graph, truth, tolerances=(1.0,)).nearest[1.0].recall > 0.98


def test_two_runs_give_the_same_bytes():
    _, heatmap = fork()
    assert_same_graph(trace(heatmap, CONFIG), trace(heatmap, CONFIG))


@pytest.mark.parametrize("image", [None, Volume(np.ones((8, 8, 8)), Space.axial())], ids=["alone", "with image"])
def test_cold_heat_gives_an_empty_graph(image):
    cold = Heatmap(Volume(np.full((8, 8, 8), 0.05, np.float32), Space.axial()))
    graph = trace(cold, CONFIG, image=image)
    assert (graph.n_nodes, graph.n_edges) == (0, 0)
    assert [step.stage for step in graph.history] == ["trace"]
    assert "heat" in graph.path_data
    assert {"generator", "mean_heat", "gap_length"} <= set(graph.edge_data)


def test_a_single_hot_voxel_is_no_branch():
    heat = np.zeros((9, 9, 9), np.float32)
    heat[4, 4, 4] = 0.9
    assert trace(Heatmap(Volume(heat, Space.axial())), CONFIG).n_edges == 0


def test_hot_voxels_at_the_border_are_traced():
    heat = np.zeros((5, 5, 30), np.float32)
    heat[0, 0] = 0.8
    graph = trace(Heatmap(Volume(heat, Space.axial())), CONFIG)
    assert graph.length > 20.0
    assert np.isfinite(graph.path_radius).all()


def test_only_what_lies_in_the_region_is_traced():
    _, heatmap = fork()
    z = heatmap.heat.space.to_world(np.moveaxis(np.indices(heatmap.heat.shape), 0, -1))[..., 2]
    below = heatmap.heat.with_array(z < -2.0)
    graph = trace(heatmap, CONFIG, region=below)
    assert -6.0 < graph.path_position[:, 2].max() < -1.0
    assert trace(heatmap, CONFIG).path_position[:, 2].max() > 10.0


def test_a_region_elsewhere_is_refused():
    _, heatmap = fork()
    far = Volume(np.ones((5, 5, 5), bool), Space.axial(origin=(900.0, 0.0, 0.0)))
    with pytest.raises(SpaceMismatchError, match="a region that overlaps the heatmap"):
        trace(heatmap, CONFIG, region=far)


def test_a_missing_backend_says_what_to_do():
    _, heatmap = fork()
    with pytest.raises(BackendUnavailableError, match=r'use trace.backend = "numba"'):
        trace(heatmap, TraceConfig(backend="cuda"))


def test_progress_rises_to_the_end():
    _, heatmap = fork()
    seen = []
    trace(heatmap, CONFIG, progress=lambda _, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)


def broken_line():
    """Heat along a line of 30 mm with a gap from 12 to 20 mm."""
    line = np.zeros((220, 3))
    line[:, 0] = np.r_[0:12:0.1, 20:30:0.1]
    truth = VesselGraph.from_paths([line[:120], line[120:]], [np.full(120, 2.0), np.full(100, 2.0)])
    return heat_of(truth, *grid_around(truth), width=0.7)


def test_a_gap_is_bridged_and_said():
    bridged = trace(broken_line(), CONFIG.model_copy(update={"max_gap": 8.0}))
    assert betti_of_graph(bridged)[0] == 1
    is_bridge = bridged.edge_data["generator"] == 2
    assert is_bridge.any()
    for e in np.flatnonzero(is_bridge):
        gap = bridged.path(int(e))[:, 0]
        assert 9.0 < gap.min() < gap.max() < 23.0
    open_gap = trace(broken_line(), CONFIG.model_copy(update={"max_gap": 1.0}))
    assert betti_of_graph(open_gap)[0] == 2
    assert (open_gap.edge_data["generator"] & 1).all()


def values_on(volume, positions):
    """Trilinear values at world positions, 0 outside."""
    return ndimage.map_coordinates(
        volume.array.astype(np.float64), volume.space.to_index(positions).T, order=1, mode="constant", cval=0.0
    )


@pytest.mark.parametrize("which", ["broken line", "fork"])
def test_evidence_of_heat_by_its_definitions(which):
    heatmap = broken_line() if which == "broken line" else fork()[1]
    graph = trace(heatmap, CONFIG.model_copy(update={"max_gap": 8.0}))
    along = values_on(heatmap.heat, graph.path_position)
    np.testing.assert_allclose(graph.path_data["heat"], along, atol=1e-5)
    free = graph.degree == 1
    for e in range(graph.n_edges):
        here = slice(graph.path_offset[e], graph.path_offset[e + 1])
        row = {name: float(column[e]) for name, column in graph.edge_data.items()}
        heat = np.sort(along[here])
        assert row["mean_heat"] == pytest.approx(heat.mean(), abs=1e-5)
        assert row["min_heat"] == pytest.approx(heat[0], abs=1e-5)
        place = 0.25 * (len(heat) - 1)
        below = int(place)
        between = heat[below] + (place - below) * (heat[min(below + 1, len(heat) - 1)] - heat[below])
        assert row["low_heat"] == pytest.approx(between, abs=1e-5)
        steps = np.linalg.norm(np.diff(graph.path_position[here], axis=0), axis=1)
        length = steps.sum()
        cold = along[here] <= CONFIG.threshold
        gap = 0.5 * (steps * (cold[:-1].astype(int) + cold[1:])).sum() if row["generator"] == 2 else 0.0
        assert row["gap_length"] == pytest.approx(gap, abs=1e-6)
        assert np.isnan(row["gap_min_heat"]) if gap == 0.0 else row["gap_min_heat"] == pytest.approx(heat[0], abs=1e-5)
        resists = 1.0 / np.maximum(along[here], 0.02) ** 2
        assert row["path_cost"] == pytest.approx((0.5 * steps * (resists[:-1] + resists[1:])).sum(), rel=1e-3)
        ways = np.concatenate([[0.0], np.cumsum(steps)])
        assert row["taper"] == pytest.approx(abs(np.polyfit(ways, graph.path_radius[here], 1)[0]), abs=1e-6)
        ends = graph.edge_nodes[e]
        if free[ends].sum() == 1:
            tip, foot = (ends[0], ends[1]) if free[ends[0]] else (ends[1], ends[0])
            tip_radius = graph.path_radius[here][0 if tip == ends[0] else -1]
            assert row["protrusion"] == pytest.approx(length + tip_radius - graph.node_radius[foot])
        else:
            assert row["protrusion"] == np.inf


def bright_tubes():
    """Two tubes of radius 2 mm, 100 on a ground of 20, far apart and at a right angle, with their heat."""
    truth = VesselGraph.from_paths([[[0, 0, 0], [30, 0, 0]], [[0, 24, -10], [0, 24, 20]]], [[2.0, 2.0]] * 2)
    dense = VesselGraph.from_paths(
        [np.linspace(truth.path(e)[0], truth.path(e)[-1], 300) for e in range(2)], [np.full(300, 2.0)] * 2
    )
    space, shape = grid_around(dense, margin=8.0)
    places = space.to_world(np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3))
    distance = cKDTree(dense.path_position).query(places)[0].reshape(shape)
    image = 20.0 + 80.0 / (1.0 + np.exp((distance - 2.0) / 0.25))
    return Volume(image.astype(np.float32), space), heat_of(dense, space, shape)


def test_contrast_and_radii_of_a_bright_tube():
    image, heatmap = bright_tubes()
    graph = trace(heatmap, CONFIG, image=image)
    # What the flat ends of the tubes add is left out.
    tubes = np.argsort(-graph.edge_length)[:2]
    assert (graph.edge_length[tubes] > 20.0).all()
    np.testing.assert_allclose(graph.edge_data["contrast"][tubes], 80.0, rtol=0.05)
    for e in tubes:
        assert np.median(graph.radius_along(int(e))) == pytest.approx(2.0, abs=0.15)
    darker = trace(heatmap, CONFIG, image=image.with_array(120.0 - image.array))
    np.testing.assert_allclose(darker.edge_data["contrast"], -graph.edge_data["contrast"], rtol=1e-3, atol=1e-3)


def test_the_plane_across_a_branch_knows_nothing_of_other_branches():
    graph = VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 9, 0], [0, 9, 1], [0, 9, 2]]])
    first, second = cross_axes(graph)
    along = np.repeat([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 3, axis=0)
    np.testing.assert_allclose(np.abs(np.sum(np.cross(first, second) * along, axis=1)), 1.0)


def test_a_mask_keeps_the_radii_of_its_own_cross_sections():
    truth, heatmap = drawn("straight", radius=3.0, length=24.0, offset=(0.3, 0.6, 0.2))
    image = heatmap.heat.with_array(1.0 - heatmap.heat.array)
    alone, with_image = trace(heatmap, CONFIG), trace(heatmap, CONFIG, image=image)
    np.testing.assert_array_equal(alone.path_radius, with_image.path_radius)
    assert truth.n_edges == 1
