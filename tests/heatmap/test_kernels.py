"""Smoothing and ridge strength against scipy and numpy."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from vesselgraph.heatmap.kernels import (
    damp_borders,
    damp_borders_at,
    gaussian_taps,
    ridge_strength,
    ridge_volume,
    smooth,
)
from vesselgraph.heatmap.oriented import best_along_lines, in_blocks, line_directions, line_offsets, packed_hessian, refinements

ENTRIES = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
symmetric = st.lists(st.floats(-10, 10, width=32), min_size=6, max_size=6)


def matrix(entries):
    hessian = np.zeros((3, 3))
    for (i, j), value in zip(ENTRIES, entries, strict=True):
        hessian[i, j] = hessian[j, i] = value
    return hessian


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0, 2.5])
def test_smoothing_matches_scipy(sigma):
    volume = noise((12, 17, 9))
    expected = ndimage.gaussian_filter(
        volume.astype(np.float64), sigma, mode="nearest", radius=max(1, int(np.ceil(3.0 * sigma)))
    )
    np.testing.assert_allclose(smooth(volume, sigma), expected, atol=1e-5)


def test_smoothing_keeps_constants_and_leaves_its_input():
    volume = np.full((6, 7, 8), 100.0, np.float32)
    np.testing.assert_allclose(smooth(volume, 1.7), 100.0, rtol=1e-5)
    before = noise((6, 7, 8))
    copy = before.copy()
    smooth(before, 1.0)
    np.testing.assert_array_equal(before, copy)
    assert smooth(before, 0.0) is before
    taps = gaussian_taps(1.3)
    assert 2.0 * taps.sum() - taps[0] == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(symmetric)
def test_ridge_strength_is_the_mean_of_the_two_lowest_eigenvalues(entries):
    values = np.float32(entries)
    lowest, middle, _ = np.linalg.eigvalsh(matrix(values.astype(float)))
    trace = float(values[:3].astype(float).sum())
    assume(abs(trace) > 1e-3)
    expected = np.sqrt(lowest * middle) if middle < 0 and trace < 0 else 0.0
    # Close to 0 the square root turns rounding into much, so the squares are compared.
    largest = max(1.0, float(np.abs(values).max()))
    assert float(ridge_strength(*values)) ** 2 == pytest.approx(expected**2, abs=1e-3 * largest**2)


@pytest.mark.parametrize(
    ("curvatures", "expected"),
    [
        ((-4, -9, 0), 6.0),
        ((-4, 0, 0), 0.0),
        ((-2, -2, -2), 2.0),
        ((3, 3, 0), 0.0),
        ((-1, 1, -1), 1.0),
        ((-1, 4, -1), 0.0),
        ((-5, 1, 1), 0.0),
    ],
)
def test_ridge_strength_by_hand(curvatures, expected):
    assert float(ridge_strength(*np.float32([*curvatures, 0, 0, 0]))) == pytest.approx(expected, abs=1e-2)


def quadratic(entries, shape=(7, 8, 9)):
    """A field with the given Hessian everywhere."""
    place = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2.0
    return (0.5 * np.einsum("...i,ij,...j", place, matrix(entries), place)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=6, max_size=6))
def test_the_hessian_of_a_quadratic_is_exact(entries):
    packed = packed_hessian(quadratic(entries))
    np.testing.assert_allclose(packed[1:-1, 1:-1, 1:-1], np.broadcast_to(entries, (5, 6, 7, 6)), atol=1e-3)
    border = np.ones((7, 8, 9), bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert not packed[border].any()


def test_ridge_volume_uses_that_hessian_and_its_scale():
    entries = [-4, -3, -1, 1, 0, 0.5]
    target = np.full((7, 8, 9), 7.0, np.float32)
    ridge_volume(quadratic(entries), np.float32(2.5), target)
    lowest, middle, _ = np.linalg.eigvalsh(matrix(entries))
    np.testing.assert_allclose(target[1:-1, 1:-1, 1:-1], 2.5 * np.sqrt(lowest * middle), rtol=1e-3)
    assert target[0].max() == target[:, 0].max() == target[:, :, -1].max() == 0.0


def test_line_directions():
    directions = line_directions()
    assert directions.shape == (49, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    cosine = np.abs(directions @ directions.T) - np.eye(49)
    assert cosine.max() < 0.999
    # Every direction in space is near to one of them.
    anywhere = np.random.default_rng(0).normal(size=(2000, 3))
    anywhere /= np.linalg.norm(anywhere, axis=1, keepdims=True)
    assert np.rad2deg(np.arccos(np.abs(anywhere @ directions.T).max(axis=1))).max() < 20.0
    fine = refinements(directions)
    assert fine.min() >= 13
    for i in range(13):
        others = np.setdiff1d(np.arange(13, 49), fine[i])
        assert cosine[i, fine[i]].min() >= cosine[i, others].max() - 1e-9
    offsets = line_offsets(directions, 4)
    assert np.abs(offsets - directions[:, None] * np.arange(-4, 5)[None, :, None]).max() <= 0.5
    assert (offsets == -offsets[:, ::-1]).all()


def tube_and_sheet(direction):
    """A bright tube and a bright sheet of the same profile, both along ``direction``, in a box."""
    shape = (25, 25, 25)
    place = np.moveaxis(np.indices(shape), 0, -1) - 12.0
    unit = np.asarray(direction) / np.linalg.norm(direction)
    normal = np.cross(unit, [0.3, -0.5, 0.8])
    normal /= np.linalg.norm(normal)
    across = place - (place @ unit)[..., None] * unit
    tube = np.exp(-0.5 * (across**2).sum(axis=-1) / 1.5**2)
    sheet = np.exp(-0.5 * (place @ normal) ** 2 / 1.5**2)
    return tube.astype(np.float32), sheet.astype(np.float32)


CENTRE = np.array([[12, 12, 12]])


@pytest.mark.parametrize("direction", [(0, 0, 1), (1, 1, 0), (1, 1, 1), (2, 1, 0), (1, 0.3, -0.6), (0.2, 0.9, 0.5)])
def test_a_tube_answers_alike_in_all_directions_and_a_sheet_little(direction):
    tube, sheet = tube_and_sheet(direction)
    answer = best_along_lines(packed_hessian(tube), CENTRE, 1.0, 2.0)[0]
    # Second derivative of the profile at its top: 1 / 1.5^2, a little less by finite differences.
    assert answer == pytest.approx(1.0 / 1.5**2, rel=0.25)
    assert best_along_lines(packed_hessian(sheet), CENTRE, 1.0, 2.0)[0] < 0.35 * answer


def test_a_line_stands_out_of_noise_more_than_without_lines():
    tube, _ = tube_and_sheet((0, 0, 1))
    along = np.stack([np.full(13, 12), np.full(13, 12), np.arange(6, 19)], axis=1)
    volume = noise(tube.shape, 3)
    smoothed = smooth(0.8 * tube + 0.5 * volume, 1.0)
    only_noise = smooth(0.5 * volume, 1.0)
    everywhere = np.argwhere(np.ones((9, 9, 9), bool)) + 8
    plain = np.zeros_like(tube)
    ridge_volume(smoothed, np.float32(1.0), plain)
    plain_noise = np.zeros_like(tube)
    ridge_volume(only_noise, np.float32(1.0), plain_noise)
    # How far the vessel stands above the strongest hundredth of what noise alone answers.
    lines = best_along_lines(packed_hessian(smoothed), along, 1.0, 3.0).mean()
    lines /= np.quantile(best_along_lines(packed_hessian(only_noise), everywhere, 1.0, 3.0), 0.99)
    ordinary = plain[tuple(along.T)].mean() / np.quantile(plain_noise[tuple(everywhere.T)], 0.99)
    assert lines > 1.2 * ordinary


def test_lines_that_leave_the_volume_find_nothing_outside_and_dark_lines_give_nothing():
    tube, _ = tube_and_sheet((0, 0, 1))
    packed = packed_hessian(noise((9, 11, 13), 5))
    voxels = np.argwhere(np.ones((9, 11, 13), bool))
    in_nothing = best_along_lines(np.pad(packed, ((8, 8), (8, 8), (8, 8), (0, 0))), voxels + 8, 1.0, 4.0)
    np.testing.assert_array_equal(best_along_lines(packed, voxels, 1.0, 4.0), in_nothing)
    assert best_along_lines(packed_hessian(-tube), CENTRE, 1.0, 2.0)[0] == 0.0
    assert best_along_lines(packed_hessian(tube), np.zeros((0, 3), np.int64), 1.0, 2.0).shape == (0,)


def test_blocks_hold_every_voxel_once_and_neighbours_stay_together():
    voxels = np.argwhere(noise((20, 33, 18), 1) > 0)
    blocks = in_blocks(voxels)
    assert sorted(map(tuple, blocks)) == sorted(map(tuple, voxels))
    number = (blocks // 16) @ [100, 10, 1]
    assert (np.diff(number) >= 0).all()
    assert len(np.unique(number)) == 2 * 3 * 2
    assert in_blocks(np.zeros((0, 3), np.int64)).shape == (0, 3)


def _ball(radius: float, sigma: float) -> np.ndarray:
    side = int(2 * radius) + 24
    places = np.indices((side,) * 3, dtype=np.float32) - side / 2 + 0.5
    return smooth((np.sqrt((places**2).sum(axis=0)) < radius).astype(np.float32), sigma)


@pytest.mark.parametrize(("radius", "sigma"), [(14.0, 2.0), (20.0, 2.0), (20.0, 3.0)])
def test_the_border_of_a_ball_is_damped_by_its_radius(radius, sigma):
    smoothed = _ball(radius, sigma)
    strength = np.zeros_like(smoothed)
    ridge_volume(smoothed, np.float32(sigma**2), strength)
    middle = smoothed.shape[0] // 2
    shoulder = (middle, middle, middle + round(radius - sigma))
    # The tolerance at which a border of just this radius keeps exp(-1/2).
    damped = strength.copy()
    damp_borders(smoothed, np.float32(sigma), np.float32(np.sqrt(radius)), damped)
    assert damped[shoulder] / strength[shoulder] == pytest.approx(np.exp(-0.5), rel=0.15)


def test_the_middle_of_a_tube_is_not_damped_and_single_voxels_are_as_the_volume():
    places = np.indices((17, 17, 17), dtype=np.float32) - 8
    tube = smooth((np.hypot(places[1], places[2]) < 2.5).astype(np.float32), 1.8)
    strength = np.zeros_like(tube)
    ridge_volume(tube, np.float32(1.8**2), strength)
    damped = strength.copy()
    damp_borders(tube, np.float32(1.8), np.float32(2.5), damped)
    assert damped[8, 8, 8] == pytest.approx(strength[8, 8, 8], rel=1e-4)
    assert (damped <= strength).all()
    voxels = np.argwhere(strength > 0)
    single = strength[tuple(voxels.T)].copy()
    damp_borders_at(tube, voxels, np.float32(1.8), np.float32(2.5), single)
    np.testing.assert_allclose(single, damped[tuple(voxels.T)], rtol=1e-5)
