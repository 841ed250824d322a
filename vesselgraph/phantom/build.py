"""The phantom: one seeded call from a configuration to a CT and its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import PhantomConfig
from vesselgraph.errors import ConfigError
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom.anatomy import Organ, make_organ
from vesselgraph.phantom.imaging import blur, correlated_noise, texture
from vesselgraph.phantom.raster import coverage_bits, fraction_of, mask_of
from vesselgraph.phantom.tissue import make_lesions, paint_tissue, surroundings
from vesselgraph.phantom.truth import distractor_strands, join_graphs, make_trees, tree_graphs
from vesselgraph.progress import Progress, silent
from vesselgraph.space import FloatArray, Space
from vesselgraph.volume import Volume

Image = NDArray[np.float32]

# Random streams: what is drawn in one never shifts what is drawn in another.
_ANATOMY, _TREES, _LESIONS, _TEXTURE, _NOISE = range(5)
# Narrow vessels hold a little less contrast: this share at radius 0, all of it from this radius (mm) on.
_NARROW_CONTRAST, _WIDE_RADIUS = 0.8, 2.0
_SMALLEST_FIELD = 40.0


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
        uint8: 1 portal, 2 hepatic, 0 elsewhere. Where both touch, the larger share of the voxel wins.
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

    The anatomy is built in world millimetres for the size of the field of view and then sampled, so two configurations that
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
    center = np.array(config.center)
    organ = make_organ(_half_extent(config, space), _stream(config, _ANATOMY))
    progress("growing vessels", 0.0)
    graphs = tree_graphs(make_trees(config, organ, _stream(config, _TREES)), center, space)
    progress("painting tissue", 0.4)
    image, organ_mask = _tissue(config, organ, space, graphs)
    progress("drawing vessels", 0.6)
    tree_mask = _draw_vessels(config, image, organ, space, graphs)
    progress("imaging", 0.8)
    image = blur(image, config.blur, space)
    image += texture(config.shape, space, config.texture, _stream(config, _TEXTURE))
    image += correlated_noise(config.shape, space, config.noise, _stream(config, _NOISE, config.noise_seed))
    values = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    progress("imaging", 1.0)
    return Phantom(
        Volume(values, space, "phantom"),
        join_graphs(graphs, config),
        Volume(tree_mask > 0, space, "vessels"),
        Volume(tree_mask, space, "trees"),
        Volume(organ_mask, space, "liver"),
    )


def grid_of(config: PhantomConfig) -> Space:
    """Return the grid of a phantom: its middle lies at ``config.center``.

    Raises
    ------
    GeometryError
        The direction is not orthonormal or the spacing not positive.
    """
    direction = np.array(config.direction)
    middle = (np.array(config.shape) - 1.0) / 2.0 * np.array(config.spacing)
    return Space(np.array(config.spacing), np.array(config.center) - direction @ middle, direction)


def _stream(config: PhantomConfig, *key: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, *key])


def _half_extent(config: PhantomConfig, space: Space) -> FloatArray:
    """Return half the size of the anatomy along world x, y, z: that of the array axis nearest to each."""
    if min(config.shape) < 1:
        raise ConfigError("a positive grid shape", f"{config.shape}", "set phantom.shape")
    extent = np.array(config.shape) * space.spacing
    nearest = np.abs(space.direction).argmax(axis=1)
    if len(set(nearest.tolist())) < 3:
        # No axis is nearest to one of x, y, z (a turn by about 45 degrees): a cube of the same volume.
        extent, nearest = np.full(3, np.cbrt(np.prod(extent))), np.arange(3)
    if extent.min() < _SMALLEST_FIELD:
        raise ConfigError(
            f"a field of view of at least {_SMALLEST_FIELD:g} mm along every axis",
            f"{' x '.join(f'{e:.3g}' for e in extent)} mm",
            "raise phantom.shape or phantom.spacing",
        )
    return np.asarray(0.5 * extent[nearest])


def _tissue(config: PhantomConfig, organ: Organ, space: Space, graphs: list[VesselGraph]) -> tuple[Image, NDArray[np.bool_]]:
    rng = _stream(config, _LESIONS)
    center = np.array(config.center)
    centerlines = np.concatenate([graph.path_position for graph in graphs]) - center
    lesions = make_lesions(organ, centerlines, config.n_lesions, config.n_cysts, config.liver, rng)
    blood = config.liver + config.portal_contrast, config.liver + config.hepatic_contrast
    around = surroundings(organ.half, *blood, rng)
    return paint_tissue(space, config.shape, center, organ, around, lesions, config.liver)


def _draw_vessels(
    config: PhantomConfig, image: Image, organ: Organ, space: Space, graphs: list[VesselGraph]
) -> NDArray[np.uint8]:
    """Paint false strands and the two trees into the image, and return the tree mask."""
    rng = _stream(config, _LESIONS, 1)
    strands = distractor_strands(organ, config.n_spots, config.n_strands, np.array(config.center), rng)
    share = fraction_of(coverage_bits(strands, space, config.shape))
    image += share * (config.liver + config.portal_contrast - image)
    tree_mask = np.zeros(config.shape, np.uint8)
    widest = np.zeros(config.shape, np.float32)
    for value, (graph, contrast) in enumerate(zip(graphs, (config.portal_contrast, config.hepatic_contrast), strict=True), 1):
        caliber = np.zeros(config.shape, np.float32)
        bits = coverage_bits(graph, space, config.shape, caliber)
        share = fraction_of(bits)
        np.clip(caliber / np.float32(_WIDE_RADIUS), 0.0, 1.0, out=caliber)
        blood = config.liver + contrast * (_NARROW_CONTRAST + (1.0 - _NARROW_CONTRAST) * caliber)
        image += share * (blood - image)
        mask = mask_of(bits, graph, space) & ((tree_mask == 0) | (share > widest))
        tree_mask[mask] = value
        widest = share
    return tree_mask
