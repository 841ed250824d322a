"""3-D networks as encoders: the answers of their stages, whole or tile by tile. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from vesselgraph.config import TileConfig
from vesselgraph.encoders.card import EncoderCard
from vesselgraph.encoders.encoded import Encoded, FeatureMap
from vesselgraph.errors import InputError, RangeError, ShapeError
from vesselgraph.space import Space

Box = tuple[tuple[int, int], ...]


class ConvEncoder(nn.Module):
    """A 3-D network as an encoder.

    Parameters
    ----------
    network : nn.Module
    card : EncoderCard
        One map card for each answer of ``look``, with whole strides.
    look : callable
        Images (batch, channels, planes, rows, columns), scaled and padded, to one tensor per map.
    config : TileConfig
        Tiles keep memory bounded; they change the result where a cell sees further than the margin, or where a network
        normalises by statistics of its whole input.

    Raises
    ------
    InputError
        The card does not say what the network is fed, or the tiles do not fit its strides.
    """

    def __init__(
        self,
        network: nn.Module,
        card: EncoderCard,
        look: Callable[[Tensor], Sequence[Tensor]],
        config: TileConfig | None = None,
    ) -> None:
        super().__init__()
        config = config or TileConfig()
        if card.input is None:
            raise InputError("a card that says what the network is fed", f"{card.name} without input", "complete the card")
        coarsest = [math.lcm(*(int(one.stride[axis]) for one in card.maps), card.input.multiple[axis]) for axis in range(3)]
        if config.tile and any(config.tile % step or config.margin % step for step in coarsest):
            raise InputError(
                f"tiles and margins that are multiples of {coarsest}", f"{config.tile} and {config.margin}", "change them"
            )
        self.network, self.card, self.look, self.config, self.input = network, card, look, config, card.input

    def encode(self, images: Tensor, spaces: Sequence[Space]) -> Encoded:
        """Return the features of images (batch, 1, planes, rows, columns) in the card's unit, one space each.

        ``pooled`` is the mean of the last map over its cells; there are no tokens.

        Raises
        ------
        ShapeError
            The images have another shape, or their number is not that of the spaces.
        RangeError
            Tiles were asked for together with gradients.
        """
        if images.ndim != 5 or images.shape[1] != 1 or len(images) != len(spaces) or 0 in images.shape:
            raise ShapeError(
                f"images (batch, 1, planes, rows, columns), {len(spaces)} in the batch", f"{tuple(images.shape)}", "stack them"
            )
        scaled = ((images - self.input.low) / (self.input.high - self.input.low)).clamp(0.0, 1.0)
        mean, std = (images.new_tensor(values).view(1, -1, 1, 1, 1) for values in (self.input.mean, self.input.std))
        padded = _padded((scaled - mean) / std, self.input.multiple)
        if self.config.tile and max(padded.shape[2:]) > self.config.tile:
            if torch.is_grad_enabled():
                raise RangeError("no gradients with tiles", "gradients switched on", "crop, or use torch.no_grad()")
            answers = self._by_tiles(padded)
        else:
            answers = list(self.look(padded))
        maps = tuple(
            FeatureMap(data, one.stride, one.offset, one.name) for data, one in zip(answers, self.card.maps, strict=True)
        )
        shape = (int(images.shape[2]), int(images.shape[3]), int(images.shape[4]))
        return Encoded(maps, tuple(spaces), shape, pooled=maps[-1].data.mean((2, 3, 4)))

    def map_gigabytes(self, shape: tuple[int, int, int]) -> float:
        """Return what the maps of an image of this shape take, 10^9 bytes; the network's inner values come on top."""
        n_values = 0
        for one in self.card.maps:
            sides = [
                math.ceil(math.ceil(side / step) * step / stride)
                for side, step, stride in zip(shape, self.input.multiple, one.stride, strict=True)
            ]
            n_values += one.channels * math.prod(sides)
        return n_values * 4 / 1e9

    def _by_tiles(self, images: Tensor) -> list[Tensor]:
        sides = tuple(int(side) for side in images.shape[2:])
        answers: list[Tensor] = []
        for core, crop in _tiles(sides, self.config.tile, self.config.margin):
            seen = self.look(images[(slice(None), slice(None), *(slice(*ends) for ends in crop))])
            for number, (data, one) in enumerate(zip(seen, self.card.maps, strict=True)):
                steps = tuple(int(step) for step in one.stride)
                if len(answers) <= number:
                    cells = [-(-side // step) for side, step in zip(sides, steps, strict=True)]
                    answers.append(data.new_empty(len(images), data.shape[1], *cells))
                into, out_of = _cells(core, crop, steps)
                answers[number][(slice(None), slice(None), *into)] = data[(slice(None), slice(None), *out_of)]
        return answers


def _padded(images: Tensor, multiple: tuple[int, int, int]) -> Tensor:
    more = [-side % step for side, step in zip(images.shape[2:], multiple, strict=True)]
    if not any(more):
        return images
    return functional.pad(images, (0, more[2], 0, more[1], 0, more[0]), mode="replicate")


def _tiles(sides: Sequence[int], tile: int, margin: int) -> list[tuple[Box, Box]]:
    """Return the core of each tile and the crop around it, as (first, last + 1) along each axis."""
    starts = [range(0, side, tile) for side in sides]
    found = []
    for corner in product(*starts):
        core = tuple((first, min(first + tile, side)) for first, side in zip(corner, sides, strict=True))
        crop = tuple(
            (max(first - margin, 0), min(last + margin, side)) for (first, last), side in zip(core, sides, strict=True)
        )
        found.append((core, crop))
    return found


def _cells(core: Box, crop: Box, steps: tuple[int, ...]) -> tuple[list[slice], list[slice]]:
    into = [slice(first // step, -(-last // step)) for (first, last), step in zip(core, steps, strict=True)]
    out_of = [
        slice((first - start) // step, -(-(last - start) // step))
        for (first, last), (start, _), step in zip(core, crop, steps, strict=True)
    ]
    return into, out_of
