"""Weights on disk: one safetensors file and its card, a JSON file beside it, checked against each other when read.

Loaded only where something learned is asked for: it needs torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vesselgraph.errors import CheckpointError
from vesselgraph.io.atomic import atomic_path


class WeightsCard(BaseModel):
    """What the program must know about a weights file; each kind of weights adds its own fields.

    Parameters
    ----------
    kind : str
        What the weights are of; a subclass fixes it as :attr:`KIND`.
    version : int
        Of the meaning of weights and card; a subclass fixes it as :attr:`VERSION`.
    sha256 : str
        Of the weights file; filled in when it is written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 1

    kind: str = ""
    version: int = 0
    sha256: str = ""

    def stamped(self, sha256: str) -> Self:
        """Return the card of this kind and version for weights of a digest."""
        return self.model_copy(update={"kind": self.KIND, "version": self.VERSION, "sha256": sha256})


CardT = TypeVar("CardT", bound=WeightsCard)


def write_weights(state: Mapping[str, torch.Tensor], card: CardT, path: str | Path) -> CardT:
    """Write weights and their card (``path`` with the suffix .json); return the card with kind, version and digest filled in.

    Raises
    ------
    OutputError
        The folder is missing or not writable.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, temporary)
        card = card.stamped(_digest(temporary))
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def read_card(path: str | Path, card: type[CardT], advice: str) -> CardT:
    """Return the card beside a weights file.

    Parameters
    ----------
    path : str or Path
        The weights.
    card : type
        Kind of card that is expected.
    advice : str
        What to do if there are no such weights.

    Raises
    ------
    CheckpointError
        The weights or the card are missing, or the card is unreadable or of another kind or version.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(
            f"the weights of a {card.KIND}",
            f"nothing at {str(file)!r}",
            advice,
        )
    beside = file.with_suffix(".json")
    try:
        text = beside.read_text(encoding="utf-8")
        said = json.loads(text)
        if not isinstance(said, dict) or "kind" not in said:
            raise ValueError("nothing that says what the weights are of")
        # Cards of other kinds have other fields: the kind is what is wrong with them.
        _require_kind(said["kind"], said.get("version"), card, beside)
        return card.model_validate_json(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"the card of the weights at {beside}",
            reason,
            "keep the .safetensors and the .json together",
        ) from error


def _require_kind(kind: object, version: object, card: type[WeightsCard], path: Path) -> None:
    if kind != card.KIND:
        raise CheckpointError(f"{card.KIND} weights", f"{kind} weights in {path}", f"name a file of {card.KIND} weights")
    if version != card.VERSION:
        raise CheckpointError(
            f"{card.KIND} weights of version {card.VERSION}",
            f"version {version} in {path}",
            "use weights trained with this version",
        )


def read_weights(path: str | Path, card: WeightsCard) -> dict[str, torch.Tensor]:
    """Return the weights a card describes, by name.

    Raises
    ------
    CheckpointError
        The file is not the one the card was written for, or is no safetensors file.
    """
    file = Path(path)
    found = _digest(file)
    if found != card.sha256:
        raise CheckpointError(
            f"weights with the SHA-256 of their card, {card.sha256[:12]}...",
            f"{found[:12]}... in {file}",
            "copy the weights and the card together again",
        )
    try:
        state: dict[str, torch.Tensor] = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(
            "a safetensors file",
            str(error),
            f"copy {file} again",
        ) from error
    return state


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
