import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesselgraph.region.margin import add_margin
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def by_hand(inside, spacing):
    """Every voxel against every mask voxel."""
    index = np.argwhere(np.ones(inside.shape, dtype=bool)) * np.array(spacing)
    seeds = np.argwhere(inside) * np.array(spacing)
    distance = np.linalg.norm(index[:, None] - seeds[None], axis=-1).min(axis=1)
    return distance.reshape(inside.shape)


@given(
    seed=st.integers(0, 10_000),
    spacing=st.tuples(*[st.floats(0.4, 6.0)] * 3),
    margin=st.floats(0.1, 12.0),
)
@settings(max_examples=40, deadline=None)
def test_rim_is_exact_in_mm_on_any_voxel_shape(seed, spacing, margin):
    rng = np.random.default_rng(seed)
    inside = rng.random((5, 6, 7)) < 0.03
    inside[2, 3, 3] = True
    distance = by_hand(inside, spacing)
    clear = np.abs(distance - margin) > 1e-3  # rounding may decide a tie
    grown = add_margin(Volume(inside, Space.axial(spacing)), margin).array
    np.testing.assert_array_equal(grown[clear], (distance <= margin)[clear])


def test_single_voxel_grows_further_along_thin_voxels():
    point = np.zeros((9, 21, 21), dtype=bool)
    point[4, 10, 10] = True
    grown = add_margin(Volume(point, Space.axial((5.0, 1.0, 0.5))), 5.0).array
    reach = [np.ptp(np.flatnonzero(grown.any(axis=axes))) // 2 for axes in ((1, 2), (0, 2), (0, 1))]
    assert reach == [1, 5, 10]


def test_rim_does_not_depend_on_the_place_of_the_box():
    inside = np.zeros((12, 12, 12), dtype=bool)
    inside[0, 0, 0] = True
    grown = add_margin(Volume(inside, Space.axial()), 2.0).array
    assert grown.sum() == 11  # an eighth of the ball of radius 2, faces included
    mirrored = add_margin(Volume(inside[::-1, ::-1, ::-1].copy(), Space.axial()), 2.0).array
    np.testing.assert_array_equal(mirrored, grown[::-1, ::-1, ::-1])


@pytest.mark.parametrize("margin", [0.0, 3.0])
def test_empty_mask_stays_empty_and_no_margin_changes_nothing(margin):
    empty = Volume(np.zeros((3, 3, 3), dtype=bool), Space.axial())
    assert not add_margin(empty, margin).array.any()
    full = Volume(np.eye(3, dtype=bool)[None].repeat(3, axis=0), Space.axial())
    np.testing.assert_array_equal(add_margin(full, 0.0).array, full.array)
