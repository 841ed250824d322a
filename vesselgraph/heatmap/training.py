"""Training of the heatmap network: one call that can be killed at any time and taken up again.

Loaded only for training: it needs torch, MONAI, Lightning Fabric and TensorBoard (the extra ``train``).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.errors import BackendUnavailableError, ConfigError
from vesselgraph.heatmap.batches import Batches, CaseSource
from vesselgraph.heatmap.cases import TrainingCase
from vesselgraph.heatmap.foundation import Foundation, foundation_for, set_scaling
from vesselgraph.heatmap.gates import FoundationCard
from vesselgraph.heatmap.losses import Loss, Truth, heatmap_loss
from vesselgraph.heatmap.network import HeatmapNetwork
from vesselgraph.heatmap.sources import ManifestSource, StudySource
from vesselgraph.heatmap.validation import Box, make_box, validate
from vesselgraph.heatmap.weights import Card, load_network, network_of, save_weights
from vesselgraph.progress import Progress, silent
from vesselgraph.training import (
    CHECKPOINT,
    TRAIN_TABLE,
    Journal,
    cosine_share,
    make_run_folder,
    read_checkpoint,
    write_checkpoint,
    write_recipe,
)

try:
    from lightning_fabric import Fabric
except ImportError as error:
    raise BackendUnavailableError(
        "the packages of training",
        str(error),
        "install them with `pip install vesselgraph[train]`",
    ) from error

WEIGHTS, VALIDATION_TABLE = "heatmap.safetensors", "validation.csv"

_ROW_EVERY = 20
_MAY_CHANGE = {"n_workers", "checkpoint_minutes"}
"""Settings that may differ when a run is taken up: they do not change what comes out."""


@dataclass(frozen=True)
class Training:
    """What a training has come to: steps done, the weights file, and the last validation's figures."""

    n_steps: int
    weights: Path
    scores: dict[str, float]


