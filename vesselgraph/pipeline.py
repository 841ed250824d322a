"""All stages in one call, with the record of what was done; knows every stage, known by none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vesselgraph.budget import (
    COARSEST_MIN_RADIUS,
    STEPS_PER_RADIUS,
    MemoryEstimate,
    as_fine_as_the_data,
    estimate_memory,
    quick_enough,
)
from vesselgraph.config import PipelineConfig, SurfaceConfig
from vesselgraph.edit import require_near_region, subset
from vesselgraph.errors import BudgetError, InputError, RangeError, SpaceMismatchError
from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap import choose_method, predict_heatmap, require_network
from vesselgraph.mesh import Mesh
from vesselgraph.progress import Progress, silent
from vesselgraph.provenance import RunLog, machine, versions
from vesselgraph.pruning import Planted, choose_judge, judge, plant, prune, require_pruner
from vesselgraph.pruning.naming import TREE_NAMES
from vesselgraph.record import describe_inputs, describe_result
from vesselgraph.region import Region, estimate_region, region_from_mask
from vesselgraph.surface import build_surface
from vesselgraph.tracing import trace
from vesselgraph.volume import Heatmap, PhaseSet, Volume

_COARSER = 1.5


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Everything one run made.

    Parameters
    ----------
    phases : PhaseSet or None
        The image or images on one grid; None if only a heatmap was given.
    region : Region
        Where vessels were looked for.
    heatmap : Heatmap
        On the tracing grid, or on its own grid if it was given.
    overcomplete : VesselGraph
        Every candidate branch, with the columns ``score``, ``keep`` and ``reason``.
    graph : VesselGraph
        The believed branches as rooted trees.
    mesh : Mesh
        Closed surface of ``graph``, world LPS mm.
    run : mapping
        The record, ready for JSON; its keys are described in ``docs/results.md``.
    tree_meshes : mapping of name to Mesh
        A closed surface of each named tree alone ("portal", "hepatic", "artery"), as far as there is one.
    """

    phases: PhaseSet | None
    region: Region
    heatmap: Heatmap
    overcomplete: VesselGraph
    graph: VesselGraph
    mesh: Mesh
    run: Mapping[str, Any]
    tree_meshes: Mapping[str, Mesh] = field(default_factory=dict)


def reconstruct(  # noqa: PLR0913
    image: Volume | PhaseSet | None,
    config: PipelineConfig = PipelineConfig(),  # noqa: B008
    *,
    mask: Volume | None = None,
    heatmap: Heatmap | None = None,
    roots: ArrayLike | Mapping[str, ArrayLike] | None = None,
    root_labels: Volume | None = None,
    label_names: Mapping[int, str] | None = None,
    sources: Mapping[str, str | Path] | None = None,
    progress: Progress = silent,
) -> Reconstruction:
    """Return the vessel graph and surface of a contrast image.

    Parameters
    ----------
    image : Volume or PhaseSet or None
        One image (called "image" in the record), or several registered phases; any orientation, any spacing. Voxels that are
        NaN take the smallest finite value and are reported. None with a heatmap: that alone is traced, radii come from it.
    config : PipelineConfig
        One section a stage.
    mask : Volume, optional
        Organ to look in, on any grid of the same patient frame. If left out it is estimated, or the whole field of view; with
        a heatmap always the whole field of view.
    heatmap : Heatmap, optional
        Your own probability map or mask, on its own grid; the ridge filter is not run then.
    roots : (R, 3) mm, optional
        World LPS positions of where trees start, such as the portal trunk and a hepatic vein; each takes the nearest branch.
        Vessels that none of them lies on start at their widest end, in an organ rather at one near its border. As a mapping of
        "portal", "hepatic", "artery" or "" (not told) to positions, what grows from a root takes its name.
    root_labels : Volume, optional
        The same as labels: each value but 0 is a tree whose root lies there.
    label_names : mapping, optional
        Names of trees by the values of ``root_labels``, such as {1: "portal", 2: "hepatic"}.
    sources : mapping of input name to path, optional
        Files the inputs were read from; their SHA-256 go into the record.
    progress : Progress
        Told the step and its done fraction.

    Returns
    -------
    Reconstruction
        Deterministic for the same input, config and library versions. The graph and the surface may be empty.

    Raises
    ------
    BudgetError
        The memory estimate is above ``config.max_memory_gb``; nothing was done yet.
    RangeError
        The image holds no finite value, or the same value everywhere.
    SpaceMismatchError
        The mask or the heatmap does not overlap the image.
    CheckpointError
        A learned method is asked for and its weights are missing or damaged.
    InputError
        Neither image nor heatmap, an unknown name of a tree, a named label that is not there, a root far from the image, the
        region or every vessel, or a stage refuses its input.
    """
    if image is None and heatmap is None:
        raise InputError("an image or a heatmap", "neither", "pass an image, or your own vessel mask or probability map")
    phases = image if isinstance(image, PhaseSet) or image is None else PhaseSet({"image": image})
    estimate = _require_memory(phases, config, mask, heatmap)
    require_pruner(config.prune, config.heatmap.method if heatmap is None else heatmap.source)
    if heatmap is None:
        require_network(config.heatmap)
    planted = Planted.of(roots, root_labels, label_names, _reference(phases, heatmap).bounds)
    log = RunLog()
    started = datetime.now(UTC)
    with log.stage("check"):
        given = {"mask": mask, "heatmap": None if heatmap is None else heatmap.heat, "root_labels": root_labels}
        inputs = describe_inputs({**(phases or {}), **given}, sources or {})
        if phases is not None:
            phases = _checked(phases, log)
            if heatmap is not None:
                _require_overlap(heatmap.heat, phases.reference)
    result, drawn, tree_meshes = _run_stages(phases, config, mask, heatmap, planted, log, progress)
    record: dict[str, Any] = {
        "program": "vesselgraph",
        "started": started.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "config_digest": config.digest(),
        "config": config.model_dump(mode="json"),
        "inputs": inputs,
        "roots": planted.points.tolist(),
        "root_names": planted.names(),
        "memory_estimate_gb": round(estimate.total_gb, 3),
        **log.to_dict(),
        **describe_result(*result, drawn),
    }
    return Reconstruction(*result, run=record, tree_meshes=tree_meshes)


