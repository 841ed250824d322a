"""``vesselgraph reconstruct`` and ``vesselgraph demo``: images in, graph, surface and report out."""

from __future__ import annotations

import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import vesselgraph as vg
from vesselgraph.cli.evaluating import score_table
from vesselgraph.cli.frame import ConfigOption, QuietOption, SetOption, load_config, progress_bar, say, warn
from vesselgraph.cli.phantoms import DICOM_ENDING, ImageFormat, write_phantom
from vesselgraph.config import PipelineConfig, StudyConfig
from vesselgraph.errors import InputError
from vesselgraph.progress import Progress

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results; made if missing.")]
MaskOption = Annotated[
    Path | None,
    typer.Option("--mask", help="Organ to look in: not 0 inside. Estimated if neither this nor --heatmap is given."),
]
LabelOption = Annotated[
    list[int] | None, typer.Option("--mask-label", help="Label of the organ in --mask, if it holds several. May be repeated.")
]
HeatmapOption = Annotated[
    Path | None, typer.Option("--heatmap", help="Your own vessel probability (0 to 1) or mask; the built-in filter is not run.")
]
SeriesOption = Annotated[
    str | None, typer.Option("--series", help="Number or UID of the series, if a DICOM folder holds several.")
]
RootOption = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="[TREE=]X,Y,Z",
        help="Where a tree starts, in world LPS mm (from RAS negate X and Y), e.g. portal=-12.5,40,310. May be repeated.",
    ),
]
RootLabelsOption = Annotated[
    Path | None, typer.Option("--root-labels", help="Label image: each value but 0 is a tree whose root lies there.")
]
LabelNamesOption = Annotated[
    list[str] | None,
    typer.Option("--root-name", metavar="LABEL=TREE", help="What a root label is: portal, hepatic or artery. May be repeated."),
]
_RESERVED = {"image", "mask", "heatmap", "root_labels"}
_PHASE = "portal"
_SHOWN = {
    "phases": (_PHASE,),
    "shape": (110, 200, 280),
    "spacing": (1.5, 1.0, 1.0),
    "slice_thickness": 1.5,
    "center": (-30.0, -20.0, 0.0),
    "n_portal_tips": 500,
    "n_hepatic_tips": 450,
}
_SMALL = {
    **_SHOWN,
    "shape": (60, 110, 150),
    "spacing": (2.0, 1.5, 1.5),
    "slice_thickness": 2.0,
    "center": (-22.0, -15.0, 5.0),
    "body_scale": 0.75,
    "fat": 8.0,
    "wall": 9.0,
    "n_portal_tips": 250,
    "n_hepatic_tips": 220,
}


def reconstruct(
    out: OutOption,
    image: Annotated[
        Path | None,
        typer.Argument(
            help="CT or MR: a DICOM folder, or a .nii, .nii.gz, .nrrd, .mha or .mhd file. May be left out with --heatmap.",
            show_default=False,
        ),
    ] = None,
    phase: Annotated[
        list[str] | None,
        typer.Option("--phase", metavar="NAME=IMAGE", help="A further contrast phase, moved onto IMAGE. May be repeated."),
    ] = None,
    series: SeriesOption = None,
    mask: MaskOption = None,
    mask_label: LabelOption = None,
    heatmap: HeatmapOption = None,
    root: RootOption = None,
    root_labels: RootLabelsOption = None,
    root_name: LabelNamesOption = None,
    keep_intermediate: Annotated[
        bool, typer.Option("--keep-intermediate", help="Also write overcomplete.vtp: every candidate branch with its evidence.")
    ] = False,
    recipe: ConfigOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
) -> None:
    """Turn a contrast image, or a vessel mask or probability map alone, into a vessel graph, a surface, tables and a report."""
    config = load_config(recipe, overrides)
    others = _named_paths(phase or [])
    _require_image(image, heatmap, others)
    roots, names = _places(root or []), _label_names(root_name or [])
    named = {"image": image, **others, "mask": mask, "heatmap": heatmap, "root_labels": root_labels}
    sources = {name: path for name, path in named.items() if path is not None}
    _check_inputs(list(sources.values()))
    vg.check_folder(out)
    with progress_bar(quiet) as progress:
        result = _run(sources, config, series, mask_label, progress, roots, names)
        vg.write_results(result, out, keep_intermediate=keep_intermediate, progress=progress)
    _tell(result, out, quiet)


