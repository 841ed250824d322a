"""Fitting the learned pruner to labelled branch graphs, and calibrating what it says.

Importing this module loads torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from vesselgraph.errors import ConfigError, InputError
from vesselgraph.progress import Progress, silent
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruning.attention import BranchAttention, Zhang2020
from vesselgraph.subjective_logic import evidence_loss, evidence_of, opinion
from vesselgraph.training import cosine_share, make_run_folder, read_checkpoint, run_epochs, write_checkpoint

IntArray = NDArray[np.int64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PrunerCase:
    """One over-complete graph, ready for learning.

    Attributes
    ----------
    features : (P, F) float32
        See :func:`~vesselgraph.pruning.features.piece_features`.
    link, relation : (2, K) int64, (K, R) float32
        See :class:`~vesselgraph.pruning.branch_graph.BranchGraph`.
    presence : (P,) float32
        0 to 1, see :func:`~vesselgraph.pruning.labels.label_pieces`.
    length : (P,) float32
        mm; the weight of a piece.
    """

    features: Float32
    link: IntArray
    relation: Float32
    presence: Float32
    length: Float32


@dataclass
class Fit:
    """A fitted model with the course of its training.

    Attributes
    ----------
    model : Module
        With the weights of the best validation epoch.
    temperature : float
        Presence logits are divided by it.
    curve : list of dict
        Epoch, learning rate, training loss, validation loss.
    """

    model: nn.Module
    temperature: float
    curve: list[dict[str, float]] = field(default_factory=list)

    def presence(self, case: PrunerCase) -> NDArray[np.float64]:
        """Return the calibrated probability of every piece, (P,)."""
        return np.asarray(torch.sigmoid(_logits(_predict(self.model, case)) / self.temperature), np.float64)

    def uncertainty(self, case: PrunerCase) -> NDArray[np.float64] | None:
        """Return the share of each opinion that no evidence covers, (P,) in (0, 1]; None of a model that tells a logit."""
        raw = _predict(self.model, case)
        return np.asarray(opinion(evidence_of(raw)).uncertainty, np.float64) if raw.ndim == 2 else None


def make_model(kind: str, n_features: int, config: TrainPrunerConfig) -> nn.Module:
    """Return an unfitted model: "attention", "perceptron" (no links), or "zhang2020".

    Raises
    ------
    InputError
        Another kind is asked for, or evidence of the baseline, which has none.
    """
    torch.manual_seed(config.seed)
    if kind == "zhang2020":
        if config.head != "logit":
            raise InputError("head = logit for zhang2020", config.head, "use attention")
        return Zhang2020(n_features)
    layers = {"attention": config.n_layers, "perceptron": 0}
    if kind not in layers:
        raise InputError("a model among attention, perceptron, zhang2020", kind, "correct the name")
    return BranchAttention(
        n_features, config.width, layers[kind], config.n_heads, config.dropout, 1 + (config.head == "evidence")
    )


def fit_pruner(
    training: Sequence[PrunerCase],
    validation: Sequence[PrunerCase],
    config: TrainPrunerConfig | None = None,
    *,
    kind: str = "attention",
    folder: Path | None = None,
    progress: Progress = silent,
) -> Fit:
    """Return a model fitted to cases, chosen and calibrated on others.

    One step an epoch and graph, in a seeded order; AdamW with a cosine rate; the loss is binary cross-entropy weighted by
    length, or that of evidence (:func:`~vesselgraph.subjective_logic.evidence_loss`; a label between 0 and 1 is both, each with
    its share). The weights of the epoch with the lowest validation loss are kept.

    Parameters
    ----------
    training, validation : sequences of PrunerCase
        From different phantoms or patients.
    config : TrainPrunerConfig, optional
        Sizes, rate, epochs, seed.
    kind : str
        See :func:`make_model`.
    folder : path, optional
        Gets ``train.csv``, ``tensorboard/`` and after every epoch ``checkpoint.pt``, from which a fit that was killed goes on
        to the same weights. Left out, nothing is written.
    progress : Progress
        Called per epoch.

    Raises
    ------
    InputError
        One of the sets is empty.
    ConfigError
        The folder holds an unfinished fit of another recipe or model.
    CheckpointError
        Its checkpoint is damaged.
    BackendUnavailableError
        TensorBoard is not installed, and there is a folder.
    OutputError
        The folder cannot be written.
    """
    config = config or TrainPrunerConfig()
    if not training or not validation:
        raise InputError("training and validation cases", f"{len(training)} and {len(validation)}", "make more cases")
    model = make_model(kind, training[0].features.shape[1], config)
    model.fit_scale(torch.from_numpy(np.concatenate([case.features for case in training])))  # type: ignore[operator]
    run = _Run(kind, config, model)
    first = 0 if folder is None else run.take_up(folder)
    run_epochs(
        first,
        config.n_epochs,
        lambda epoch: run.epoch(epoch, training, validation),
        lambda _, place: run.save(place),
        folder=folder,
        progress=progress,
    )
    fit = run.fit
    model.load_state_dict(run.chosen)
    model.eval()
    fit.temperature = best_temperature(
        np.concatenate([_logits(_predict(model, case)).numpy() for case in validation]),
        np.concatenate([case.presence for case in validation]),
        np.concatenate([case.length for case in validation]),
    )
    return fit


class _Run:
    """A fit under way: everything its next epoch depends on."""

    def __init__(self, kind: str, config: TrainPrunerConfig, model: nn.Module) -> None:
        self.kind, self.config, self.fit = kind, config, Fit(model, 1.0)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=config.rate, weight_decay=config.weight_decay)
        self.rng = np.random.default_rng(config.seed)
        self.lowest, self.chosen = float("inf"), _state(model)

    def epoch(self, epoch: int, training: Sequence[PrunerCase], validation: Sequence[PrunerCase]) -> dict[str, float]:
        """Take one step a training case, then see whether the weights are the best so far; return rate and losses."""
        config, model = self.config, self.fit.model
        rate = config.rate * cosine_share(epoch / config.n_epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        model.train()
        # Evidence is found before it is doubted.
        losses, pull = [], config.pull * min(1.0, epoch / max(0.5 * config.n_epochs, 1.0))
        for i in self.rng.permutation(len(training)):
            self.optimizer.zero_grad()
            loss = _loss(model(*_inputs(training[i], self.rng, config.feature_noise)), training[i], pull)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            self.optimizer.step()
            losses.append(float(loss.detach()))
        value = float(np.mean([_loss(_predict(model, case), case, config.pull) for case in validation]))
        figures = {"rate": rate, "training": float(np.mean(losses)), "validation": value}
        self.fit.curve.append({"epoch": epoch, **figures})
        if value < self.lowest:
            self.lowest, self.chosen = value, _state(model)
        return figures

    def save(self, folder: Path) -> None:
        """Write the checkpoint; with the states of both generators, as order and noise go on in one stream."""
        state = {
            "kind": self.kind,
            "model": self.fit.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": self.rng.bit_generator.state,
            "dropout": torch.get_rng_state(),
            "lowest": self.lowest,
            "chosen": self.chosen,
            "curve": self.fit.curve,
        }
        write_checkpoint(state, self.config, folder)

    def take_up(self, folder: Path) -> int:
        """Go on from the checkpoint if there is one; return the epochs done.

        Raises
        ------
        ConfigError
            It is of another recipe or model.
        CheckpointError
            It is damaged.
        OutputError
            The folder cannot be written.
        """
        make_run_folder(folder)
        state = read_checkpoint(self.config, folder, ())
        if state is None:
            return 0
        if state["kind"] != self.kind:
            raise ConfigError("the model the checkpoint was made with", self.kind, f"choose {state['kind']} or another folder")
        self.fit.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["order"]
        torch.set_rng_state(state["dropout"])
        self.lowest, self.chosen, self.fit.curve = state["lowest"], state["chosen"], state["curve"]
        return len(self.fit.curve)


def best_temperature(logit: Float32, presence: Float32, weight: Float32) -> float:
    """Return the temperature that minimises the weighted cross-entropy of ``sigmoid(logit / temperature)``.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, section 4.2.
    """
    x, y, w = (np.asarray(values, np.float64) for values in (logit, presence, weight))

    def cost(log_temperature: float) -> float:
        z = x / np.exp(log_temperature)
        return float(np.sum(w * (np.logaddexp(0.0, z) - y * z)))

    found: Any = minimize_scalar(cost, bounds=(-3.0, 3.0), method="bounded")
    return float(np.exp(found.x))


def calibration_error(
    probability: NDArray[np.floating], presence: NDArray[np.floating], weight: NDArray[np.floating], n_bins: int = 15
) -> tuple[float, list[dict[str, float]]]:
    """Return the expected calibration error, weighted by length, and the reliability table it comes from.

    References
    ----------
    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.

    Examples
    --------
    >>> calibration_error(np.array([0.8, 0.8]), np.array([1.0, 1.0]), np.ones(2))[0].__round__(3)
    0.2
    """
    p, y, w = (np.asarray(values, np.float64) for values in (probability, presence, weight))
    which = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    table, error = [], 0.0
    for k in range(n_bins):
        inside = which == k
        total = w[inside].sum()
        if total > 0:
            said, true = float(np.average(p[inside], weights=w[inside])), float(np.average(y[inside], weights=w[inside]))
            table.append({"said": said, "true": true, "share": float(total / w.sum())})
            error += abs(said - true) * total / w.sum()
    return float(error), table


def _inputs(case: PrunerCase, rng: np.random.Generator | None = None, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    features = case.features
    if rng is not None and noise > 0:
        features = features + noise * features.std(axis=0) * rng.standard_normal(features.shape).astype(np.float32)
    return torch.from_numpy(features), torch.from_numpy(case.link), torch.from_numpy(case.relation)


def _loss(raw: Tensor, case: PrunerCase, pull: float) -> Tensor:
    presence, length = torch.from_numpy(case.presence), torch.from_numpy(case.length)
    if raw.ndim == 2:
        there, absent = (evidence_loss(evidence_of(raw), torch.full_like(presence, label), pull) for label in (1.0, 0.0))
        each = presence * there + (1.0 - presence) * absent
    else:
        each = nn.functional.binary_cross_entropy_with_logits(raw, presence, reduction="none")
    return (each * length).sum() / length.sum().clamp_min(1.0)


def _logits(raw: Tensor) -> Tensor:
    """Return the log odds of presence, (P,): what a model tells, or those of the mean of the Beta distribution."""
    if raw.ndim == 1:
        return raw
    parameters = (evidence_of(raw) + 1.0).log()
    return parameters[:, 0] - parameters[:, 1]


def _predict(model: nn.Module, case: PrunerCase) -> Tensor:
    model.eval()
    with torch.no_grad():
        out: Tensor = model(*_inputs(case))
    return out


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
