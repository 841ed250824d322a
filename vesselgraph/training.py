"""What trainings share: a folder with its recipe, a journal, checkpoints to go on from, the loop over epochs, the rate's fall.

Loaded only for training: it needs torch, and for the journal TensorBoard (the extra ``train``).
"""

from __future__ import annotations

import csv
import math
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from vesselgraph.errors import BackendUnavailableError, CheckpointError, ConfigError, OutputError
from vesselgraph.io.atomic import atomic_path
from vesselgraph.progress import Progress, silent
from vesselgraph.stage_config import StageConfig

CHECKPOINT, RECIPE, TRAIN_TABLE = "checkpoint.pt", "recipe.toml", "train.csv"


def make_run_folder(folder: Path, *parts: str) -> None:
    """Make the folder of a run, with the folders named in it.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    try:
        for place in (folder, *(folder / part for part in parts)):
            place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"to write into {folder}", error.strerror or str(error), "check the path and its rights") from error


def write_recipe(config: StageConfig, folder: Path) -> None:
    """Write the recipe of a run into its folder.

    Raises
    ------
    OutputError
        The place cannot be written.
    """
    with atomic_path(folder / RECIPE) as temporary:
        temporary.write_text(config.to_toml(), encoding="utf-8")


def write_checkpoint(state: Mapping[str, Any], config: StageConfig, folder: Path) -> None:
    """Write tensors, numbers and names to go on from, with the recipe; a kill meanwhile leaves the older checkpoint.

    Raises
    ------
    OutputError
        The place cannot be written.
    """
    with atomic_path(folder / CHECKPOINT) as temporary:
        torch.save({**state, "recipe": config.model_dump(mode="json")}, temporary)


def read_checkpoint(
    config: StageConfig, folder: Path, may_change: Iterable[str], device: str | torch.device = "cpu"
) -> dict[str, Any] | None:
    """Return the state to go on from, None where there is no checkpoint.

    Parameters
    ----------
    config : StageConfig
        The recipe; it must be that of the checkpoint.
    folder : path
        Of the run.
    may_change : names
        Settings that may differ, as they do not change what is learned.
    device : str or device
        Where tensors are put.

    Raises
    ------
    CheckpointError
        The file is damaged.
    ConfigError
        It was made with another recipe.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        # Plain tensors and numbers only: a file from elsewhere must not run code.
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        before = type(config).build(state["recipe"])
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"a checkpoint at {path}", reason, "remove it to start anew") from error
    fields = set(type(config).model_fields) - set(may_change)
    changed = sorted(name for name in fields if getattr(config, name) != getattr(before, name))
    if changed:
        raise ConfigError(
            "the recipe the checkpoint was made with", f"other values of {', '.join(changed)}", "choose another folder"
        )
    return state


def cosine_share(done: float, last: float = 0.0) -> float:
    """Return the share of the rate at a done fraction: a cosine from 1 down to ``last``, where it stays.

    Examples
    --------
    >>> [round(cosine_share(done, 0.2), 3) for done in (0.0, 0.5, 1.0, 2.0)]
    [1.0, 0.6, 0.2, 0.2]
    """
    return last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


def run_epochs(
    first: int,
    n_epochs: int,
    take: Callable[[int], Mapping[str, float]],
    save: Callable[[int, Path], None],
    *,
    folder: Path | None,
    save_every: int = 1,
    progress: Progress = silent,
) -> None:
    """Run the epochs of a training that counts in epochs: figures to the journal, checkpoints, word of how far it is.

    Parameters
    ----------
    first, n_epochs : int
        Epochs done before, and to be done in all.
    take : function
        Trains for one epoch, counted from 0, and returns its figures.
    save : function
        Writes the checkpoint, told how many epochs are done and the folder; asked every ``save_every`` epochs and at the end.
    folder : Path, optional
        Of the run; left out, there is neither journal nor checkpoint.
    progress : Progress
        Told the figures of each epoch, without the rate.

    Raises
    ------
    BackendUnavailableError
        TensorBoard is not installed, and there is a folder.
    """
    journal = None if folder is None else Journal(folder, first, unit="epoch")
    for done in range(first + 1, n_epochs + 1):
        figures = take(done - 1)
        told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if name != "rate")
        progress(f"epoch {done} of {n_epochs}, {told}", done / n_epochs)
        if folder is not None and journal is not None:
            journal.row(TRAIN_TABLE, done, figures)
            if done % save_every == 0 or done == n_epochs:
                save(done, folder)
    if journal is not None:
        journal.close()


class Journal:
    """Figures of a training as CSV tables and in ``tensorboard/``; what was written after the point taken up from is dropped.

    Parameters
    ----------
    folder : Path
        Of the run.
    done : int
        Steps or epochs done before: 0 of a new run.
    tables : names
        Of the CSV files it will write.
    unit : str
        First column: what is counted.

    Raises
    ------
    BackendUnavailableError
        TensorBoard is not installed.
    """

    def __init__(self, folder: Path, done: int = 0, tables: Iterable[str] = (TRAIN_TABLE,), unit: str = "step") -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise BackendUnavailableError(
                "the packages of training", f"{error}", "install them with `pip install vesselgraph[train]`"
            ) from error
        self.folder, self.unit = folder, unit
        for name in tables:
            _forget_after(folder / name, done)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def row(self, table: str, number: int, values: Mapping[str, float]) -> None:
        """Add a row; TensorBoard gets it under the table's name.

        Raises
        ------
        OutputError
            The table cannot be written.
        """
        path = self.folder / table
        new = not path.exists()
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if new:
                    writer.writerow([self.unit, *values])
                writer.writerow([number, *(f"{value:.6g}" for value in values.values())])
        except OSError as error:
            raise OutputError(f"to write {path}", error.strerror or str(error), "check rights and free space") from error
        for key, value in values.items():
            self.board.add_scalar(f"{path.stem}/{key}", value, number)
        self.board.flush()

    def close(self) -> None:
        """Close the files of TensorBoard."""
        self.board.close()


def _forget_after(path: Path, done: int) -> None:
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    # A kill may have cut the last row short.
    kept = [row for row in rows[1:] if len(row) == len(rows[0]) and int(row[0]) <= done]
    if not kept:
        path.unlink()
        return
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([rows[0], *kept])
