"""From image files to the vectors a plugin pools; those of the bare encoder are kept on disk. Needs torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vesselgraph.encoders.cache import feature_key
from vesselgraph.encoders.digests import checked_files
from vesselgraph.encoders.encoded import Encoded
from vesselgraph.encoders.loading import AnyEncoder, load_encoder, random_encoder
from vesselgraph.encoders.placing import place
from vesselgraph.encoders.registry import find_card
from vesselgraph.encoders.slices import SliceEncoder
from vesselgraph.errors import InputError
from vesselgraph.imaging.adapting import adapted
from vesselgraph.imaging.cases import require_slices, require_values
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.io import read_image
from vesselgraph.io.atomic import atomic_path
from vesselgraph.resampling import resample
from vesselgraph.volume import Volume


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen encoder and what tells it apart: its name, its card's digest, and that of its weights (or their seed)."""

    encoder: AnyEncoder
    name: str
    card_digest: str
    weights_digest: str


def load_backbone(config: TrainClassifierConfig) -> Backbone:
    """Return the encoder a recipe names, on its device, with the digest of its weights.

    Raises
    ------
    InputError
        There is no such encoder, or it cannot be made here.
    CheckpointError
        The weights are missing or have another digest.
    """
    card = find_card(config.encoder)
    settings = config.slices if card.kind == "2d" else config.tiles
    if config.random_weights:
        encoder, digest = random_encoder(config.encoder, seed=config.seed, config=settings), f"random, seed {config.seed}"
    else:
        digest = checked_files(card, config.weights or None, config.sha256)[1]
        encoder = load_encoder(config.encoder, config.weights or None, sha256=config.sha256, config=settings)
    encoder.to(config.device)
    return Backbone(encoder, config.encoder, card.digest(), digest)


def prepared(volume: Volume, config: TrainClassifierConfig, backbone: Backbone, name: str = "") -> Volume:
    """Return a volume as the encoder is shown it: checked, on the recipe's spacing, scaled if asked for, turned by the card.

    Raises
    ------
    RangeError
        Values are not finite, or all the same, in a slice too where the encoder looks at slices.
    InputError
        The card does not say what the encoder is fed.
    """
    card = backbone.encoder.card.input
    if card is None:
        raise InputError("a card that says what the network is fed", f"{backbone.name} without input", "complete the card")
    name = name or volume.name or "the image"
    require_values(volume, name)
    if config.spacing is not None:
        wanted = np.asarray(config.spacing)
        shape = tuple(int(n) for n in np.maximum(1, np.round(volume.extent / wanted)))
        volume = resample(volume, volume.space.rescaled(wanted), (shape[0], shape[1], shape[2]))
    if config.values == "percentiles":
        low, high = (float(one) for one in np.percentile(volume.array, (1.0, 99.0)))
        share = (volume.array.astype(np.float32) - low) / max(high - low, 1e-6)
        volume = volume.with_array((card.low + share * (card.high - card.low)).astype(np.float32))
    placed = place(volume, card)
    return require_slices(placed, name) if backbone.encoder.card.kind == "2d" else placed


def encode(backbone: Backbone, volume: Volume) -> Encoded:
    """Return the features of a prepared volume; differentiable where gradients are on."""
    return backbone.encoder.encode(as_images(backbone, volume), [volume.space])


def as_images(backbone: Backbone, volume: Volume) -> Tensor:
    """Return a prepared volume as a batch of one, (1, 1, planes, rows, columns), on the encoder's device."""
    device = next(backbone.encoder.network.parameters()).device
    return torch.tensor(np.ascontiguousarray(volume.array), dtype=torch.float32, device=device)[None, None]


def summarise(backbone: Backbone, volume: Volume) -> Tensor:
    """Return the vectors of a prepared volume, (n, channels), without holding maps where the encoder looks at slices."""
    if isinstance(backbone.encoder, SliceEncoder):
        return backbone.encoder.summaries(as_images(backbone, volume))[0]
    return tokens_of(encode(backbone, volume))


def tokens_of(encoded: Encoded) -> Tensor:
    """Return the vectors of one encoded image, (n, channels): of its slices, or of the cells of a 3-D network's last map."""
    if encoded.tokens is not None and encoded.token_mask is not None:
        return encoded.tokens[0][encoded.token_mask[0]]
    return encoded.maps[-1].data[0].flatten(1).T


def width_of(encoder: AnyEncoder) -> int:
    """Return the channels of an encoder's vectors."""
    return encoder.card.maps[-1].channels


class Looker:
    """Gives the vectors of files through one backbone; those that no adapter changes are kept in a folder.

    Parameters
    ----------
    backbone : Backbone
    config : TrainClassifierConfig
    folder : Path, optional
        Where vectors of the bare encoder are kept; left out: in memory only.
    """

    def __init__(self, backbone: Backbone, config: TrainClassifierConfig, folder: Path | None = None) -> None:
        self.backbone, self.config, self.folder = backbone, config, folder
        self._held: dict[str, Tensor] = {}

    def image(self, path: str) -> Volume:
        """Return an image file as the encoder is shown it."""
        return prepared(read_image(path), self.config, self.backbone, path)

    def bare(self, path: str) -> Tensor:
        """Return the vectors (n, channels) of an image file through the bare encoder, on the CPU."""
        if path not in self._held:
            self._held[path] = self._kept(self.image(path))
        return self._held[path]

    def views(self, plugin: TaskPlugin, images: Mapping[str, str]) -> dict[str, Tensor | None]:
        """Return the vectors of a case's views, without gradients; None where there is no image."""
        found: dict[str, Tensor | None] = {}
        for view in plugin.view_names:
            if view not in images:
                found[view] = None
            elif plugin.adapters[view]:
                with torch.no_grad(), adapted(self.backbone.encoder.network, plugin.adapters[view]):
                    found[view] = summarise(self.backbone, self.image(images[view]))
            else:
                found[view] = self.bare(images[view]).to(plugin.head.weight.device)
        return found

    def _kept(self, volume: Volume) -> Tensor:
        path = None if self.folder is None else self.folder / f"{self._key(volume)}.safetensors"
        if path is not None and path.is_file():
            try:
                return load_file(path)["tokens"]
            except (SafetensorError, KeyError, OSError):
                path.unlink(missing_ok=True)
        with torch.no_grad():
            tokens = summarise(self.backbone, volume).float().cpu().contiguous()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                save_file({"tokens": tokens}, temporary)
        return tokens

    def _key(self, volume: Volume) -> str:
        one = self.backbone
        settings = self.config.slices if one.encoder.card.kind == "2d" else self.config.tiles
        words = hashlib.sha256(one.weights_digest.encode()).hexdigest()
        return feature_key(volume, one.card_digest, words, settings.digest())
