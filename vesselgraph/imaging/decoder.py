"""The branch of the pixel supervision: from the stacked patch vectors of all slices to a mask. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PixelDecoder(nn.Module):
    """Two 3-D convolution blocks over the volume of patch vectors, brought to the image's grid by linear interpolation.

    Used while a task learns, so that the adapters also learn where a finding is; dropped afterwards.

    Parameters
    ----------
    channels : int
        Of the encoder's last map.
    width : int
        Of the blocks.

    References
    ----------
    AnyMC3D, arXiv 2512.12887, as summarised by others: a light 3-D decoder on the restacked patch tokens, dropped at inference.
    Its blocks are ours.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        groups = next(n for n in (8, 4, 2, 1) if width % n == 0)
        self.first = nn.Sequential(nn.Conv3d(channels, width, 3, padding=1), nn.GroupNorm(groups, width), nn.GELU())
        self.second = nn.Sequential(nn.Conv3d(width, width, 3, padding=1), nn.GroupNorm(groups, width), nn.GELU())
        self.out = nn.Conv3d(width, 1, 1)

    def forward(self, volume: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Return logits (batch, 1, *shape) of a volume of vectors (batch, channels, planes, rows, columns)."""
        values = self.first(volume)
        middle = tuple(max(a, round((a * b) ** 0.5)) for a, b in zip(volume.shape[2:], shape, strict=True))
        values = functional.interpolate(values, size=middle, mode="trilinear", align_corners=False)
        values = self.out(self.second(values))
        return functional.interpolate(values, size=shape, mode="trilinear", align_corners=False)


def pixel_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return soft Dice loss plus cross-entropy of logits against a mask in {0, 1}, both (batch, 1, planes, rows, columns)."""
    p = logits.sigmoid()
    overlap = (p * mask).sum((1, 2, 3, 4))
    dice = 1.0 - (2.0 * overlap + 1.0) / (p.sum((1, 2, 3, 4)) + mask.sum((1, 2, 3, 4)) + 1.0)
    return dice.mean() + functional.binary_cross_entropy_with_logits(logits, mask.to(torch.float32))
