import numpy as np
import pytest

from vesselgraph.config import RegionConfig
from vesselgraph.errors import RangeError, ShapeError, SpaceMismatchError
from vesselgraph.region import Region, region_from_mask
from vesselgraph.space import Space
from vesselgraph.volume import Volume

BARE = RegionConfig(margin=0.0)


@pytest.fixture
def image():
    values = np.full((10, 12, 14), -1000, dtype=np.int16)
    values[2:8, 2:10, 2:12] = 100
    return Volume(values, Space.axial((2.0, 1.0, 1.0), (10.0, 20.0, 30.0)), "ct")


def cube(image, first=(3, 3, 3), last=(6, 7, 8)):
    inside = np.zeros(image.shape, dtype=bool)
    inside[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] = True
    return image.with_array(inside, "organ")


def test_mask_on_the_image_grid_is_kept_and_measured(image):
    region = region_from_mask(cube(image), image, BARE)
    np.testing.assert_array_equal(region.mask.array, cube(image).array)
    assert (region.kind, region.confidence) == ("given", 1.0)
    assert dict(region.measurements) == pytest.approx(
        {"volume_ml": 3 * 4 * 5 * 2.0 / 1000.0, "mean_hu": 100.0, "sd_hu": 0.0, "overlap_fraction": 1.0}
    )
    assert "another grid" not in region.note
    assert "outside" not in region.note


def test_rim_is_added_but_not_measured(image):
    region = region_from_mask(cube(image), image, RegionConfig(margin=2.0))
    assert region.mask.array[2, 4, 5]  # one plane of 2 mm below
    assert not region.mask.array[1, 4, 5]
    assert region.mask.array[4, 1, 5]  # two rows of 1 mm in front
    assert not region.mask.array[4, 0, 5]
    assert region.measurements["volume_ml"] == pytest.approx(0.12)
    assert "2 mm" in region.note


def test_integers_of_0_and_1_are_a_mask(image):
    mask = cube(image)
    region = region_from_mask(mask.with_array(mask.array.astype(np.int32)), image, BARE)
    np.testing.assert_array_equal(region.mask.array, mask.array)


def test_mask_with_flipped_and_permuted_axes_lands_in_the_same_place(image):
    mask = cube(image)
    axes, space = [2, 0, 1], mask.space
    array = np.transpose(mask.array, axes)[:, ::-1, :]
    direction = space.direction[:, axes].copy()
    spacing = space.spacing[axes]
    origin = space.origin + direction[:, 1] * spacing[1] * (array.shape[1] - 1)
    direction[:, 1] *= -1.0
    region = region_from_mask(Volume(array.copy(), Space(spacing, origin, direction)), image, BARE)
    np.testing.assert_array_equal(region.mask.array, mask.array)
    assert "another grid" in region.note


def test_finer_mask_covers_the_same_volume(image):
    fine = image.space.rescaled((0.5, 0.5, 0.5))
    inside = np.zeros((40, 24, 28), dtype=bool)
    inside[12:24, 6:14, 6:16] = True
    region = region_from_mask(Volume(inside, fine), image, BARE)
    np.testing.assert_array_equal(region.mask.array, cube(image).array)


def test_part_outside_the_image_is_left_out_and_said(image):
    beyond = Volume(np.ones((4, 4, 4), dtype=bool), Space.axial((2.0, 1.0, 1.0), (10.0, 20.0, 30.0 - 4.0)))
    region = region_from_mask(beyond, image, BARE)
    assert region.confidence == region.measurements["overlap_fraction"] == 0.5
    assert region.mask.array.sum() == 2 * 4 * 4
    assert "50.0% of the mask's volume lies outside" in region.note


def test_mask_elsewhere_is_refused_with_both_boxes(image):
    elsewhere = Volume(np.ones((2, 2, 2), dtype=bool), Space.axial(origin=(500.0, 0.0, 0.0)))
    with pytest.raises(SpaceMismatchError, match=r"x 9\.5 to 23\.5.*x 499\.5 to 501\.5.*one world frame"):
        region_from_mask(elsewhere, image)


def test_empty_mask_is_refused(image):
    with pytest.raises(RangeError, match="an empty mask"):
        region_from_mask(image.with_array(np.zeros(image.shape, dtype=bool)), image)


@pytest.mark.parametrize("values", [[0, 1, 5], [0.0, 0.3, 1.0], [0.0, float("nan"), 1.0]])
def test_label_maps_and_probabilities_are_refused(image, values):
    labels = np.resize(np.array(values), image.shape)
    with pytest.raises(RangeError, match="mask of 0 and 1"):
        region_from_mask(image.with_array(labels), image)


def test_image_off_the_hu_scale_gives_plain_values(image):
    mr = image.with_array(np.full(image.shape, 300, dtype=np.uint16))
    measurements = region_from_mask(cube(mr), mr, BARE).measurements
    assert measurements["mean_value"] == 300.0
    assert "mean_hu" not in measurements


def test_voxels_that_are_not_finite_are_left_out_of_the_mean(image):
    values = image.array.astype(np.float32)
    values[3, 3, 3] = np.nan
    measurements = region_from_mask(cube(image), image.with_array(values), BARE).measurements
    assert measurements["mean_hu"] == 100.0
    assert measurements["volume_ml"] == pytest.approx(0.12)


def test_region_refuses_what_is_no_region(image):
    with pytest.raises(ShapeError, match="a bool region mask"):
        Region(image, image, "whole", 1.0, "")
    with pytest.raises(RangeError, match="at least one voxel"):
        Region(image.with_array(np.zeros(image.shape, dtype=bool)), cube(image), "whole", 1.0, "")
    with pytest.raises(RangeError, match=r"confidence in \[0, 1\]"):
        Region(cube(image), cube(image), "given", 1.2, "")
    with pytest.raises(TypeError, match="item assignment"):
        Region(cube(image), cube(image), "given", 1.0, "", {"a": 1}).measurements["a"] = 2.0
