"""Distance to height ridges whose place is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from vesselgraph.tracing.depth import depth_of
from vesselgraph.tracing.foreground import find_foreground
from vesselgraph.tracing.ridges import SIGMA_VOX, find_ridges, largest_eigenvalue, plane_axes, ridge_at

GRID = np.moveaxis(np.indices((9, 9, 9)).astype(float), 0, -1)
INNER = np.argwhere(np.pad(np.ones((7, 7, 7), bool), 1))


def distances(field, voxels=INNER, required=0.01):
    field = field.astype(np.float32)
    return np.array([ridge_at(field, *voxel, required) for voxel in voxels])


def across(point, direction):
    """Vector from the line through ``point`` to every voxel, at a right angle to the line."""
    unit = np.asarray(direction, dtype=float) / np.linalg.norm(direction)
    away = GRID - point
    return away - (away @ unit)[..., None] * unit


unit_vectors = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)
points = st.tuples(*[st.floats(3, 5)] * 3)


@settings(deadline=None)
@given(points, unit_vectors)
def test_the_ridge_of_a_paraboloid_is_found_exactly(point, direction):
    away = across(point, direction)
    field = 100.0 - (away**2).sum(axis=-1)
    expected = np.linalg.norm(away, axis=-1)[tuple(INNER.T)]
    np.testing.assert_allclose(distances(field), expected, atol=0.01)


def test_unequal_curvatures_do_not_move_the_ridge():
    z, y, _ = np.moveaxis(GRID - [4.3, 3.6, 0.0], -1, 0)
    expected = np.hypot(z, y)[tuple(INNER.T)]
    np.testing.assert_allclose(distances(100.0 - 2.0 * z**2 - 0.5 * y**2), expected, atol=1e-3)


def test_a_round_tube_of_heat_has_its_ridge_on_its_axis():
    away = across((4.25, 3.8, 4.0), (1.0, 0.4, 0.2))
    distance = np.linalg.norm(away, axis=-1)
    near = np.argwhere((distance < 0.7) & np.pad(np.ones((7, 7, 7), bool), 1))
    found = distances(np.exp(-0.5 * (distance / 2.0) ** 2), near)
    np.testing.assert_allclose(found, distance[tuple(near.T)], atol=0.12)


@pytest.mark.parametrize(
    "field",
    [
        100.0 - (GRID[..., 0] - 4.0) ** 2,  # a sheet
        (across((4.0, 4.0, 4.0), (0, 0, 1)) ** 2).sum(axis=-1),  # a dark line
        (GRID[..., 0] - 4.0) ** 2 - (GRID[..., 1] - 4.0) ** 2 + 0.0 * GRID[..., 2],  # a saddle
        np.full(GRID.shape[:3], 3.0),
        GRID[..., 0] + 2.0 * GRID[..., 1],
    ],
    ids=["sheet", "dark line", "saddle", "flat", "slope"],
)
def test_no_ridge(field):
    assert np.isinf(distances(field)).all()


def test_a_ridge_must_be_as_bent_as_asked():
    # Second derivatives across the line: -2 in every direction.
    field = 100.0 - (across((4.0, 4.0, 4.0), (0, 0, 1)) ** 2).sum(axis=-1)
    assert np.isfinite(distances(field, required=1.9)).all()
    assert np.isinf(distances(field, required=2.1)).all()


def heat_and_lift(seed, shape, density=0.3):
    rng = np.random.default_rng(seed)
    heat = ndimage.gaussian_filter(rng.random(shape), 1.0).astype(np.float32)
    found = find_foreground(heat, float(np.quantile(heat, 1.0 - density)))
    return heat, found, rng.random(len(found)).astype(np.float32)


def smoothed(heat, found, lift):
    raised = heat.astype(float)
    raised[tuple(found.voxels.T)] += lift
    return ndimage.gaussian_filter(raised, SIGMA_VOX, radius=2, mode="nearest")


# Wider than a tile along one axis, thinner than its margin along another.
@pytest.mark.parametrize("shape", [(9, 10, 40), (2, 20, 18), (1, 5, 7), (17, 1, 3)])
@pytest.mark.parametrize("density", [0.05, 0.6])
def test_tiles_give_what_smoothing_the_whole_box_gives(shape, density):
    heat, found, lift = heat_and_lift(3, shape, density)
    zeros = np.zeros(len(found), np.float32)
    whole = smoothed(heat, found, lift)
    value, distance = find_ridges(heat, found, lift, zeros, 0.01)
    np.testing.assert_allclose(value, whole[tuple(found.voxels.T)], rtol=2e-6)
    inner = ((found.voxels > 0) & (found.voxels < np.array(shape) - 1)).all(axis=1)
    assert np.isinf(distance[~inner]).all()
    expected = np.array([ridge_at(whole, *voxel, 0.01 * whole[tuple(voxel)]) for voxel in found.voxels[inner]])
    np.testing.assert_allclose(distance[inner], expected, rtol=0.02, atol=0.02)
    value, _ = find_ridges(heat, found, lift, zeros, 0.01, with_heat=False)
    np.testing.assert_allclose(value, smoothed(np.zeros_like(heat), found, lift)[tuple(found.voxels.T)], rtol=2e-6, atol=1e-7)


def test_required_curvature_may_differ_from_voxel_to_voxel():
    heat, found, lift = heat_and_lift(5, (12, 12, 12))
    none = np.zeros(len(found), np.float32)
    _, loose = find_ridges(heat, found, lift, none, 0.0)
    half = np.where(np.arange(len(found)) % 2 == 0, np.float32(1e9), none)
    _, strict = find_ridges(heat, found, lift, half, 0.0)
    assert np.isinf(strict[::2]).all()
    assert np.array_equal(strict[1::2], loose[1::2])
    assert np.isfinite(loose[::2]).any()


def test_ridges_of_nothing():
    found = find_foreground(np.zeros((3, 4, 5), np.float32), 0.5)
    empty = np.zeros(0, np.float32)
    value, distance = find_ridges(np.zeros((3, 4, 5), np.float32), found, empty, empty, 0.1)
    assert value.shape == distance.shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.95), st.tuples(*[st.integers(1, 9)] * 3))
def test_depth_is_the_exact_distance_to_the_background(seed, density, shape):
    volume = np.random.default_rng(seed).random(shape) < density
    if volume.all():
        volume.flat[0] = False
    depth = depth_of(find_foreground(volume, 0))
    expected = np.minimum(ndimage.distance_transform_edt(volume)[volume], max(shape))
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    np.testing.assert_allclose(depth_of(find_foreground(volume, 0), 2), np.minimum(expected, 2.0), rtol=1e-6)


def test_depth_of_a_ball_and_of_a_box_without_background():
    reach = np.arange(-12, 13)
    ball = np.add.outer(np.add.outer(reach**2, reach**2), reach**2) <= 10**2
    np.testing.assert_allclose(depth_of(find_foreground(ball, 0)), ndimage.distance_transform_edt(ball)[ball], rtol=1e-6)
    assert depth_of(find_foreground(np.ones((3, 4, 5)), 0)).tolist() == [5.0] * 60
    assert depth_of(find_foreground(np.ones((3, 4, 5)), 0), 3).tolist() == [3.0] * 60


@settings(deadline=None)
@given(unit_vectors)
def test_axes_of_the_plane_across(direction):
    tangent = np.array(direction) / np.linalg.norm(direction)
    first, second = np.zeros(3), np.zeros(3)
    plane_axes(tangent, first, second)
    frame = np.stack([tangent, first, second])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)


@settings(max_examples=300, deadline=None)
@given(st.tuples(*[st.floats(-3, 3)] * 6))
def test_the_largest_eigenvalue_is_that_of_lapack(entries):
    a, b, c, d, e, f = entries
    expected = np.linalg.eigvalsh([[a, d, e], [d, b, f], [e, f, c]])
    assert largest_eigenvalue(*entries) == pytest.approx(expected[2], abs=1e-6 * (expected[2] - expected[0]) + 1e-8)


def test_the_largest_eigenvalue_of_double_and_triple_ones():
    assert largest_eigenvalue(-1.0, -1.0, -1.0, 0.0, 0.0, 0.0) == -1.0
    assert largest_eigenvalue(2.0, 2.0, -1.0, 0.0, 0.0, 0.0) == pytest.approx(2.0, abs=3e-6)
    assert largest_eigenvalue(-1.0, -1.0, 2.0, 0.0, 0.0, 0.0) == pytest.approx(2.0, abs=3e-6)