_Stages = tuple[PhaseSet | None, Region, Heatmap, VesselGraph, VesselGraph, Mesh]


def _run_stages(
    phases: PhaseSet | None,
    config: PipelineConfig,
    mask: Volume | None,
    heatmap: Heatmap | None,
    planted: Planted,
    log: RunLog,
    progress: Progress,
) -> tuple[_Stages, SurfaceConfig, dict[str, Mesh]]:
    with log.stage("region"):
        region = _find_region(phases, config, mask, heatmap, progress)
    require_near_region(planted.points, region.mask)
    if heatmap is None or mask is not None:
        _warn_about_region(region, mask, log)
    organ = None if region.kind == "whole" else region.organ
    seen = None if phases is None else phases.reference
    with log.stage("heatmap"):
        if heatmap is not None:
            log.choose("heatmap", heatmap.source, "It was given.")
        else:
            assert phases is not None
            image = phases if len(phases) > 1 else phases.reference
            method, why = choose_method(config.heatmap, image, organ)
            log.choose("heatmap", method, why)
            chosen = config.heatmap.model_copy(update={"method": method})
            heatmap = predict_heatmap(image, chosen, region=region.mask, organ=region.organ, progress=progress)
            if method == "mask":
                log.warn(f"The image was traced as a vessel mask. {why} To filter it as an image, set heatmap.method to ridge.")
                # As an image it shows nothing more.
                seen = None
    with log.stage("trace"):
        overcomplete = trace(heatmap, config.trace, image=seen, region=region.mask, progress=progress)
    with log.stage("prune"):
        judged = graph = overcomplete
        if overcomplete.n_edges:
            log.choose("prune", *choose_judge(config.prune, overcomplete, seen, heatmap))
            judged = judge(overcomplete, config.prune, image=seen, organ=region.organ, heatmap=heatmap, progress=progress)
            graph = prune(judged, config.prune, organ=organ, heatmap=heatmap, progress=progress)
        if graph.n_edges:
            graph = plant(graph, planted, organ=organ)
    if graph.n_edges == 0:
        log.warn("No vessel was found: the graph is empty. Check the phase, the region and heatmap.polarity.")
    with log.stage("surface"):
        fine = as_fine_as_the_data(config.surface, float(heatmap.heat.space.spacing.min()))
        mesh, drawn = _draw_surface(graph, fine, quick_enough(graph, fine, config.surface), log, progress)
        trees = tree_surfaces(graph, drawn, progress=progress)
    return (phases, region, heatmap, judged, graph, mesh), drawn, trees


def _find_region(
    phases: PhaseSet | None, config: PipelineConfig, mask: Volume | None, heatmap: Heatmap | None, progress: Progress
) -> Region:
    reference = _reference(phases, heatmap)
    if mask is not None:
        return region_from_mask(mask, reference, config.region)
    if heatmap is not None:
        # A heatmap of the user's says by itself where vessels are: an estimated organ would cut it.
        whole = estimate_region(reference, config.region.model_copy(update={"method": "whole"}))
        return replace(whole, note="The whole field of view, since a heatmap was given.")
    assert phases is not None
    return estimate_region(phases if len(phases) > 1 else reference, config.region, progress=progress)


def _reference(phases: PhaseSet | None, heatmap: Heatmap | None) -> Volume:
    """Return the volume whose grid the region lies on: the reference phase, or the heat where there is no image."""
    if phases is not None:
        return phases.reference
    assert heatmap is not None
    return heatmap.heat


