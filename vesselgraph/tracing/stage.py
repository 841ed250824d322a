"""The tracing stage: heatmap in, over-complete graph out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph import __version__
from vesselgraph.config import TraceConfig
from vesselgraph.errors import BackendUnavailableError, SpaceMismatchError
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.progress import Progress, silent
from vesselgraph.resampling import isotropic_grid, resample, resample_like
from vesselgraph.space import Space
from vesselgraph.tracing.bridges import Bridges, propose_bridges
from vesselgraph.tracing.evidence import measure_evidence
from vesselgraph.tracing.geometry import refine, sample_path
from vesselgraph.tracing.radii import radii_from_image, smooth_radii
from vesselgraph.tracing.ridges import ridge_distance
from vesselgraph.tracing.skeleton import Chains, extract_chains
from vesselgraph.tracing.thinning import thin
from vesselgraph.volume import Heatmap, Volume

THINNING, BRIDGE = 1, 2

_DEPTH_WEIGHT = 0.02
_RIDGE_SIGMA_VOX = 0.8
# Least bend of the depth at a ridge, per voxel. The voxel steps of a wide vessel's wall bend it too, less than its axis does.
_MASK_CURVATURE, _WIDE_MASK_CURVATURE = 0.15, 0.45
_WIDE_VOX = 2.0

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Field:
    """What the kernels work on: one isotropic box around the foreground, lengths in voxels."""

    space: Space
    heat: Float32
    foreground: NDArray[np.bool_]
    radius: Float32
    depth: Float32
    from_mask: bool


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
    Deterministic. Memory is about 40 bytes per voxel of the box around the foreground.
    """
    config = config or TraceConfig()
    if config.backend == "cuda":
        raise BackendUnavailableError('the tracing kernels have no CUDA twins yet; use trace.backend = "numba"')
    step = Step("trace", config.digest(), __version__)
    progress("prepare the tracing grid", 0.0)
    field = _prepare(heatmap, config, region)
    if field is None:
        empty = VesselGraph.empty(heatmap.heat.space)
        return measure_evidence(empty.with_columns(edge={"generator": np.zeros(0, np.int64)}), heatmap.heat, image).with_step(
            step
        )
    progress("thin the foreground", 0.1)
    voxels = thin(field.foreground, _removal_order(field, config))
    progress("bridge gaps", 0.4)
    shape = field.heat.shape
    chains = extract_chains(voxels, shape)
    bridges = _bridges(field, config, voxels, chains)
    chains = extract_chains(voxels, shape, _feet(len(voxels), bridges))
    progress("refine centerlines", 0.6)
    graph = _assemble(field, voxels, chains, bridges)
    progress("measure evidence", 0.9)
    if image is not None and not field.from_mask:
        graph = radii_from_image(graph, image)
    graph = measure_evidence(graph, Volume(field.heat, field.space), image)
    progress("measure evidence", 1.0)
    return graph.with_step(step)


def _prepare(heatmap: Heatmap, config: TraceConfig, region: Volume | None) -> _Field | None:
    heat, radius, from_mask = heatmap.heat, heatmap.radius, heatmap.is_mask
    if region is not None:
        inside = resample_like(region, heat, interpolation="nearest")
        if not inside.array.any():
            raise SpaceMismatchError(
                "a region that overlaps the heatmap",
                f"heatmap bounds {heat.bounds.round(1).tolist()}, region bounds {region.bounds.round(1).tolist()} mm",
                "check that both come from the same patient and frame",
            )
        heat = heat.with_array(np.where(inside.array, heat.array, np.zeros(1, heat.array.dtype)))
    threshold = 0.5 if from_mask else config.threshold
    box = _box_around(heat.array > (0 if from_mask else threshold), 3)
    if box is None:
        return None
    heat = heat.crop(*box)
    radius = None if radius is None else radius.crop(*box)
    if not heat.space.is_isotropic:
        space, shape = isotropic_grid(heat, float(heat.space.spacing.min()))
        if from_mask:
            heat = _signed_depth(heat)
        heat = resample(heat, space, shape, fill=-1.0 if from_mask else 0.0)
        if from_mask:
            heat = heat.with_array((heat.array >= 0).astype(np.float32))
        radius = None if radius is None else resample(radius, space, shape, interpolation="nearest", fill=0.0)
    values = np.ascontiguousarray(heat.array, dtype=np.float32)
    foreground = values > threshold
    if not foreground.any():
        return None
    voxel = float(heat.space.spacing[0])
    depth = ndimage.distance_transform_edt(foreground).astype(np.float32)
    widths = np.maximum(depth - 0.5, 0.5) if radius is None else (radius.array / voxel).astype(np.float32)
    return _Field(heat.space, values, foreground, widths, depth, from_mask)


