"""Recognising weights: reading them from one file, several joined ones or a folder, only after their digest was compared."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vesselgraph.encoders.card import EncoderCard, WeightsCard
from vesselgraph.errors import CheckpointError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 22
_FOLDER_WEIGHTS = "model.safetensors"


def weight_files(card: EncoderCard, weights: str | Path | None) -> tuple[Path, ...]:
    """Return the files that hold an encoder's weights, in the order they are joined.

    Parameters
    ----------
    card : EncoderCard
    weights : str or Path, optional
        A file, or a folder with ``model.safetensors``; left out: those of the installed package that the card names.

    Raises
    ------
    CheckpointError
        There is no such file, the package is not installed, or the card names none.
    """
    if weights is not None:
        path = Path(weights)
        path = path / _FOLDER_WEIGHTS if path.is_dir() else path
        if not path.is_file():
            raise CheckpointError(
                f"weights of {card.name}",
                f"no file {path}",
                "check the path",
            )
        return (path,)
    if not card.weights.package:
        raise CheckpointError(
            f"a file with the weights of {card.name}",
            "none, and no package carries them",
            f"get them from their source ({card.source}) under their licence ({card.licence}) and name the file"
            + (", or ask for random weights" if card.is_constructible else ""),
        )
    found = []
    for one in card.weights.files:
        module, _, inside = one.partition("/")
        spec = find_spec(module)
        if spec is None or spec.origin is None or not (Path(spec.origin).parent / inside).is_file():
            raise CheckpointError(
                f"the package {card.weights.package} with the weights of {card.name}",
                f"no {one}",
                f"install it with {card.weights.install}",
            )
        found.append(Path(spec.origin).parent / inside)
    return tuple(found)


def digest_of(files: tuple[Path, ...]) -> str:
    """Return the SHA-256 of files as if they were one, 64 hex digits."""
    state = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                state.update(block)
    return state.hexdigest()


def checked_files(card: EncoderCard, weights: str | Path | None, sha256: str = "") -> tuple[tuple[Path, ...], str]:
    """Return the weight files and their digest, once it is the one expected.

    Raises
    ------
    CheckpointError
        A file is missing, no digest is known, the caller's and the card's differ, or the files have another one.
    """
    expected = sha256.lower() or card.weights.sha256
    if not _SHA256.fullmatch(expected):
        raise CheckpointError(
            f"a SHA-256 for the weights of {card.name}, 64 hex digits",
            f"{expected!r}, and the card pins none",
            f"read it from their source, compare it with `vesselgraph encoders check {card.name} --weights FILE`, and pass it",
        )
    if card.weights.sha256 and expected != card.weights.sha256:
        raise CheckpointError(
            f"the digest of the card, {card.weights.sha256[:12]}...",
            f"{expected[:12]}...",
            "leave it out",
        )
    files = weight_files(card, weights)
    found = digest_of(files)
    if found != expected:
        raise CheckpointError(
            f"weights of {card.name} with SHA-256 {expected[:12]}...",
            f"{found[:12]}... in {files[0]}",
            f"install them anew with {card.weights.install}"
            if weights is None
            else "name the file whose digest that is; this is a damaged copy, or of another encoder, variant or task",
        )
    return files, found


def read_keys(files: tuple[Path, ...], card: WeightsCard) -> dict[str, Any]:
    """Return the tensors of weight files by the encoder's own key names; nothing but tensors and plain values is unpacked.

    Raises
    ------
    CheckpointError
        The file is neither safetensors nor a torch file of plain tensors, or the card's entry is not in it.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    source = files[0] if len(files) == 1 else io.BytesIO(b"".join(path.read_bytes() for path in files))
    try:
        if files[0].suffix == ".safetensors":
            state = load_file(files[0])
        else:
            state = torch.load(source, map_location="cpu", weights_only=True)
            state = state[card.inside] if card.inside else state
        keys = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    except (SafetensorError, RuntimeError, KeyError, AttributeError, OSError, ValueError, EOFError) as error:
        raise CheckpointError(
            "a file of tensors",
            f"{_line(error)} in {files[0]}",
            "name a .safetensors file, or a torch file of tensors, that is whole",
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "a file of plain tensors",
            _line(error),
            "convert it to safetensors",
        ) from error
    taken = {key.removeprefix(card.prefix): value for key, value in keys.items() if key.startswith(card.prefix)}
    return {key: value for key, value in taken.items() if not key.startswith(card.ignore)} if card.ignore else taken


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
