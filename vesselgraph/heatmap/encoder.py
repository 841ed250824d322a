"""The heatmap network as an encoder of volumes: features that know vessels, behind the common protocol. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from vesselgraph.config import TileConfig
from vesselgraph.encoders.card import EncoderCard, InputCard, MapCard, WeightsCard
from vesselgraph.encoders.volumes import ConvEncoder
from vesselgraph.heatmap.network import HeatmapNetwork
from vesselgraph.heatmap.weights import Card, load_network

# (HU - 100) / 100, cut to -3..4, as the network's own scaling.
_LOW, _HIGH = -200.0, 500.0


def heatmap_encoder(weights: str | Path = "", *, phase: str = "unknown", config: TileConfig | None = None) -> ConvEncoder:
    """Return a trained heatmap network as an encoder, frozen and in evaluation mode.

    Its maps are the last level of the decoder (what heat is read from), then the levels of its encoder, each half as fine.

    Parameters
    ----------
    weights : path
        Empty: those shipped.
    phase : str
        The contrast phase the network is told that it sees.
    config : TileConfig, optional
        Tiles bound the memory; group normalisation then sees the tile instead of the image.

    Raises
    ------
    CheckpointError
        The weights are missing, or not what their card says.
    """
    network, card = load_network(weights)
    network.requires_grad_(False)

    def look(images: Tensor) -> Sequence[Tensor]:
        levels = _levels(network, images, phase)
        return [network({phase: images}).features, *levels]

    return ConvEncoder(network, _card_of(card), look, config)


def _levels(network: HeatmapNetwork, images: Tensor, phase: str) -> list[Tensor]:
    values = network.first(network.fusion({phase: images}))
    found = [values]
    for block in network.down:
        found.append(block(found[-1]))
    return found


def _card_of(card: Card) -> EncoderCard:
    steps = [2.0**level for level in range(len(card.widths))]
    levels = [
        MapCard(name=f"level {n}", channels=width, stride=(step,) * 3, offset=(0.0,) * 3)
        for n, (width, step) in enumerate(zip(card.widths, steps, strict=True))
    ]
    decoder = MapCard(name="decoder", channels=card.widths[0], stride=(1.0,) * 3, offset=(0.0,) * 3)
    multiple = int(steps[-1])
    return EncoderCard(
        name="heatmap-network",
        title=f"Heatmap network of vesselgraph, widths {card.widths}",
        kind="3d",
        group="S",
        source=card.data or "weights of your own",
        licence=card.licence,
        commercial_use="yes" if card.licence == "Apache-2.0" else "not stated",
        input=InputCard(low=_LOW, high=_HIGH, mean=(3 / 7,), std=(1 / 7,), spacing=(card.step,) * 3, multiple=(multiple,) * 3),
        maps=(decoder, *levels),
        weights=WeightsCard(sha256=card.sha256),
    )