def _removal_order(field: _Field, config: TraceConfig) -> NDArray[np.float64]:
    """Return the order in which foreground voxels go: off the ridge by heat, then on the ridge the farthest from it first."""
    height: NDArray[Any] = field.depth
    if not field.from_mask:
        # A little depth gives saturated probability maps, which are flat inside a vessel, a ridge as well.
        height = field.heat + np.float32(_DEPTH_WEIGHT) * np.minimum(field.depth, np.float32(10.0))
    height = ndimage.gaussian_filter(height, _RIDGE_SIGMA_VOX, truncate=3.0)
    voxels = np.argwhere(field.foreground)
    value = height[field.foreground].astype(np.float64)
    # Depth has slope 1 everywhere, so its ridges are judged by their bend alone; heat is judged relative to itself.
    required = _mask_curvature(field) if field.from_mask else config.min_curvature * value
    distance = ridge_distance(height, voxels, required)
    off = value / value.max() - 1.0
    return np.where(distance < config.ridge_width, 1.0 - distance, off)


def _mask_curvature(field: _Field) -> NDArray[np.float64]:
    """Return the least bend of a depth ridge at each foreground voxel of a mask, larger where a wide ball fits in."""
    from_wide_axis = ndimage.distance_transform_edt(field.depth < _WIDE_VOX)
    is_wide = (from_wide_axis < _WIDE_VOX) & bool((field.depth >= _WIDE_VOX).any())
    return np.where(is_wide[field.foreground], _WIDE_MASK_CURVATURE, _MASK_CURVATURE)


def _signed_depth(mask: Volume) -> Volume:
    """Return the distance to the wall in mm, positive inside: what shape-based interpolation resamples."""
    inside = mask.array > 0.5
    spacing = mask.space.spacing
    half = 0.5 * float(spacing.min())
    depth = ndimage.distance_transform_edt(inside, sampling=spacing) - half
    outside = ndimage.distance_transform_edt(~inside, sampling=spacing) - half
    return mask.with_array(np.where(inside, depth, -outside).astype(np.float32))


def _box_around(inside: NDArray[np.bool_], margin: int) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """Return the first and one-past-last index of the box of true voxels plus a margin; None if there are none."""
    first, last = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        used = np.flatnonzero(inside.any(axis=others))
        if len(used) == 0:
            return None
        first.append(max(int(used[0]) - margin, 0))
        last.append(min(int(used[-1]) + 1 + margin, inside.shape[axis]))
    return tuple(first), tuple(last)  # type: ignore[return-value]


def _bridges(field: _Field, config: TraceConfig, voxels: NDArray[np.int64], chains: Chains) -> Bridges:
    voxel = float(field.space.spacing[0])
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
    reach = round(config.max_gap / voxel)
    cosine = float(np.cos(np.deg2rad(config.max_turn_deg)))
    ends = np.array(tips, dtype=np.int64)
    return propose_bridges(
        voxels, ends, np.array(outward).reshape(-1, 3), near, field.heat, field.foreground, max(reach, 1), cosine
    )


def _feet(n_voxels: int, bridges: Bridges) -> NDArray[np.bool_]:
    forced = np.zeros(n_voxels, np.bool_)
    forced[bridges.tip] = True
    forced[bridges.foot] = True
    return forced


def _assemble(field: _Field, voxels: NDArray[np.int64], chains: Chains, bridges: Bridges) -> VesselGraph:
    """Join chains and bridges to one graph with refined paths and radii, in world mm."""
    position = _node_positions(field, voxels, chains)
    ends = np.concatenate([chains.ends, chains.node_of_voxel[np.stack([bridges.tip, bridges.foot], axis=1)]])
    members = np.concatenate([voxels[chains.members], bridges.path]).astype(np.float64)
    offset = np.concatenate([chains.offset, chains.offset[-1] + bridges.offset[1:]])
    members, offset = _with_node_ends(members, offset, ends, position)
    degree = np.bincount(ends.ravel(), minlength=len(position))
    width = np.zeros(len(position))
    sample_path(field.radius, position, width)
    reach = np.where(degree[ends] > 1, np.maximum(width[ends], 1.0), 0.0)
    section = np.full(len(members), np.nan)
    refine(members, offset, reach, field.heat, field.from_mask, section)
    measured = np.zeros(len(members))
    sample_path(field.radius, members, measured)
    radius = smooth_radii(section, measured, offset, field.from_mask)
    voxel = float(field.space.spacing[0])
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
        node_radius * voxel,
        ends,
        offset,
        world,
        radius * voxel,
        edge_data={"generator": generator},
        space=field.space,
    )


def _node_positions(field: _Field, voxels: NDArray[np.int64], chains: Chains) -> NDArray[np.float64]:
    """Return the heat-weighted (for a mask depth-weighted) middle of each node's voxels, (N, 3)."""
    own = chains.node_of_voxel >= 0
    node = chains.node_of_voxel[own]
    where = voxels[own]
    source = field.depth if field.from_mask else field.heat
    weight = source[tuple(where.T)].astype(np.float64) ** 2 + 1e-9
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
