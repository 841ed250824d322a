"""Targets: distances, radii and trees measured from centerlines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap.targets import REACH_SIGMAS, Segments, clarity_of, joined, measure_target, segments_of, tree_id


def line(*ends: list[float], radii: tuple[float, float] = (1.0, 1.0), tree: int = 1, clarity: float = 1.0) -> Segments:
    start, end = (np.array([point], float) for point in ends)
    first, last = (np.array([radius]) for radius in radii)
    return Segments(start, end, first, last, np.array([tree], np.uint8), np.array([clarity], np.float32))


def test_distance_and_radius_by_hand() -> None:
    target = measure_target(line([4, 4, 2], [4, 4, 6], radii=(1.0, 3.0)), (9, 9, 9), step=0.5, sigma=0.5)
    assert target.distance[4, 4, 4] == 0.0
    assert target.radius[4, 4, 4] == 2.0
    assert target.distance[4, 6, 3] == pytest.approx(1.0)
    assert target.radius[4, 6, 3] == 1.5
    # Beyond the end the nearest point is the end.
    assert target.distance[4, 4, 8] == pytest.approx(1.0)
    assert target.radius[4, 4, 8] == 3.0
    assert target.distance[0, 0, 0] == 2.0
    assert target.radius[0, 0, 0] == 0.0


def test_heat_is_a_gaussian_of_the_distance() -> None:
    target = measure_target(line([4, 4, 0], [4, 4, 8]), (9, 9, 9), step=1.0, sigma=0.75)
    heat = target.heat
    assert heat[4, 4, 4] == 1.0
    assert heat[4, 5, 4] == pytest.approx(np.exp(-0.5 / 0.75**2))
    assert heat[4, 8, 4] == 0.0


@given(
    st.lists(st.lists(st.floats(-3, 10), min_size=6, max_size=6), min_size=1, max_size=4),
    st.floats(0.4, 2.5),
)
@settings(max_examples=30, deadline=None)
def test_distances_are_those_to_the_pieces(ends: list[list[float]], step: float) -> None:
    start, end = np.array(ends)[:, :3], np.array(ends)[:, 3:]
    n, reach = len(ends), 3.0
    one = np.ones(n, np.float32)
    pieces = Segments(start, end, one, one, np.arange(n, dtype=np.uint8), one)
    target = measure_target(pieces, (8, 7, 6), step, reach / REACH_SIGMAS)
    grid = np.moveaxis(np.indices((8, 7, 6)), 0, -1)[..., None, :].astype(float)
    along = end - start
    length2 = np.maximum((along**2).sum(-1), 1e-30)
    share = np.clip(((grid - start) * along).sum(-1) / length2, 0, 1)
    exact = np.linalg.norm(grid - start - share[..., None] * along, axis=-1) * step
    np.testing.assert_allclose(target.distance, np.minimum(exact.min(-1), reach), atol=1e-4)
    for tree in range(n):
        np.testing.assert_allclose(target.tree_distance[tree], np.minimum(exact[..., tree], reach), atol=1e-4)


def test_faint_vessels_get_less_heat_and_hide_no_clear_one() -> None:
    pieces = joined([line([4, 4, 0], [4, 4, 20], radii=(2, 2)), line([4, 7, 0], [4, 7, 20], clarity=0.3)])
    target = measure_target(pieces, (9, 17, 21), step=1.0, sigma=1.5)
    assert target.heat[4, 4, 10] == 1.0
    assert target.heat[4, 7, 10] == pytest.approx(0.3)
    assert (target.clarity[4, 7, 10], target.radius[4, 7, 10]) == (pytest.approx(0.3), 1.0)
    # One voxel nearer to the faint vessel the clear one still gives more heat.
    assert target.heat[4, 6, 10] == pytest.approx(np.exp(-0.5 * 4 / 2.25))
    assert (target.clarity[4, 6, 10], target.radius[4, 6, 10]) == (1.0, 2.0)
    assert target.tree_distance[1, 4, 6, 10] == 1.0


def test_vessels_nothing_shows_are_background() -> None:
    target = measure_target(line([4, 4, 0], [4, 4, 8], clarity=0.0), (9, 9, 9), step=1.0, sigma=1.0)
    assert target.heat.max() == 0.0
    assert (target.distance == 4.0).all()
    assert (target.tree_distance == 4.0).all()


def test_the_heat_of_wide_vessels_is_wider() -> None:
    wide = measure_target(line([8, 8, 0], [8, 8, 16], radii=(6, 6)), (17, 17, 17), step=2.0, sigma=1.5)
    assert wide.heat[8, 9, 8] == pytest.approx(np.exp(-0.5 * 4 / 4))
    widest = measure_target(line([8, 8, 0], [8, 8, 16], radii=(30, 30)), (17, 17, 17), step=2.0, sigma=1.5)
    assert widest.heat[8, 9, 8] == pytest.approx(np.exp(-0.5 * 4 / 2.5**2))


def test_clarity_by_hand() -> None:
    # Twice as wide is twice as clear in noise; thinner than 1 mm counts as 1 mm there.
    clarity = clarity_of(np.array([1.0, 2.0, 0.5, 0.1]), np.array([1.0, -1.0, 2.0, 9.0]), (0.1, 0.5), (0.0, 4.0))
    assert clarity.tolist() == [0.25, 0.5, 0.5, 0.0]


def test_segments_of_a_graph_leave_out_the_jump_between_branches() -> None:
    paths = [np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[5.0, 0, 0], [5, 3, 0]])]
    graph = VesselGraph.from_paths(paths, [np.array([1.0, 2, np.nan]), np.array([0.5, 0.5])])
    graph = graph.with_columns(edge={"tree": np.array([2, 3])})
    pieces = segments_of(graph)
    assert len(pieces) == 3
    assert np.linalg.norm(pieces.end - pieces.start, axis=1).tolist() == [1.0, 1.0, 3.0]
    assert pieces.tree.tolist() == [2, 2, 3]
    assert pieces.end_radius.tolist() == [2.0, 1.0, 0.5]
    assert segments_of(graph, "portal").tree.tolist() == [1, 1, 1]


def test_an_empty_graph_has_no_segments_and_no_heat() -> None:
    pieces = segments_of(VesselGraph.empty())
    assert len(pieces) == 0
    target = measure_target(pieces, (4, 4, 4), 1.0, 1.5)
    assert target.heat.max() == 0.0
    assert (target.distance == 6.0).all()


def test_tree_ids() -> None:
    assert [tree_id(name) for name in ("portal", "hepatic", "artery", "cava", 2, 9, None)] == [1, 2, 3, 0, 2, 0, 0]
