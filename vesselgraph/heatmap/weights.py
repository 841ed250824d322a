"""Weights on disk: one safetensors file and its card, checked against each other when loaded.

Loaded only when the network is asked for: it needs torch and MONAI.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vesselgraph.errors import CheckpointError
from vesselgraph.heatmap.gates import FoundationCard
from vesselgraph.heatmap.network import PHASES, TREES, HeatmapNetwork
from vesselgraph.io.atomic import atomic_path

SHIPPED = Path(__file__).parent / "shipped" / "heatmap.safetensors"


class Card(BaseModel):
    """What a reader must know about weights, and what the program must.

    Parameters
    ----------
    widths, n_groups : tuple of int, int
        Of :class:`~vesselgraph.heatmap.network.HeatmapNetwork`.
    phases, trees : tuple of str
        Names the inputs and the identity head were trained with, in order.
    step, sigma : mm
        Grid the network works on; width of the heat it was taught.
    sha256 : str
        Of the weights file.
    n_steps : int
        Training steps behind them.
    recipe : mapping
        All settings of the training; with the seeds in it the training can be repeated.
    data, not_trained_on : str
        In words.
    scores : mapping of name to figure
        On the validation studies, at ``n_steps``.
    licence : str
        Of the weights.
    foundation : FoundationCard, optional
        The encoder's features it sees; none: only its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = "heatmap"
    version: int = 1
    widths: tuple[int, ...]
    n_groups: int
    phases: tuple[str, ...] = PHASES
    trees: tuple[str, ...] = TREES
    step: float
    sigma: float
    sha256: str = ""
    n_steps: int = 0
    recipe: Mapping[str, Any] = {}
    data: str = ""
    not_trained_on: str = ""
    scores: Mapping[str, float] = {}
    licence: str = "Apache-2.0"
    foundation: FoundationCard | None = None


def save_weights(network: HeatmapNetwork, card: Card, path: str | Path) -> Card:
    """Write weights and their card (``path`` with the suffix .json); return the card with the digest filled in.

    Raises
    ------
    OutputError
        The folder is missing or not writable.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, temporary)
        digest = _digest(temporary)
    card = card.model_copy(update={"sha256": digest, "widths": network.widths, "n_groups": network.n_groups})
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def load_network(path: str | Path = "", device: torch.device | None = None) -> tuple[HeatmapNetwork, Card]:
    """Return a network with its weights, in evaluation mode on ``device``, and the card.

    Parameters
    ----------
    path : str or Path
        The .safetensors file, with its card beside it; empty: the shipped weights.
    device : torch.device, optional
        CPU if left out.

    Raises
    ------
    CheckpointError
        A file is missing or unreadable, the digest is another, or the card is of another kind or version.
    """
    file = Path(path) if str(path) else SHIPPED
    card = read_card(file)
    if _digest(file) != card.sha256:
        raise CheckpointError(
            f"expected weights with the SHA-256 of their card, {card.sha256[:12]}...; got {_digest(file)[:12]}... in {file}; "
            "copy the weights and the card together again"
        )
    try:
        network = network_of(card.widths, card.n_groups, card.foundation)
        network.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"expected weights of the network the card describes, widths {card.widths}; got {str(error).splitlines()[0]}; "
            "use the card that was written with them"
        ) from error
    network.to(device or torch.device("cpu"))
    return network.eval().channels_last(), card


def network_of(widths: Sequence[int], n_groups: int, foundation: FoundationCard | None) -> HeatmapNetwork:
    """Return a fresh network, with gates for the features of an encoder if it sees any."""
    if foundation is None:
        return HeatmapNetwork(widths, n_groups)
    return HeatmapNetwork(widths, n_groups, foundation.use, foundation.maps)


def read_card(weights: Path) -> Card:
    """Return the card beside a weights file.

    Raises
    ------
    CheckpointError
        The weights or the card are missing, or the card is unreadable or of another kind.
    """
    if not weights.is_file():
        if weights == SHIPPED:
            raise CheckpointError(
                f"expected the weights that ship with vesselgraph; got nothing at {weights}; install vesselgraph again, name "
                'weights of your own in heatmap.weights, or use heatmap.method = "ridge"'
            )
        raise CheckpointError(f"expected a weights file; got nothing at {weights}; check heatmap.weights")
    path = weights.with_suffix(".json")
    try:
        card = Card.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError, json.JSONDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"expected the card of the weights at {path}; got {reason}; keep the .safetensors and the .json together"
        ) from error
    known = ("heatmap", 1, PHASES, TREES)
    if (card.kind, card.version, card.phases, card.trees) != known:
        raise CheckpointError(
            f"expected a card of kind heatmap, version 1, for phases {PHASES} and trees {TREES}; got kind {card.kind}, version "
            f"{card.version}, phases {card.phases}, trees {card.trees}; use weights trained with this version"
        )
    return card


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
