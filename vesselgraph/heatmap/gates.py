"""Where features of a frozen encoder enter the heatmap network: through gates that are closed at the start.

Loaded only when the network is asked for: it needs torch.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

Use = Literal["cnn", "foundation", "both"]


class GateCard(BaseModel):
    """One map of an encoder and the level of the network it joins, whose cells are ``2 ** level`` voxels wide."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    channels: int
    level: int


class FoundationCard(BaseModel):
    """Which features a network was trained with, so that it is never fed others.

    Parameters
    ----------
    use : {"both", "foundation"}
        With the network's own features, or instead of them.
    encoder : str
        Name in the registry.
    card_digest, weights_digest : str
        Of the encoder's card, and the SHA-256 of its weights (random ones: their seed in words).
    maps : tuple of GateCard
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: Use
    encoder: str
    card_digest: str
    weights_digest: str
    maps: tuple[GateCard, ...]


class FeatureGate(nn.Module):
    """One map of an encoder, standardised, projected, and let in channel by channel.

    Parameters
    ----------
    channels : int
        Of the map.
    width : int
        Of the level it joins.
    opening : float
        Of the gate at the start: 0 leaves the level as it is, exactly.

    References
    ----------
    Zero-initialised gates: Alayrac et al., "Flamingo", arXiv 2204.14198, section 2.2 (without its tanh; one gate a channel).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, width: int, opening: float) -> None:
        super().__init__()
        # Channels of an encoder differ in size by orders; their spread over the first training case is taken off.
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.project = nn.Conv3d(channels, width, 1)
        self.gate = nn.Parameter(torch.full((width,), opening))

    def set_scaling(self, cells: Tensor) -> None:
        """Take mean and deviation of each channel from cells (n, channels)."""
        self.mean.copy_(cells.mean(0))
        # A channel that is the same everywhere says nothing; it must not become noise divided by nearly nothing.
        spread = cells.std(0, correction=0)
        self.deviation.copy_(spread.clamp(min=max(1e-3 * float(spread.median()), 1e-6)))

    def forward(self, features: Tensor) -> Tensor:
        """Return what is added to a level, (batch, width, ...), of a map (batch, channels, ...) on its cells."""
        shape = (1, -1, 1, 1, 1)
        scaled = (features - self.mean.view(shape)) / self.deviation.view(shape)
        added: Tensor = self.gate.view(shape) * self.project(scaled)
        return added
