"""Making the convolutional encoders of the registry. Needs torch; MONAI is loaded when one of its networks is made."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from vesselgraph.config import SliceConfig, TileConfig
from vesselgraph.encoders.card import EncoderCard
from vesselgraph.encoders.efficientnet import EfficientNetLite0
from vesselgraph.encoders.resnet_inflated import InflatedResNet
from vesselgraph.encoders.slices import SliceEncoder
from vesselgraph.encoders.towers import ChainTower, run_chain
from vesselgraph.encoders.volumes import ConvEncoder


def efficientnet_encoder(card: EncoderCard, config: SliceConfig | None) -> SliceEncoder:
    """Return EfficientNet-Lite0 on slices, with random weights."""
    return SliceEncoder(ChainTower(EfficientNetLite0(), card.config["chain"], card.config["taps"]), card, config)


def monai_slice_encoder(card: EncoderCard, config: SliceConfig | None) -> SliceEncoder:
    """Return a 2-D network of MONAI on slices, with random weights."""
    return SliceEncoder(ChainTower(_monai(card), card.config["chain"], card.config["taps"]), card, config)


def inflated_resnet_encoder(card: EncoderCard, config: TileConfig | None) -> ConvEncoder:
    """Return the inflated ResNet of ``card.config`` (depths, width, chain, taps), with random weights."""
    return _chained(InflatedResNet(card.config["depths"], card.config["width"]), card, config)


def monai_encoder(card: EncoderCard, config: TileConfig | None) -> ConvEncoder:
    """Return a 3-D network of MONAI, with random weights.

    ``card.config`` names the network (``model``, ``settings``), the part of it that is kept (``part``, dotted; all if left
    out), and either ``chain`` and ``taps``, dotted names of stages, or ``taps`` alone, numbers into the list the part returns.
    """
    network = _monai(card)
    if "chain" in card.config:
        return _chained(network, card, config)
    return ConvEncoder(network, card, partial(_look_listed, network, card.config["taps"]), config)


def _monai(card: EncoderCard) -> nn.Module:
    from monai.networks import nets

    # Some of MONAI's networks read values while they are made, which the meta device cannot.
    with torch.device("cpu") if card.config.get("on_cpu") else torch.device(torch.get_default_device()):
        whole: nn.Module = getattr(nets, card.config["model"])(**card.config["settings"])
    return whole.get_submodule(card.config.get("part", ""))


def _chained(network: nn.Module, card: EncoderCard, config: TileConfig | None) -> ConvEncoder:
    return ConvEncoder(network, card, partial(_look_chained, network, card.config["chain"], card.config["taps"]), config)


def _look_chained(network: nn.Module, chain: list[str], taps: list[str], images: Tensor) -> tuple[Tensor, ...]:
    return run_chain(network, chain, taps, images)


def _look_listed(network: nn.Module, taps: list[int], images: Tensor) -> tuple[Tensor, ...]:
    said = network(images)
    return tuple(said[tap] for tap in taps)
