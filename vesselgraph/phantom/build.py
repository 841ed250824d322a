"""The phantom: one seeded call from a configuration to a CT and its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesselgraph.config import PhantomConfig
from vesselgraph.errors import ConfigError
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.phantom.anatomy import Organ, make_organ
from vesselgraph.phantom.clearance import separate
from vesselgraph.phantom.curves import CurvedTree
from vesselgraph.phantom.growth import GrowthRules, grow
from vesselgraph.phantom.imaging import blur, correlated_noise, slab_points, texture
from vesselgraph.phantom.raster import coverage_bits, fraction_of, mask_of
from vesselgraph.progress import Progress, silent
from vesselgraph.space import FloatArray, Space
from vesselgraph.volume import Volume

PORTAL, HEPATIC = 1, 2
_NAMES = ("portal", "hepatic")


@dataclass(frozen=True, eq=False)
class Phantom:
    """A generated CT with its exact truth; all volumes lie on one grid.

    Parameters
    ----------
    image : Volume
        int16, HU.
    graph : VesselGraph
        The centerlines the vessels were drawn from: branches between true junctions and tips, directed away from the
        root. Edge columns ``tree_id`` (1, 2 by falling length) and ``tree`` ("portal", "hepatic"); node column ``root``.
    vessel_mask : Volume
        bool: voxels whose centre lies in a vessel or that a centerline passes.
    tree_mask : Volume
        uint8: 1 portal, 2 hepatic, 0 elsewhere. Where both touch, the wider share wins.
    organ_mask : Volume
        bool: the liver, vessels included.
    """

    image: Volume
    graph: VesselGraph
    vessel_mask: Volume
    tree_mask: Volume
    organ_mask: Volume


def make_phantom(config: PhantomConfig | None = None, *, progress: Progress = silent) -> Phantom:
    """Return a liver CT with two interdigitating vessel trees and exact truth.

    The anatomy is built in world millimetres for the field of view's size and then sampled, so two configurations that
    differ only in spacing (same extent), direction, noise or contrast hold the same vessels. Equal configurations give
    equal bytes.

    Parameters
    ----------
    config : PhantomConfig, optional
        Size, grid, trees, contrast, noise; see the fields.
    progress : Progress
        Called with the step and its done fraction.

    Raises
    ------
    ConfigError
        The field of view is too small for a liver, or no trees fit with this many tips and this clearance.
    GeometryError
        The direction is not orthonormal or the spacing not positive.

    Examples
    --------
    >>> phantom = make_phantom(PhantomConfig(shape=(48, 48, 48), n_tips=4, seed=3))
    >>> phantom.image.array.dtype, sorted(set(phantom.graph.edge_data["tree"].tolist()))
    (dtype('int16'), ['hepatic', 'portal'])
    """
    config = config or PhantomConfig()
    space = grid_of(config)
    half = _half_extent(config, space)
    anatomy, trees, paint = (np.random.default_rng([config.seed, stream]) for stream in range(3))
    organ = make_organ(half, anatomy)
    progress("growing vessels", 0.0)
    graph, per_tree = _make_graph(config, organ, space, trees)
    progress("drawing vessels", 0.4)
    bits = [coverage_bits(tree, space, config.shape) for tree in per_tree]
    masks = [mask_of(b, tree, space) for b, tree in zip(bits, per_tree, strict=True)]
    fractions = [fraction_of(b) for b in bits]
    tree_mask = np.where(masks[0], PORTAL, 0).astype(np.uint8)
    tree_mask[masks[1] & (~masks[0] | (fractions[1] > fractions[0]))] = HEPATIC
    organ_mask = np.empty(config.shape, np.bool_)
    tissue = np.empty(config.shape, np.float32)
    progress("imaging", 0.6)
    for first in range(0, config.shape[0], 8):
        last = min(first + 8, config.shape[0])
        points = slab_points(space, config.shape, first, last) - np.array(config.center)
        inside = (organ.distance(points) < 0).reshape(last - first, *config.shape[1:])
        organ_mask[first:last] = inside
        tissue[first:last] = np.where(inside, config.liver, -95.0)
    for fraction, contrast in zip(fractions, (config.portal_contrast, config.hepatic_contrast), strict=True):
        tissue += fraction * (config.liver + contrast - tissue)
    tissue = blur(tissue, config.blur, space)
    tissue += texture(config.shape, space, config.texture, paint)
    tissue += correlated_noise(config.shape, space, config.noise, np.random.default_rng([config.seed, 9, config.noise_seed]))
    image = np.clip(np.rint(tissue), -1024, 3071).astype(np.int16)
    progress("imaging", 1.0)
    return Phantom(
        Volume(image, space, "phantom"),
        graph,
        Volume((tree_mask > 0), space, "vessels"),
        Volume(tree_mask, space, "trees"),
        Volume(organ_mask, space, "liver"),
    )


def grid_of(config: PhantomConfig) -> Space:
    """Return the grid of a phantom: its middle lies at ``config.center``."""
    direction = np.array(config.direction)
    middle = (np.array(config.shape) - 1.0) / 2.0 * np.array(config.spacing)
    return Space(np.array(config.spacing), np.array(config.center) - direction @ middle, direction)


def _half_extent(config: PhantomConfig, space: Space) -> FloatArray:
    """Return half the size of the anatomy along world x, y, z: that of the array axis nearest to each."""
    if min(config.shape) < 1:
        raise ConfigError("a positive grid shape", f"{config.shape}", "set phantom.shape")
    extent = np.array(config.shape) * space.spacing
    nearest = np.abs(space.direction).argmax(axis=1)
    half = 0.5 * extent[nearest]
    if len(set(nearest.tolist())) < 3:
        half = np.full(3, 0.5 * float(np.cbrt(np.prod(extent))))
    if half.min() < 20.0:
        raise ConfigError(
            "a field of view of at least 40 mm along every axis", f"{(2 * half).round(1).tolist()} mm", "raise shape or spacing"
        )
    return np.asarray(half)


def _make_graph(
    config: PhantomConfig, organ: Organ, space: Space, rng: np.random.Generator
) -> tuple[VesselGraph, list[VesselGraph]]:
    rules = GrowthRules(clearance=config.min_clearance + 0.6, min_step=2.5, wall=1.0)
    trunk = 1.2 * config.tip_radius * config.n_tips ** (1.0 / config.murray_exponent)
    depth = rules.wall + trunk + 0.5
    roots = organ.inward(organ.place(0.14, 0.02, -0.16), depth), organ.inward(organ.place(0.12, 0.34, 0.42), depth)
    seeds = (
        np.array([organ.place(-0.50, 0.05, -0.15), organ.place(0.40, -0.30, 0.10), organ.place(-0.45, -0.2, 0.3)]),
        np.array([organ.place(-0.55, 0.05, 0.22), organ.place(0.35, -0.30, 0.25), organ.place(-0.15, -0.45, 0.0)]),
    )

    def sample() -> FloatArray:
        while True:
            point = rng.uniform(-1.0, 1.0, 3) * organ.half
            if organ.distance(point[None])[0] < -(rules.wall + 2.0 * config.tip_radius):
                return point

    straight = grow(
        roots, seeds, sample, organ.distance, rules,
        n_tips=config.n_tips, tip_radius=config.tip_radius, exponent=config.murray_exponent, touching=config.touching, rng=rng,
    )
    if min(tree.total_tips for tree in straight) < config.n_tips:
        raise ConfigError(
            f"room for {config.n_tips} tips a tree",
            f"room for {min(tree.total_tips for tree in straight)} at {config.min_clearance} mm clearance",
            "lower phantom.n_tips, phantom.tip_radius or phantom.min_clearance, or raise the field of view",
        )
    curved = [CurvedTree.of(tree, config.curvature, rng) for tree in straight]
    apart = separate((curved[0], curved[1]), config.min_clearance, -0.5 * config.tip_radius if config.touching else config.min_clearance)
    center = np.array(config.center)
    graphs, names, all_paths, all_radii = [], [], [], []
    for name, tree in zip(_NAMES, apart, strict=True):
        paths, radii = tree.branches()
        paths = [path + center for path in paths]
        graphs.append(VesselGraph.from_paths(paths, radii, space=space))
        names += [name] * len(paths)
        all_paths += paths
        all_radii += radii
    order = np.argsort([-graph.length for graph in graphs], kind="stable")
    tree_id = np.repeat(1 + np.argsort(order), [graph.n_edges for graph in graphs])
    graph = VesselGraph.from_paths(all_paths, all_radii, edge_data={"tree_id": tree_id, "tree": np.array(names)}, space=space)
    root_at = np.array([tree.tree.position[0] + center for tree in apart])
    is_root = (graph.node_position[:, None] == root_at[None]).all(axis=2).any(axis=1)
    return graph.with_columns(node={"root": is_root}).with_step(Step("phantom", config.digest())), graphs
