"""The fit of one plugin: epochs over examples, with a checkpoint to go on from. Needs torch."""

from __future__ import annotations

import csv
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vesselgraph.errors import CheckpointError, ConfigError
from vesselgraph.imaging.losses import task_loss
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.imaging.weights import fill
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.io.atomic import atomic_path
from vesselgraph.progress import Progress, silent

CHECKPOINT, CURVE = "checkpoint.pt", "train.csv"
_ORDER, _CASE = range(2)
_MAY_CHANGE = {"checkpoint_epochs", "n_resamples", "groups"}
"""Settings that may differ when a run is taken up: they do not change what is learned."""

Examples = Callable[[Sequence[int], int], tuple[Sequence[Mapping[str, Tensor | None]], Tensor | None]]
"""Numbers of cases and an epoch to their vectors by view, and the loss of the pixels if there is one."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What a fit is told.

    ``folder`` None: nothing is written. ``weights`` (2, labels) of a 0 and a 1; ``labels`` (cases, labels).
    """

    config: TrainClassifierConfig
    folder: Path | None
    weights: Tensor
    labels: Tensor


def fit_plugin(plugin: TaskPlugin, fit: Fit, examples: Examples, *, progress: Progress = silent) -> TaskPlugin:
    """Fit a plugin in place and return it, going on from the folder's checkpoint if there is one.

    AdamW, with rates of their own for adapters, queries and the rest, falling as a cosine.

    Raises
    ------
    ConfigError
        The folder holds a run of another recipe or other cases.
    CheckpointError
        The checkpoint is damaged.
    """
    config = fit.config
    optimizer = _optimizer(plugin, config)
    first, curve = _take_up(plugin, optimizer, fit)
    n_cases = len(fit.labels)
    plugin.train()
    for epoch in range(first, config.n_epochs):
        order = np.random.default_rng([config.seed, _ORDER, epoch]).permutation(n_cases).tolist()
        share = 0.5 * (1.0 + math.cos(math.pi * epoch / config.n_epochs))
        for group in optimizer.param_groups:
            group["lr"] = group["first_rate"] * share
        total = 0.0
        for start in range(0, n_cases, config.batch):
            chosen = order[start : start + config.batch]
            total += _step(plugin, optimizer, fit, examples, chosen, epoch) * len(chosen)
        curve.append((epoch + 1, total / n_cases))
        progress(f"epoch {epoch + 1} of {config.n_epochs}, loss {total / n_cases:.4f}", (epoch + 1) / config.n_epochs)
        if (epoch + 1) % config.checkpoint_epochs == 0 or epoch + 1 == config.n_epochs:
            _save(plugin, optimizer, fit, epoch + 1, curve)
    return plugin.eval()


def case_rng(config: TrainClassifierConfig, epoch: int, number: int) -> np.random.Generator:
    """Return the generator of everything drawn for one case in one epoch."""
    return np.random.default_rng([config.seed, _CASE, epoch, number])


def _step(
    plugin: TaskPlugin, optimizer: torch.optim.Optimizer, fit: Fit, examples: Examples, chosen: list[int], epoch: int
) -> float:
    views, pixels = examples(chosen, epoch)
    answer = plugin(plugin.batch(views))
    loss = task_loss(answer.raw, fit.labels[chosen], fit.weights, fit.config, epoch)
    if pixels is not None:
        loss = loss + fit.config.pixel_weight * pixels
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _optimizer(plugin: TaskPlugin, config: TrainClassifierConfig) -> torch.optim.AdamW:
    query_rate = config.query_rate / math.sqrt(plugin.width)
    groups: dict[float, list[torch.nn.Parameter]] = {config.rate: [], query_rate: [], config.adapter_rate: []}
    for name, value in plugin.trained():
        if name.startswith("adapters.") or ".experts." in name:
            rate = config.adapter_rate
        else:
            rate = query_rate if name.endswith(".query") else config.rate
        groups[rate].append(value)
    return torch.optim.AdamW(
        [{"params": values, "lr": rate, "first_rate": rate} for rate, values in groups.items() if values],
        weight_decay=config.weight_decay,
    )


def _save(plugin: TaskPlugin, optimizer: torch.optim.Optimizer, fit: Fit, epoch: int, curve: list[tuple[int, float]]) -> None:
    if fit.folder is None:
        return
    fit.folder.mkdir(parents=True, exist_ok=True)
    state = {
        "plugin": plugin.state(),
        "decoder": {} if plugin.decoder is None else plugin.decoder.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": epoch,
        "curve": curve,
        "recipe": fit.config.model_dump(mode="json"),
        "labels": fit.labels.cpu(),
    }
    with atomic_path(fit.folder / CHECKPOINT) as temporary:
        torch.save(state, temporary)
    with atomic_path(fit.folder / CURVE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("epoch", "loss"), *((number, f"{loss:.6g}") for number, loss in curve)])


def _take_up(plugin: TaskPlugin, optimizer: torch.optim.Optimizer, fit: Fit) -> tuple[int, list[tuple[int, float]]]:
    path = None if fit.folder is None else fit.folder / CHECKPOINT
    if path is None or not path.is_file():
        return 0, []
    try:
        state = torch.load(path, map_location=fit.labels.device, weights_only=True)
        before = TrainClassifierConfig.build(state["recipe"])
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"a checkpoint at {path}",
            f"{reason}",
            "remove it to start anew",
        ) from error
    fields = set(TrainClassifierConfig.model_fields) - _MAY_CHANGE
    changed = sorted(name for name in fields if getattr(fit.config, name) != getattr(before, name))
    same_cases = torch.equal(state["labels"].nan_to_num(nan=-1.0), fit.labels.nan_to_num(nan=-1.0))
    if changed or not same_cases:
        got = f"other values of {', '.join(changed)}" if changed else "other cases or labels"
        raise ConfigError("the recipe and the cases the checkpoint was made with", got, "choose another folder")
    fill(plugin, state["plugin"])
    if plugin.decoder is not None:
        plugin.decoder.load_state_dict(state["decoder"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"]), list(state["curve"])
