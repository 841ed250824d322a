import numpy as np
import pytest
from scipy import ndimage

from vesselgraph.config import RegionConfig
from vesselgraph.errors import InputError
from vesselgraph.region import estimate_region
from vesselgraph.region.estimate import _bone_near
from vesselgraph.space import Space
from vesselgraph.volume import PhaseSet, Volume

# A coarser grid than the default keeps these tests short; the default is used where numbers are stated.
COARSE = RegionConfig(step=5.0, margin=0.0)
FORCED = RegionConfig(step=5.0, margin=0.0, method="liver")


@pytest.fixture(scope="module")
def found(body):
    return estimate_region(body.image, COARSE)


def test_liver_of_a_body_is_found(body, dice):
    region = estimate_region(body.image, RegionConfig(margin=0.0))
    assert region.kind == "liver"
    assert dice(region.mask.array, body.liver.array) > 0.95
    assert region.confidence > 0.9
    truth_ml = body.liver.array.sum() * body.liver.space.voxel_volume / 1000.0
    assert region.measurements["volume_ml"] == pytest.approx(truth_ml, rel=0.1)
    assert region.measurements["mode_hu"] == pytest.approx(105.0, abs=2.0)
    assert "cuts" not in region.note


def test_vessels_of_the_liver_lie_in_its_region(body):
    region = estimate_region(body.image, RegionConfig(step=5.0))
    # The ribs of the body are drawn over the ends of its vessels.
    vessel = body.liver.array & (body.image.array > 135) & (body.image.array < 300)
    assert (region.mask.array & vessel).sum() > 0.995 * vessel.sum()


def test_rim_grows_the_same_organ_by_its_width(body, found):
    wide = estimate_region(body.image, COARSE.model_copy(update={"margin": 10.0}))
    assert (wide.mask.array >= found.mask.array).all()
    assert wide.measurements["volume_ml"] == pytest.approx(found.measurements["volume_ml"], rel=0.01)
    distance = ndimage.distance_transform_edt(~found.mask.array, sampling=body.image.space.spacing)
    bone = ndimage.distance_transform_edt(body.image.array < 300, sampling=body.image.space.spacing)
    rib = body.image.array > 330
    assert wide.mask.array[(distance <= 8.0) & (bone > 3.0)].all()
    assert not wide.mask.array[rib & (distance > 0.0)].any()
    # A voxel of 4 to 5 mm more; beside bone 3 mm more still, which are cut out of the organ.
    assert not wide.mask.array[distance > 17.0].any()
    assert not wide.mask.array[(distance > 14.0) & (bone > 10.0)].any()


@pytest.mark.parametrize(("axes", "flip"), [((2, 0, 1), (1, 0, 1)), ((1, 2, 0), (0, 1, 0)), ((0, 1, 2), (1, 1, 1))])
def test_same_liver_in_every_orientation_of_the_array(body, found, dice, axes, flip):
    space, order = body.image.space, list(axes)
    array, direction = np.transpose(body.image.array, order), space.direction[:, order].copy()
    truth, origin, spacing = np.transpose(found.mask.array, order), space.origin.copy(), space.spacing[order]
    for axis in np.flatnonzero(flip):
        array, truth = np.flip(array, axis), np.flip(truth, axis)
        origin = origin + direction[:, axis] * spacing[axis] * (array.shape[axis] - 1)
        direction[:, axis] *= -1.0
    region = estimate_region(Volume(array.copy(), Space(spacing, origin, direction)), COARSE)
    assert region.kind == "liver"
    assert dice(region.mask.array, truth) > 0.985


