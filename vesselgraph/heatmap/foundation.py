"""Features of a frozen encoder for the heatmap network: an image is encoded once and read wherever a box or patch lies.

Loaded only when such a network is asked for: it needs torch and, by the encoder, its libraries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vesselgraph.config import SliceConfig, TileConfig
from vesselgraph.encoders.cache import FeatureCache, feature_key
from vesselgraph.encoders.card import EncoderCard, MapCard
from vesselgraph.encoders.digests import checked_files
from vesselgraph.encoders.doors import encode_volume
from vesselgraph.encoders.encoded import Encoded
from vesselgraph.encoders.loading import AnyEncoder, load_encoder, random_encoder
from vesselgraph.encoders.registry import find_card
from vesselgraph.encoders.sampling import read_map
from vesselgraph.errors import CheckpointError, ConfigError
from vesselgraph.heatmap.gates import FoundationCard, GateCard
from vesselgraph.heatmap.network import HeatmapNetwork
from vesselgraph.heatmap.targets import Float32
from vesselgraph.space import FloatArray, Space
from vesselgraph.training_config import FeaturesConfig
from vesselgraph.volume import Volume

_RANDOM = "random, seed 0"
# Half precision halves memory and disk; three digits are enough for features that are standardised after it.
_SLICES = SliceConfig(half=True)
_TILES = TileConfig()
_CACHE_GIGABYTES = 20.0


@dataclass(frozen=True, eq=False)
class Context:
    """The encoded phases of one image.

    Parameters
    ----------
    seen : tuple of Encoded
        One a phase, each with the maps of ``maps``.
    space : Space
        The grid that boxes are counted in.
    maps : tuple of GateCard
    """

    seen: tuple[Encoded, ...]
    space: Space
    maps: tuple[GateCard, ...]

    def box(self, first: Sequence[int], sides: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the maps on the cells of a box of whole voxels, (1, channels, ...) each."""
        return self.patch(np.eye(3), np.asarray(first, np.float64), sides)

    def patch(self, matrix: FloatArray, offset: FloatArray, sides: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the maps on the cells of a patch, (1, channels, ...) each, the mean over the phases.

        Voxel ``k`` of the patch lies at ``matrix @ k + offset`` of the grid. Cells beyond the image hold its nearest ones.
        """
        found = []
        for number, one in enumerate(self.maps):
            step = 2**one.level
            cells = [side // step for side in sides]
            index = np.stack(np.meshgrid(*(step * np.arange(n) for n in cells), indexing="ij"), -1).reshape(-1, 3)
            world = self.space.to_world(index @ matrix.T + offset)
            read = [read_map(image.maps[number], torch.from_numpy(image.spaces[0].to_index(world))) for image in self.seen]
            mean = torch.stack(read).mean(0) if len(read) > 1 else read[0]
            found.append(mean.float().T.reshape(1, one.channels, *cells))
        return tuple(found)

    def boxes(self, firsts: Iterable[Sequence[int]], sides: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the maps of several boxes of one size, stacked."""
        return joined([self.box(first, sides) for first in firsts])

    def shifted(self, first: Sequence[int]) -> Context:
        """Return the same with boxes counted from another first voxel."""
        return replace(self, space=self.space.shifted(first))


def joined(contexts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Return the maps of several patches as one batch."""
    return tuple(torch.cat(same) for same in zip(*contexts, strict=True))


class Foundation:
    """A frozen encoder as the heatmap network uses it.

    Parameters
    ----------
    encoder : SliceEncoder or ConvEncoder
    card : FoundationCard
        Which of its maps, and the digests features are kept under.
    cache : FeatureCache, optional
        Left out: every image is encoded anew.
    """

    def __init__(self, encoder: AnyEncoder, card: FoundationCard, cache: FeatureCache | None = None) -> None:
        self.encoder, self.card, self.cache = encoder, card, cache

    def context(self, phases: Mapping[str, Any], names: Iterable[str], space: Space) -> Context:
        """Return what the encoder sees in some phases, arrays in HU on one grid.

        Raises
        ------
        RangeError
            A phase holds values that are not finite.
        """
        # A fixed order, because sums of floats depend on it.
        return Context(tuple(self.look(phases[name], space) for name in sorted(names)), space, self.card.maps)

    def look(self, array: Float32, space: Space) -> Encoded:
        """Return the chosen maps of one image, from the cache if they are there, float16."""
        volume = Volume(np.asarray(array, np.float32), space)
        settings = f"{_SLICES.digest()} {_TILES.digest()} {[one.name for one in self.card.maps]}"
        key = feature_key(volume, self.card.card_digest, self.card.weights_digest, settings) if self.cache else ""
        known = self.cache.read(key) if self.cache else None
        if known is not None:
            return known
        whole = encode_volume(self.encoder, volume)
        maps = {one.name: replace(one, data=one.data.half()) for one in whole.maps}
        found = Encoded(tuple(maps[one.name] for one in self.card.maps), whole.spaces, whole.shape)
        if self.cache:
            self.cache.write(key, found)
        return found


def foundation_for(config: FeaturesConfig, step: float, n_levels: int, folder: Path) -> Foundation | None:
    """Return the encoder a recipe names, its features kept in ``folder``; None where it asks for none.

    Each map joins the level whose cells are nearest in size to its own along their widest side, at most the coarsest.

    Raises
    ------
    ConfigError
        The encoder has no map of a name.
    InputError
        There is no such encoder, or it cannot be made here.
    CheckpointError
        Its weights are missing or have another digest.
    """
    if config.use == "cnn":
        return None
    card = find_card(config.encoder)
    known = {one.name: one for one in card.maps}
    wanted = config.maps or tuple(known)
    if unknown := sorted(set(wanted) - set(known)):
        raise ConfigError(f"maps of {card.name}: {', '.join(known)}", ", ".join(unknown), "change features.maps")
    maps = tuple(
        GateCard(name=name, channels=known[name].channels, level=_level(card, known[name], step, n_levels)) for name in wanted
    )
    weights = config.weights or None
    digest = _RANDOM if config.random_weights else checked_files(card, weights, config.sha256)[1]
    described = FoundationCard(use=config.use, encoder=card.name, card_digest=card.digest(), weights_digest=digest, maps=maps)
    return Foundation(_encoder(card, digest, weights), described, FeatureCache(folder, config.cache_gigabytes))


def foundation_of(card: FoundationCard, weights: str = "", folder: str = "", device: torch.device | None = None) -> Foundation:
    """Return the encoder a trained network's card names.

    Raises
    ------
    CheckpointError
        The encoder's card or weights are not those the network was trained with, or missing.
    """
    known = find_card(card.encoder)
    if known.digest() != card.card_digest:
        raise CheckpointError(
            f"expected the encoder {card.encoder} as it was in training (card {card.card_digest}); got card {known.digest()}; "
            "use the version of vesselgraph the network was trained with, or train again"
        )
    encoder = _encoder(known, card.weights_digest, weights or None)
    encoder.to(device or torch.device("cpu"))
    return Foundation(encoder, card, FeatureCache(Path(folder), _CACHE_GIGABYTES) if folder else None)


def set_scaling(network: HeatmapNetwork, context: Context) -> None:
    """Take the spread of each channel from one encoded case."""
    for number, gate in enumerate(network.gates):
        cells = torch.cat([one.maps[number].data[0].flatten(1).T.float() for one in context.seen])
        gate.set_scaling(cells)  # type: ignore[operator]


def _level(card: EncoderCard, one: MapCard, step: float, n_levels: int) -> int:
    spacing = (card.input.spacing if card.input else None) or (step,) * 3
    widest = max(stride * length for stride, length in zip(one.stride, spacing, strict=True))
    return min(max(round(math.log2(widest / step)), 0), n_levels - 1)


def _encoder(card: EncoderCard, digest: str, weights: str | None) -> AnyEncoder:
    settings = _SLICES if card.kind == "2d" else _TILES
    if digest == _RANDOM:
        return random_encoder(card.name, seed=0, config=settings)
    return load_encoder(card.name, weights, sha256=digest, config=settings)
