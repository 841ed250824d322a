"""Answers known by hand, and input that holds nothing."""

import numpy as np
import pytest
from numba import cuda
from scipy import ndimage

from cuda_kernels import depth, eikonal, foreground, ridge_filter, sampling, thinning
from cuda_kernels.device import launch
from vesselgraph.tracing.foreground import find_foreground as find_on_cpu

ALL = np.ones((3, 3, 3))


def listed(mask):
    return foreground.find_foreground(cuda.to_device(np.ascontiguousarray(mask, dtype=np.float32)), 0.5)


def thinned(mask, level=None, n_levels=4):
    found = listed(mask)
    level = np.zeros(len(found), np.int32) if level is None else level
    present = thinning.thin(found, cuda.to_device(level), n_levels).copy_to_host()
    result = np.zeros(mask.shape, bool)
    result[tuple(found.voxels.copy_to_host()[present > 0].T)] = True
    return result


def betti(mask):
    """Components, tunnels and cavities: 26-connected object, 6-connected background."""
    padded = np.pad(mask, 1)
    pieces = ndimage.label(padded, ALL)[1]
    cavities = ndimage.label(~padded)[1] - 1
    # Euler number of the union of closed unit cubes.
    grid = np.zeros(tuple(2 * n + 1 for n in padded.shape), bool)
    grid[1::2, 1::2, 1::2] = padded
    grid = ndimage.binary_dilation(grid, ALL)
    parity = sum(np.indices(grid.shape) % 2)
    euler = int((grid & (parity % 2 == 0)).sum()) - int((grid & (parity % 2 == 1)).sum())
    return pieces, pieces + cavities - euler, cavities


