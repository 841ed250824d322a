"""Making encoders from their cards, and filling them with weights that were recognised. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vesselgraph.config import SliceConfig, TileConfig
from vesselgraph.encoders.card import EncoderCard
from vesselgraph.encoders.convolutional import (
    efficientnet_encoder,
    inflated_resnet_encoder,
    monai_encoder,
    monai_slice_encoder,
)
from vesselgraph.encoders.digests import checked_files, read_keys
from vesselgraph.encoders.key_names import TRANSLATIONS
from vesselgraph.encoders.registry import find_card
from vesselgraph.encoders.slices import SliceEncoder
from vesselgraph.encoders.towers import transformers_tower
from vesselgraph.encoders.volumes import ConvEncoder
from vesselgraph.encoders.zoo_towers import open_clip_tower, timm_tower
from vesselgraph.errors import CheckpointError, InputError

AnyEncoder = SliceEncoder | ConvEncoder
AnyConfig = SliceConfig | TileConfig


def _transformers(card: EncoderCard, config: SliceConfig | None) -> SliceEncoder:
    return SliceEncoder(transformers_tower(card.config), card, config)


def _timm(card: EncoderCard, config: SliceConfig | None) -> SliceEncoder:
    return SliceEncoder(timm_tower(card), card, config)


def _open_clip(card: EncoderCard, config: SliceConfig | None) -> SliceEncoder:
    return SliceEncoder(open_clip_tower(card), card, config)


_SLICES: Mapping[str, Callable[[EncoderCard, SliceConfig | None], SliceEncoder]] = {
    "transformers": _transformers,
    "efficientnet": efficientnet_encoder,
    "monai-slices": monai_slice_encoder,
    "timm": _timm,
    "open-clip": _open_clip,
}
_VOLUMES: Mapping[str, Callable[[EncoderCard, TileConfig | None], ConvEncoder]] = {
    "inflated-resnet": inflated_resnet_encoder,
    "monai": monai_encoder,
}


def make_encoder(card: EncoderCard, config: AnyConfig | None = None) -> AnyEncoder:
    """Return an encoder with weights as its library initialises them, frozen and in evaluation mode.

    Under ``torch.device("meta")`` this costs no memory, whatever the size.

    Parameters
    ----------
    card : EncoderCard
    config : SliceConfig or TileConfig, optional
        For encoders of slices and of volumes.

    Raises
    ------
    InputError
        The card is of a system that cannot be made here, or the settings are of the other kind.
    BackendUnavailableError
        A library it needs is not installed.
    """
    if not card.is_constructible:
        raise InputError("an encoder that can be made here", card.name, card.missing)
    wanted = SliceConfig if card.kind == "2d" else TileConfig
    if config is not None and not isinstance(config, wanted):
        raise InputError(f"settings of {wanted.__name__} for {card.name}", type(config).__name__, "pass those, or none")
    encoder: AnyEncoder
    if card.kind == "2d":
        encoder = _SLICES[card.builder](card, config)  # type: ignore[arg-type]
    else:
        encoder = _VOLUMES[card.builder](card, config)  # type: ignore[arg-type]
    return encoder.requires_grad_(False).eval()


def load_encoder(
    name: str, weights: str | Path | None = None, *, sha256: str = "", config: AnyConfig | None = None
) -> AnyEncoder:
    """Return a named encoder with its real weights, frozen and in evaluation mode; nothing is ever downloaded.

    Parameters
    ----------
    name : str
        Of the registry.
    weights : str or Path, optional
        A file (.safetensors, or a torch file of plain tensors), or a folder of the transformers library with ``config.json``
        and ``model.safetensors``; left out: the installed package that the card names.
    sha256 : str
        Digest the weights must have; needed where the card pins none.
    config : SliceConfig or TileConfig, optional
        For encoders of slices and of volumes.

    Raises
    ------
    InputError
        There is no such card, or the system cannot be made here.
    CheckpointError
        The weights are missing, have another digest, or do not fill the network.
    """
    card = find_card(name)
    files, _ = checked_files(card, weights, sha256)
    with torch.device("meta"):
        encoder = make_encoder(card, config)
    if weights is not None and Path(weights).is_dir():
        _fill_from_folder(encoder, Path(weights))
    else:
        _fill(encoder, read_keys(files, card.weights))
    return encoder.requires_grad_(False).eval()


def random_encoder(name: str, *, seed: int, config: AnyConfig | None = None) -> AnyEncoder:
    """Return a named encoder of its real size with random weights: for tests and comparisons, by an explicit wish only.

    Raises
    ------
    InputError
        There is no such card, or the system cannot be made here.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_encoder(find_card(name), config)


def _fill(encoder: AnyEncoder, keys: Mapping[str, Any]) -> None:
    name, network = encoder.card.name, encoder.network
    translate = TRANSLATIONS[encoder.card.weights.names]
    keys = translate(keys, frozenset(network.state_dict()))
    wanted = {key for key in network.state_dict() if not key.endswith("num_batches_tracked")}
    _complain(name, sorted(wanted - keys.keys()), sorted(keys.keys() - network.state_dict().keys()))
    floats = {key: value.float() if value.is_floating_point() else value for key, value in keys.items()}
    try:
        network.load_state_dict(floats, strict=False, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(
            f"weights of {name}",
            reason,
            "check which variant they are of",
        ) from error
    _complain(name, [key for key, value in network.named_parameters() if value.is_meta], [])
    # Buffers that a file does not carry (positions, counters) are made as the network makes them.
    _remake_buffers(encoder)


def _remake_buffers(encoder: AnyEncoder) -> None:
    left = [key for key, value in encoder.network.named_buffers() if value.is_meta]
    if not left:
        return
    kept = encoder.network.state_dict()
    fresh = dict(make_encoder(encoder.card).network.named_buffers())
    for key in left:
        home, _, last = key.rpartition(".")
        encoder.network.get_submodule(home).register_buffer(last, fresh[key], persistent=key in kept)


def _fill_from_folder(encoder: AnyEncoder, folder: Path) -> None:
    """Fill a transformers network through the library's own door, which knows the key names of older versions."""
    name, network = encoder.card.name, encoder.network
    if not isinstance(encoder, SliceEncoder) or encoder.card.builder != "transformers":
        raise CheckpointError(
            f"a file with the weights of {name}",
            f"the folder {folder}",
            "name the file in it",
        )
    try:
        filled, notes = type(network).from_pretrained(  # type: ignore[attr-defined]
            folder, config=network.config, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"weights of {name}",
            str(error).splitlines()[0],
            "check the folder",
        ) from error
    wrong = [str(key) for key in notes.get("mismatched_keys", ())]
    _complain(name, sorted(notes["missing_keys"]) + wrong, [])
    encoder.tower.network = filled


def _complain(name: str, missing: list[str], unknown: list[str]) -> None:
    if missing or unknown:
        raise CheckpointError(
            f"every weight of {name} and no other",
            f"{len(missing)} missing {missing[:5]} and {len(unknown)} unknown {unknown[:5]}",
            "check that the file is of this encoder and variant",
        )
