"""What every encoder gives, and what every encoder is.

Needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from vesselgraph.encoders.card import EncoderCard
from vesselgraph.errors import ShapeError
from vesselgraph.space import Space

Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Features on a regular grid inside the input's grid.

    Parameters
    ----------
    data : (batch, channels, planes, rows, columns)
    stride : (3,)
        Input voxels per cell along each axis.
    offset : (3,)
        Input index of the centre of cell 0 along each axis.
    name : str
        Stage or layer.
    """

    data: Tensor
    stride: Triple
    offset: Triple
    name: str = ""

    def __post_init__(self) -> None:
        if self.data.ndim != 5 or len(self.stride) != 3 or len(self.offset) != 3:
            raise ShapeError(
                "a map (batch, channels, planes, rows, columns) with three strides and offsets",
                f"shape {tuple(self.data.shape)}, strides {self.stride}, offsets {self.offset}",
                "restack slices first",
            )


@dataclass(frozen=True, eq=False)
class Encoded:
    """The features of a batch of images.

    Parameters
    ----------
    maps : tuple of FeatureMap
        Fine to coarse (3-D networks) or shallow to deep (transformers); at least one.
    spaces : tuple of Space
        World place of each image of the batch, as the encoder saw it.
    shape : (planes, rows, columns)
        Of the images.
    tokens : (batch, n, channels), optional
        One vector per slice, in the order of the planes (three plane directions one after the other).
    token_mask : (batch, n) bool, optional
        True where there is a token.
    pooled : (batch, channels), optional
        One vector per image.
    attention : (batch, planes, rows, columns), optional
        How much the summary of each slice looks at each of its patches, on the last map's cells; at most 1 in sum per slice.

    Raises
    ------
    ShapeError
        Parts do not fit each other.
    """

    maps: tuple[FeatureMap, ...]
    spaces: tuple[Space, ...]
    shape: tuple[int, int, int]
    tokens: Tensor | None = None
    token_mask: Tensor | None = None
    pooled: Tensor | None = None
    attention: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.maps or any(one.data.shape[0] != len(self.spaces) for one in self.maps):
            shapes = [tuple(one.data.shape) for one in self.maps]
            raise ShapeError("maps with one image per space", f"maps {shapes}, {len(self.spaces)} spaces", "give both alike")
        if (self.tokens is None) != (self.token_mask is None) or (
            self.tokens is not None and self.token_mask is not None and self.tokens.shape[:2] != self.token_mask.shape
        ):
            raise ShapeError("tokens (batch, n, channels) and their mask (batch, n)", "others", "give both or neither")

    @property
    def n_channels(self) -> int:
        """Channels of all maps together: the width of :func:`~vesselgraph.encoders.sampling.sample`."""
        return sum(int(one.data.shape[1]) for one in self.maps)


class VolumeEncoder(Protocol):
    """Anything that turns images into features.

    ``encode`` takes image values as they are (HU for CT), on the grid the card asks for, and is differentiable; scaling,
    channels and padding are the encoder's own. :func:`~vesselgraph.encoders.doors.encode_volume` brings a volume there.
    """

    @property
    def card(self) -> EncoderCard:
        """What is known of it."""

    @property
    def network(self) -> nn.Module:
        """The network itself, for adapters and to be moved to a device."""

    def encode(self, images: Tensor, spaces: Sequence[Space]) -> Encoded:
        """Return the features of images (batch, 1, planes, rows, columns), each with its place."""

    def map_gigabytes(self, shape: tuple[int, int, int]) -> float:
        """Return what the maps of an image of this shape (in voxels of the card's grid) take, 10^9 bytes."""
