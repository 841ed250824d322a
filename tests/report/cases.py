"""Small made-up cases for the report's tests."""

from itertools import pairwise

import numpy as np

from vesselgraph.graph import VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.space import Space
from vesselgraph.volume import Heatmap, Volume


def fork() -> VesselGraph:
    """A trunk of 40 mm that forks; the second tree is one straight branch."""
    paths = [
        [[0, 0, 0], [0, 0, 20], [0, 0, 40]],
        [[0, 0, 40], [15, 0, 60]],
        [[0, 0, 40], [-15, 0, 60]],
        [[10, 10, 0], [10, 10, 30]],
    ]
    radii = [[4, 4, 4], [2, 2], [2, 1], [1.5, 1.5]]
    columns = {
        "tree_id": np.array([1, 1, 1, 2]),
        "score": np.array([0.9, 0.8, 0.4, 0.6]),
        "generator": np.array([1, 1, 2, 3]),
    }
    graph = VesselGraph.from_paths(paths, radii, edge_data=columns)
    root = (graph.node_position == [0, 0, 0]).all(axis=1) | (graph.node_position == [10, 10, 0]).all(axis=1)
    return graph.with_columns(node={"root": root})


def image(space: Space | None = None, shape: tuple[int, int, int] = (36, 30, 40)) -> Volume:
    """Grey 100 with a bright tube along the fork's branches."""
    grid = space or Space.axial((2.0, 2.0, 2.0), (-38.0, -28.0, -4.0))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = grid.to_world(index)
    array = np.full(shape, 100, np.int16)
    for edge in range(fork().n_edges):
        path = fork().path(edge)
        for a, b in pairwise(path):
            along = np.clip(((world - a) @ (b - a)) / ((b - a) @ (b - a)), 0.0, 1.0)
            array[np.linalg.norm(world - a - along[..., None] * (b - a), axis=-1) < 4.0] = 180
    return Volume(array, grid, "made-up CT")


def ball(n_rings: int = 12, radius: float = 5.0) -> Mesh:
    """A closed ball of triangles, outward."""
    n = 2 * n_rings
    theta = np.linspace(0, np.pi, n_rings + 1)[1:-1]
    phi = np.arange(n) * 2 * np.pi / n
    body = np.stack(
        [np.outer(np.sin(theta), np.cos(phi)), np.outer(np.sin(theta), np.sin(phi)), np.outer(np.cos(theta), np.ones(n))], -1
    ).reshape(-1, 3)
    points = np.concatenate([body, [[0, 0, 1], [0, 0, -1]]]) * radius
    faces = []
    top, bottom = len(points) - 2, len(points) - 1
    for j in range(n):
        k = (j + 1) % n
        faces += [[top, j, k], [bottom, (n_rings - 2) * n + k, (n_rings - 2) * n + j]]
        for i in range(n_rings - 2):
            a, b, c, d = i * n + j, i * n + k, (i + 1) * n + j, (i + 1) * n + k
            faces += [[a, c, b], [b, c, d]]
    return Mesh(points, faces)


def heatmap(of: Volume) -> Heatmap:
    return Heatmap(of.with_array(np.clip((of.array - 100) / 80.0, 0, 1).astype(np.float32)))
