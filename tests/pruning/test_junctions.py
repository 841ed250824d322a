from dataclasses import replace

import numpy as np
import pytest

from vesselgraph.graph import VesselGraph
from vesselgraph.pruning.junctions import settle_junctions


def _star(axes, places, radius=2.0, length=14.0):
    """Branches that leave node 0 at the origin and soon run along their own axis through their own place."""
    t = np.arange(0.0, length, 0.5)[:, None]
    lines = [np.array(place) + t * np.array(axis) / np.linalg.norm(axis) for axis, place in zip(axes, places, strict=True)]
    # The skeleton joins all of them at one voxel.
    paths = [np.concatenate([np.zeros((1, 3)), line[np.linalg.norm(line, axis=1) > 1.5]]) for line in lines]
    radii = [np.full(len(path), radius) for path in paths]
    names = {"branch": np.arange(len(paths))}
    return VesselGraph.from_paths(paths, radii, edge_data=names)


def _two_forks(apart=3.0):
    """A parent from the left forks at x = -apart / 2; the other daughter forks at x = apart / 2."""
    left, right = [-apart / 2, 0.0, 0.0], [apart / 2, 0.0, 0.0]
    axes = [[-1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.8, -0.6, 0.0], [0.7, 0.0, 0.7]]
    return _star(axes, [left, left, right, right])


def test_two_forks_in_one_node_become_two_where_their_axes_meet():
    settled = settle_junctions(_two_forks())
    forks = settled.node_position[settled.degree == 3]
    assert sorted(settled.degree.tolist()) == [1, 1, 1, 1, 3, 3]
    assert settled.n_edges == 5
    assert np.linalg.norm(forks[np.argmin(forks[:, 0])] - [-1.5, 0.0, 0.0]) < 0.7
    assert np.linalg.norm(forks[np.argmax(forks[:, 0])] - [1.5, 0.0, 0.0]) < 0.7


def test_the_branch_between_two_forks_has_the_columns_of_one_of_the_four():
    graph = _two_forks().with_columns(path={"heat": np.ones(_two_forks().n_points)})
    settled = settle_junctions(graph)
    np.testing.assert_array_equal(settled.edge_data["branch"][:4], np.arange(4))
    assert settled.edge_data["branch"][4] in range(4)
    np.testing.assert_array_equal(settled.path_data["heat"], 1.0)
    np.testing.assert_allclose(settled.path_radius, 2.0)


@pytest.mark.parametrize(
    ("axes", "places"),
    [
        pytest.param(
            [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]],
            [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, 0.0, -1.0]],
            id="vessels that pass",
        ),
        pytest.param(
            [[-1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.8, -0.3, 0.52], [0.8, -0.3, -0.52]], [[0.0] * 3] * 4, id="one place"
        ),
    ],
)
def test_other_nodes_of_four_branches_stay_one(axes, places):
    settled = settle_junctions(_star(axes, places))
    assert sorted(settled.degree.tolist()) == [1, 1, 1, 1, 4]


def test_nodes_placed_by_the_wall_stay():
    graph = _two_forks()
    graph = graph.with_columns(node={"fitted": np.ones(graph.n_nodes, np.bool_)})
    settled = settle_junctions(graph)
    np.testing.assert_array_equal(settled.node_position, graph.node_position)
    np.testing.assert_array_equal(settled.edge_nodes, graph.edge_nodes)


def _fork(half_angle_deg, upstream=0.6):
    """A fork whose axes meet upstream of its node, in the negative x direction, mm."""
    c, s = np.cos(np.deg2rad(half_angle_deg)), np.sin(np.deg2rad(half_angle_deg))
    return _star([[-1.0, 0.0, 0.0], [c, s, 0.0], [c, -s, 0.0]], [[-upstream, 0.0, 0.0]] * 3)


def test_a_fork_moves_to_where_its_axes_meet_and_a_wide_one_a_little_farther_up():
    narrow, wide = settle_junctions(_fork(22.0)), settle_junctions(_fork(40.0))
    for settled, least, most in ((narrow, 0.4, 0.61), (wide, 0.6, 1.0)):
        up = -settled.node_position[settled.degree == 3][0]
        np.testing.assert_allclose(up[1:], 0.0, atol=1e-9)
        assert least < up[0] < most


def test_no_fork_moves_farther_than_a_millimetre():
    settled = settle_junctions(_fork(22.0, upstream=1.5))
    np.testing.assert_allclose(settled.node_position[settled.degree == 3], [[-1.0, 0.0, 0.0]], atol=1e-9)


def test_the_answer_turns_with_the_graph():
    graph = _two_forks()
    turn = np.array([[0.0, -1.0, 0.0], [0.6, 0.0, -0.8], [0.8, 0.0, 0.6]])
    turned = replace(graph, node_position=graph.node_position @ turn.T, path_position=graph.path_position @ turn.T)
    np.testing.assert_allclose(
        settle_junctions(turned).path_position, settle_junctions(graph).path_position @ turn.T, atol=1e-9
    )  # fmt: skip
