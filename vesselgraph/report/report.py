"""The one-file HTML report: pictures, 3-D view and tables of one reconstruction, readable without a network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from vesselgraph.errors import InputError, VesselGraphError
from vesselgraph.graph import VesselGraph
from vesselgraph.io.atomic import atomic_path
from vesselgraph.mesh import Mesh
from vesselgraph.progress import Progress, silent
from vesselgraph.report import tables
from vesselgraph.report.figures import Picture, display_window, render_mips, render_slice, render_slices
from vesselgraph.report.named_vessels import names_table
from vesselgraph.report.palette import SCALE_COLOURS
from vesselgraph.report.scene import MAX_FACES, reduced, scene_of
from vesselgraph.report.still import mesh_png
from vesselgraph.report.views import VIEWS, ViewName, display_box
from vesselgraph.space import FloatArray
from vesselgraph.surface import SurfaceCheck, check_surface
from vesselgraph.volume import Heatmap, Volume

_MAX_SLICES = 32
_MIP_VIEWS: tuple[ViewName, ...] = ("coronal", "axial", "sagittal")


def write_report(  # noqa: PLR0913
    path: str | Path,
    *,
    image: Volume | None,
    graph: VesselGraph,
    mesh: Mesh,
    heatmap: Heatmap | None = None,
    region: Volume | None = None,
    run: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Path:
    """Write one HTML file that shows a reconstruction, and return its path.

    The file holds everything (pictures, 3-D data, scripts) and forbids itself any network request. It is written whole or not
    at all. What cannot be drawn on this machine is said in the file and does not stop it.

    Parameters
    ----------
    path : path
        Usually ``report.html``; replaced if it exists.
    image : Volume or None
        The image (of several phases: the reference). Any direction and spacing; NaN is shown black. None if there is none:
        the heatmap is then shown in its place.
    graph, mesh : VesselGraph, Mesh
        The result; both may be empty.
    heatmap : Heatmap, optional
        Adds its maximum-intensity projections.
    region : Volume, optional
        Bool mask of where vessels were looked for; pictures are cut to its box.
    run : mapping, optional
        The record of the run, as in ``run.json``; every key may be missing. ``warnings``, ``region``, ``dropped``, ``timings``,
        ``inputs``, ``versions``, ``machine`` and ``config`` have a place of their own, all others are listed as they are.
    scores : mapping, optional
        Comparison with a truth, as :meth:`GraphScores.to_dict` gives it.
    progress : Progress
        Called at each part.

    Raises
    ------
    OutputError
        The place cannot be written.
    InputError
        Neither an image nor a heatmap.
    """
    shown_image = _what_to_show(image, heatmap)
    facts = dict(run or {})
    progress("report: 3-D view", 0.0)
    shown = reduced(mesh)
    scene = scene_of(mesh, graph, region, shown=shown)
    progress("report: pictures", 0.3)
    with ThreadPoolExecutor(max_workers=1) as pool:
        # Another process draws the still picture meanwhile.
        drawing = pool.submit(_still, shown, graph)
        if image is None:
            pictures = _pictures(shown_image, graph, None, _where_hot(shown_image), 0.0)
        else:
            pictures = _pictures(image, graph, heatmap, region, _rim(facts))
        still, still_problem = drawing.result()
    progress("report: page", 0.9)
    check = check_surface(mesh)
    content = {
        "title": f"Vessel report: {shown_image.name or 'unnamed image'}",
        "shown": "Image" if image is not None else "Heatmap",
        "image_facts": _image_facts(shown_image, "Image" if image is not None else "Heatmap", facts, region),
        "figures": tables.key_figures(graph, mesh, check),
        "warnings": _warnings(facts, graph, mesh, check),
        "notes": _notes(mesh, shown),
        "still": still,
        "still_problem": still_problem,
        "pictures": pictures,
        "tables": _tables(graph, facts, scores),
        "scale_colours": SCALE_COLOURS,
        "radius_limits": scene["radiusLimits"],
        "started": facts.get("started", ""),
        "n_faces_shown": shown.n_faces,
        "has_mesh": shown.n_faces > 0 or graph.n_edges > 0,
    }
    data = {"scene": scene, "slices": pictures["slices"]}
    with atomic_path(path) as temporary:
        temporary.write_text(_page(content, data), encoding="utf-8")
    progress("report: page", 1.0)
    return Path(path)


def _what_to_show(image: Volume | None, heatmap: Heatmap | None) -> Volume:
    if image is not None:
        return image
    if heatmap is None:
        raise InputError("an image or a heatmap to show", "neither", "pass one of them")
    return heatmap.heat


def _where_hot(heat: Volume) -> Volume:
    """Return where a heatmap is above a tenth of its highest value: what is worth showing of a mask in a large image."""
    return heat.with_array(heat.array > 0.1 * float(heat.array.max()))


def _pictures(image: Volume, graph: VesselGraph, heatmap: Heatmap | None, region: Volume | None, rim: float) -> dict[str, Any]:
    box = display_box(image, region, graph)
    window = display_window(image, region, graph)
    centre = _centre(graph, box)
    plane_views: tuple[ViewName, ...] = ("coronal", "sagittal")
    planes = [
        render_slice(image, view, float(centre[VIEWS[view].depth]), graph=graph, box=box, window=window) for view in plane_views
    ]
    mips = render_mips(image, _MIP_VIEWS, region=region, graph=graph, box=box, rim=rim)
    heat_mips = {}
    if heatmap is not None:
        top = max(float(heatmap.heat.array.max()), 1e-6)
        heat_mips = render_mips(heatmap.heat, _MIP_VIEWS, region=None, graph=graph, box=box, window=(0.0, top))
    return {
        "window": f"{window[0]:.0f} to {window[1]:.0f}",
        "slices": _axial_slices(image, graph, box, window, centre),
        "planes": [_figure(picture) for picture in planes],
        "mips": [_figure(picture) for picture in mips.values()],
        "heat_mips": [_figure(picture) for picture in heat_mips.values()],
    }


def _rim(run: Mapping[str, Any]) -> float:
    """Return the width of the rim that was added around the organ, mm; 0 where the run does not tell."""
    config = run.get("config")
    section = config.get("region") if isinstance(config, Mapping) else None
    margin = section.get("margin") if isinstance(section, Mapping) else None
    return float(margin) if isinstance(margin, (int, float)) and margin > 0 else 0.0


def _centre(graph: VesselGraph, box: FloatArray) -> FloatArray:
    """Return the point the planes run through: the path point nearest to the vessels' middle, else the middle of the box."""
    if graph.n_points == 0:
        return np.asarray(box.mean(axis=0))
    away = np.linalg.norm(graph.path_position - np.median(graph.path_position, axis=0), axis=1)
    return np.clip(graph.path_position[int(away.argmin())], box[0], box[1])


