"""The fit of one plugin: epochs over examples, with a checkpoint to go on from. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vesselgraph.errors import ConfigError
from vesselgraph.imaging.losses import task_loss
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.imaging.weights import fill
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.progress import Progress, silent
from vesselgraph.training import cosine_share, make_run_folder, read_checkpoint, run_epochs, write_checkpoint

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
    first = _take_up(plugin, optimizer, fit)
    plugin.train()
    run_epochs(
        first,
        config.n_epochs,
        lambda epoch: _epoch(plugin, optimizer, fit, examples, epoch),
        lambda n_done, folder: _save(plugin, optimizer, fit, n_done, folder),
        folder=fit.folder,
        save_every=config.checkpoint_epochs,
        progress=progress,
    )
    return plugin.eval()


def case_rng(config: TrainClassifierConfig, epoch: int, number: int) -> np.random.Generator:
    """Return the generator of everything drawn for one case in one epoch."""
    return np.random.default_rng([config.seed, _CASE, epoch, number])


def _epoch(plugin: TaskPlugin, optimizer: torch.optim.Optimizer, fit: Fit, examples: Examples, epoch: int) -> dict[str, float]:
    config, n_cases = fit.config, len(fit.labels)
    order = np.random.default_rng([config.seed, _ORDER, epoch]).permutation(n_cases).tolist()
    share = cosine_share(epoch / config.n_epochs)
    for group in optimizer.param_groups:
        group["lr"] = group["first_rate"] * share
    total = 0.0
    for start in range(0, n_cases, config.batch):
        chosen = order[start : start + config.batch]
        total += _step(plugin, optimizer, fit, examples, chosen, epoch) * len(chosen)
    return {"rate": config.rate * share, "loss": total / n_cases}


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


def _save(plugin: TaskPlugin, optimizer: torch.optim.Optimizer, fit: Fit, n_done: int, folder: Path) -> None:
    state = {
        "plugin": plugin.state(),
        "decoder": {} if plugin.decoder is None else plugin.decoder.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": n_done,
        "labels": fit.labels.cpu(),
    }
    write_checkpoint(state, fit.config, folder)


def _take_up(plugin: TaskPlugin, optimizer: torch.optim.Optimizer, fit: Fit) -> int:
    if fit.folder is None:
        return 0
    make_run_folder(fit.folder)
    state = read_checkpoint(fit.config, fit.folder, _MAY_CHANGE, fit.labels.device)
    if state is None:
        return 0
    if not torch.equal(state["labels"].nan_to_num(nan=-1.0), fit.labels.nan_to_num(nan=-1.0)):
        raise ConfigError("the cases the checkpoint was made with", "other cases or labels", "choose another folder")
    fill(plugin, state["plugin"])
    if plugin.decoder is not None:
        plugin.decoder.load_state_dict(state["decoder"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])