def test_liver_is_found_in_an_oblique_image(make_body, dice):
    body = make_body()
    angle = np.deg2rad(15.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    space = Space(body.image.space.spacing, turn @ body.image.space.origin, turn @ body.image.space.direction)
    # The patient is turned on the table: array as before, world turned by 15 degrees.
    region = estimate_region(Volume(body.image.array, space), COARSE)
    assert region.kind == "liver"
    assert dice(region.mask.array, body.liver.array) > 0.93


@pytest.mark.parametrize(("liver_hu", "vessel_hu"), [(50.0, 115.0), (140.0, 190.0)])
def test_fatty_and_bright_livers_are_found(make_body, dice, liver_hu, vessel_hu):
    body = make_body(liver_hu=liver_hu, vessel_hu=vessel_hu)
    region = estimate_region(body.image, COARSE)
    assert region.kind == "liver"
    assert dice(region.mask.array, body.liver.array) > 0.9


def test_liver_cut_by_the_field_of_view_is_found_and_said(make_body, dice):
    body = make_body(z_range=(-60.0, 20.0))
    region = estimate_region(body.image, COARSE)
    assert region.kind == "liver"
    assert dice(region.mask.array, body.liver.array) > 0.92
    assert "cuts the liver below, above" in region.note


def test_image_without_contrast_is_searched_as_a_whole_unless_the_liver_is_asked_for(make_body, dice):
    body = make_body(vessel_hu=105.0)
    region = estimate_region(body.image, COARSE)
    assert region.kind == "whole"
    assert region.mask.array[body.liver.array].all()
    assert "no enhanced vessels" in region.note
    forced = estimate_region(body.image, FORCED)
    assert forced.kind == "liver"
    assert forced.confidence == 0.0
    assert "Taken as asked for, though no enhanced vessels" in forced.note
    assert dice(forced.mask.array, body.liver.array) > 0.92


def test_organ_on_the_wrong_side_is_no_liver(make_body):
    assert estimate_region(make_body(side=-1.0).image, COARSE).kind == "whole"


def test_chest_with_the_top_of_a_liver_is_searched_as_a_whole(make_body):
    body = make_body(z_range=(40.0, 240.0))
    region = estimate_region(body.image, COARSE)
    assert region.kind == "whole"


def ball(value, around, outer):
    """A head of brain ``value`` in a shell of bone ``around``."""
    space = Space.axial((3.0, 3.0, 3.0))
    world = space.to_world(np.stack(np.indices((70, 70, 70)), axis=-1)) - 103.5
    radius = np.linalg.norm(world, axis=-1)
    hu = np.where(radius < 80.0, value, np.where(radius < 90.0, around, outer))
    return Volume(hu.astype(np.int16), space)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (Volume(np.full((8, 8, 8), 300, dtype=np.uint16), Space.axial()), "not CT"),
        (Volume(np.zeros((8, 8, 8), dtype=bool), Space.axial()), "not CT"),
        (Volume(np.full((8, 8, 8), np.nan), Space.axial()), "not CT"),
        (Volume(np.full((8, 8, 8), -1000, dtype=np.int16), Space.axial()), "no large, even organ"),
        (Volume(np.full((1, 1, 1), -1000, dtype=np.int16), Space.axial()), "no large, even organ"),
        (ball(30, 900, -1000), "30 HU"),
        (ball(100, 900, -1000), "surroundings are bone"),
    ],
)
def test_everything_else_is_searched_as_a_whole_and_a_forced_liver_is_refused(image, why):
    region = estimate_region(image, COARSE)
    assert region.kind == "whole"
    assert why in region.note
    with pytest.raises(InputError, match=f"region.method is 'liver'.*{why}.*pass an organ mask"):
        estimate_region(image, FORCED)


def test_whole_is_whole_when_asked_for(body):
    region = estimate_region(body.image, RegionConfig(method="whole"))
    assert (region.kind, region.note) == ("whole", "The whole field of view, as asked for.")
    assert region.mask.array.all()
    assert region.measurements["mean_hu"] == pytest.approx(body.image.array.mean())
    assert region.measurements["sd_hu"] == pytest.approx(body.image.array.std())


def test_of_several_phases_the_portal_one_is_searched(make_body, found):
    plain, portal = make_body(vessel_hu=105.0), make_body()
    region = estimate_region(PhaseSet({"native": plain.image, "Portal": portal.image}), COARSE)
    np.testing.assert_array_equal(region.mask.array, found.mask.array)


def test_the_image_is_not_changed_and_the_answer_repeats(body, found):
    before = body.image.array.copy()
    steps = []
    again = estimate_region(body.image, COARSE, progress=lambda _, fraction: steps.append(fraction))
    np.testing.assert_array_equal(again.mask.array, found.mask.array)
    np.testing.assert_array_equal(body.image.array, before)
    assert steps[0] == 0.0
    assert steps[-1] == 1.0


def test_whole_field_of_view_leaves_skin_couch_and_outer_air_out_but_not_lungs():
    space = Space.axial((3.0, 3.0, 3.0))
    world = space.to_world(np.stack(np.indices((40, 90, 90)), axis=-1)) - np.array([133.5, 133.5, 0.0])
    across = np.linalg.norm(world[..., :2], axis=-1)
    lung = np.linalg.norm(world[..., :2] - np.array([40.0, 0.0]), axis=-1) < 30.0
    couch = (np.abs(world[..., 1] - 122.0) < 3.0) & (np.abs(world[..., 0]) < 90.0)
    hu = np.where(lung, -850, np.where((across < 100.0) | couch, 40, -1000)).astype(np.int16)
    region = estimate_region(Volume(hu, space))
    assert region.kind == "whole"
    assert "Skin, couch" in region.note
    inside = region.mask.array
    assert inside[(across < 90.0)].all()
    assert not inside[across > 98.0].any()


def test_crop_without_air_around_it_is_searched_to_its_faces():
    image = ball(30, 900, -1000)
    part = image.array[20:50, 20:50, 20:50]
    region = estimate_region(Volume(part, image.space), COARSE)
    assert region.mask.array.all()
    assert "Skin" not in region.note


def test_bone_and_what_is_near_it_is_cut_from_the_rim_but_no_speck_of_noise():
    array = np.full((30, 30, 30), 110, dtype=np.int16)
    array[5:10, 5:10, 5:10] = 700
    array[20, 20, 20] = 700
    image = Volume(array, Space.axial())
    rim = np.ones(array.shape, dtype=bool)
    near = _bone_near(image, rim)
    assert near[2:13, 7, 7].all()
    assert not near[13:, 7, 7].any()
    assert not near[20, 20, 20]
    assert not _bone_near(image, array < 200).any()


def test_bright_vessel_in_the_rim_is_no_bone_and_spongy_bone_with_a_cortex_is():
    array = np.full((30, 30, 30), 110, dtype=np.int16)
    array[:, 5:15, 5:15] = 290
    rim = np.ones(array.shape, dtype=bool)
    assert not _bone_near(Volume(array, Space.axial()), rim).any()
    array[:, 5:15, 5:7] = 600
    near = _bone_near(Volume(array, Space.axial()), rim)
    assert near[:, 5:15, 5:15].all()
    assert not near[:, :, 20:].any()
