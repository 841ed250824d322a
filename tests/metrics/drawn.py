"""Graphs drawn by hand and at random for the tests of the metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vesselgraph import VesselGraph


def line(*points, radius=1.0):
    path = np.array(points, dtype=float)
    return path, np.full(len(path), radius)


def graph_of(*lines, **edge_data):
    columns = {name: np.array(column) for name, column in edge_data.items()}
    return VesselGraph.from_paths([path for path, _ in lines], [radius for _, radius in lines], edge_data=columns)


def random_tree(seed, n_branches=41, size=60.0):
    """A tree of binary forks in a box with curved branches; the first node is its root."""
    rng = np.random.default_rng(seed)
    nodes, paths, radii = [np.zeros(3)], [], []
    tips = [(0, np.array([0.0, 0.0, 1.0]), 5.0)]
    while len(paths) < n_branches:
        at, heading, radius = tips.pop(0)
        for _ in range(1 if at == 0 else 2):
            towards = heading + rng.normal(0, 0.7, 3)
            towards /= np.linalg.norm(towards)
            bend = rng.normal(0, 1.0, 3)
            share = np.linspace(0, 1, 9)[:, None]
            path = nodes[at] + share * towards * rng.uniform(0.1, 0.3) * size + share * (1 - share) * 4 * bend
            path[0] = nodes[at]
            nodes.append(path[-1])
            paths.append(path)
            radii.append(np.full(len(path), radius))
            tips.append((len(nodes) - 1, towards, radius * 0.8))
    return VesselGraph.from_paths(paths, radii)


def rotation(seed):
    """A random rotation matrix."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def moved(graph, matrix, shift):
    """The graph under a rigid motion."""
    node, path = graph.node_position @ matrix.T + shift, graph.path_position @ matrix.T + shift
    path[graph.path_offset[:-1]] = node[graph.edge_nodes[:, 0]]
    path[graph.path_offset[1:] - 1] = node[graph.edge_nodes[:, 1]]
    return replace(graph, node_position=node, path_position=path)


def taken(graph, edges):
    """The graph with these branches, in this order."""
    columns = {name: column[list(edges)] for name, column in graph.edge_data.items()}
    return VesselGraph.from_paths([graph.path(e) for e in edges], [graph.radius_along(e) for e in edges], edge_data=columns)
