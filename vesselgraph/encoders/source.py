"""The encoder a recipe asks for, and the one a trained network's card names: an image in, the chosen maps out, kept on disk.

Needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from vesselgraph.config import SliceConfig, TileConfig
from vesselgraph.encoders.cache import FeatureCache, feature_key
from vesselgraph.encoders.card import EncoderCard
from vesselgraph.encoders.digests import checked_files
from vesselgraph.encoders.doors import encode_volume
from vesselgraph.encoders.encoded import Encoded
from vesselgraph.encoders.loading import AnyEncoder, load_encoder, random_encoder
from vesselgraph.encoders.registry import find_card
from vesselgraph.errors import CheckpointError, ConfigError
from vesselgraph.training_config import FeaturesConfig
from vesselgraph.volume import Volume

_RANDOM = "random, seed "
# Half precision halves memory and disk; three digits are enough for features that are standardised after it.
_SLICES = SliceConfig(half=True)
_TILES = TileConfig()
_CACHE_GIGABYTES = 20.0


class SourceCard(BaseModel):
    """Which features something was trained with, so that it is never fed others.

    Parameters
    ----------
    encoder : str
        Name in the registry.
    card_digest, weights_digest : str
        Of the encoder's card, and the SHA-256 of its weights (random ones: their seed in words).
    maps : tuple of str
        Names of its maps, in the order they are read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    card_digest: str
    weights_digest: str
    maps: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """A frozen encoder, the maps that are read of it, and where they are kept.

    Parameters
    ----------
    encoder : SliceEncoder or ConvEncoder
    card : SourceCard
    cache : FeatureCache, optional
        Left out: every image is encoded anew.
    """

    encoder: AnyEncoder
    card: SourceCard
    cache: FeatureCache | None = None

    def look(self, volume: Volume) -> Encoded:
        """Return the chosen maps of one image, from the cache if they are there, float16.

        Raises
        ------
        RangeError
            The image holds values that are not finite.
        """
        settings = f"{_SLICES.digest()} {_TILES.digest()} {list(self.card.maps)}"
        key = feature_key(volume, self.card.card_digest, self.card.weights_digest, settings) if self.cache else ""
        known = self.cache.read(key) if self.cache else None
        if known is not None:
            return known
        whole = encode_volume(self.encoder, volume)
        maps = {one.name: replace(one, data=one.data.half()) for one in whole.maps}
        found = Encoded(tuple(maps[name] for name in self.card.maps), whole.spaces, whole.shape)
        if self.cache:
            self.cache.write(key, found)
        return found


def source_for(config: FeaturesConfig, folder: Path | None = None) -> FeatureSource | None:
    """Return the encoder a recipe names, its features kept in ``folder`` if one is given; None where it asks for none.

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
    known = tuple(one.name for one in card.maps)
    maps = config.maps or known
    if unknown := sorted(set(maps) - set(known)):
        raise ConfigError(f"maps of {card.name}: {', '.join(known)}", ", ".join(unknown), "change features.maps")
    weights = config.weights or None
    digest = f"{_RANDOM}{config.random_seed}" if config.random_weights else checked_files(card, weights, config.sha256)[1]
    described = SourceCard(encoder=card.name, card_digest=card.digest(), weights_digest=digest, maps=maps)
    cache = None if folder is None else FeatureCache(folder, config.cache_gigabytes)
    return FeatureSource(_encoder(card, digest, weights), described, cache)


def source_of(card: SourceCard, weights: str = "", folder: str = "", device: torch.device | None = None) -> FeatureSource:
    """Return the encoder that a trained network's card names.

    Raises
    ------
    CheckpointError
        The encoder's card or weights are not those the network was trained with, or missing.
    """
    known = find_card(card.encoder)
    if known.digest() != card.card_digest:
        raise CheckpointError(
            f"the encoder {card.encoder} as it was in training (card {card.card_digest})",
            f"card {known.digest()}",
            "use the version of vesselgraph the network was trained with, or train again",
        )
    encoder = _encoder(known, card.weights_digest, weights or None)
    encoder.to(device or torch.device("cpu"))
    return FeatureSource(encoder, card, FeatureCache(Path(folder), _CACHE_GIGABYTES) if folder else None)


def _encoder(card: EncoderCard, digest: str, weights: str | None) -> AnyEncoder:
    settings = _SLICES if card.kind == "2d" else _TILES
    if digest.startswith(_RANDOM):
        return random_encoder(card.name, seed=int(digest.removeprefix(_RANDOM)), config=settings)
    return load_encoder(card.name, weights, sha256=digest, config=settings)
