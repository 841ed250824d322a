"""Weights of the heatmap network and their card.

Loaded only when the network is asked for: it needs torch and MONAI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from vesselgraph.errors import CheckpointError
from vesselgraph.heatmap.gates import FoundationCard
from vesselgraph.heatmap.network import PHASES, TREES, HeatmapNetwork
from vesselgraph.weights import WeightsCard, read_weights, write_weights
from vesselgraph.weights import read_card as read_card_of

SHIPPED = Path(__file__).parent / "shipped" / "heatmap.safetensors"


class Card(WeightsCard):
    """What a reader must know about weights, and what the program must.

    Parameters
    ----------
    widths, n_groups : tuple of int, int
        Of :class:`~vesselgraph.heatmap.network.HeatmapNetwork`.
    phases, trees : tuple of str
        Names the inputs and the identity head were trained with, in order.
    step, sigma : mm
        Grid the network works on; width of the heat it was taught.
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

    KIND: ClassVar[str] = "heatmap"

    widths: tuple[int, ...]
    n_groups: int
    phases: tuple[str, ...] = PHASES
    trees: tuple[str, ...] = TREES
    step: float
    sigma: float
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
    described = card.model_copy(update={"widths": network.widths, "n_groups": network.n_groups})
    return write_weights(network.state_dict(), described, path)


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
    state = read_weights(file, card)
    try:
        network = network_of(card.widths, card.n_groups, card.foundation)
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"weights of the network the card describes, widths {card.widths}",
            str(error).splitlines()[0],
            "use the card that was written with them",
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
        The weights or the card are missing, or the card is unreadable or of another kind, version, phases or trees.
    """
    install = 'install vesselgraph again, name weights of your own in heatmap.weights, or use heatmap.method = "ridge"'
    card = read_card_of(weights, Card, install if weights == SHIPPED else "check heatmap.weights")
    if (card.phases, card.trees) != (PHASES, TREES):
        raise CheckpointError(
            f"a card for phases {PHASES} and trees {TREES}",
            f"phases {card.phases}, trees {card.trees}",
            "use weights trained with this version",
        )
    return card
