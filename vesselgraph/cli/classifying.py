"""``vesselgraph train classifier`` and ``vesselgraph classify``: findings in whole images, with honest uncertainty."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from vesselgraph.cli.frame import QuietOption, progress_bar, say
from vesselgraph.errors import ConfigError
from vesselgraph.imaging_config import TrainClassifierConfig


class Heat(StrEnum):
    """Where an answer comes from."""

    AUTO = "auto"
    ATTENTION = "attention"
    GRADIENT = "gradient"
    NONE = "none"


def _require(fulfilled: bool, expected: str, got: str, do: str) -> None:
    if not fulfilled:
        raise ConfigError(expected, got, do)


def train_classifier(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; a run that is there already goes on.")],
    recipe: Annotated[
        Path | None, typer.Option("--config", help="Recipe in TOML, e.g. examples/train-classifier.toml; defaults if left out.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. n_epochs=20. May be repeated."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Train a classifier on a frozen encoder from a CSV of images and labels; kill it at any time and call it again."""
    if recipe is None:
        config = TrainClassifierConfig.build(overrides=overrides or ())
    else:
        config = TrainClassifierConfig.from_toml(recipe, overrides or ())
    _require(bool(config.manifest), "a manifest", "none", "--set manifest=cases.csv, see docs/imaging.md")
    # Loads torch.
    training = import_module("vesselgraph.imaging.training")
    with progress_bar(quiet) as progress:
        made = training.train_classifier(config, out, progress=progress)
    if made.scores:
        say(f"{made.judged_on:<24}{'AUC':>8}  95 % interval", quiet)
    for name, row in made.scores.items():
        say(f"{name:<24}{row['auc']:>8.3f}  {row['auc_low']:.3f} to {row['auc_high']:.3f}", quiet)
    if made.dropped:
        say(f"left out as uncertain: {', '.join(made.dropped)}", quiet)
    say(f"learned   {made.n_parameters:,} parameters", quiet)
    say(f"weights   {made.weights}", quiet)


def classify(
    weights: Annotated[
        list[Path], typer.Option("--weights", "-w", help="Weights of a task; several, of one encoder, may be given.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for JSON, CSV, heat maps, pictures and report.html.")],
    images: Annotated[list[Path] | None, typer.Argument(help="Images or DICOM folders, one a case.")] = None,
    listed: Annotated[Path | None, typer.Option("--list", help="CSV of cases instead: case, image or image:VIEW.")] = None,
    encoder_weights: Annotated[
        Path | None, typer.Option("--encoder-weights", help="The encoder's weights, if they have moved since the training.")
    ] = None,
    heat: Annotated[Heat, typer.Option("--heat", help="How heat maps are made.")] = Heat.AUTO,
    label: Annotated[str, typer.Option("--label", help="Label the heat is of; left out: the most probable.")] = "",
    refer_above: Annotated[
        float | None, typer.Option("--refer-above", min=0, max=1, help="Mark answers with more uncertainty than this.")
    ] = None,
    refer_stranger: Annotated[
        float | None,
        typer.Option("--refer-stranger", min=0, max=1, help="Mark cases stranger than this share of the training images."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Say how probable each finding is, how certain that is, and where in the image it comes from."""
    _require(bool(images) != (listed is not None), "images, or --list", "both" if images else "neither", "give one of them")
    # Loads torch.
    cases = import_module("vesselgraph.imaging.cases")
    imaging = import_module("vesselgraph.imaging.classifier")
    results = import_module("vesselgraph.imaging.results")
    classifier = imaging.load_classifier(weights, encoder_weights=encoder_weights)
    if listed is not None:
        chosen = list(cases.read_case_list(listed, labelled=False).cases)
    else:
        chosen = cases.cases_of_files([str(path) for path in images or []], classifier.first_view)
    with progress_bar(quiet) as progress:
        made = results.classify_cases(
            classifier,
            chosen,
            out,
            heat=None if heat is Heat.NONE else heat.value,
            heat_label=label,
            refer_above=refer_above,
            refer_stranger=refer_stranger,
            progress=progress,
        )
    say(f"cases     {len(chosen)}", quiet)
    say(f"answers   {made}", quiet)
