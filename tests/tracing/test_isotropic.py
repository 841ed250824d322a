"""Thick slices made cubes near vessels: against resampling of the whole box, and only where it is needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from tests.tracing.drawn import OBLIQUE
from vesselgraph import Heatmap, Space, Volume, trace
from vesselgraph.config import TraceConfig
from vesselgraph.resampling import resample
from vesselgraph.tracing import field
from vesselgraph.tracing.isotropic import isotropic_near

SPACINGS = [(2.5, 0.7, 0.9), (0.5, 1.1, 0.6), (3.0, 1.0, 1.0)]


def noise(shape, seed):
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    return (0.5 + 0.5 * values / np.abs(values).max()).astype(np.float32)


def near(array, spacing, threshold, reach, from_mask=False, radius=None):
    volume = Volume(array, Space(spacing, (3.0, -2.0, 7.0), OBLIQUE))
    widths = None if radius is None else volume.with_array(radius)
    voxels = np.argwhere(array > threshold).astype(np.int32)
    return volume, *isotropic_near(volume, widths, voxels, reach, from_mask=from_mask)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_heat_is_that_of_resampling_the_whole_box(spacing):
    array = noise((7, 9, 11), 1)
    volume, heat, radius = near(array, spacing, 0.0, 1.0)
    assert radius is None
    assert heat.space.spacing.tolist() == [min(spacing)] * 3
    # Three voxels of rim on both sides.
    assert heat.shape == tuple(np.round((np.array(array.shape) + 6) * spacing / min(spacing)))
    assert np.abs(heat.array - resample(volume, heat.space, heat.shape, fill=0.0).array).max() < 1e-6


@pytest.mark.parametrize("spacing", SPACINGS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.floats(0.3, 0.7))
def test_masks_are_those_of_the_distance_of_the_whole_box(spacing, seed, level):
    array = (noise((6, 8, 9), seed) > level).astype(np.float32)
    array[0] = 0.0
    volume, fine, _ = near(array, spacing, 0.5, 0.0, from_mask=True)
    half = 0.5 * min(spacing)
    depth = ndimage.distance_transform_edt(array, sampling=spacing) - half
    outside = ndimage.distance_transform_edt(1 - array, sampling=spacing) - half
    signed = volume.with_array(np.where(array > 0, depth, -outside).astype(np.float32))
    expected = resample(signed, fine.space, fine.shape, fill=-1.0).array
    decided = np.abs(expected) > 1e-5
    assert np.array_equal(fine.array[decided] > 0, expected[decided] > 0)


def test_only_the_surroundings_of_the_foreground_are_filled():
    array = np.full((20, 60, 60), 0.01, np.float32)
    array[10, 30, 30] = array[4, 8, 8] = array[15, 51, 51] = 0.8
    volume, heat, _ = near(array, (2.0, 1.0, 1.0), 0.1, 4.0)
    index = np.stack(np.meshgrid(*map(np.arange, heat.shape), indexing="ij"), axis=-1)
    hot = volume.space.to_world(np.argwhere(array > 0.1).astype(float))
    apart = cKDTree(hot).query(heat.space.to_world(index))[0]
    assert (heat.array[apart <= 4.0] > 0).all()
    # A tile is 8 mm wide, and a rim of a coarse voxel is filled too.
    assert (heat.array[apart > (4.0 + 2.0 + 8.0) * np.sqrt(3.0)] == 0).all()
    assert (heat.array > 0).mean() < 0.2


def test_radii_are_those_of_the_nearest_voxel():
    array, radius = np.zeros((3, 5, 5), np.float32), np.zeros((3, 5, 5), np.float32)
    array[1, 2, 2], radius[1, 2, 2] = 0.9, 2.5
    _, heat, widths = near(array, (3.0, 1.0, 1.0), 0.1, 1.0, radius=radius)
    assert heat.shape == (21, 7, 7)
    assert np.argwhere(widths.array).tolist() == [[9, 3, 3], [10, 3, 3], [11, 3, 3]]
    assert set(widths.array[widths.array > 0].tolist()) == {2.5}


@pytest.mark.parametrize("inside", [1, 7])
def test_a_mask_that_is_one_voxel_or_fills_the_image(inside):
    array = np.zeros((7, 7, 7), np.float32)
    array[3 - inside // 2 : 4 + inside // 2, 3 - inside // 2 : 4 + inside // 2, 3 - inside // 2 : 4 + inside // 2] = 1.0
    _, fine, _ = near(array, (2.0, 1.0, 1.0), 0.5, 0.0, from_mask=True)
    assert fine.shape == (2 * (inside + 6), inside + 6, inside + 6)
    assert (fine.array.sum() == 14 * 49) if inside == 7 else (fine.array.sum() == 2)


@pytest.mark.parametrize("from_mask", [False, True])
def test_a_wider_box_changes_no_byte_of_thick_slices(from_mask):
    heat = noise((9, 16, 30), 5)
    heat = (heat > 0.7).astype(np.float32) if from_mask else np.where(heat > 0.6, heat - np.float32(0.4), 0).astype(np.float32)
    heat[[0, -1]] = heat[:, [0, -1]] = heat[:, :, [0, -1]] = 0
    space = Space((2.3, 0.8, 1.0), (5.0, 1.0, -3.0), OBLIQUE)
    wide = Volume(
        np.pad(heat, ((3, 5), (4, 3), (6, 9))), Space(space.spacing, space.to_world(np.array([-3.0, -4.0, -6.0])), OBLIQUE)
    )
    one, two = (trace(Heatmap(volume, source="drawn")) for volume in (Volume(heat, space), wide))
    assert one.n_edges == two.n_edges > 3
    assert np.array_equal(one.edge_nodes, two.edge_nodes)
    np.testing.assert_allclose(two.path_position, one.path_position, atol=1e-4)


def test_what_is_left_out_changes_no_candidate(monkeypatch):
    array = np.zeros((30, 40, 90), np.float32)
    z, y = np.mgrid[:30, :40]
    tube = 0.9 * np.exp(-(((z - 15.0) * 2.0) ** 2 + (y - 20.0) ** 2) / 6.0)
    array[:] = tube[:, :, None] + 0.02 * noise(array.shape, 4)
    array[:, :, 40:47] *= 0.05
    heatmap = Heatmap(Volume(array, Space.axial((2.0, 1.0, 1.0))), source="drawn")
    config = TraceConfig(max_gap=9.0)
    graph = trace(heatmap, config)
    monkeypatch.setattr(field, "_MARGIN_VOX", 1000.0)
    whole = trace(heatmap, config)
    assert (graph.edge_data["generator"] & 2).any()
    assert graph.path_position.tobytes() == whole.path_position.tobytes()
    assert all(graph.edge_data[name].tobytes() == whole.edge_data[name].tobytes() for name in whole.edge_data)
