"""``vesselgraph train``: fit the heatmap network and the pruner, and list real cases."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from vesselgraph.cli.frame import QuietOption, progress_bar, say
from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.pruner_config import TrainPrunerConfig

train = typer.Typer(help="Train the networks; needs the packages of the extra `train`.", no_args_is_help=True)


class Layout(StrEnum):
    """Folder layouts of published data sets."""

    MSD = "msd"
    IRCADB = "ircadb"
    LIVS = "livs"


@train.command()
def heatmap(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; a run that is there already goes on.")],
    recipe: Annotated[
        Path | None, typer.Option("--config", help="Recipe in TOML, e.g. examples/train-heatmap.toml; defaults if left out.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. batch=4. May be repeated.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Train the heatmap network on generated studies and the cases of a manifest; kill it at any time and call it again."""
    if recipe is None:
        config = TrainHeatmapConfig.build(overrides=overrides or ())
    else:
        config = TrainHeatmapConfig.from_toml(recipe, overrides or ())
    # Loads torch, MONAI and Lightning Fabric.
    training = import_module("vesselgraph.heatmap.training")
    with progress_bar(quiet) as progress:
        made = training.train_heatmap(config, out, progress=progress)
    say(f"steps     {made.n_steps}", quiet)
    for name, value in made.scores.items():
        say(f"{name:<16}{value:.3f}", quiet)
    say(f"weights   {made.weights}", quiet)


@train.command()
def manifest(
    folder: Annotated[Path, typer.Argument(help="The unpacked data set.")],
    layout: Annotated[Layout, typer.Option("--layout", help="Its folder layout.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest to write (.csv).")],
    quiet: QuietOption = False,
) -> None:
    """Write the manifest of a published data set, for the setting `manifest` of a recipe."""
    sources = import_module("vesselgraph.heatmap.sources")
    cases = sources.find_cases(folder.resolve(), layout.value)
    sources.write_manifest(cases, out)
    say(f"cases     {len(cases)} in {out}", quiet)


@train.command()
def pruner(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; graphs that are there are not made again.")],
    recipe: Annotated[
        Path | None, typer.Option("--config", help="Recipe in TOML, e.g. examples/train-pruner.toml; defaults if left out.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. width=32. May be repeated."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Train the pruner on graphs traced in generated studies; kill it at any time and call it again."""
    if recipe is None:
        config = TrainPrunerConfig.build(overrides=overrides or ())
    else:
        config = TrainPrunerConfig.from_toml(recipe, overrides or ())
    # Loads torch and torch-geometric.
    training = import_module("vesselgraph.pruner_training")
    with progress_bar(quiet) as progress:
        made = training.train_pruner(config, out, progress=progress)
    for name, value in made.scores.items():
        say(f"{name:<26}{value:.3f}", quiet)
    say(f"weights   {made.weights}", quiet)
