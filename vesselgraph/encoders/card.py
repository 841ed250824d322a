"""The weight card: what a reader must know of an encoder before its features are used, and what the program must.

Light: loads no torch, so that cards can be listed anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Use = Literal["yes", "no", "own terms", "not stated"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputCard(_Frozen):
    """What an encoder expects to be fed.

    Parameters
    ----------
    low, high : float
        Image values (HU for CT) that become 0 and 1; values beyond are cut.
    mean, std : tuple of float
        Taken off, and divided by, after that; one value per channel of the network.
    spacing : (3,) mm, optional
        (plane, row, column) the encoder was made for; left out: any.
    orientation : str
        Where the three array axes grow to, such as "SPL" (planes to Superior, rows to Posterior, columns to Left); empty: any.
    side : int, optional
        Slices are resized to this longer side and padded to a square; left out: any size.
    multiple : (3,)
        The input's sides are padded to multiples of these, at their ends.
    """

    low: float
    high: float
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    spacing: tuple[float, float, float] | None = None
    orientation: str = ""
    side: int | None = None
    multiple: tuple[int, int, int] = (1, 1, 1)

    @property
    def n_channels(self) -> int:
        """Channels of the network's input."""
        return len(self.mean)


class MapCard(_Frozen):
    """One feature map of an encoder.

    Parameters
    ----------
    name : str
        Of the stage or layer it is taken from.
    channels : int
        Of the map.
    stride : (3,)
        Input voxels per cell, along (plane, row, column).
    offset : (3,)
        Input index of the centre of cell 0.
    """

    name: str
    channels: int
    stride: tuple[float, float, float]
    offset: tuple[float, float, float]


def slice_maps(
    names: Sequence[str], channels: Sequence[int], steps: Sequence[float], offsets: Sequence[float] | None = None
) -> tuple[MapCard, ...]:
    """Return the maps of a network that looks at slices: square cells, one plane each.

    Parameters
    ----------
    names, channels, steps : sequences of one length
        Of each map; the step is in pixels along rows and columns.
    offsets : sequence of float, optional
        Pixel at the centre of the first cell; left out: cells are patches that touch, so half a patch in.

    Examples
    --------
    >>> slice_maps(["stage"], [8], [4])[0].offset
    (0.0, 1.5, 1.5)
    """
    places = [(step - 1) / 2 for step in steps] if offsets is None else offsets
    return tuple(
        MapCard(name=name, channels=width, stride=(1, step, step), offset=(0, place, place))
        for name, width, step, place in zip(names, channels, steps, places, strict=True)
    )


class WeightsCard(_Frozen):
    """Where weights come from and how they are recognised.

    Parameters
    ----------
    sha256 : str
        Of the file (of the joined files where there are several); empty: not known here, so the caller must give it.
    package, files : str, tuple of str
        Python package that carries them and the files in it, in the order they are joined, or nothing.
    install : str
        What to install for that package.
    prefix : str
        Keys of the file that belong to the encoder begin so; the prefix is taken off and other keys are left aside.
    inside : str
        Entry of the file that holds the keys; empty: the file itself.
    names : str
        Whose key names the file has, where they are not the network's own: "efficientnet-lite" or "timm-vit".
    ignore : tuple of str
        Beginnings of keys (without the prefix) that are no part of the encoder, such as a classifier's.
    """

    sha256: str = ""
    package: str = ""
    files: tuple[str, ...] = ()
    install: str = ""
    prefix: str = ""
    inside: str = ""
    names: Literal["", "efficientnet-lite", "timm-vit"] = ""
    ignore: tuple[str, ...] = ()


class EncoderCard(_Frozen):
    """Everything known of one encoder.

    Parameters
    ----------
    name, title : str
        For the program, for people.
    kind : {"2d", "3d"}
        Whether it sees slices or volumes.
    group : {"E", "S"}
        An encoder, or a segmentation system whose image encoder is meant.
    source : str
        Publication and place of the weights.
    licence, commercial_use, gated : str, str, bool
        Of the weights, as far as could be read; gated: behind a form or an account.
    read : str
        What the entry rests on, and what could not be read.
    builder : str
        How it is made; empty for a system that cannot be made here.
    missing : str
        Why it cannot be made here; empty for one that can.
    config : mapping
        What the builder needs.
    input : InputCard, optional
    maps : tuple of MapCard
        Fine to coarse, or shallow to deep.
    n_parameters : int, optional
        Of the network as it is made here.
    published_millions : float, optional
        Parameters as its authors state them.
    weights : WeightsCard
    """

    name: str
    title: str
    kind: Literal["2d", "3d"]
    group: Literal["E", "S"] = "E"
    source: str
    licence: str
    commercial_use: Use
    gated: bool = False
    read: str = ""
    builder: str = ""
    missing: str = ""
    config: Mapping[str, Any] = {}
    input: InputCard | None = None
    maps: tuple[MapCard, ...] = ()
    n_parameters: int | None = None
    published_millions: float | None = None
    weights: WeightsCard = WeightsCard()

    @property
    def is_constructible(self) -> bool:
        """Whether its network can be made here."""
        return bool(self.builder)

    def digest(self) -> str:
        """Return the first 12 hex digits of the SHA-256 of the whole card."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
