"""The tracing stage: heatmap in, over-complete graph out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph import __version__
from vesselgraph.config import TraceConfig
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.progress import Progress, silent
from vesselgraph.tracing.backend import kernels_for
from vesselgraph.tracing.crossings import with_through_paths
from vesselgraph.tracing.evidence import measure_evidence
from vesselgraph.tracing.field import MASK_THRESHOLD, Field, heat_inside, make_field
from vesselgraph.tracing.geometry import refine
from vesselgraph.tracing.links import Links, chain_generators, propose_links
from vesselgraph.tracing.radii import radii_from_image, smooth_radii
from vesselgraph.tracing.skeleton import Chains, extract_chains
from vesselgraph.tracing.walls import fit_to_wall
from vesselgraph.tracing.zhang2020 import trace_zhang2020
from vesselgraph.volume import Heatmap, Volume

# The circle of equal area of an ellipse four times as long as wide has twice the radius of the ball that fits in; the depth is
# known to a voxel.
_FLATTEST, _DEPTH_ERROR_VOX = 2.0, 1.0


def trace(
    heatmap: Heatmap,
    config: TraceConfig | None = None,
    *,
    image: Volume | None = None,
    region: Volume | None = None,
    progress: Progress = silent,
) -> VesselGraph:
    """Return an over-complete graph: every plausible branch and bridge of a heatmap, with the evidence for each.

    Branches come from heat-ordered homotopic thinning of the voxels above ``config.threshold``, so their components and
    loops are those of that foreground; bridges are minimal paths across gaps. Centerlines are refined below the voxel and
    radii are in mm: from the cross-section of a mask or of the image, else from the scale estimate of the heatmap.

    With ``config.method = "zhang2020"`` the tracer of Zhang et al. (2020) runs instead, as published: one rooted tree of
    Rivulet2 branches with its own radii, and the same evidence columns. See ``tracing.zhang2020``.

    Parameters
    ----------
    heatmap : Heatmap
        Any grid; anisotropic ones are resampled to the finest of their spacings first. A 0/1 heatmap is taken as a mask.
    config : TraceConfig, optional
        Method, threshold, bridges, backend.
    image : Volume, optional
        The CT: radii are then read from its cross-sections, and the contrast evidence column is added.
    region : Volume, optional
        bool, any grid: voxels outside of it are left out.
    progress : Progress
        Called with the step and its done fraction.

    Returns
    -------
    graph : VesselGraph
        World mm. Edge columns: ``generator`` (bit flags: 1 thinning, 2 gap bridge, 4 keypoint path, 8 Rivulet,
        16 through path) and the evidence columns of ``docs/data-model.md``. Empty where nothing exceeds the threshold.

    Raises
    ------
    BackendUnavailableError
        ``config.backend`` is "cuda" and there is no card, driver or numba-cuda.
    SpaceMismatchError
        The region and the heatmap do not overlap.

    Notes
    -----
    Deterministic. Beside the heatmap, memory grows with the foreground: about 250 bytes a voxel of it.
    """
    config = config or TraceConfig()
    step = Step("trace", config.digest(), __version__)
    if config.method == "zhang2020":
        return _trace_zhang2020(heatmap, config, image, region, progress).with_step(step)
    kernels = kernels_for(config.backend)
    progress("prepare the tracing grid", 0.0)
    field = make_field(heatmap, config, region, kernels.find)
    if field is None:
        empty = VesselGraph.empty(heatmap.heat.space)
        return measure_evidence(empty.with_columns(edge={"generator": np.zeros(0, np.int64)}), heatmap.heat, image).with_step(
            step
        )
    progress("thin the foreground", 0.1)
    thinned = kernels.skeleton(field, config)
    voxels = field.foreground.voxels[thinned].astype(np.int64)
    progress("propose links", 0.4)
    shape = field.heat.shape
    chains = extract_chains(voxels, shape)
    # The heat of a mask is flat: paths between points of its ridges only cut corners.
    flat = {"keypoint_paths": False, "rivulet_paths": False, "threshold": MASK_THRESHOLD} if field.from_mask else {}
    wanted = config.model_copy(update=flat)
    links = propose_links(field.foreground, field.heat, voxels, chains, wanted, field.voxel, kernels.basins)
    chains = extract_chains(voxels, shape, _feet(len(voxels), links), chains.joined)
    progress("refine centerlines", 0.6)
    graph = _assemble(field, thinned, chains, links)
    progress("measure evidence", 0.9)
    grid = Volume(field.heat, field.space)
    if field.from_mask:
        graph = fit_to_wall(graph, grid, heatmap.heat.space.spacing)
    elif image is not None:
        graph = radii_from_image(graph, image, measure=kernels.section_widths)
    if config.through_paths and not field.from_mask:
        graph = with_through_paths(graph)
    graph = measure_evidence(
        graph, grid, image, threshold=config.threshold, is_mask=field.from_mask, sample=kernels.sample_points
    )
    progress("measure evidence", 1.0)
    return graph.with_step(step)


def _trace_zhang2020(
    heatmap: Heatmap, config: TraceConfig, image: Volume | None, region: Volume | None, progress: Progress
) -> VesselGraph:
    progress("trace back branches", 0.0)
    inside = heatmap if region is None else Heatmap(heat_inside(heatmap.heat, region), source=heatmap.source)
    graph = trace_zhang2020(
        inside, threshold=config.threshold, gap_rule=config.gap_rule, non_stop=config.non_stop, clean_up=config.clean_up
    )
    progress("measure evidence", 0.9)
    graph = measure_evidence(graph, heatmap.heat, image, threshold=config.threshold)
    progress("measure evidence", 1.0)
    return graph


def _feet(n_voxels: int, links: Links) -> NDArray[np.bool_]:
    """Return which skeleton voxels must become nodes because a link ends there."""
    forced = np.zeros(n_voxels, np.bool_)
    forced[links.tip] = True
    forced[links.foot] = True
    return forced


def _assemble(field: Field, thinned: NDArray[np.int64], chains: Chains, links: Links) -> VesselGraph:
    """Join chains and links to one graph with refined paths and radii, in world mm."""
    position = _node_positions(field, thinned, chains)
    voxels = field.foreground.voxels[thinned].astype(np.int64)
    ends = np.concatenate([chains.ends, chains.node_of_voxel[np.stack([links.tip, links.foot], axis=1)]])
    members = np.concatenate([voxels[chains.members], links.path]).astype(np.float64)
    offset = np.concatenate([chains.offset, chains.offset[-1] + links.offset[1:]])
    members, offset = _with_node_ends(members, offset, ends, position)
    degree = np.bincount(ends.ravel(), minlength=len(position))
    width = field.width_at(position)
    reach = np.where(degree[ends] > 1, np.maximum(width[ends], 1.0), 0.0)
    section = refine(members, offset, reach, field.heat, field.from_mask)
    scale = field.width_at(members)
    # Where a branch leaves a flat or curved trunk, what is cut across the branch is a piece of the trunk, lengthwise.
    section[section > _FLATTEST * scale + _DEPTH_ERROR_VOX] = np.nan
    radius = smooth_radii(section, scale, offset, field.from_mask)
    node_radius = np.full(len(position), np.nan)
    np.fmax.at(node_radius, ends[:, 0], radius[offset[:-1]])
    np.fmax.at(node_radius, ends[:, 1], radius[offset[1:] - 1])
    if field.from_mask:
        # Where vessels meet no cross-section is one vessel's; the depth is that of the ball that fits in.
        node_radius = np.where(degree > 1, np.fmax(node_radius, width), node_radius)
    world = field.space.to_world(members)
    nodes = field.space.to_world(position)
    world[offset[:-1]], world[offset[1:] - 1] = nodes[ends[:, 0]], nodes[ends[:, 1]]
    return VesselGraph(
        nodes,
        node_radius * field.voxel,
        ends,
        offset,
        world,
        radius * field.voxel,
        edge_data={"generator": np.concatenate([chain_generators(chains, links), links.generator])},
        space=field.space,
    )


def _node_positions(field: Field, thinned: NDArray[np.int64], chains: Chains) -> NDArray[np.float64]:
    """Return the heat-weighted (for a mask depth-weighted) middle of each node's voxels, (N, 3)."""
    own = chains.node_of_voxel >= 0
    node = chains.node_of_voxel[own]
    where = field.foreground.voxels[thinned[own]].astype(np.int64)
    weight = (field.depth[thinned[own]] if field.from_mask else field.heat[tuple(where.T)]).astype(np.float64) ** 2 + 1e-9
    total = np.bincount(node, weight, chains.n_nodes)
    return np.stack([np.bincount(node, weight * where[:, k], chains.n_nodes) / total for k in range(3)], axis=1)


def _with_node_ends(
    points: NDArray[np.float64], offset: NDArray[np.int64], ends: NDArray[np.int64], position: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Replace the first and last point of every path by its nodes; a path of two points gets a middle one."""
    length = np.diff(offset)
    short = length < 3
    points = points.copy()
    points[offset[:-1]], points[offset[1:] - 1] = position[ends[:, 0]], position[ends[:, 1]]
    middle = 0.5 * (points[offset[:-1]] + points[offset[1:] - 1])[short]
    points = np.insert(points, offset[1:][short] - 1, middle, axis=0)
    return points, np.concatenate([[0], np.cumsum(length + short)])
