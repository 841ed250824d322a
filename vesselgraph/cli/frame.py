"""What every command shares: exit codes, error texts, progress bars, common options."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from vesselgraph.config import PipelineConfig
from vesselgraph.errors import BackendUnavailableError, BudgetError, CheckpointError, VesselGraphError
from vesselgraph.progress import Progress, silent

BAD_INPUT, MISSING, BOUND, INTERRUPTED, TERMINATED = 2, 3, 4, 130, 143

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Recipe in TOML; `vesselgraph config` prints one with all defaults.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Change one setting, e.g. heatmap.step=0.8 (mm). May be repeated."),
]


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error raised on purpose.

    Examples
    --------
    >>> exit_code(BudgetError("3 GB", "5 GB", "crop it")), exit_code(VesselGraphError("a", "b", "c"))
    (4, 2)
    """
    if isinstance(error, (BudgetError, MemoryError)):
        return BOUND
    if isinstance(error, (BackendUnavailableError, CheckpointError)):
        return MISSING
    return BAD_INPUT


def error_text(error: VesselGraphError | MemoryError) -> str:
    """Return the lines shown for an error: what was expected, what came, what to do.

    Examples
    --------
    >>> print(error_text(VesselGraphError("a 3-D image", "2 axes", "pass a volume")))
    error
      expected  a 3-D image
      got       2 axes
      do        pass a volume
    """
    if isinstance(error, MemoryError):
        return "error\n  expected  enough memory\n  got       none left\n  do        crop the image or raise heatmap.step"
    return f"error\n  expected  {error.expected}\n  got       {error.got}\n  do        {error.do}"


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn errors raised on purpose into a text on stderr and an exit code; let the others show their traceback."""
    # SystemExit passes through every `finally`, so that half-written files are removed.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(INTERRUPTED))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    except (VesselGraphError, MemoryError) as error:
        typer.echo(error_text(error), err=True)
        sys.exit(exit_code(error))


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """Yield a progress callback that draws on stderr; silent if asked, or if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield silent
        return
    columns = (
        TextColumn("{task.description:<32.32}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=1.0)

        def report(step: str, fraction: float) -> None:
            bars.update(task, description=step, completed=fraction)

        yield report


def load_config(recipe: Path | None, overrides: list[str] | None) -> PipelineConfig:
    """Return the settings of an optional recipe with overrides applied."""
    if recipe is None:
        return PipelineConfig.build(overrides=overrides or ())
    return PipelineConfig.from_toml(recipe, overrides or ())


def say(text: str, quiet: bool) -> None:
    """Print a line on stdout unless asked to be quiet."""
    if not quiet:
        typer.echo(text)


def warn(texts: list[str]) -> None:
    """Print warnings on stderr."""
    for text in texts:
        typer.echo(f"warning: {text}", err=True)
