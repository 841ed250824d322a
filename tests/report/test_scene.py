"""The 3-D data in the page: decoded, they are the surface and the centerlines."""

import base64

import numpy as np
import pytest

from tests.report.cases import ball, fork, image
from vesselgraph.graph import VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.report.scene import reduced, region_outline, scene_of
from vesselgraph.surface import check_surface


def unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def positions(scene: dict, part: str) -> np.ndarray:
    packed = unpack(scene[part]["points"], "<u2").reshape(-1, 3)
    return np.array(scene["low"]) + packed / 65535 * np.array(scene["size"])


def test_points_and_faces_survive_to_a_hundredth_of_a_millimetre():
    mesh, graph = ball(radius=30.0), fork()
    scene = scene_of(mesh, graph)
    np.testing.assert_allclose(positions(scene, "mesh"), mesh.points, atol=0.01)
    np.testing.assert_array_equal(unpack(scene["mesh"]["faces"], "<u4").reshape(-1, 3), mesh.faces)
    np.testing.assert_allclose(positions(scene, "lines"), graph.path_position, atol=0.01)
    np.testing.assert_array_equal(unpack(scene["lines"]["offset"], "<u4"), graph.path_offset)
    assert scene["lines"]["treeId"] == [1, 1, 1, 2]
    assert scene["lines"]["length"] == [40.0, 25.0, 25.0, 30.0]


def test_a_surface_without_columns_takes_them_from_the_nearest_branch():
    mesh = Mesh([[0, 3, 5], [11, 11, 15], [-14, 0, 59]], [[0, 1, 2]])
    part = scene_of(mesh, fork())["mesh"]
    assert part["branchBytes"] == 2
    assert unpack(part["branch"], "<u2").tolist() == [0, 3, 2]
    assert unpack(part["tree"], "u1").tolist() == [1, 2, 1]
    assert unpack(part["score"], "u1").tolist() == [1 + round(0.9 * 254), 1 + round(0.6 * 254), 1 + round(0.4 * 254)]


def test_own_columns_are_used():
    mesh = Mesh(
        [[0, 3, 5], [11, 11, 15], [-14, 0, 59]],
        [[0, 1, 2]],
        {
            "branch_id": np.array([3, 0, 1]),
            "tree_id": np.array([2, 1, 8]),
            "radius": np.array([1.0, 4.0, np.nan]),
            "score": np.array([0.0, 1.0, np.nan]),
        },
    )
    part = scene_of(mesh, fork())["mesh"]
    assert unpack(part["branch"], "<u2").tolist() == [3, 0, 1]
    assert unpack(part["tree"], "u1").tolist() == [2, 1, 1]
    assert unpack(part["radius"], "u1").tolist() == [1, 255, 0]
    assert unpack(part["score"], "u1").tolist() == [1, 255, 0]


def test_branch_ids_of_another_graph_are_not_believed():
    mesh = Mesh([[0, 3, 5], [11, 11, 15], [-14, 0, 59]], [[0, 1, 2]], {"branch_id": np.array([0, 1, 99])})
    assert unpack(scene_of(mesh, fork())["mesh"]["branch"], "<u2").tolist() == [0, 3, 2]


def test_nothing_at_all_is_still_a_scene():
    scene = scene_of(Mesh.empty(), VesselGraph.empty())
    assert scene["mesh"]["nFaces"] == 0
    assert unpack(scene["lines"]["offset"], "<u4").tolist() == [0]


def test_a_surface_without_a_graph_is_grey():
    part = scene_of(ball(), VesselGraph.empty())["mesh"]
    assert set(unpack(part["tree"], "u1").tolist()) == {0}


def test_a_large_surface_is_made_coarser_and_keeps_its_shape_and_columns():
    fine = ball(60, 20.0)
    mesh = Mesh(fine.points, fine.faces, {"branch_id": (fine.points[:, 2] > 0).astype(np.int64)})
    coarse = reduced(mesh, max_faces=2000)
    assert 1500 < coarse.n_faces <= 2000
    assert check_surface(coarse).closed
    assert coarse.volume == pytest.approx(mesh.volume, rel=0.02)
    away = np.abs(coarse.points[:, 2]) > 1.5
    np.testing.assert_array_equal(coarse.point_data["branch_id"][away], (coarse.points[away, 2] > 0).astype(int))
    assert reduced(mesh, max_faces=mesh.n_faces) is mesh


def test_the_outline_of_a_region_encloses_it():
    volume = image()
    mask = np.zeros(volume.shape, bool)
    mask[8:28, 6:24, 10:30] = True
    outline = region_outline(volume.with_array(mask))
    inside = mask.sum() * volume.space.voxel_volume
    assert abs(outline.volume) == pytest.approx(inside, rel=0.15)
    low, high = volume.space.to_world([7.5, 5.5, 9.5]), volume.space.to_world([27.5, 23.5, 29.5])
    np.testing.assert_allclose(outline.points.min(axis=0), low, atol=4.0)
    np.testing.assert_allclose(outline.points.max(axis=0), high, atol=4.0)


def test_a_region_without_a_border_has_no_outline():
    volume = image()
    everything = volume.with_array(np.ones(volume.shape, bool))
    assert region_outline(everything).n_faces == 0
    assert region_outline(volume.with_array(~everything.array)).n_faces == 0
    assert region_outline(None).n_faces == 0
