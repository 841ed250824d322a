"""The truth of a study: the vessels that lie in the grid as one graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.phantom.study.trees import Vessels, branches
from vesselgraph.space import FloatArray, Space

TREE_NAMES = {1: "portal", 2: "hepatic", 3: "artery"}
"""Values of the column ``tree`` and of the tree masks; 0 is any other vessel."""


def truth_graph(vessels: Vessels, space: Space, shape: tuple[int, int, int]) -> VesselGraph:
    """Return the parts of all vessels inside the grid, with the columns ``tree`` (node, edge) and ``root`` (node)."""
    paths: list[FloatArray] = []
    radii: list[FloatArray] = []
    trees: list[int] = []
    for value, tree in ((1, vessels.portal), (2, vessels.hepatic), (3, vessels.artery)):
        for path, radius in zip(*branches(tree), strict=True):
            for part in _inside_runs(path, space, shape):
                paths.append(path[part])
                radii.append(radius[part])
                trees.append(value)
    graph = VesselGraph.from_paths(paths, radii, edge_data={"tree": np.array(trees, dtype=np.int64)}, space=space)
    node_tree = np.zeros(graph.n_nodes, np.int64)
    node_tree[graph.edge_nodes.ravel()] = np.repeat(graph.edge_data["tree"], 2)
    return graph.with_columns(node={"tree": node_tree, "root": _entries(graph)})


def _inside_runs(path: FloatArray, space: Space, shape: tuple[int, int, int]) -> list[slice]:
    """Return the runs of at least two points whose voxels are in the grid."""
    index = space.to_index(path)
    inside = ((index > -0.5) & (index < np.array(shape) - 0.5)).all(axis=1)
    if inside.all():
        return [slice(0, len(path))]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a > 1]


def _entries(graph: VesselGraph) -> NDArray[np.bool_]:
    """Return the nodes no branch runs into: where blood, or the tree, enters the grid."""
    entry = np.ones(graph.n_nodes, np.bool_)
    entry[graph.edge_nodes[:, 1]] = False
    return entry
