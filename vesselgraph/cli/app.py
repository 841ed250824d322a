"""The list of commands and the entry point."""

from __future__ import annotations

from typing import Annotated

import typer

from vesselgraph import __version__
from vesselgraph.cli.classifying import classify, train_classifier
from vesselgraph.cli.describing import config, info
from vesselgraph.cli.encoding import encoders
from vesselgraph.cli.evaluating import evaluate
from vesselgraph.cli.frame import exit_codes
from vesselgraph.cli.phantoms import phantom
from vesselgraph.cli.reconstructing import demo, reconstruct
from vesselgraph.cli.tracing import trace
from vesselgraph.cli.training import train

app = typer.Typer(
    help="From contrast CT to the graph of its vessels: centerlines, a closed surface, tables and a report. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for _command in (reconstruct, trace, demo, phantom, evaluate, classify, info, config):
    app.command()(_command)
train.command("classifier")(train_classifier)
app.add_typer(train, name="train")
app.add_typer(encoders, name="encoders")


def main() -> None:
    """Run the command line and leave with its exit code."""
    with exit_codes():
        app()
