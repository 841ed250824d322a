"""Distance to height ridges whose place is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesselgraph.tracing.ridges import plane_axes, ridge_distance

GRID = np.moveaxis(np.indices((9, 9, 9)).astype(float), 0, -1)
INNER = np.argwhere(np.pad(np.ones((7, 7, 7), bool), 1))


def distances(field, voxels=INNER, required=0.01):
    return ridge_distance(field.astype(np.float32), voxels, np.full(len(voxels), required))


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


def test_the_border_has_no_ridge():
    field = 100.0 - (across((4.0, 4.0, 4.0), (0, 0, 1)) ** 2).sum(axis=-1)
    border = np.argwhere(np.pad(np.zeros((7, 7, 7), bool), 1, constant_values=True))
    assert np.isinf(distances(field, border)).all()
    assert distances(field, np.zeros((0, 3), np.int64)).shape == (0,)


@settings(deadline=None)
@given(unit_vectors)
def test_axes_of_the_plane_across(direction):
    tangent = np.array(direction) / np.linalg.norm(direction)
    first, second = np.zeros(3), np.zeros(3)
    plane_axes(tangent, first, second)
    frame = np.stack([tangent, first, second])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
