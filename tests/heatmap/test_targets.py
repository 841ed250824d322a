"""Targets: distances, radii and trees measured from centerlines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap.targets import UNSEEN, Segments, joined, measure_target, segments_of, tree_id


def line(*ends: list[float], radii: tuple[float, float] = (1.0, 1.0), tree: int = 1) -> Segments:
    start, end = (np.array([point], float) for point in ends)
    return Segments(start, end, np.array([radii[0]]), np.array([radii[1]]), np.array([tree], np.uint8))


def test_distance_and_radius_by_hand() -> None:
    target = measure_target(line([4, 4, 2], [4, 4, 6], radii=(1.0, 3.0)), (9, 9, 9), step=0.5, reach=2.0)
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
    target = measure_target(line([4, 4, 0], [4, 4, 8]), (9, 9, 9), step=1.0, reach=3.0)
    heat = target.heat(1.5)
    assert heat[4, 4, 4] == 1.0
    assert heat[4, 5, 4] == pytest.approx(np.exp(-0.5 / 2.25))
    assert heat[4, 8, 4] == 0.0


@given(
    st.lists(st.lists(st.floats(-3, 10), min_size=6, max_size=6), min_size=1, max_size=4),
    st.floats(0.4, 2.5),
)
@settings(max_examples=30, deadline=None)
def test_distances_are_those_to_the_pieces(ends: list[list[float]], step: float) -> None:
    start, end = np.array(ends)[:, :3], np.array(ends)[:, 3:]
    n, reach = len(ends), 3.0
    target = measure_target(Segments(start, end, np.ones(n), np.ones(n), np.arange(n, dtype=np.uint8)), (8, 7, 6), step, reach)
    grid = np.moveaxis(np.indices((8, 7, 6)), 0, -1)[..., None, :].astype(float)
    along = end - start
    length2 = np.maximum((along**2).sum(-1), 1e-30)
    share = np.clip(((grid - start) * along).sum(-1) / length2, 0, 1)
    exact = np.linalg.norm(grid - start - share[..., None] * along, axis=-1) * step
    np.testing.assert_allclose(target.distance, np.minimum(exact.min(-1), reach), atol=1e-4)
    for tree in range(n):
        np.testing.assert_allclose(target.tree_distance[tree], np.minimum(exact[..., tree], reach), atol=1e-4)


def test_unseen_vessels_are_neither_heat_nor_background() -> None:
    pieces = joined([line([4, 4, 0], [4, 4, 20]), line([4, 12, 0], [4, 12, 20], tree=UNSEEN)])
    target = measure_target(pieces, (9, 17, 21), step=1.0, reach=6.0)
    assert target.heat(1.5)[4, 12, 10] == 0.0
    clear = target.is_clear(1.5)
    assert clear[4, 4, 10]
    assert not clear[4, 12, 10]
    assert not clear[4, 14, 10]
    assert clear[4, 16, 10]
    # Where both are near, the seen one counts as soon as it is the nearer.
    assert clear[4, 8, 10]


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
    target = measure_target(pieces, (4, 4, 4), 1.0, 6.0)
    assert target.heat(1.5).max() == 0.0
    assert (target.distance == 6.0).all()


def test_tree_ids() -> None:
    assert [tree_id(name) for name in ("portal", "hepatic", "artery", "cava", 2, 9, None)] == [1, 2, 3, 0, 2, 0, 0]
