"""A trained task on disk: one safetensors file with what was learned, and its card. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from vesselgraph.errors import CheckpointError
from vesselgraph.imaging.looking import Backbone, width_of
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.weights import WeightsCard, read_card, read_weights, write_weights


class TaskCard(WeightsCard):
    """What a reader must know of a trained task, and what the program must.

    Parameters
    ----------
    labels, views : tuple of str
        In order.
    encoder, encoder_digest, weights_digest : str
        Name, card digest, and SHA-256 of the weights (or the seed) of the encoder it was trained on.
    n_parameters : int
        That were learned and are kept.
    n_cases : mapping of split to int
    recipe : mapping
        All settings of the training.
    scores : mapping
        On the split that was judged: figures by label or group.
    """

    KIND: ClassVar[str] = "classifier"
    VERSION: ClassVar[int] = 2

    labels: tuple[str, ...]
    views: tuple[str, ...]
    encoder: str
    encoder_digest: str
    weights_digest: str
    n_parameters: int = 0
    n_cases: Mapping[str, int] = {}
    recipe: Mapping[str, Any] = {}
    scores: Mapping[str, Mapping[str, float | None]] = {}


def save_task(plugin: TaskPlugin, card: TaskCard, path: str | Path) -> TaskCard:
    """Write what a task learned and its card (``path`` with the suffix .json); return the card with the digest filled in.

    Raises
    ------
    OutputError
        The folder is missing or not writable.
    """
    return write_weights(plugin.state(), card.model_copy(update={"n_parameters": plugin.n_trained()}), path)


def read_task_card(path: str | Path) -> TaskCard:
    """Return the card beside a task's weights.

    Raises
    ------
    CheckpointError
        The weights or the card are missing, or the card is unreadable or of another kind.
    """
    return read_card(path, TaskCard, "check the path")


def load_task(path: str | Path, backbone: Backbone) -> tuple[TaskPlugin, TaskCard, TrainClassifierConfig]:
    """Return a trained task for a loaded encoder, in evaluation mode, with its card and recipe.

    Raises
    ------
    CheckpointError
        A file is missing, has another digest, was trained on another encoder or other weights of it, or does not fit.
    """
    path = Path(path)
    card = read_task_card(path)
    tensors = read_weights(path, card)
    asked = (card.encoder, card.encoder_digest, card.weights_digest)
    found = (backbone.name, backbone.card_digest, backbone.weights_digest)
    if asked != found:
        raise CheckpointError(
            f"encoder {card.encoder} (card {card.encoder_digest}, weights {card.weights_digest[:20]}), "
            f"on which {path.name} was trained",
            f"{backbone.name} (card {backbone.card_digest}, weights {backbone.weights_digest[:20]})",
            "load that one",
        )
    config = TrainClassifierConfig.build(card.recipe)
    plugin = make_plugin(backbone, config, card.labels, card.views)
    fill(plugin, tensors)
    return plugin.to(config.device).eval(), card, config


def make_plugin(
    backbone: Backbone, config: TrainClassifierConfig, labels: tuple[str, ...], views: tuple[str, ...]
) -> TaskPlugin:
    """Return a new task for an encoder; the same seed gives the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        plugin = TaskPlugin(width_of(backbone.encoder), labels, config.plugin, views)
        plugin.add_adapters(backbone.encoder.network, backbone.encoder.card)
        if config.pixel_weight:
            plugin.add_decoder(width_of(backbone.encoder), config.decoder_width)
    return plugin


def fill(plugin: TaskPlugin, state: Mapping[str, torch.Tensor]) -> None:
    """Fill a task with what was saved of it.

    Raises
    ------
    CheckpointError
        Names or shapes differ.
    """
    wanted = plugin.state()
    shapes, given = ({name: tuple(value.shape) for name, value in one.items()} for one in (wanted, state))
    others = sorted({name for name, _ in shapes.items() ^ given.items()})
    if others:
        raise CheckpointError(
            f"the {len(wanted)} tensors of this task",
            f"{len(others)} that differ, {others[:3]}",
            "use its own recipe",
        )
    with torch.no_grad():
        for name, value in state.items():
            wanted[name].copy_(value)
