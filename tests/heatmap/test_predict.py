"""The heatmap stage on tubes, whose centerline and radius are known."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from tests.tracing.drawn import AXIAL, OBLIQUE, grid_around
from vesselgraph import Heatmap, Space, Volume, make_phantom, predict_heatmap
from vesselgraph.config import HeatmapConfig, PhantomConfig
from vesselgraph.errors import InputError, ShapeError, SpaceMismatchError
from vesselgraph.phantom import tube_graph
from vesselgraph.volume import PhaseSet

CONFIG = HeatmapConfig(min_radius=1.0, max_radius=6.0, n_scales=6)
SOFT = 0.4


def tube(radius=2.0, *, kind="straight", length=30.0, contrast=100.0, noise=4.0, seed=0, **grid):
    """A bright tube with a soft wall in noise, and its graph."""
    truth = tube_graph(kind, length=length, radius=radius, step=0.1)
    space, shape = grid_around(truth, **{"margin": 8.0, "offset": (0.2, 0.6, 0.4), **grid})
    places = space.to_world(np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3))
    distance, nearest = cKDTree(truth.path_position).query(places)
    share = 1.0 / (1.0 + np.exp((distance - truth.path_radius[nearest]) / SOFT))
    image = 50.0 + contrast * share.reshape(shape) + np.random.default_rng(seed).normal(0.0, noise, shape)
    return truth, Volume(image.astype(np.float32), space, "tube")


def heat_at(heatmap, positions):
    """Heat and radius at the voxels nearest to world positions."""
    index = np.round(heatmap.heat.space.to_index(positions)).astype(int)
    index = np.clip(index, 0, np.array(heatmap.heat.shape) - 1)
    return heatmap.heat.array[tuple(index.T)], heatmap.radius.array[tuple(index.T)]


def inner(truth, margin=6.0):
    """Points of the centerline away from its ends."""
    away = cKDTree(truth.node_position).query(truth.path_position)[0] > margin
    return truth.path_position[away]


def turned(volume, axes, flips):
    array, direction, first = volume.array.transpose(axes), volume.space.direction[:, list(axes)].copy(), np.zeros(3)
    for axis in flips:
        array = np.flip(array, axis)
        first[axes[axis]] = volume.shape[axes[axis]] - 1
        direction[:, axis] *= -1
    return Volume(array, Space(volume.space.spacing[list(axes)], volume.space.to_world(first), direction), volume.name)


@pytest.fixture(scope="module")
def plain():
    truth, image = tube()
    return truth, image, predict_heatmap(image, CONFIG)


def centre_offsets(heatmap, planes):
    """Distance (mm) from the z axis to the centroid of squared heat in some planes of an axial grid."""
    offsets = []
    for plane in planes:
        weight = heatmap.heat.array[plane].astype(float) ** 2
        place = np.argwhere(weight > 0)
        centre = (place * weight[weight > 0][:, None]).sum(axis=0) / weight.sum()
        offsets.append(np.hypot(*heatmap.heat.space.to_world([plane, *centre])[:2]))
    return np.array(offsets)


@pytest.mark.parametrize("radius", [1.0, 2.0, 3.0, 4.5, 6.0])
def test_heat_is_centred_on_the_axis_and_knows_the_radius(radius):
    truth, image = tube(radius, noise=12.0, margin=2.0 * radius + 6.0)
    heatmap = predict_heatmap(image, HeatmapConfig(min_radius=1.0, max_radius=10.0, n_scales=9))
    on_axis, estimate = heat_at(heatmap, inner(truth, 8.0))
    assert on_axis.min() > 0.7
    middle = heatmap.heat.shape[0] // 2
    assert centre_offsets(heatmap, range(middle - 5, middle + 6)).mean() < 0.5
    far = inner(truth, 8.0) + np.array([radius + 4.5, 0.0, 0.0])
    assert np.median(heat_at(heatmap, far)[0]) < 0.3
    # A coarse estimate, rather too wide than too thin.
    assert radius - 0.4 < np.median(estimate) < radius + 1.6


def test_wider_tubes_have_wider_estimates():
    config = HeatmapConfig(min_radius=1.0, max_radius=10.0, n_scales=9)
    estimates = []
    for radius in (1.0, 2.0, 4.0, 6.0):
        truth, image = tube(radius, noise=12.0, margin=2.0 * radius + 6.0)
        estimates.append(np.median(heat_at(predict_heatmap(image, config), inner(truth, 8.0))[1]))
    assert (np.diff(estimates) > 0.5).all()


@pytest.mark.parametrize("kind", ["arc", "y"])
def test_curves_and_forks_are_hot_all_along(kind):
    truth, image = tube(2.0, kind=kind, length=36.0)
    on_axis, _ = heat_at(predict_heatmap(image, CONFIG), inner(truth, 2.0))
    assert on_axis.min() > 0.5


def test_heat_is_a_valid_heatmap(plain):
    heatmap = plain[2]
    assert isinstance(heatmap, Heatmap)
    for volume in (heatmap.heat, heatmap.radius):
        assert volume.array.dtype == np.float32
        assert np.isfinite(volume.array).all()
    assert 0.0 <= heatmap.heat.array.min() <= heatmap.heat.array.max() <= 1.0
    assert (heatmap.radius.array[heatmap.heat.array == 0] == 0).all()
    assert (heatmap.radius.array[heatmap.heat.array > 0] >= CONFIG.min_radius - 1e-6).all()
    assert heatmap.radius.array.max() <= CONFIG.max_radius + 1e-5
    assert heatmap.source == "ridge"


def test_two_runs_give_the_same_bytes(plain):
    _, image, heatmap = plain
    again = predict_heatmap(image, CONFIG)
    assert again.heat.array.tobytes() == heatmap.heat.array.tobytes()
    assert again.radius.array.tobytes() == heatmap.radius.array.tobytes()


def test_dark_vessels_are_bright_ones_of_the_negative(plain):
    _, image, heatmap = plain
    dark = predict_heatmap(image.with_array(-image.array), CONFIG.model_copy(update={"polarity": "dark"}))
    np.testing.assert_array_equal(dark.heat.array, heatmap.heat.array)
    wrong = predict_heatmap(image.with_array(-image.array), CONFIG)
    assert heat_at(wrong, inner(plain[0]))[0].mean() < 0.3


@pytest.mark.parametrize(("factor", "shift"), [(2.0, 0.0), (1.0, 1000.0), (0.01, -3.0), (4096.0, 512.0)])
def test_brightness_and_contrast_do_not_matter(plain, factor, shift):
    _, image, heatmap = plain
    other = predict_heatmap(image.with_array((image.array.astype(np.float64) * factor + shift).astype(np.float32)), CONFIG)
    # Rounding can turn single voxels, whose answer is just worth a line or not.
    difference = np.abs(other.heat.array - heatmap.heat.array)
    assert difference.mean() < 1e-3
    assert (difference > 0.02).mean() < 1e-3


def test_integers_are_taken_as_they_are(plain):
    _, image, heatmap = plain
    rounded = image.with_array(np.rint(image.array).astype(np.int16))
    assert np.abs(predict_heatmap(rounded, CONFIG).heat.array - heatmap.heat.array).mean() < 0.01


@pytest.mark.parametrize(("axes", "flips"), [((0, 1, 2), (0, 1, 2)), ((2, 0, 1), ()), ((1, 0, 2), (1,))])
def test_the_order_and_sense_of_the_axes_do_not_matter(plain, axes, flips):
    _, image, heatmap = plain
    other = predict_heatmap(turned(image, axes, flips), CONFIG).heat
    back = turned(heatmap.heat, axes, flips)
    assert other.is_on_grid_of(back)
    difference = np.abs(other.array - back.array)
    # Of equally good lines another one may be refined.
    assert difference.mean() < 0.005
    assert difference.max() < 0.3


def test_an_oblique_grid_gives_heat_at_the_same_place_in_the_world():
    truth, image = tube(2.0)
    _, other = tube(2.0, direction=OBLIQUE)
    for volume in (image, other):
        heat, radius = heat_at(predict_heatmap(volume, CONFIG), inner(truth))
        assert heat.min() > 0.8
        assert 1.6 < np.median(radius) < 3.6


def test_thick_slices_give_an_isotropic_grid_never_finer_than_the_data():
    for spacing, step, expected in (((2.0, 0.8, 0.8), 1.0, 1.0), ((2.0, 1.5, 1.5), 1.0, 1.5), ((3.0, 1.0, 1.0), 0.5, 1.0)):
        truth, image = tube(3.0, spacing=spacing)
        heatmap = predict_heatmap(image, CONFIG.model_copy(update={"step": step}))
        assert heatmap.heat.space.spacing.tolist() == [expected] * 3
        np.testing.assert_allclose(heatmap.heat.bounds, image.bounds, atol=expected)
        assert heat_at(heatmap, inner(truth))[0].mean() > 0.6


def region_of(image, low, high):
    """The voxels whose plane lies in [low, high)."""
    inside = np.zeros(image.shape, bool)
    inside[low:high] = True
    return image.with_array(inside, "region")


def test_outside_of_the_region_there_is_no_heat(plain):
    truth, image, whole = plain
    region = region_of(image, 10, 36)
    heatmap = predict_heatmap(image, CONFIG, region=region)
    index = heatmap.heat.space.to_world(np.moveaxis(np.indices(heatmap.heat.shape), 0, -1))
    planes = np.round(image.space.to_index(index)[..., 0])
    outside = (planes < 10) | (planes >= 36)
    assert outside.any()
    assert not heatmap.heat.array[outside].any()
    assert not heatmap.radius.array[outside].any()
    inside = inner(truth, 8.0)
    assert heat_at(heatmap, inside)[0].min() > 0.8
    assert heatmap.heat.shape[0] < whole.heat.shape[0]


def test_values_outside_of_the_region_do_not_matter(plain):
    _, image, _ = plain
    region = region_of(image, 10, 36)
    bright = np.where(region.array, image.array, np.float32(3000.0))
    first = predict_heatmap(image, CONFIG, region=region)
    second = predict_heatmap(image.with_array(bright), CONFIG, region=region)
    np.testing.assert_array_equal(first.heat.array, second.heat.array)


def test_a_crop_with_a_margin_gives_the_same_heat(plain):
    _, image, _ = plain
    region = region_of(image, 14, 32)
    whole = predict_heatmap(image, CONFIG, region=region).heat
    cropped = image.crop((3, 0, 0), (43, *image.shape[1:]))
    part = predict_heatmap(cropped, CONFIG, region=region.crop((3, 0, 0), (43, *image.shape[1:]))).heat
    first = np.round(whole.space.to_index(part.space.origin)).astype(int)
    assert first.tolist() == [0, 0, 0]
    assert np.abs(part.array - whole.array).max() < 1e-4


def test_in_the_rim_around_the_organ_answers_count_less():
    truth, image = tube(1.5, contrast=40.0, noise=6.0)
    organ, region = region_of(image, 0, 23), image.with_array(np.ones(image.shape, bool))
    plain = predict_heatmap(image, CONFIG, region=region)
    heats = {}
    for weight in (0.0, 0.3, 1.0):
        config = CONFIG.model_copy(update={"rim_weight": weight, "rim_radius": 100.0})
        heats[weight] = predict_heatmap(image, config, region=region, organ=organ)
    points = inner(truth, 3.0)
    plane = image.space.to_index(points)[:, 0]
    in_rim, in_organ = plane > 24, plane < 21
    rim = {weight: heat_at(heatmap, points[in_rim])[0].mean() for weight, heatmap in heats.items()}
    assert rim[0.0] == 0.0
    assert 0.0 < rim[0.3] < rim[1.0]
    inside = [heat_at(heatmap, points[in_organ])[0] for heatmap in heats.values()]
    np.testing.assert_array_equal(inside[0], inside[1])
    assert heat_at(plain, points[in_rim])[0].mean() > rim[0.3]


def test_what_outshines_the_organ_in_the_rim_is_no_vessel():
    truth, image = tube(2.0)
    array = image.array.copy()
    in_rim = np.zeros(image.shape, bool)
    in_rim[24:] = True
    array[in_rim] += 6.0 * np.maximum(array[in_rim] - 60.0, 0.0)
    organ, region = image.with_array(~in_rim), image.with_array(np.ones(image.shape, bool))
    heatmap = predict_heatmap(image.with_array(array), CONFIG, region=region, organ=organ)
    points = inner(truth, 5.0)
    plane = image.space.to_index(points)[:, 0]
    assert heat_at(heatmap, points[plane < 20])[0].min() > 0.6
    assert heat_at(heatmap, points[plane > 26])[0].max() == 0.0


@pytest.mark.parametrize(("radius", "stays"), [(4.0, True), (12.0, False)])
def test_a_body_wider_than_any_vessel_beside_the_organ_is_no_vessel(radius, stays):
    """The border of the region leaves a slab of a cava, which is no tube; a vessel of a radius looked for stays."""
    planes, rows, columns = np.indices((30, 60, 60)).astype(float)
    away = np.hypot(rows - 40.0, columns - 30.0)
    noise = np.random.default_rng(3).normal(0.0, 4.0, planes.shape)
    own = np.hypot(rows - 10.0, columns - 30.0) <= 3.0
    array = (np.where((away <= radius) | own, 180.0, 100.0) + noise).astype(np.float32)
    image = Volume(array, Space.axial())
    organ = image.with_array(rows < 40.0 - radius - 1.0)
    region = image.with_array(rows < 40.0 - radius + 8.0)
    heat = predict_heatmap(image, CONFIG, region=region, organ=organ).heat
    beside = away <= radius - 2.0
    at = np.rint(heat.space.to_index(image.space.to_world(np.argwhere(beside & region.array)))).astype(int)
    assert bool(heat.array[tuple(at.T)].max() > 0.3) is stays


def test_of_several_phases_the_hottest_counts(plain):
    _, image, heatmap = plain
    other = image.with_array(np.random.default_rng(5).normal(50.0, 4.0, image.shape).astype(np.float32))
    alone = predict_heatmap(other, CONFIG)
    both = predict_heatmap(PhaseSet({"portal": image, "arterial": other}), CONFIG)
    np.testing.assert_array_equal(both.heat.array, np.maximum(heatmap.heat.array, alone.heat.array))
    expected = np.where(heatmap.heat.array >= alone.heat.array, heatmap.radius.array, alone.radius.array)
    np.testing.assert_array_equal(both.radius.array, expected)


def test_noise_alone_stays_cold():
    for seed in range(2):
        noise = np.random.default_rng(seed).normal(100.0, 20.0, (40, 40, 40)).astype(np.float32)
        heat = predict_heatmap(Volume(noise, Space.axial()), CONFIG).heat.array
        assert (heat > 0.5).mean() < 0.01
        assert np.median(heat) < 0.1


def test_vessels_of_a_phantom_are_hotter_than_its_liver():
    phantom = make_phantom(PhantomConfig(shape=(56, 56, 56), spacing=(1.5, 1.5, 1.5), n_tips=5, seed=2))
    heatmap = predict_heatmap(phantom.image, region=phantom.organ_mask)
    on_vessels, _ = heat_at(heatmap, phantom.graph.path_position)
    wide = phantom.graph.path_radius > 1.3
    inside = phantom.organ_mask.array & ~phantom.vessel_mask.array
    on_liver, _ = heat_at(heatmap, phantom.image.space.to_world(np.argwhere(inside)))
    assert np.median(on_vessels) > 5.0 * np.median(on_liver)
    assert wide.sum() > 20
    assert np.median(on_vessels[wide]) > 0.4


def test_an_image_without_contrast_is_refused():
    flat = Volume(np.full((20, 20, 20), 40.0, np.float32), Space.axial())
    with pytest.raises(InputError, match="an image with contrast inside the region; got the constant value 40"):
        predict_heatmap(flat, CONFIG)


def test_an_image_of_too_few_voxels_is_refused():
    thin = Volume(np.random.default_rng(0).normal(size=(4, 30, 30)), Space.axial())
    with pytest.raises(ShapeError, match="at least 5 voxels of 1 mm along each axis"):
        predict_heatmap(thin, CONFIG)


def test_a_region_on_another_grid_is_refused(plain):
    _, image, _ = plain
    other = Volume(np.ones(image.shape, bool), Space(np.ones(3), np.zeros(3) + 500.0, AXIAL))
    with pytest.raises(SpaceMismatchError, match="the region"):
        predict_heatmap(image, CONFIG, region=other)
    with pytest.raises(SpaceMismatchError, match="the organ"):
        predict_heatmap(image, CONFIG, region=region_of(image, 5, 30), organ=other)


def test_progress_stays_within_its_bounds(plain):
    _, image, _ = plain
    seen = []
    predict_heatmap(image, CONFIG, progress=lambda _, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert 0.0 <= seen[0] < seen[-1] == 1.0


def test_the_border_of_a_large_body_is_no_vessel_in_a_whole_field_of_view():
    places = np.indices((48, 56, 64), dtype=np.float32)
    body = ((places[0] - 24) / 21) ** 4 + ((places[1] - 28) / 25) ** 4 + ((places[2] - 32) / 29) ** 4 < 1
    off_axis = np.hypot(places[0] - 22, places[1] - 26)
    noise = np.random.default_rng(3).normal(0, 15, body.shape)
    image = Volume(np.where(body & (off_axis < 2), 190.0, np.where(body, 105.0, -80.0)) + noise, Space.axial())
    heat = predict_heatmap(image, HeatmapConfig(method="ridge")).heat.array
    depth = ndimage.distance_transform_edt(body)
    assert np.median(heat[(off_axis < 0.5) & (depth > 10)]) > 0.5
    assert (heat[(depth > 0) & (depth < 8) & (off_axis > 8)] > 0.36).mean() < 0.02
