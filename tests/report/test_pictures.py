"""Slices and projections: world-true, in radiological convention, for any grid."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.report.cases import fork, image
from vesselgraph.graph import VesselGraph
from vesselgraph.report import display_window, render_mip, render_slice
from vesselgraph.report.palette import TREE_COLOURS, rgb
from vesselgraph.report.views import VIEWS, Frame, axial_part, display_box, project, sample_plane
from vesselgraph.space import Space
from vesselgraph.volume import Volume

AXES = {"x": [1.0, 0.0, 0.0], "y": [0.0, 1.0, 0.0], "z": [0.0, 0.0, 1.0]}


def one_bright_voxel(space: Space, world: list[float], shape=(21, 21, 21)) -> Volume:
    array = np.zeros(shape, np.float32)
    array[tuple(np.round(space.to_index(world)).astype(int))] = 1000.0
    return Volume(array, space)


def brightest(grey: np.ndarray) -> tuple[float, float]:
    """Centre of the brightest pixels in shares of the picture's width and height, away from the labels."""
    cut = grey.astype(float).copy()
    edge = len(cut) // 8
    cut[:edge], cut[-edge:], cut[:, :edge], cut[:, -edge:] = 0, 0, 0, 0
    rows, columns = np.nonzero(cut > 0.6 * cut.max())
    return (columns.mean() + 0.5) / cut.shape[1], (rows.mean() + 0.5) / cut.shape[0]


def spaces() -> dict[str, Space]:
    flipped = Space(np.ones(3), np.array([10.0, 10.0, 10.0]), -Space.axial().direction)
    sagittal = Space(np.ones(3), np.full(3, -10.0), np.eye(3))
    turn = Rotation.from_euler("xyz", [20, -30, 40], degrees=True).as_matrix() @ Space.axial().direction
    oblique = Space(np.ones(3), -turn @ np.full(3, 10.0), turn)
    return {"axial": Space.axial(origin=(-10, -10, -10)), "flipped": flipped, "sagittal": sagittal, "oblique": oblique}


@pytest.mark.parametrize("name", ["axial", "flipped", "sagittal", "oblique"])
@pytest.mark.parametrize(
    ("view", "side", "expected"),
    [
        # The patient's left (+x) is on the right, his back (+y) below, his head (+z) above.
        ("axial", [4, 0, 0], (0.69, 0.5)),
        ("axial", [0, 4, 0], (0.5, 0.69)),
        ("coronal", [4, 0, 0], (0.69, 0.5)),
        ("coronal", [0, 0, 4], (0.5, 0.31)),
        ("sagittal", [0, 4, 0], (0.69, 0.5)),
        ("sagittal", [0, 0, 4], (0.5, 0.31)),
    ],
)
def test_a_bright_voxel_appears_on_its_own_side(name, view, side, expected):
    space = spaces()[name]
    volume = one_bright_voxel(space, side)
    world = space.to_world(np.round(space.to_index(side)))
    box = np.array([[-10.5] * 3, [10.5] * 3])
    place = float(world[VIEWS[view].depth])
    window = (0.0, 700.0)
    for picture in (
        render_slice(volume, view, place, box=box, window=window, size=210),
        render_mip(volume, view, box=box, window=window, size=210),
    ):
        assert brightest(picture.base) == pytest.approx(expected, abs=0.04)


def test_the_labels_of_the_views_follow_the_axes():
    assert VIEWS["axial"].labels == ("R", "L", "A", "P")
    assert VIEWS["coronal"].labels == ("R", "L", "S", "I")
    assert VIEWS["sagittal"].labels == ("A", "P", "S", "I")


@pytest.mark.parametrize("view", ["axial", "coronal", "sagittal"])
def test_pixels_and_world_planes_are_inverse(view):
    frame = Frame(VIEWS[view], np.array([[-3.0, 5.0, 10.0], [17.0, 29.0, 24.0]]), 0.5)
    pixels = np.array([[0.0, 0.0], [3.5, 7.25], frame.size])
    world = frame.to_world(pixels, 12.0)
    np.testing.assert_allclose(frame.to_pixel(world), pixels, atol=1e-9)
    np.testing.assert_array_equal(world[:, VIEWS[view].depth], 12.0)
    corners = np.delete(world[[0, 2]], VIEWS[view].depth, axis=1)
    np.testing.assert_allclose(np.sort(corners, axis=0), np.delete(frame.box, VIEWS[view].depth, axis=1))


def test_an_oblique_grid_shows_the_same_slice_as_an_axial_one():
    turn = Rotation.from_euler("z", 30, degrees=True).as_matrix() @ Space.axial().direction
    oblique = Space(np.full(3, 1.0), np.array([0.0, 0.0, 28.0]) - turn @ np.full(3, 32.0), turn)
    straight = Space.axial((1.0, 1.0, 1.0), (-32.0, -32.0, -4.0))
    frame = Frame(VIEWS["coronal"], np.array([[-18.0, -5.0, 5.0], [18.0, 5.0, 50.0]]), 1.0)
    a, b = (sample_plane(image(space, (65, 65, 65)), frame, 0.0) for space in (straight, oblique))
    # A voxel at the tube's rim may fall on either side.
    assert np.abs(a - b).mean() < 4.0


def test_outside_of_the_image_is_unknown_and_black():
    volume = Volume(np.full((4, 4, 4), 50.0), Space.axial())
    frame = Frame(VIEWS["axial"], np.array([[-4.0, -4.0, 0.0], [8.0, 8.0, 3.0]]), 1.0)
    plane = sample_plane(volume, frame, 1.0)
    assert np.isnan(plane[0, 0])
    assert plane[6, 6] == 50.0
    assert np.isnan(sample_plane(volume, frame, 40.0)).all()


