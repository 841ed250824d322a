"""The truth of a phantom: two trees as one vessel graph."""

from __future__ import annotations

import numpy as np

from vesselgraph.config import PhantomConfig
from vesselgraph.errors import ConfigError
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.phantom.anatomy import CAVA, HILUM, Organ
from vesselgraph.phantom.clearance import separate
from vesselgraph.phantom.curves import CurvedTree
from vesselgraph.phantom.growth import GrowthRules, StraightTree, grow
from vesselgraph.space import FloatArray, Space

TREES = ("portal", "hepatic")
"""Names of the trees; their place plus one is their value in a tree mask."""

_ATTEMPTS = 4
# Distance of the root from the surface of the organ, mm, and room for bends on top of the wanted clearance, mm.
_GATE_DEPTH = 0.8
_BEND_ROOM = 0.6
# Touching vessels overlap by at most this share of a tip's radius.
_OVERLAP = 0.4
# A tree that lost more than this share of its tips to the repair is grown again.
_LOSS = 0.2


def make_trees(config: PhantomConfig, organ: Organ, rng: np.random.Generator) -> tuple[CurvedTree, CurvedTree]:
    """Return portal and hepatic tree in the frame of the organ.

    Raises
    ------
    ConfigError
        So many tips do not fit with this clearance.
    """
    best = 0
    for _ in range(_ATTEMPTS):
        straight = _grow(config, organ, rng)
        best = max(best, min(tree.total_tips for tree in straight))
        if best < 0.9 * config.n_tips:
            continue
        portal, hepatic = (CurvedTree.of(tree, config.curvature, rng) for tree in straight)
        contact = -_OVERLAP * config.tip_radius if config.touching else config.min_clearance
        apart = separate((portal, hepatic), config.min_clearance, contact)
        left = min(curved.tree.total_tips for curved in apart)
        if left >= (1.0 - _LOSS) * config.n_tips:
            return apart
        best = left
    raise ConfigError(
        f"room for {config.n_tips} tips a tree",
        f"room for about {best} of radius {config.tip_radius} mm at {config.min_clearance} mm clearance",
        "lower phantom.n_tips, phantom.tip_radius or phantom.min_clearance, or raise the field of view",
    )


def _grow(config: PhantomConfig, organ: Organ, rng: np.random.Generator) -> tuple[StraightTree, StraightTree]:
    trunk = 1.2 * config.tip_radius * config.n_tips ** (1.0 / config.murray_exponent)
    rules = GrowthRules(config.min_clearance + _BEND_ROOM, min_step=2.5, wall=1.0, gate=3.0 * trunk)
    roots = (
        organ.inward(organ.place(*HILUM), _GATE_DEPTH),
        organ.inward(organ.place(CAVA[0, 0], CAVA[0, 1], 0.44), _GATE_DEPTH),
    )
    portal = np.array([[-0.50, 0.05, -0.20], [0.40, -0.32, 0.10], [-0.45, -0.25, 0.25]])
    hepatic = np.array([[-0.56, 0.10, 0.20], [0.38, -0.30, 0.25], [-0.15, -0.45, 0.00]])
    spread = rng.uniform(-0.05, 0.05, (2, 3, 3))
    seeds = (portal + spread[0]) * organ.half, (hepatic + spread[1]) * organ.half
    trees = tuple(StraightTree(config.tip_radius, config.murray_exponent) for _ in TREES)
    grow(roots, seeds, organ, rules, config.n_tips, config.touching, (trees[0], trees[1]), rng)
    return trees[0], trees[1]


def tree_graphs(trees: tuple[CurvedTree, CurvedTree], center: FloatArray, space: Space) -> list[VesselGraph]:
    """Return each tree as a graph in world mm, with the node column ``root``."""
    graphs = []
    for curved in trees:
        graph = VesselGraph.from_paths([path + center for path in curved.paths[1:]], curved.radii[1:], space=space)
        root = (graph.node_position == curved.tree.position[0] + center).all(axis=1)
        graphs.append(graph.with_columns(node={"root": root}))
    return graphs


def join_graphs(graphs: list[VesselGraph], config: PhantomConfig) -> VesselGraph:
    """Return the trees as one graph with the columns ``root``, ``tree_id`` and ``tree``."""
    paths = [graph.path(e) for graph in graphs for e in range(graph.n_edges)]
    radii = [graph.radius_along(e) for graph in graphs for e in range(graph.n_edges)]
    rank = np.argsort(np.argsort([-graph.length for graph in graphs], kind="stable"), kind="stable")
    count = [graph.n_edges for graph in graphs]
    edge_data = {"tree_id": np.repeat(rank + 1, count), "tree": np.repeat(TREES, count)}
    joined = VesselGraph.from_paths(paths, radii, edge_data=edge_data, space=graphs[0].space)
    roots = np.concatenate([graph.node_position[graph.node_data["root"]] for graph in graphs])
    is_root = (joined.node_position[:, None] == roots[None]).all(axis=2).any(axis=1)
    return joined.with_columns(node={"root": is_root}).with_step(Step("phantom", config.digest()))


def distractor_strands(organ: Organ, n_spots: int, n_strands: int, center: FloatArray, rng: np.random.Generator) -> VesselGraph:
    """Return bright spots (about 1 mm) and strands (5 to 14 mm) in the liver that belong to no tree, in world mm."""
    lengths = np.concatenate([rng.uniform(0.3, 1.2, n_spots), rng.uniform(5.0, 14.0, n_strands)])
    paths, radii = [], []
    for length in lengths:
        points = rng.uniform(-1.0, 1.0, (256, 3)) * organ.half
        points = points[organ.distance(points) < -3.0]
        if not len(points):
            continue
        way = rng.normal(size=(2, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        s = np.linspace(-0.5, 0.5, max(2, int(length / 0.5)))[:, None]
        path = points[0] + length * (s * way[0] + 0.4 * s**2 * way[1])
        if organ.distance(path).max() < 0:
            paths.append(path + center)
            radii.append(np.full(len(path), rng.uniform(0.5, 1.1)))
    return VesselGraph.from_paths(paths, radii)
