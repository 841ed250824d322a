"""Weights of the learned pruner on disk: one safetensors file and its card, checked against each other when loaded.

Importing this module loads torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vesselgraph.errors import CheckpointError, VesselGraphError
from vesselgraph.io.atomic import atomic_path
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruning.learning import Fit, make_model

KIND, VERSION = "pruner", 3
SHIPPED = Path(__file__).parent / "shipped" / "pruner.safetensors"


class PrunerCard(BaseModel):
    """What a reader must know about the weights of a pruner, and what the program must.

    Parameters
    ----------
    model : str
        See :func:`~vesselgraph.pruning.learning.make_model`.
    features : tuple of str
        What the network is told about a piece, in order.
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
    sha256 : str
        Of the weights file.
    data, not_trained_on : str
        In words.
    scores : mapping of name to figure
        On the validation studies.
    licence : str
        Of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = KIND
    version: int = VERSION
    model: str = "attention"
    features: tuple[str, ...]
    heat: str
    heat_weights: str = ""
    temperature: float
    min_presence: float
    recipe: Mapping[str, Any]
    sha256: str = ""
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
    with atomic_path(path) as temporary:
        save_file({name: value.detach().contiguous() for name, value in fit.model.state_dict().items()}, temporary)
        card = card.model_copy(update={"sha256": _digest(temporary)})
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def load_pruner(weights: str | Path = "") -> tuple[Fit, PrunerCard]:
    """Return a fitted model and its card, which lies beside the weights; those that ship if none are named.

    Raises
    ------
    CheckpointError
        A file is missing or unreadable, the digest is another, or the card is of another kind or version.
    """
    path = Path(weights) if str(weights) else SHIPPED
    card = read_card(path)
    found = _digest(path)
    if found != card.sha256:
        raise CheckpointError(
            f"expected weights with the SHA-256 of their card, {card.sha256[:12]}...; got {found[:12]}... in {path}; copy the "
            "weights and the card together again"
        )
    try:
        model = make_model(card.model, len(card.features), card.settings)
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, VesselGraphError) as error:
        raise CheckpointError(
            f"expected weights of the model the card describes, {card.model}; got {str(error).splitlines()[0]}; use the card "
            "that was written with them"
        ) from error
    return Fit(model.eval(), card.temperature), card


def read_card(weights: str | Path = "") -> PrunerCard:
    """Return the card beside a weights file; that of the weights that ship if none are named.

    Raises
    ------
    CheckpointError
        The weights or the card are missing, or the card is unreadable or of another kind.
    """
    file = Path(weights) if str(weights) else SHIPPED
    if not file.is_file():
        advice = "install vesselgraph again" if file == SHIPPED else "train some with `vesselgraph train pruner`"
        raise CheckpointError(
            f"expected the weights of a pruner; got nothing at {str(file)!r}; {advice}, check prune.weights, or use "
            'prune.method = "rules"'
        )
    path = file.with_suffix(".json")
    try:
        card = PrunerCard.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"expected the card of the weights at {path}; got {reason}; keep the .safetensors and the .json together"
        ) from error
    if (card.kind, card.version) != (KIND, VERSION):
        raise CheckpointError(
            f"expected a card of kind {KIND}, version {VERSION}; got kind {card.kind}, version {card.version}; use weights "
            "trained with this version"
        )
    return card


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
