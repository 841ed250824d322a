"""The tracing stage: heatmap in, over-complete graph out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph import __version__
from vesselgraph.config import TraceConfig
from vesselgraph.errors import BackendUnavailableError
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.progress import Progress, silent
from vesselgraph.tracing.bridges import Bridges, propose_bridges
from vesselgraph.tracing.evidence import measure_evidence
from vesselgraph.tracing.field import Field, make_field
from vesselgraph.tracing.geometry import refine
from vesselgraph.tracing.radii import radii_from_image, smooth_radii
from vesselgraph.tracing.ridges import find_ridges
from vesselgraph.tracing.skeleton import Chains, extract_chains
from vesselgraph.tracing.thinning import thin
from vesselgraph.tracing.walls import fit_to_wall
from vesselgraph.volume import Heatmap, Volume

THINNING, BRIDGE = 1, 2

_DEPTH_WEIGHT = np.float32(0.02)
# Least bend of the depth at a ridge, per voxel. The voxel steps of a wide vessel's wall bend it too, less than its axis does.
_MASK_CURVATURE, _WIDE_MASK_CURVATURE = np.float32(0.15), np.float32(0.45)
_WIDE_VOX = 2.0


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

    Parameters
    ----------
    heatmap : Heatmap
        Any grid; anisotropic ones are resampled to the finest of their spacings first. A 0/1 heatmap is taken as a mask.
    config : TraceConfig, optional
        Threshold, bridges, backend.
    image : Volume, optional
        The CT: radii are then read from its cross-sections, and the contrast evidence column is added.
    region : Volume, optional
        bool, any grid: voxels outside of it are left out.
    progress : Progress
        Called with the step and its done fraction.

    Returns
    -------
    graph : VesselGraph
        World mm. Edge columns: ``generator`` (1 thinning, 2 gap bridge) and the evidence columns of
        ``docs/data-model.md``. Empty where nothing exceeds the threshold.

    Raises
    ------
    BackendUnavailableError
        ``config.backend`` is "cuda".
    SpaceMismatchError
        The region and the heatmap do not overlap.

    Notes
    -----
    Deterministic. Beside the heatmap, memory grows with the foreground: about 250 bytes a voxel of it.
    """
    config = config or TraceConfig()
    if config.backend == "cuda":
        raise BackendUnavailableError('the tracing kernels have no CUDA twins yet; use trace.backend = "numba"')
    step = Step("trace", config.digest(), __version__)
    progress("prepare the tracing grid", 0.0)
    field = make_field(heatmap, config, region)
    if field is None:
        empty = VesselGraph.empty(heatmap.heat.space)
        return measure_evidence(empty.with_columns(edge={"generator": np.zeros(0, np.int64)}), heatmap.heat, image).with_step(
            step
        )
    progress("thin the foreground", 0.1)
    thinned = thin(field.foreground, _removal_order(field, config))
    voxels = field.foreground.voxels[thinned].astype(np.int64)
    progress("bridge gaps", 0.4)
    shape = field.heat.shape
    chains = extract_chains(voxels, shape)
    bridges = _bridges(field, config, voxels, chains)
    chains = extract_chains(voxels, shape, _feet(len(voxels), bridges))
    progress("refine centerlines", 0.6)
    graph = _assemble(field, thinned, chains, bridges)
    progress("measure evidence", 0.9)
    grid = Volume(field.heat, field.space)
    if field.from_mask:
        graph = fit_to_wall(graph, grid)
    elif image is not None:
        graph = radii_from_image(graph, image)
    graph = measure_evidence(graph, grid, image)
    progress("measure evidence", 1.0)
    return graph.with_step(step)


