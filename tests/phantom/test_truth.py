"""What the truth graph of a phantom promises."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from vesselgraph.config import PhantomConfig
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom import Phantom, make_phantom

CONFIG = PhantomConfig(shape=(64, 64, 64), n_tips=10, tip_radius=0.7, touching=0.0, seed=5)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(CONFIG)


def edges_of(graph: VesselGraph, name: str) -> list[int]:
    return np.flatnonzero(graph.edge_data["tree"] == name).tolist()


def test_two_trees_each_with_one_root(phantom: Phantom) -> None:
    graph = phantom.graph
    for name in ("portal", "hepatic"):
        edges = edges_of(graph, name)
        nodes = np.unique(graph.edge_nodes[edges])
        assert len(nodes) == len(edges) + 1
        assert graph.node_data["root"][nodes].sum() == 1
        reached = set(nodes[graph.node_data["root"][nodes]].tolist())
        for _ in edges:
            reached |= {int(b) for a, b in graph.edge_nodes[edges] if a in reached}
        assert reached == set(nodes.tolist()), "every branch leads away from the root"
    assert not set(np.unique(graph.edge_nodes[edges_of(graph, "portal")])) & set(
        np.unique(graph.edge_nodes[edges_of(graph, "hepatic")])
    )


def test_nodes_are_true_junctions_and_tips(phantom: Phantom) -> None:
    assert set(phantom.graph.degree.tolist()) == {1, 3}
    tips = (phantom.graph.degree == 1).sum() - 2
    assert 0.8 * 2 * CONFIG.n_tips <= tips <= 2 * CONFIG.n_tips


def test_the_longer_tree_comes_first(phantom: Phantom) -> None:
    graph = phantom.graph
    length = [graph.edge_length[graph.edge_data["tree_id"] == i].sum() for i in (1, 2)]
    assert length[0] >= length[1] > 0
    assert length[0] + length[1] == pytest.approx(graph.length)


def test_murray_holds_at_every_junction(phantom: Phantom) -> None:
    graph = phantom.graph
    power = CONFIG.murray_exponent
    for node in np.flatnonzero(graph.degree == 3):
        (above,) = np.flatnonzero(graph.edge_nodes[:, 1] == node)
        below = np.flatnonzero(graph.edge_nodes[:, 0] == node)
        daughters = sum(graph.radius_along(e)[0] ** power for e in below)
        assert graph.radius_along(above)[-1] ** power == pytest.approx(daughters)


def test_the_wider_daughter_goes_on_in_the_same_direction(phantom: Phantom) -> None:
    graph = phantom.graph
    for node in np.flatnonzero(graph.degree == 3):
        (above,) = np.flatnonzero(graph.edge_nodes[:, 1] == node)
        below = np.flatnonzero(graph.edge_nodes[:, 0] == node)
        arriving = graph.path(above)[-1] - graph.path(above)[-2]
        leaving = [graph.path(e)[1] - graph.path(e)[0] for e in below]
        cosine = [arriving @ d / np.linalg.norm(arriving) / np.linalg.norm(d) for d in leaving]
        assert max(cosine) > np.cos(np.deg2rad(50.0))


def test_paths_are_dense_and_smooth(phantom: Phantom) -> None:
    for e in range(phantom.graph.n_edges):
        steps = np.diff(phantom.graph.path(e), axis=0)
        assert np.linalg.norm(steps, axis=1).max() < 0.9
        unit = steps / np.linalg.norm(steps, axis=1, keepdims=True)
        assert (unit[1:] * unit[:-1]).sum(axis=1).min() > np.cos(np.deg2rad(65.0))


def test_vessels_lie_in_the_organ(phantom: Phantom) -> None:
    index = np.rint(phantom.image.space.to_index(phantom.graph.path_position)).astype(int)
    assert phantom.organ_mask.array[tuple(index.T)].all()
    outside = phantom.vessel_mask.array & ~phantom.organ_mask.array
    assert outside.sum() < 0.03 * phantom.vessel_mask.array.sum(), "only the trunks' ends may reach out"


def test_trees_keep_their_distance(phantom: Phantom) -> None:
    graph = phantom.graph
    owner = graph.edge_data["tree"][graph.edge_of_point]
    position, radius = graph.path_position, graph.path_radius
    here, there = owner == "portal", owner == "hepatic"
    gap = np.linalg.norm(position[here][:, None] - position[there][None], axis=2) - radius[here][:, None] - radius[there]
    assert gap.min() >= CONFIG.min_clearance


def test_branches_without_a_common_junction_keep_their_distance(phantom: Phantom) -> None:
    graph = phantom.graph
    checked = 0
    for a in range(graph.n_edges):
        for b in range(a + 1, graph.n_edges):
            near = {int(n) for n in graph.edge_nodes[a]}
            near |= {
                int(n) for e in range(graph.n_edges) if near & set(graph.edge_nodes[e].tolist()) for n in graph.edge_nodes[e]
            }
            if near & set(graph.edge_nodes[b].tolist()):
                continue
            apart = np.linalg.norm(graph.path(a)[:, None] - graph.path(b)[None], axis=2)
            gap = apart - graph.radius_along(a)[:, None] - graph.radius_along(b)
            checked += 1
            assert gap.min() > 0
    assert checked > 50


def test_touching_trees_come_closer() -> None:
    closest = []
    for touching in (0.0, 1.0):
        graph = make_phantom(CONFIG.model_copy(update={"touching": touching, "n_tips": 20, "seed": 1})).graph
        owner = graph.edge_data["tree"][graph.edge_of_point]
        here, there = owner == "portal", owner == "hepatic"
        apart, nearest = cKDTree(graph.path_position[there]).query(graph.path_position[here], k=40)
        closest.append((apart - graph.path_radius[here][:, None] - graph.path_radius[there][nearest]).min())
    assert closest[0] >= CONFIG.min_clearance
    assert -0.4 * CONFIG.tip_radius - 1e-9 <= closest[1] < CONFIG.min_clearance


def test_masks_agree_with_the_graph(phantom: Phantom) -> None:
    index = np.rint(phantom.image.space.to_index(phantom.graph.path_position)).astype(int)
    assert phantom.vessel_mask.array[tuple(index.T)].all()
    assert np.array_equal(phantom.vessel_mask.array, phantom.tree_mask.array > 0)
    value = {"portal": 1, "hepatic": 2}
    expected = [value[name] for name in phantom.graph.edge_data["tree"][phantom.graph.edge_of_point]]
    assert phantom.tree_mask.array[tuple(index.T)].tolist() == expected


def test_the_grid_does_not_change_the_world() -> None:
    straight = make_phantom(CONFIG)
    direction = Rotation.from_euler("xyz", [8, -5, 11], degrees=True).as_matrix() @ np.array(CONFIG.direction)
    turned = make_phantom(CONFIG.model_copy(update={"direction": tuple(map(tuple, direction.tolist()))}))
    coarse = make_phantom(CONFIG.model_copy(update={"spacing": (2.0, 1.0, 1.0), "shape": (32, 64, 64)}))
    for other in (turned, coarse):
        assert np.array_equal(other.graph.path_position, straight.graph.path_position)
        assert np.array_equal(other.graph.path_radius, straight.graph.path_radius)
    world = [p.image.space.to_world(np.argwhere(p.organ_mask.array)).mean(axis=0) for p in (straight, turned, coarse)]
    assert np.abs(np.ptp(world, axis=0)).max() < 0.3


def test_the_center_moves_everything() -> None:
    here = make_phantom(CONFIG)
    there = make_phantom(CONFIG.model_copy(update={"center": (100.0, -50.0, 700.0)}))
    assert np.allclose(there.graph.path_position - here.graph.path_position, [100.0, -50.0, 700.0])
    assert np.array_equal(there.organ_mask.array, here.organ_mask.array)
