"""The foreground list against plain array arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesselgraph.tracing.foreground import find_foreground, from_list, voxel_at
from vesselgraph.tracing.topology import OFFSETS


def neighbours_by_hand(mask):
    ids = np.full(np.array(mask.shape) + 2, -1)
    inner = ids[1:-1, 1:-1, 1:-1]
    inner[mask] = np.arange(mask.sum())
    return np.array([[ids[tuple(v + 1 + step)] for step in OFFSETS] for v in np.argwhere(mask)]).reshape(-1, 26)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    density=st.floats(0, 1),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9)),
)
def test_list_lines_and_neighbours_of_random_volumes(seed, density, shape):
    rng = np.random.default_rng(seed)
    heat = rng.random(shape).astype(np.float32)
    inside = rng.random(shape) < 0.8
    found = find_foreground(heat, 1.0 - density, inside=inside)
    mask = (heat > np.float32(1.0 - density)) & inside
    assert np.array_equal(found.voxels, np.argwhere(mask))
    assert np.array_equal(np.diff(found.row_start), mask.sum(axis=2).ravel())
    assert np.array_equal(found.neighbours, neighbours_by_hand(mask))
    again = from_list(shape, found.voxels)
    assert np.array_equal(again.row_start, found.row_start)
    assert np.array_equal(again.neighbours, found.neighbours)


def test_a_place_is_found_and_an_empty_one_is_not():
    heat = np.random.default_rng(1).random((3, 4, 7))
    found = find_foreground(heat, 0.6)
    ids = np.full((5, 6, 9), -1)
    ids[1:-1, 1:-1, 1:-1][heat > 0.6] = np.arange(len(found))
    for place in np.ndindex(ids.shape):
        z, y, x = (c - 1 for c in place)
        assert voxel_at(found.row_start, found.voxels, *found.shape, z, y, x) == ids[place]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.bool_])
def test_any_real_type_and_any_memory_order(dtype):
    mask = np.random.default_rng(2).random((4, 5, 6)) < 0.3
    assert np.array_equal(find_foreground(mask.astype(dtype), 0.5).voxels, np.argwhere(mask))
    assert np.array_equal(find_foreground(np.asfortranarray(mask.astype(dtype)), 0.5).voxels, np.argwhere(mask))


def test_nothing_above_the_threshold_and_values_that_are_no_numbers():
    heat = np.full((2, 3, 4), np.nan, np.float32)
    heat[0, 0, 0] = 0.5
    assert len(find_foreground(heat, 0.5)) == 0
    assert find_foreground(heat, 0.4).voxels.tolist() == [[0, 0, 0]]
