"""``vesselgraph trace``: a heatmap in, the over-complete graph with its evidence out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

import vesselgraph as vg
from vesselgraph.cli.frame import ConfigOption, QuietOption, SetOption, load_config, progress_bar, say
from vesselgraph.errors import InputError, OutputError


def trace(
    heatmap: Annotated[Path, typer.Argument(metavar="HEATMAP", help="Vessel probability (0 to 1) or mask, an image file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for overcomplete.vtp; made if missing.")],
    image: Annotated[
        Path | None, typer.Option("--image", help="The image itself: radii are read from it, and branches get a contrast.")
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="Where to look: not 0 inside. Everywhere if left out.")] = None,
    recipe: ConfigOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
) -> None:
    """Trace everything in a heatmap that could be a vessel: one polyline a candidate branch, with all evidence columns."""
    config = load_config(recipe, overrides)
    _check_inputs(heatmap, image, mask)
    _make_folder(out)
    start = time.perf_counter()
    with progress_bar(quiet) as progress:
        progress("reading", 0.0)
        heat = vg.read_heatmap(heatmap)
        ct = None if image is None else vg.read_image(image)
        inside = None if mask is None else vg.read_mask(mask)
        graph = vg.trace(heat, config.trace, image=ct, region=inside, progress=progress)
        path = out / "overcomplete.vtp"
        vg.write_graph(graph, path)
    say(f"graph     {graph.n_edges} candidate branches, {graph.length / 1000:.2f} m", quiet)
    say(f"run       {time.perf_counter() - start:.1f} s", quiet)
    say(f"file      {path}", quiet)


def _check_inputs(*paths: Path | None) -> None:
    missing = [str(path) for path in paths if path is not None and not path.exists()]
    if missing:
        raise InputError("existing files or folders", f"nothing at {', '.join(missing)}", "check the path")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"a folder at {folder}", error.strerror or str(error), "choose another folder") from error