def _removal_order(field: Field, config: TraceConfig) -> NDArray[np.float32]:
    """Return the order in which foreground voxels go: off the ridge by heat, then on the ridge the farthest from it first."""
    if field.from_mask:
        # Depth has slope 1 everywhere, so its ridges are judged by their bend alone; heat is judged relative to itself.
        value, distance = find_ridges(field.heat, field.foreground, field.depth, _mask_curvature(field), 0.0, with_heat=False)
    else:
        # A little depth gives saturated probability maps, which are flat inside a vessel, a ridge as well.
        none = np.zeros(len(field.depth), np.float32)
        value, distance = find_ridges(field.heat, field.foreground, _DEPTH_WEIGHT * field.depth, none, config.min_curvature)
    return np.where(distance < config.ridge_width, 1 - distance, value / value.max() - 1)


def _mask_curvature(field: Field) -> NDArray[np.float32]:
    """Return the least bend of a depth ridge at each voxel of a mask, larger in and next to where a wide ball fits."""
    wide = np.append(field.depth >= _WIDE_VOX, False)
    near_wide = wide[:-1] | wide[field.foreground.neighbours].any(axis=1)
    return np.where(near_wide, _WIDE_MASK_CURVATURE, _MASK_CURVATURE)


def _bridges(field: Field, config: TraceConfig, voxels: NDArray[np.int64], chains: Chains) -> Bridges:
    count = np.bincount(chains.ends.ravel(), minlength=chains.n_nodes)
    tips, outward, near = [], [], []
    for e, (start, end) in enumerate(chains.ends):
        members = chains.members[chains.offset[e] : chains.offset[e + 1]]
        for node, path in ((start, members), (end, members[::-1])):
            if count[node] != 1:
                continue
            inward = voxels[path[0]] - voxels[path[min(4, len(path) - 1)]]
            norm = float(np.linalg.norm(inward))
            if norm > 0:
                tips.append(path[0])
                outward.append(inward / norm)
                near.append(members)
    reach = round(config.max_gap / field.voxel)
    cosine = float(np.cos(np.deg2rad(config.max_turn_deg)))
    ends = np.array(tips, dtype=np.int64)
    above = field.heat > (0.5 if field.from_mask else config.threshold)
    return propose_bridges(voxels, ends, np.array(outward).reshape(-1, 3), near, field.heat, above, max(reach, 1), cosine)


def _feet(n_voxels: int, bridges: Bridges) -> NDArray[np.bool_]:
    forced = np.zeros(n_voxels, np.bool_)
    forced[bridges.tip] = True
    forced[bridges.foot] = True
    return forced


def _assemble(field: Field, thinned: NDArray[np.int64], chains: Chains, bridges: Bridges) -> VesselGraph:
    """Join chains and bridges to one graph with refined paths and radii, in world mm."""
    position = _node_positions(field, thinned, chains)
    voxels = field.foreground.voxels[thinned].astype(np.int64)
    ends = np.concatenate([chains.ends, chains.node_of_voxel[np.stack([bridges.tip, bridges.foot], axis=1)]])
    members = np.concatenate([voxels[chains.members], bridges.path]).astype(np.float64)
    offset = np.concatenate([chains.offset, chains.offset[-1] + bridges.offset[1:]])
    members, offset = _with_node_ends(members, offset, ends, position)
    degree = np.bincount(ends.ravel(), minlength=len(position))
    width = field.width_at(position)
    reach = np.where(degree[ends] > 1, np.maximum(width[ends], 1.0), 0.0)
    section = np.full(len(members), np.nan)
    refine(members, offset, reach, field.heat, field.from_mask, section)
    radius = smooth_radii(section, field.width_at(members), offset, field.from_mask)
    node_radius = np.full(len(position), np.nan)
    np.fmax.at(node_radius, ends[:, 0], radius[offset[:-1]])
    np.fmax.at(node_radius, ends[:, 1], radius[offset[1:] - 1])
    if field.from_mask:
        # Where vessels meet no cross-section is one vessel's; the depth is that of the ball that fits in.
        node_radius = np.where(degree > 1, np.fmax(node_radius, width), node_radius)
    generator = np.full(len(ends), THINNING)
    generator[len(chains.ends) :] = BRIDGE
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
        edge_data={"generator": generator},
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