@dataclass
class _Run:
    """A training: what it was told, and everything that changes on the way, which is what a checkpoint holds."""

    config: TrainHeatmapConfig
    folder: Path
    fabric: Fabric
    network: Any
    optimizer: Any
    average: AveragedModel
    foundation: Foundation | None = None
    step: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(len(Loss._fields)))
    scores: dict[str, float] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Return what is written."""
        return {
            "network": self.network.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "step": self.step,
            "sums": self.sums,
            "scores": self.scores,
        }


def train_heatmap(
    config: TrainHeatmapConfig,
    folder: str | Path,
    *,
    generated: CaseSource | None = None,
    real: CaseSource | None = None,
    validation: list[TrainingCase] | None = None,
    stop_at: int | None = None,
    progress: Progress = silent,
) -> Training:
    """Train the heatmap network, or go on with a training that was interrupted.

    What a step sees and does depends on the recipe and the step alone, so a run that was killed and taken up gives the
    same weights as one that was not, on the same machine with the same number of threads.

    Parameters
    ----------
    config : TrainHeatmapConfig
        The recipe.
    folder : path
        Gets ``recipe.toml``, ``train.csv``, ``validation.csv``, ``tensorboard/``, ``pictures/``, ``checkpoint.pt`` and the
        weights ``heatmap.safetensors`` with their card. If it holds a checkpoint of the same recipe, that run goes on.
    generated, real : CaseSource, optional
        Where cases come from; by default generated studies and the manifest of the recipe.
    validation : list of TrainingCase, optional
        Cases to judge on; by default generated studies with seeds just below the first one learned from.
    stop_at : int, optional
        Stop, with a checkpoint, after this many steps.
    progress : Progress
        Told the step and its loss.

    Raises
    ------
    ConfigError
        The recipe has no cases, its patch or the weights to start from do not fit the network, the encoder lacks a map that
        is asked for, or the folder holds a run of another recipe.
    InputError
        There is no such encoder.
    CheckpointError
        The weights to start from, or those of the encoder, are missing or damaged.
    BackendUnavailableError
        The device is not there.
    OutputError
        The folder cannot be written.
    """
    folder = Path(folder)
    _check(config)
    make_run_folder(folder, "pictures")
    fabric = _fabric(config)
    generated = StudySource(config, folder / "cases") if generated is None else generated
    real = ManifestSource(config) if real is None else real
    if not len(generated) + len(real):
        raise ConfigError("at least one case to learn from", "no study and no manifest", "set n_studies or manifest")
    foundation = foundation_for(config.features, config.step, len(config.widths), folder / "features")
    run = _start(config, folder, fabric, foundation, real if len(real) else generated)
    _take_up(run)
    if fabric.is_global_zero:
        write_recipe(config, folder)
    boxes = _boxes(run, validation, progress) if fabric.is_global_zero else []
    last = min(stop_at or config.n_steps, config.n_steps)
    _loop(run, Batches(config, generated, real, fabric.global_rank, foundation), boxes, last, progress)
    return Training(run.step, folder / WEIGHTS, dict(run.scores))


def _check(config: TrainHeatmapConfig) -> None:
    multiple = 2 ** (len(config.widths) - 1)
    if config.patch % multiple:
        raise ConfigError(f"a patch side that is a multiple of {multiple}", f"{config.patch}", "change patch or widths")


def _fabric(config: TrainHeatmapConfig) -> Fabric:
    several = config.n_devices * config.n_machines > 1
    try:
        fabric = Fabric(
            accelerator=config.device,
            devices=config.n_devices,
            num_nodes=config.n_machines,
            precision=config.precision,
            # With one phase the attention over phases has nothing to say, so it gets no gradient.
            strategy="ddp_find_unused_parameters_true" if several else "auto",
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise BackendUnavailableError(
            f"{config.n_devices} device(s) of kind {config.device}",
            str(error).splitlines()[0],
            "set device = cpu",
        ) from error
    return fabric


def _start(config: TrainHeatmapConfig, folder: Path, fabric: Fabric, foundation: Foundation | None, source: CaseSource) -> _Run:
    described = None if foundation is None else foundation.card
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        bare = network_of(config.widths, config.n_groups, described)
    if foundation is not None and not (folder / CHECKPOINT).is_file():
        case = source.case(0)
        set_scaling(bare, foundation.context(case.phases, case.phases, case.space))
    if config.start_from:
        _start_from(bare, config, described)
    bare.train().channels_last()
    average = AveragedModel(bare, avg_fn=_average_of(config.average)).to(fabric.device)
    optimizer = torch.optim.AdamW(bare.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    network, optimizer = fabric.setup(bare, optimizer)
    return _Run(config, folder, fabric, network, optimizer, average, foundation)


def _start_from(bare: HeatmapNetwork, config: TrainHeatmapConfig, foundation: FoundationCard | None) -> None:
    """Give a network the weights to start from; those of a plain one leave its gates closed."""
    network, card = load_network(config.start_from)
    asked = (config.widths, config.n_groups, config.step, config.sigma)
    found = (card.widths, card.n_groups, card.step, card.sigma)
    if asked != found or card.foundation not in (None, foundation):
        raise ConfigError(
            f"weights of widths, groups, step and sigma {asked} in start_from, with the features of the recipe or none",
            f"{found} with {card.foundation.encoder if card.foundation else 'none'}",
            "set the recipe to those of the card",
        )
    bare.load_state_dict({**bare.state_dict(), **network.state_dict()})


def _average_of(decay: float) -> Any:
    def blend(average: Tensor, now: Tensor, n_averaged: Tensor) -> Tensor:
        # A young mean follows faster, or the first steps would stay in it for long.
        kept = min(decay, (1.0 + float(n_averaged)) / (10.0 + float(n_averaged)))
        return average.lerp(now, 1.0 - kept)

    return blend


def _take_up(run: _Run) -> None:
    state = read_checkpoint(run.config, run.folder, _MAY_CHANGE)
    if state is None:
        return
    run.network.module.load_state_dict(state["network"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.average.load_state_dict(state["average"])
    run.step, run.sums, run.scores = state["step"], state["sums"], state["scores"]


def _boxes(run: _Run, cases: list[TrainingCase] | None, progress: Progress) -> list[Box]:
    config = run.config
    if cases is None:
        source = StudySource(config, run.folder / "cases")
        cases = []
        for i in range(config.n_validation):
            progress("studies to judge on", i / config.n_validation)
            cases.append(source.case(-1 - i))
    return [make_box(case, config, run.foundation) for case in cases]


def _loop(run: _Run, batches: Batches, boxes: list[Box], last: int, progress: Progress) -> None:
    config, fabric = run.config, run.fabric
    journal = Journal(run.folder, run.step, (TRAIN_TABLE, VALIDATION_TABLE)) if fabric.is_global_zero else None
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(run.step, last),
        num_workers=config.n_workers,
        prefetch_factor=8 if config.n_workers else None,
    )
    saved = time.monotonic()
    for phases, truth, context in loader:
        loss = _step(run, fabric.to_device(phases), fabric.to_device(truth), fabric.to_device(context))
        progress(f"step {run.step} of {config.n_steps}, loss {loss:.3f}", run.step / config.n_steps)
        if journal is not None:
            _report(run, journal, boxes, progress)
        # With each validation too, so that the weights it wrote are never ahead of the checkpoint.
        due = run.step % config.validate_every == 0 or time.monotonic() - saved > 60.0 * config.checkpoint_minutes
        if fabric.broadcast(run.step == last or due):
            _save(run)
            saved = time.monotonic()


def _step(run: _Run, phases: dict[str, Tensor], truth: Truth, context: list[Tensor]) -> float:
    """Take one step; return its loss."""
    for group in run.optimizer.param_groups:
        group["lr"] = rate_at(run.step, run.config)
    run.optimizer.zero_grad()
    phases = {name: image.contiguous(memory_format=torch.channels_last_3d) for name, image in phases.items()}
    loss = heatmap_loss(run.network(phases, context), truth, run.config)
    run.fabric.backward(loss.total)
    run.fabric.clip_gradients(run.network, run.optimizer, max_norm=run.config.largest_gradient)
    run.optimizer.step()
    run.average.update_parameters(run.network.module)
    run.step += 1
    run.sums += torch.stack([part.detach().float().cpu() for part in loss])
    return float(loss.total.detach())


def _report(run: _Run, journal: Journal, boxes: list[Box], progress: Progress) -> None:
    """Write the figures of a step where they are due, and the weights with those of a validation."""
    config = run.config
    if run.step % _ROW_EVERY == 0:
        means = dict(zip(Loss._fields, (run.sums / _ROW_EVERY).tolist(), strict=True))
        journal.row(TRAIN_TABLE, run.step, {"rate": rate_at(run.step - 1, config), **means})
        run.sums.zero_()
    if run.step % config.validate_every and run.step != config.n_steps:
        return
    network: Any = run.average.module.eval()
    picture = run.folder / f"pictures/step-{run.step:06d}.png"
    run.scores = validate(network, boxes, config, picture, progress=progress)
    if boxes:
        journal.row(VALIDATION_TABLE, run.step, run.scores)
    described = None if run.foundation is None else run.foundation.card
    save_weights(network, make_card(config, run.step, run.scores, described), run.folder / WEIGHTS)


def rate_at(step: int, config: TrainHeatmapConfig) -> float:
    """Return the learning rate of a step: a linear rise, then a cosine down to the last rate.

    Examples
    --------
    >>> config = TrainHeatmapConfig(rate=0.01, n_warm_up=10, n_steps=110, last_rate_fraction=0.0)
    >>> [round(rate_at(step, config), 4) for step in (0, 9, 10, 60, 110)]
    [0.001, 0.01, 0.01, 0.005, 0.0]
    """
    if step < config.n_warm_up:
        return config.rate * (step + 1) / config.n_warm_up
    done = (step - config.n_warm_up) / max(config.n_steps - config.n_warm_up, 1)
    return config.rate * cosine_share(done, config.last_rate_fraction)


def _save(run: _Run) -> None:
    if run.fabric.is_global_zero:
        write_checkpoint(run.state(), run.config, run.folder)
    run.fabric.barrier()


def make_card(
    config: TrainHeatmapConfig, n_steps: int, scores: dict[str, float], foundation: FoundationCard | None = None
) -> Card:
    """Return the card of weights trained with a recipe."""
    last = config.first_seed + config.n_studies - 1
    parts = []
    if config.n_studies:
        parts.append(f"generated liver studies of vesselgraph.phantom, seeds {config.first_seed} to {last}")
    if config.manifest:
        parts.append(f"the real cases of {Path(config.manifest).name}")
    return Card(
        widths=config.widths,
        n_groups=config.n_groups,
        step=config.step,
        sigma=config.sigma,
        n_steps=n_steps,
        recipe=config.model_dump(mode="json"),
        data="; ".join(parts),
        not_trained_on="any real image" if not config.manifest else "images that are not in the manifest",
        scores={name: value for name, value in scores.items() if math.isfinite(value)},
        foundation=foundation,
    )
