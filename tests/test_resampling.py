"""Resampling: a world position keeps its value whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vesselgraph.errors import RangeError, ShapeError
from vesselgraph.resampling import from_sitk, isotropic_grid, resample, resample_like, to_sitk
from vesselgraph.space import Space
from vesselgraph.volume import Volume

ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)


def grid(space: Space, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    return space.to_world(np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1))


def turned(angles: tuple[float, ...], spacing: tuple[float, ...], centre: tuple[float, ...], shape: tuple[int, ...]) -> Space:
    """Return a grid turned about its own middle, which lies at ``centre``."""
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ Space.axial().direction
    middle = direction @ ((np.array(shape) - 1) / 2 * spacing)
    return Space(np.array(spacing), np.array(centre) - middle, direction)


@settings(max_examples=20, deadline=None)
@given(angles=ANGLES, spacing=st.tuples(*[st.floats(0.5, 4)] * 3), dtype=st.sampled_from(["int16", "float32", "uint8", "bool"]))
def test_simpleitk_and_back(angles: tuple[float, ...], spacing: tuple[float, ...], dtype: str) -> None:
    space = turned(angles, spacing, (5, -6, 7), (3, 4, 5))
    volume = Volume(np.arange(60).reshape(3, 4, 5).astype(dtype), space, "x")
    image = to_sitk(volume)
    # ITK counts x, y, z fastest first: its index is ours read backwards.
    assert np.array(image.TransformIndexToPhysicalPoint((4, 2, 1))) == pytest.approx(space.to_world((1, 2, 4)), abs=1e-9)
    back = from_sitk(image, "x")
    assert back.space.is_close(space)
    assert np.array_equal(back.array, volume.array)
    assert back.name == "x"


@settings(max_examples=20, deadline=None)
@given(old=ANGLES, new=ANGLES, interpolation=st.sampled_from(["linear", "cubic"]))
def test_a_linear_field_stays_where_it_is(old: tuple[float, ...], new: tuple[float, ...], interpolation: str) -> None:
    centre = (20.0, -30.0, 40.0)
    source_space = turned(old, (1.5, 1.0, 1.2), centre, (30, 40, 36))
    slope = np.array([2.0, -1.0, 0.5])
    source = Volume((grid(source_space, (30, 40, 36)) @ slope).astype(np.float32), source_space)
    target = turned(new, (1.2, 1.4, 1.1), centre, (8, 9, 10))
    result = resample(source, target, (8, 9, 10), interpolation=interpolation)
    assert np.abs(result.array - grid(target, (8, 9, 10)) @ slope).max() < 0.05


@settings(max_examples=10, deadline=None)
@given(angles=ANGLES)
def test_a_blob_keeps_its_centre(angles: tuple[float, ...]) -> None:
    space = turned(angles, (3.0, 1.0, 1.0), (0, 0, 0), (20, 60, 60))
    target = np.array([3.0, -4.0, 5.0])
    distance = np.linalg.norm(grid(space, (20, 60, 60)) - target, axis=-1)
    blob = Volume(np.exp(-((distance / 6.0) ** 2)).astype(np.float32), space)
    onto = Space.axial((2.0, 2.0, 2.0), (-20.0, -20.0, -20.0))
    result = resample(blob, onto, (21, 21, 21))
    weight = result.array[..., None]
    assert np.abs((grid(onto, (21, 21, 21)) * weight).sum(axis=(0, 1, 2)) / weight.sum() - target).max() < 0.1


def test_masks_and_labels_keep_their_values() -> None:
    labels = Volume((np.arange(64).reshape(4, 4, 4) % 5).astype(np.uint8), Space.axial())
    fine = labels.space.rescaled((0.5, 0.5, 0.5))
    result = resample(labels, fine, (8, 8, 8), interpolation="nearest")
    assert result.array.dtype == np.uint8
    assert np.array_equal(result.array, np.repeat(np.repeat(np.repeat(labels.array, 2, 0), 2, 1), 2, 2))
    mask = labels.with_array(labels.array > 2)
    assert resample(mask, fine, (8, 8, 8), interpolation="nearest").array.dtype == bool


def test_outside_is_filled() -> None:
    ct = Volume(np.arange(8, dtype=np.int16).reshape(2, 2, 2) - 5, Space.axial())
    away = Space.axial(origin=(100, 0, 0))
    assert (resample(ct, away, (2, 2, 2)).array == -5).all()
    assert (resample(ct, away, (2, 2, 2), fill=7).array == 7).all()


def test_coarsening_averages_instead_of_picking() -> None:
    stripes = np.zeros((16, 16, 16), dtype=np.float32)
    stripes[:, :, ::2] = 100.0
    volume = Volume(stripes, Space.axial())
    space, shape = isotropic_grid(volume, 4.0)
    middle = resample(volume, space, shape).array[1:-1, 1:-1, 1:-1]
    assert np.abs(middle - 50.0).max() < 5.0


def test_the_same_grid_is_not_touched() -> None:
    ct = Volume(np.zeros((2, 3, 4), dtype=np.int16), Space.axial())
    assert resample_like(ct, ct) is ct
    other = Volume(np.zeros((3, 3, 3), dtype=np.int16), Space.axial((2.0, 1.0, 1.0)))
    assert resample_like(ct, other).is_on_grid_of(other)


def test_isotropic_grid_covers_the_box() -> None:
    volume = Volume(np.zeros((10, 20, 30), dtype=np.int16), Space.axial((3.0, 0.7, 0.7), (1, 2, 3)))
    space, shape = isotropic_grid(volume, 1.0)
    assert shape == (30, 14, 21)
    covered = Volume(np.zeros(shape, dtype=np.uint8), space)
    assert covered.bounds == pytest.approx(volume.bounds)


def test_impossible_grids() -> None:
    ct = Volume(np.zeros((2, 3, 4), dtype=np.int16), Space.axial())
    with pytest.raises(RangeError, match="a positive grid shape"):
        resample(ct, ct.space, (0, 3, 4))
    for step in (0.0, -1.0, float("nan")):
        with pytest.raises(RangeError, match="a step > 0 mm"):
            isotropic_grid(ct, step)


def test_images_with_channels_or_two_axes_are_refused() -> None:
    import SimpleITK as sitk

    flat = sitk.Image([4, 4], sitk.sitkInt16)
    with pytest.raises(ShapeError, match="a scalar 3-D image; got 2 axes"):
        from_sitk(flat)
    color = sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3)
    with pytest.raises(ShapeError, match="3 channels"):
        from_sitk(color)