def test_a_projection_of_a_turned_grid_is_the_plain_maximum():
    rng = np.random.default_rng(0)
    array = rng.normal(size=(5, 6, 7)).astype(np.float32)
    space = Space(np.array([3.0, 2.0, 1.0]), np.array([0.0, 0.0, 0.0]), -Space.axial().direction)
    volume = Volume(array, space)
    frame = Frame(VIEWS["axial"], volume.bounds, 1.0)
    picture, place = project(axial_part(volume, volume.bounds), frame)
    np.testing.assert_array_equal(picture, array.max(axis=0)[::-1, ::-1])
    assert place == pytest.approx((0, 0, 7, 6))


def test_the_box_is_the_regions_with_a_margin_inside_the_image():
    volume = image()
    mask = np.zeros(volume.shape, bool)
    mask[10:20, 12:15, 4:30] = True
    box = display_box(volume, volume.with_array(mask), None, margin=4.0)
    low = volume.space.to_world([9.5, 11.5, 3.5])
    high = volume.space.to_world([19.5, 14.5, 29.5])
    np.testing.assert_allclose(box, [np.maximum(low - 4, volume.bounds[0]), high + 4])
    np.testing.assert_array_equal(display_box(volume, None, None), volume.bounds)
    np.testing.assert_array_equal(display_box(volume, volume.with_array(mask & False), None), volume.bounds)


def test_the_region_blackens_everything_else_in_a_projection():
    volume = Volume(np.full((20, 20, 20), 100.0), Space.axial())
    mask = np.zeros(volume.shape, bool)
    mask[:, :, 10:] = True
    picture = render_mip(volume, "axial", region=volume.with_array(mask), window=(0.0, 200.0), size=200)
    assert picture.base[60:140, 20:90].max() < 5
    assert picture.base[60:140, 110:180].min() > 120


def test_centerlines_and_outlines_lie_where_the_vessels_are():
    graph = fork()
    volume = image()
    picture = render_slice(volume, "axial", 10.0, graph=graph, size=360)
    step = (volume.bounds[1] - volume.bounds[0]).max() / 360
    for centre, radius, colour in (((0.0, 0.0), 4.0, 2), ((10.0, 10.0), 1.5, 3)):
        x, y = ((np.array(centre) - volume.bounds[0, :2]) / step * 2).astype(int)
        assert picture.overlay[y, x] == colour
        ring = round(radius / step * 2)
        assert colour in picture.overlay[y, x + ring - 1 : x + ring + 4]
        assert not picture.overlay[y, x + ring + 5 : x + ring + 10].any()
    # The slice above both branches of the second tree shows none of it.
    assert 3 not in render_slice(volume, "axial", 38.0, graph=graph, size=360).overlay


def test_colours_of_trees_reach_the_picture():
    volume = image()
    plain = render_mip(volume, "coronal", size=300)
    drawn = render_mip(volume, "coronal", graph=fork(), size=300)
    np.testing.assert_array_equal(drawn.rgb(with_overlay=False)[..., 0], drawn.base)
    assert not plain.overlay.any()
    assert set(np.unique(drawn.overlay)) == {0, 2, 3}
    overlay = Image.open(io.BytesIO(base64.b64decode(drawn.overlay_png()))).convert("RGBA")
    shown = np.asarray(overlay)
    assert (shown[drawn.overlay == 0, 3] == 0).all()
    np.testing.assert_array_equal(np.unique(shown[drawn.overlay == 2], axis=0), [[*rgb(TREE_COLOURS)[1], 255]])
    assert np.abs(drawn.rgb().astype(int) - drawn.rgb(with_overlay=False)).max() > 100


def test_a_picture_is_written_whole(tmp_path):
    path = render_slice(image(), "sagittal", graph=fork()).save(tmp_path / "slice.png")
    with Image.open(path) as picture:
        assert picture.size == (360, 432)
    assert [p.name for p in tmp_path.iterdir()] == ["slice.png"]


class TestDisplayWindow:
    def test_a_rim_of_lung_does_not_move_it(self):
        rng = np.random.default_rng(1)
        array = rng.normal(110, 20, (40, 40, 40))
        mask = np.ones(array.shape, bool)
        mask[0] = False
        array[1:6] = -900
        volume = Volume(array.astype(np.int16), Space.axial())
        low, high = display_window(volume, volume.with_array(mask))
        assert -60 < low < 60
        assert 180 < high < 260

    def test_whole_ct_gets_a_soft_tissue_window(self):
        array = np.full((10, 10, 10), -1000, np.int16)
        array[3:7] = 40
        assert display_window(Volume(array, Space.axial())) == (-150.0, 250.0)

    def test_bright_vessels_stay_below_white(self):
        array = np.full((60, 10, 10), 40.0)
        array[:30] = -1000
        array[:, 5, 5] = 900
        graph = VesselGraph.from_paths([[[5, 5, 0], [5, 5, 30], [5, 5, 59]]])
        assert display_window(Volume(array, Space.axial()), graph=graph)[1] > 900

    @pytest.mark.parametrize("fill", [np.nan, 7.0, 0.0])
    def test_constant_and_unknown_images_have_a_width(self, fill):
        low, high = display_window(Volume(np.full((3, 3, 3), fill), Space.axial()))
        assert high > low


def test_window_of_a_region_with_lungs_is_that_of_soft_tissue():
    array = np.full((20, 20, 20), 60, np.int16)
    array[:, :, :8] = -850
    array[:, :, 8:10] = 2000
    inside = np.ones(array.shape, bool)
    inside[0] = False
    volume = Volume(array, Space.axial())
    assert display_window(volume, volume.with_array(inside)) == (-150.0, 250.0)