def _axial_slices(
    image: Volume, graph: VesselGraph, box: FloatArray, window: tuple[float, float], centre: FloatArray
) -> dict[str, Any]:
    height = float(box[1, 2] - box[0, 2])
    n = int(np.clip(round(height / max(image.space.spacing.min(), height / _MAX_SLICES)), 1, _MAX_SLICES))
    positions = box[0, 2] + (np.arange(n) + 0.5) * height / n
    shown = render_slices(image, "axial", positions.tolist(), graph=graph, box=box, window=window)
    return {
        "start": int(np.abs(positions - centre[2]).argmin()),
        "positions": positions.round(2).tolist(),
        "height": shown[0].base.shape[0],
        "width": shown[0].base.shape[1],
        "base": [picture.base_jpeg() for picture in shown],
        "overlay": [picture.overlay_png() for picture in shown],
    }


def _figure(picture: Picture) -> dict[str, Any]:
    height, width = picture.base.shape
    return {
        "caption": picture.caption,
        "width": width,
        "height": height,
        "base": picture.base_jpeg(),
        "overlay": picture.overlay_png(),
    }


def _still(mesh: Mesh, graph: VesselGraph) -> tuple[str, str]:
    if mesh.n_faces == 0:
        return "", "There is no surface to draw."
    try:
        return base64.b64encode(mesh_png(mesh, graph)).decode("ascii"), ""
    except VesselGraphError as error:
        return "", f"No still picture: {error}"


def _image_facts(image: Volume, what: str, run: Mapping[str, Any], region: Volume | None) -> list[tuple[str, str]]:
    planes, rows, columns = image.shape
    spacing = image.space.spacing
    low, high = image.bounds
    return [
        (what, image.name or "unnamed"),
        ("Size", f"{columns} x {rows} x {planes} voxels (columns x rows x planes)"),
        ("Spacing", f"{spacing[2]:.3g} x {spacing[1]:.3g} x {spacing[0]:.3g} mm"),
        ("Extent", " x ".join(f"{e:.0f}" for e in (high - low)) + " mm (right-left x front-back x down-up)"),
        ("Orientation", orientation_text(image)),
        ("Region", _region_text(run.get("region"), region)),
        *_choice_facts(run.get("choices")),
    ]


def _choice_facts(choices: Any) -> list[tuple[str, str]]:
    if not isinstance(choices, Mapping):
        return []
    return [(f"{stage.capitalize()} by", f"{choice['method']}. {choice['why']}") for stage, choice in choices.items()]