def _draw_surface(
    graph: VesselGraph, config: SurfaceConfig, quick: SurfaceConfig, log: RunLog, progress: Progress
) -> tuple[Mesh, SurfaceConfig]:
    """Return the surface and the settings it was drawn with: coarser than asked where that would be beyond its bound.

    The graph is done by then and must not be lost for a surface that is too fine.
    """
    drawn = quick
    while True:
        try:
            mesh = build_surface(graph, drawn, progress=progress)
        except BudgetError:
            min_radius = drawn.min_radius * _COARSER
            if min_radius > COARSEST_MIN_RADIUS:
                raise
            step = max(drawn.step, min_radius / STEPS_PER_RADIUS)
            drawn = drawn.model_copy(update={"min_radius": min_radius, "step": step})
        else:
            break
    if drawn is not config:
        log.warn(
            f"There is much to draw: the surface was drawn with a step of {drawn.step:.2g} mm, and vessels thinner than "
            f"{drawn.min_radius:.2g} mm radius with that radius. The graph keeps its own radii. Set surface.step or "
            "surface.min_radius for a finer one."
        )
    return mesh, drawn


def tree_surfaces(graph: VesselGraph, config: SurfaceConfig, *, progress: Progress = silent) -> dict[str, Mesh]:
    """Return the surface of each named tree alone: by name, closed where trees touch, ``branch_id`` as in ``graph``."""
    names = graph.edge_data.get("tree")
    meshes = {}
    for value, name in TREE_NAMES.items() if names is not None and names.dtype.kind in "iu" else ():
        part, kept = subset(graph, edges=names == value, drop_isolated=True)
        mesh = build_surface(part, config, progress=progress)
        if mesh.n_faces:
            branch = kept.edge_old[mesh.point_data["branch_id"]]
            meshes[name] = replace(mesh, point_data={**mesh.point_data, "branch_id": branch})
    return meshes


def _require_memory(
    phases: PhaseSet | None, config: PipelineConfig, mask: Volume | None, heatmap: Heatmap | None
) -> MemoryEstimate:
    reference = _reference(phases, heatmap)
    extent = None
    if mask is not None and mask.array.any():
        extent = _extent_on(mask, reference) + 2.0 * config.region.margin
    estimate = estimate_memory(
        reference.shape,
        reference.space.spacing,
        config,
        n_phases=0 if phases is None else len(phases),
        bytes_per_voxel=reference.array.dtype.itemsize,
        traced_extent=extent,
        heatmap=None if heatmap is None else heatmap.heat.shape,
    )
    estimate.require(config)
    return estimate


def _extent_on(mask: Volume, reference: Volume) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the size of the mask's box along the axes of the reference, (3,) mm."""
    occupied = [np.flatnonzero(mask.array.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    ends = np.array([[where[0] - 0.5, where[-1] + 0.5] for where in occupied])
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    index = reference.space.to_index(mask.space.to_world(corners))
    return np.asarray(np.ptp(index, axis=0) * reference.space.spacing)


def _checked(phases: PhaseSet, log: RunLog) -> PhaseSet:
    """Return the phases with NaN filled; refuse those that show nothing. What their registration warns of goes on."""
    for text in phases.warnings:
        log.warn(text)
    clean = {}
    for name, volume in phases.items():
        array = volume.array
        if array.dtype.kind == "f":
            finite = np.isfinite(array)
            n_bad = int(array.size - finite.sum())
            if n_bad == array.size:
                raise RangeError(f"finite values in image {name!r}", "only NaN or infinite ones", "check the file it came from")
            if n_bad:
                log.warn(f"{n_bad} voxels of image {name!r} are not finite; they were given its smallest finite value.")
                array = np.where(finite, array, array[finite].min())
        low, high = array.min(), array.max()
        if low == high:
            raise RangeError(
                f"contrast in image {name!r}", f"the value {low} in every voxel", "check the file and its window or scale"
            )
        clean[name] = volume if array is volume.array else volume.with_array(array)
    return PhaseSet(clean, phases.quality, phases.warnings)


def _require_overlap(heat: Volume, reference: Volume) -> None:
    ours, theirs = reference.bounds, heat.bounds
    if (np.minimum(ours[1], theirs[1]) <= np.maximum(ours[0], theirs[0])).any():
        raise SpaceMismatchError(
            f"a heatmap that overlaps the image ({_box(ours)})",
            _box(theirs),
            "check that both are of one patient and in one world frame (LPS or RAS)",
        )


def _box(bounds: np.ndarray[Any, Any]) -> str:
    axes = zip("xyz", bounds[0], bounds[1], strict=True)
    return "box " + ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, low, high in axes) + " mm"


def _warn_about_region(region: Region, mask: Volume | None, log: RunLog) -> None:
    if mask is None:
        log.warn(f"No organ mask was given. {region.note}")
    elif not mask.is_on_grid_of(region.mask) or region.confidence < 1.0:
        log.warn(region.note)