def demo(
    out: OutOption = Path("out/demo"),
    image: Annotated[Path | None, typer.Option("--image", help="A real image instead of the generated one.")] = None,
    series: SeriesOption = None,
    mask: MaskOption = None,
    mask_label: LabelOption = None,
    small: Annotated[bool, typer.Option("--small", help="A smaller generated CT: seconds instead of a minute.")] = False,
    recipe: ConfigOption = None,
    overrides: SetOption = None,
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Show the whole way on a generated CT: write it as DICOM, read it back, reconstruct it, score it against its truth.

    The score counts the vessels that the CT shows clearly; a liver holds many more.
    """
    config = load_config(recipe, overrides)
    _check_inputs([path for path in (image, mask) if path])
    vg.check_folder(out)
    scores = None
    with progress_bar(quiet) as progress:
        phantom = None
        if image is None:
            shown = StudyConfig.build(_SMALL if small else _SHOWN)
            phantom = write_phantom(shown, out, ImageFormat.DICOM, progress=progress)
        sources = {"image": image or out / f"{_PHASE}{DICOM_ENDING}", **({"mask": mask} if mask else {})}
        result = _run(sources, config, series, mask_label, progress)
        if phantom is not None:
            scores = vg.compare_graphs(result.graph, vg.clear_graph(phantom, _PHASE), region=phantom.organ_mask).to_dict()
        vg.write_results(result, out, scores=scores, progress=progress)
    _tell(result, out, quiet)
    if scores is not None:
        say(f"\nagainst the known truth ({out / f'truth/clear-{_PHASE}.vtp'})\n{score_table(scores)}", quiet)
    if open_report:
        webbrowser.open((out / "report.html").resolve().as_uri())


def _run(
    sources: Mapping[str, Path],
    config: PipelineConfig,
    series: str | None,
    mask_labels: list[int] | None,
    progress: Progress,
    roots: dict[str, list[list[float]]] | None = None,
    label_names: dict[int, str] | None = None,
) -> vg.Reconstruction:
    chosen: int | str | None = int(series) if series and series.isdigit() else series
    progress("reading", 0.0)
    image: Any = vg.read_image(sources["image"], series=chosen) if "image" in sources else None
    others = {name: path for name, path in sources.items() if name not in _RESERVED}
    if others:
        registration = config.registration.model_copy(update={"reference": config.registration.reference or "image"})
        image = vg.read_phases({"image": image, **others}, registration, progress=progress)
    labels = tuple(mask_labels) if mask_labels else None
    return vg.reconstruct(
        image,
        config,
        mask=vg.read_mask(sources["mask"], labels=labels) if "mask" in sources else None,
        heatmap=vg.read_heatmap(sources["heatmap"]) if "heatmap" in sources else None,
        roots=roots,
        label_names=label_names,
        root_labels=vg.read_image(sources["root_labels"]) if "root_labels" in sources else None,
        sources=sources,
        progress=progress,
    )


def _named_paths(phases: list[str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for text in phases:
        name, sign, path = text.partition("=")
        if not (sign and name and path) or name in {*_RESERVED, *named}:
            raise InputError(
                "--phase NAME=IMAGE with a name of its own", repr(text), "write e.g. --phase arterial=arterial.nii.gz"
            )
        named[name] = Path(path)
    return named


def _places(roots: list[str]) -> dict[str, list[list[float]]]:
    """Return places by the name of their tree, "" where none is told."""
    places: dict[str, list[list[float]]] = {}
    for text in roots:
        name, _, numbers = text.rpartition("=")
        try:
            place = [float(part) for part in numbers.split(",")]
        except ValueError:
            place = []
        if len(place) != 3:
            raise InputError(
                "--root [TREE=]X,Y,Z in world LPS millimetres", repr(text), "write e.g. --root portal=-12.5,40,310"
            )
        places.setdefault(name, []).append(place)
    return places


def _label_names(names: list[str]) -> dict[int, str]:
    given: dict[int, str] = {}
    for text in names:
        label, _, name = text.partition("=")
        if not label.strip().isdigit() or not name or int(label) in given:
            raise InputError("--root-name LABEL=TREE, each label once", repr(text), "write e.g. --root-name 1=portal")
        given[int(label)] = name
    return given


def _require_image(image: Path | None, heatmap: Path | None, others: Mapping[str, Path]) -> None:
    if image is None and (heatmap is None or others):
        raise InputError("an IMAGE", "none", "name the image; it may be left out with --heatmap alone")


def _check_inputs(paths: list[Path]) -> None:
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise InputError("existing files or folders", f"nothing at {', '.join(missing)}", "check the path")


def _tell(result: vg.Reconstruction, out: Path, quiet: bool) -> None:
    run, graph = result.run, result.run["graph"]
    warn(run["warnings"])
    say(f"region    {run['region']['kind']}: {run['region']['note']}", quiet)
    for stage, choice in run["choices"].items():
        say(f"{stage:10}by {choice['method']}. {choice['why']}", quiet)
    say(
        f"graph     {graph['n_branches']} branches, {graph['n_trees']} trees, {graph['n_loops']} loops, "
        f"{graph['length'] / 1000:.2f} m",
        quiet,
    )
    if run["named"]:
        names = (f"{name} {found['length'] / 1000:.2f} m" for name, found in run["named"].items())
        say(f"names     {', '.join(names)}", quiet)
    say(f"surface   {run['surface']['n_faces']} triangles, {result.mesh.volume / 1000:.1f} ml", quiet)
    say(f"run       {run['timings']['total']:.0f} s, peak {run['peak_memory_gb']['largest']:.1f} GB", quiet)
    say(f"report    {out / 'report.html'}", quiet)
