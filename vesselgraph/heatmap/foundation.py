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

from vesselgraph.encoders.card import EncoderCard, MapCard
from vesselgraph.encoders.encoded import Encoded
from vesselgraph.encoders.sampling import read_map
from vesselgraph.encoders.source import FeatureSource, SourceCard, source_for, source_of
from vesselgraph.heatmap.gates import FoundationCard, GateCard
from vesselgraph.heatmap.network import HeatmapNetwork
from vesselgraph.heatmap.targets import Float32
from vesselgraph.space import FloatArray, Space
from vesselgraph.training_config import FeaturesConfig
from vesselgraph.volume import Volume


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
    source : FeatureSource
        Gives the maps of an image.
    card : FoundationCard
        Which level of the network each of them joins.
    """

    def __init__(self, source: FeatureSource, card: FoundationCard) -> None:
        self.source, self.card = source, card

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
        return self.source.look(Volume(np.asarray(array, np.float32), space))


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
    source = source_for(config, folder)
    if source is None:
        return None
    card = source.encoder.card
    known = {one.name: one for one in card.maps}
    maps = tuple(
        GateCard(name=name, channels=known[name].channels, level=_level(card, known[name], step, n_levels))
        for name in source.card.maps
    )
    return Foundation(source, FoundationCard(use=config.use, **{**source.card.model_dump(), "maps": maps}))


def foundation_of(card: FoundationCard, weights: str = "", folder: str = "", device: torch.device | None = None) -> Foundation:
    """Return the encoder a trained network's card names.

    Raises
    ------
    CheckpointError
        The encoder's card or weights are not those the network was trained with, or missing.
    """
    wanted = SourceCard(
        encoder=card.encoder,
        card_digest=card.card_digest,
        weights_digest=card.weights_digest,
        maps=tuple(one.name for one in card.maps),
    )
    return Foundation(source_of(wanted, weights, folder, device), card)


def set_scaling(network: HeatmapNetwork, context: Context) -> None:
    """Take the spread of each channel from one encoded case."""
    for number, gate in enumerate(network.gates):
        cells = torch.cat([one.maps[number].data[0].flatten(1).T.float() for one in context.seen])
        gate.set_scaling(cells)  # type: ignore[operator]


def _level(card: EncoderCard, one: MapCard, step: float, n_levels: int) -> int:
    spacing = (card.input.spacing if card.input else None) or (step,) * 3
    widest = max(stride * length for stride, length in zip(one.stride, spacing, strict=True))
    return min(max(round(math.log2(widest / step)), 0), n_levels - 1)