def torus(n=11):
    z, y, x = np.indices((7, n, n)) - np.array([3, n // 2, n // 2])[:, None, None, None]
    return (np.hypot(np.hypot(y, x) - 3.3, z)) < 1.6


def test_betti_numbers_of_known_shapes():
    assert betti(np.ones((1, 1, 1), bool)) == (1, 0, 0)
    assert betti(torus()) == (1, 1, 0)
    hollow = np.ones((3, 3, 3), bool)
    hollow[1, 1, 1] = False
    assert betti(hollow) == (1, 0, 1)


def test_a_bar_thins_to_its_axis():
    mask = np.zeros((5, 5, 9), bool)
    mask[1:4, 1:4, 1:8] = True
    voxels = np.argwhere(mask)
    on_axis = (voxels[:, 0] == 2) & (voxels[:, 1] == 2)
    result = thinned(mask, np.where(on_axis, 3, 0).astype(np.int32))
    assert np.argwhere(result).tolist() == [[2, 2, x] for x in range(1, 8)]


@pytest.mark.parametrize("mask", [torus(), np.ones((5, 6, 7), bool), np.ones((1, 6, 5), bool)], ids=["torus", "box", "plane"])
def test_thinning_keeps_the_topology_of_solids(mask):
    result = thinned(mask)
    assert betti(result) == betti(mask)
    assert result.sum() <= 0.5 * mask.sum()


@pytest.mark.parametrize("seed", range(3))
def test_thinning_keeps_the_topology_of_noise_and_is_the_hosts(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((6, 7, 5)) < 0.45
    level = rng.integers(0, 6, int(mask.sum())).astype(np.int32)
    result = thinned(mask, level, 6)
    assert betti(result) == betti(mask)
    on_host = thinning.thin_on_host(find_on_cpu(mask.astype(np.float32), 0.5), level, 6)
    assert np.array_equal(result[mask], on_host > 0)


def test_a_voxel_a_curve_end_and_nothing_stay():
    one = np.zeros((3, 4, 5), bool)
    one[1, 2, 3] = True
    assert np.array_equal(thinned(one), one)
    line = np.zeros((3, 4, 5), bool)
    line[1, 1] = True
    assert np.array_equal(thinned(line), line)
    assert not thinned(np.zeros((3, 4, 5), bool)).any()


def test_times_along_a_bent_corridor_are_length_over_speed():
    mask = np.zeros((2, 4, 9), bool)
    mask[0, 0, :] = mask[0, :, 8] = mask[:, 3, 8] = True
    found = listed(mask)
    slow = cuda.to_device(np.full(len(found), 2.0, np.float32))
    times = eikonal.travel_times(found, slow, cuda.to_device(np.zeros(1, np.int32)), (3.0, 0.5, 0.25)).copy_to_host()
    voxels = found.voxels.copy_to_host()
    assert np.allclose(times, 2.0 * (voxels @ [3.0, 0.5, 0.25]), rtol=1e-6)


def test_a_front_does_not_jump_a_gap_and_several_sources_share_the_way():
    mask = np.zeros((1, 1, 11), bool)
    mask[..., :5] = mask[..., 6:] = True
    found = listed(mask)
    slow = cuda.to_device(np.ones(len(found), np.float32))
    alone = eikonal.travel_times(found, slow, cuda.to_device(np.zeros(1, np.int32)), (1.0, 1.0, 1.0)).copy_to_host()
    assert alone.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0] + [np.inf] * 5
    both = eikonal.travel_times(found, slow, cuda.to_device(np.array([0, 4], np.int32)), (1.0, 1.0, 1.0)).copy_to_host()
    assert both[:5].tolist() == [0.0, 1.0, 2.0, 1.0, 0.0]


def test_first_order_times_beside_a_source_in_the_plane():
    found = listed(np.ones((1, 2, 2), bool))
    slow = cuda.to_device(np.ones(4, np.float32))
    times = eikonal.travel_times(found, slow, cuda.to_device(np.zeros(1, np.int32)), (1.0, 1.0, 1.0)).copy_to_host()
    assert np.allclose(times, [0.0, 1.0, 1.0, 1.0 + np.sqrt(0.5)], rtol=1e-6)


def test_the_ridge_filter_finds_a_bright_tube_and_no_dark_one():
    volume = np.zeros((9, 9, 8), np.float32)
    volume[4, 4] = 1.0
    best, sigma = (array.copy_to_host() for array in ridge_filter.ridge_filter(cuda.to_device(volume), (1.0, 2.0), (1.0, 1.0)))
    assert np.unravel_index(best[:, :, 4].argmax(), (9, 9)) == (4, 4)
    assert sigma[4, 4, 4] == 1.0
    assert not best[0].any()
    dark = ridge_filter.ridge_filter(cuda.to_device(-volume), (1.0,), (1.0,))[0].copy_to_host()
    assert dark[4, 4, 4] == 0.0


def test_smoothing_a_constant_changes_nothing():
    volume = np.full((3, 5, 4), 2.5, np.float32)
    assert np.allclose(ridge_filter.smooth(cuda.to_device(volume), 1.7).copy_to_host(), 2.5, rtol=1e-6)


def test_depth_of_a_slab():
    mask = np.zeros((7, 1, 1), bool)
    mask[1:6] = True
    assert depth.depth_of(listed(mask)).copy_to_host().tolist() == [1.0, 2.0, 3.0, 2.0, 1.0]
    assert depth.depth_of(listed(mask), 2).copy_to_host().tolist() == [1.0, 2.0, 2.0, 2.0, 1.0]


def test_samples_of_a_ramp_are_linear_and_zero_outside():
    volume = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    points = np.array([[0.5, 1.25, 2.5], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [0.0, 0.0, 3.01], [-0.1, 0.0, 0.0]], np.float32)
    values = cuda.device_array(5, np.float32)
    launch(sampling.sample_points, 5, cuda.to_device(volume), cuda.to_device(points), values)
    assert np.allclose(values.copy_to_host(), [0.5 * 12 + 1.25 * 4 + 2.5, 0.0, 23.0, 0.0, 0.0])


def test_nothing_hotter_gives_empty_arrays():
    found = foreground.find_foreground(cuda.to_device(np.zeros((4, 3, 5), np.float32)), 0.1)
    assert len(found) == 0
    assert depth.depth_of(found).copy_to_host().shape == (0,)
    none = cuda.to_device(np.zeros(0, np.float32))
    sources = cuda.to_device(np.zeros(0, np.int32))
    assert eikonal.travel_times(found, none, sources, (1.0, 1.0, 1.0)).copy_to_host().shape == (0,)
    launch(sampling.sample_points, 0, none, none, none)


def test_a_foreground_that_fills_the_box():
    found = listed(np.ones((3, 4, 5), bool))
    on_cpu = find_on_cpu(np.ones((3, 4, 5), np.float32), 0.5)
    assert np.array_equal(found.neighbours.copy_to_host(), on_cpu.neighbours)
    assert np.array_equal(found.row_start.copy_to_host(), on_cpu.row_start)
