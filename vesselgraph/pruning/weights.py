"""Weights of the learned pruner on disk: one safetensors file and its card, checked against each other when loaded.

Importing this module loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from vesselgraph import weights as shared
from vesselgraph.encoders.source import SourceCard
from vesselgraph.errors import CheckpointError, VesselGraphError
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruning.learning import Fit, make_model

SHIPPED = Path(__file__).parent / "shipped" / "pruner.safetensors"


class PrunerCard(shared.WeightsCard):
    """What a reader must know about the weights of a pruner, and what the program must.

    Parameters
    ----------
    model : str
        See :func:`~vesselgraph.pruning.learning.make_model`.
    features : tuple of str
        What the network is told about a piece, in order.
    encoder : SourceCard, optional
        The frozen encoder whose maps are among the features.
    heat : str
        Source of the heatmaps its graphs were traced from: "ridge" or "network".
    heat_weights : str
        SHA-256 of the weights of that network; empty for the ridge filter.
    temperature : float
        Presence logits are divided by it.
    min_presence : float
        Presence at which a millimetre neither earns nor costs: where, on the validation studies, what is kept is as precise as
        what the rules keep. It is lowered in an image in which the rules keep more.
    recipe : mapping
        All settings of the training.
    data, not_trained_on : str
        In words.
    scores : mapping of name to figure
        On the validation studies.
    licence : str
        Of the weights.
    """

    KIND: ClassVar[str] = "pruner"
    VERSION: ClassVar[int] = 3

    model: str = "attention"
    features: tuple[str, ...]
    encoder: SourceCard | None = None
    heat: str
    heat_weights: str = ""
    temperature: float
    min_presence: float
    recipe: Mapping[str, Any]
    data: str = ""
    not_trained_on: str = ""
    scores: Mapping[str, float] = {}
    licence: str = "Apache-2.0"

    @property
    def settings(self) -> TrainPrunerConfig:
        """The recipe as settings."""
        return TrainPrunerConfig.build(dict(self.recipe))


def save_pruner(fit: Fit, card: PrunerCard, path: Path) -> PrunerCard:
    """Write weights and their card (``path`` with the suffix .json); return the card with the digest filled in.

    Raises
    ------
    OutputError
        The folder is missing or not writable.
    """
    return shared.write_weights(fit.model.state_dict(), card, path)


def load_pruner(weights: str | Path = "") -> tuple[Fit, PrunerCard]:
    """Return a fitted model and its card, which lies beside the weights; those that ship if none are named.

    Raises
    ------
    CheckpointError
        A file is missing or unreadable, the digest is another, or the card is of another kind or version.
    """
    card = read_card(weights)
    state = shared.read_weights(_file(weights), card)
    try:
        model = make_model(card.model, len(card.features), card.settings)
        model.load_state_dict(state)
    except (RuntimeError, VesselGraphError) as error:
        raise CheckpointError(
            f"weights of the model the card describes, {card.model}",
            str(error).splitlines()[0],
            "use the card that was written with them",
        ) from error
    return Fit(model.eval(), card.temperature), card


def read_card(weights: str | Path = "") -> PrunerCard:
    """Return the card beside a weights file; that of the weights that ship if none are named.

    Raises
    ------
    CheckpointError
        The weights or the card are missing, or the card is unreadable or of another kind.
    """
    advice = "train some with `vesselgraph train pruner`" if str(weights) else "install vesselgraph again"
    return shared.read_card(_file(weights), PrunerCard, f'{advice}, check prune.weights, or use prune.method = "rules"')


def _file(weights: str | Path) -> Path:
    return Path(weights) if str(weights) else SHIPPED