def orientation_text(image: Volume) -> str:
    """Return towards which side of the patient columns, rows and planes count, and how far from the body axes they lie.

    Examples
    --------
    >>> from vesselgraph.space import Space
    >>> orientation_text(Volume(np.zeros((2, 2, 2)), Space.axial()))
    'columns to left, rows to back, planes to head'
    """
    names = (("right", "left"), ("front", "back"), ("feet", "head"))
    direction = image.space.direction
    parts = []
    for axis, label in ((2, "columns"), (1, "rows"), (0, "planes")):
        world = int(np.abs(direction[:, axis]).argmax())
        parts.append(f"{label} to {names[world][int(direction[world, axis] > 0)]}")
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(direction).max(axis=0).min(), 0.0, 1.0))))
    return ", ".join(parts) + (f"; oblique by {tilt:.1f}°" if tilt > 0.5 else "")


def _region_text(found: Any, region: Volume | None) -> str:
    text = ""
    if isinstance(found, Mapping):
        kind = {"liver": "liver, estimated from the image", "given": "given mask", "whole": "whole field of view"}
        text = kind.get(str(found.get("kind")), str(found.get("kind", "")))
        note = str(found.get("note", ""))
        text += f". {note}" if note else ""
        if found.get("kind") == "liver" and isinstance(found.get("confidence"), (int, float)):
            text += f" Confidence {100 * found['confidence']:.0f} %."
    elif found:
        text = str(found)
    if region is None:
        return text or "whole image"
    volume = float(np.count_nonzero(region.array)) * region.space.voxel_volume / 1000.0
    return f"{text or 'mask'} ({volume:.0f} ml searched)"


def _warnings(run: Mapping[str, Any], graph: VesselGraph, mesh: Mesh, check: SurfaceCheck) -> list[str]:
    given = run.get("warnings") or []
    found = [given] if isinstance(given, str) else [str(item) for item in given]
    if graph.n_edges == 0:
        if not any(warning.startswith("No vessel") for warning in found):
            found.insert(0, "No vessel was found: the graph is empty.")
    elif mesh.n_faces == 0:
        found.insert(0, "There is no surface.")
    elif not check.is_sound:
        faults = {"not closed": check.closed, "not two-manifold": check.two_manifold, "not turned outward": check.outward}
        named = ", ".join(fault for fault, is_right in faults.items() if not is_right)
        found.insert(0, f"The surface is {named}: its volume is not given, and printing or simulation needs a repair.")
    return found


def _notes(mesh: Mesh, shown: Mesh) -> list[str]:
    if shown is mesh:
        return []
    return [
        f"The surface has {mesh.n_faces:,} faces; this view draws a coarser copy of {shown.n_faces:,} (limit {MAX_FACES:,}). "
        "The mesh files hold all of them."
    ]


# Keys of the record that have a place of their own on the page.
_SHOWN = (
    *("program", "started", "machine", "versions", "config", "inputs", "timings", "cpu_seconds", "peak_memory_gb"),
    *("warnings", "region", "named", "dropped", "scores", "surface", "phases"),
)


def _tables(graph: VesselGraph, run: Mapping[str, Any], scores: Mapping[str, Any] | None) -> dict[str, tables.Table]:
    other = {key: value for key, value in run.items() if key not in _SHOWN}
    return {
        "names": names_table(graph),
        "trees": tables.trees_table(graph),
        "branches": tables.branches_table(graph),
        "phases": tables.phases_table(run),
        "dropped": tables.dropped_table(run),
        "scores": tables.scores_table(scores),
        "other_scores": tables.other_scores_table(scores),
        "surface": tables.pairs_table(run.get("surface"), "Property", "Lengths in mm, area in square mm, volumes in cubic mm."),
        "timings": tables.timings_table(run),
        "config": tables.pairs_table(run.get("config"), "Setting", "stage.key as in a recipe or with --set."),
        "versions": tables.versions_table(run),
        "inputs": tables.inputs_table(run),
        "other": tables.pairs_table(other, "Entry", ""),
    }


def _asset(name: str) -> str:
    return resources.files("vesselgraph.report").joinpath("assets", name).read_text(encoding="utf-8")


def _page(content: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return the page; scripts are allowed by their digest only, so that nothing in a name or header can run."""
    scripts = [_asset("three.bundle.min.js"), _asset("viewer.js"), _asset("page.js")]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii") for script in scripts]
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src "
        + " ".join(f"'sha256-{digest}'" for digest in digests)
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_asset("report.html.j2"))
    return template.render(
        content,
        policy=policy,
        style=Markup(_asset("report.css")),
        scripts=[Markup(script) for script in scripts],
        data=_json(data),
    )


def _json(data: Mapping[str, Any]) -> Markup:
    # "<" would let a name close the script element; as an escape it is the same text to JSON.
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
