"""A slice-wise encoder: every slice through a 2-D network, restacked into the volume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vesselgraph.config import SliceConfig
from vesselgraph.encoders.card import EncoderCard, InputCard
from vesselgraph.encoders.encoded import Encoded, FeatureMap, Triple
from vesselgraph.encoders.sampling import resampled_map
from vesselgraph.encoders.towers import ChainTower, Seen, TransformersTower
from vesselgraph.encoders.zoo_towers import HookedTower
from vesselgraph.errors import InputError, ShapeError
from vesselgraph.space import Space

# The axis that each of the three plane directions cuts across is brought to the front.
_TURNS = ((0, 1, 2), (1, 0, 2), (2, 0, 1))


class SliceEncoder(nn.Module):
    """A 2-D network as an encoder of volumes.

    Each slice becomes an image of the network's channels (``config.policy``), is resized, padded at its lower right to whole
    patches, and goes through the network in chunks; maps are restacked. With three plane directions the maps of the other two
    are resampled onto the cells of the first and averaged, so that a cell also knows its neighbours across planes.

    Parameters
    ----------
    tower : TransformersTower, HookedTower or ChainTower
    card : EncoderCard
    config : SliceConfig

    Raises
    ------
    InputError
        The policy does not fit the network's channels, or attention is asked of a network that has none.

    References
    ----------
    AnyMC3D, arXiv 2512.12887: slices of one axis, a frozen 2-D model. The restacking and the three directions are ours.
    """

    def __init__(
        self, tower: TransformersTower | HookedTower | ChainTower, card: EncoderCard, config: SliceConfig | None = None
    ) -> None:
        super().__init__()
        config = config or SliceConfig()
        if card.input is None:
            raise InputError("a card that says what the network is fed", f"{card.name} without input", "complete the card")
        if config.policy != "repeat" and card.input.n_channels != 3:
            raise InputError("a network of three channels", f"{card.input.n_channels} of {card.name}", 'use policy = "repeat"')
        if config.attention and not tower.has_attention:
            raise InputError("a network with a class token", card.name, "leave attention off")
        self.tower, self.card, self.config, self.input = tower, card, config, card.input

    @property
    def network(self) -> nn.Module:
        """The 2-D network, for adapters."""
        return self.tower.network

    def encode(self, images: Tensor, spaces: Sequence[Space]) -> Encoded:
        """Return the features of images (batch, 1, planes, rows, columns) in the card's unit, one space each.

        ``tokens`` has one summary per slice (all planes, then all rows, then all columns if three directions are asked for),
        ``pooled`` is their mean.

        Raises
        ------
        ShapeError
            The images have another shape, or their number is not that of the spaces.
        """
        if images.ndim != 5 or images.shape[1] != 1 or len(images) != len(spaces) or 0 in images.shape:
            raise ShapeError(
                f"images (batch, 1, planes, rows, columns) with {len(spaces)} in the batch",
                f"{tuple(images.shape)}",
                "stack them",
            )
        volumes = images[:, 0]
        parts = [self._one_way(volumes, way) for way in range(self.config.planes)]
        first = parts[0]
        maps = tuple(_averaged([part.maps[level] for part in parts]) for level in range(len(first.maps)))
        tokens = torch.cat([part.tokens for part in parts if part.tokens is not None], dim=1)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        shape = (int(volumes.shape[1]), int(volumes.shape[2]), int(volumes.shape[3]))
        return Encoded(maps, tuple(spaces), shape, tokens, mask, tokens.mean(1), first.attention)

    def looks(self, volumes: Tensor, *, attention: bool = False) -> Iterator[Seen]:
        """Yield what the network sees in the slices of volumes (batch, depth, rows, columns), one chunk after the other."""
        n_slices = volumes.shape[0] * volumes.shape[1]
        for start in range(0, n_slices, self.config.chunk):
            chosen = torch.arange(start, min(start + self.config.chunk, n_slices))
            images = slice_images(volumes, chosen, self.input, self.config)
            yield self.tower(fitted(images, self.input, self.config.scale)[0], attention)

    def summaries(self, images: Tensor) -> Tensor:
        """Return the ``tokens`` that :meth:`encode` gives of images (batch, 1, planes, rows, columns), without holding maps."""
        ways = []
        for turn in _TURNS[: self.config.planes]:
            turned = images[:, 0].permute(0, *(1 + axis for axis in turn))
            ways.append(torch.cat([one.summary for one in self.looks(turned)]).unflatten(0, tuple(turned.shape[:2])))
        return torch.cat(ways, dim=1)

    def cells(self, level: int, rows: int, columns: int) -> tuple[Triple, Triple]:
        """Return stride and offset, in voxels, of the cells of one map on slices of that many rows and columns."""
        one = self.card.maps[level]
        down, across = fitted_ratio(rows, columns, self.input, self.config.scale)
        stride = (1.0, one.stride[1] / down, one.stride[2] / across)
        return stride, (0.0, (one.offset[1] + 0.5) / down - 0.5, (one.offset[2] + 0.5) / across - 0.5)

    def map_gigabytes(self, shape: tuple[int, int, int]) -> float:
        """Return what the maps of an image of this shape take, 10^9 bytes; three directions hold about three times as much."""
        rows, columns = fitted_ratio(shape[1], shape[2], self.input, self.config.scale)
        n_values = 0
        for one in self.card.maps:
            if self.input.side:
                cells = (self.input.side / one.stride[1]) * (self.input.side / one.stride[2])
            else:
                cells = float(_n_cells(shape[1] * rows, self.input.multiple[1], one.stride[1]))
                cells *= _n_cells(shape[2] * columns, self.input.multiple[2], one.stride[2])
            n_values += int(one.channels * shape[0] * cells)
        return n_values * (2 if self.config.half else 4) / 1e9

    def _one_way(self, volumes: Tensor, way: int) -> Encoded:
        turn = _TURNS[way]
        turned = volumes.permute(0, *(1 + axis for axis in turn))
        n, depth = turned.shape[:2]
        seen = [
            Seen(tuple(one.half() if self.config.half else one for one in answer.maps), answer.summary, answer.attention)
            for answer in self.looks(turned, attention=self.config.attention)
        ]
        maps = []
        for level, map_card in enumerate(self.card.maps):
            data = torch.cat([one.maps[level] for one in seen]).unflatten(0, (n, depth)).movedim(2, 1)
            stride, offset = self.cells(level, turned.shape[2], turned.shape[3])
            maps.append(_turned_back(FeatureMap(data, stride, offset, map_card.name), turn))
        tokens = torch.cat([one.summary for one in seen]).unflatten(0, (n, depth))
        attention = None
        if self.config.attention:
            attention = torch.cat([one.attention for one in seen if one.attention is not None]).unflatten(0, (n, depth))
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        none = Space.axial()
        return Encoded(tuple(maps), (none,) * n, (1, 1, 1), tokens, mask, None, attention)


def slice_images(volumes: Tensor, chosen: Tensor, card: InputCard, config: SliceConfig) -> Tensor:
    """Return chosen slices of volumes (batch, depth, rows, columns) as network input (n, channels, rows, columns).

    ``chosen`` counts through the slices of all volumes. "repeat" copies the windowed slice into all channels, "windows" uses
    one HU window per channel, "neighbours" the slice below, the slice and the one above, ends held.
    """
    depth = volumes.shape[1]
    item, plane = chosen // depth, chosen % depth
    here = volumes[item, plane]
    if config.policy == "windows":
        channels = [(here - low) / (high - low) for low, high in config.windows]
    elif config.policy == "neighbours":
        around = [volumes[item, (plane + step).clamp(0, depth - 1)] for step in (-1, 0, 1)]
        channels = [(one - card.low) / (card.high - card.low) for one in around]
    else:
        channels = [(here - card.low) / (card.high - card.low)] * card.n_channels
    images = torch.stack(channels, dim=1).clamp(0.0, 1.0)
    mean, std = (images.new_tensor(values).view(1, -1, 1, 1) for values in (card.mean, card.std))
    return (images - mean) / std


def fitted_ratio(rows: int, columns: int, card: InputCard, scale: float) -> tuple[float, float]:
    """Return the input pixels of the network per voxel, along rows and columns, after rounding to whole pixels."""
    factor = card.side / max(rows, columns) if card.side else scale
    return max(1, round(rows * factor)) / rows, max(1, round(columns * factor)) / columns


def fitted(images: Tensor, card: InputCard, scale: float) -> tuple[Tensor, tuple[float, float]]:
    """Return images resized, then padded at their lower right to what the network takes, and the ratio of the resizing.

    Resizing is bilinear, smoothed where it shrinks; the padding repeats the last row and column, or is 0 (after scaling the
    network's mean) where a fixed square is asked for.
    """
    ratio = fitted_ratio(images.shape[2], images.shape[3], card, scale)
    rows, columns = (round(side * one) for side, one in zip(images.shape[2:], ratio, strict=True))
    if (rows, columns) != tuple(images.shape[2:]):
        images = functional.interpolate(
            images, size=(rows, columns), mode="bilinear", align_corners=False, antialias=min(ratio) < 1.0
        )
    if card.side:
        return functional.pad(images, (0, card.side - columns, 0, card.side - rows)), ratio
    more = [-side % step for side, step in zip((rows, columns), card.multiple[1:], strict=True)]
    return functional.pad(images, (0, more[1], 0, more[0]), mode="replicate") if any(more) else images, ratio


def _n_cells(pixels: float, multiple: int, stride: float) -> int:
    return round(math.ceil(round(pixels) / multiple) * multiple / stride)


def _turned_back(one: FeatureMap, turn: tuple[int, int, int]) -> FeatureMap:
    back = [turn.index(axis) for axis in range(3)]
    data = one.data.permute(0, 1, *(2 + axis for axis in back))
    stride, offset = ((values[back[0]], values[back[1]], values[back[2]]) for values in (one.stride, one.offset))
    return FeatureMap(data, stride, offset, one.name)


def _averaged(maps: Sequence[FeatureMap]) -> FeatureMap:
    first = maps[0]
    if len(maps) == 1:
        return first
    total = first.data.clone()
    for other in maps[1:]:
        total += resampled_map(other, first.stride, first.offset, tuple(first.data.shape[2:])).to(total.dtype)
    return FeatureMap(total / len(maps), first.stride, first.offset, first.name)
