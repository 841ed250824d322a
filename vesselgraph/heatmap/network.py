"""The heatmap network: a small residual 3-D U-Net that takes any non-empty set of contrast phases.

Loaded only when the network is asked for: it needs torch and MONAI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from monai.networks.blocks.dynunet_block import UnetResBlock, UnetUpBlock
from torch import Tensor, nn

from vesselgraph.errors import InputError, ShapeError
from vesselgraph.heatmap.gates import FeatureGate, GateCard, Use

PHASES = ("native", "arterial", "portal", "delayed", "unknown")
"""Phase names the network knows; every other name counts as ``unknown``."""

TREES = ("portal", "hepatic", "artery")
"""Channels of the identity head; tree ids are 1, 2, 3 in this order."""

_CENTRE_HU, _SCALE_HU, _LOWEST, _HIGHEST = 100.0, 100.0, -3.0, 4.0
# Heat is low almost everywhere; starting there saves the first steps.
_FIRST_HEAT_LOGIT, _FIRST_LOG_RADIUS = -3.0, 0.7
_LARGEST_LOG_RADIUS = 4.0


class Output(NamedTuple):
    """What the network says about each voxel; all (batch, channels, planes, rows, columns).

    ``heat`` is the logit of the centerline heat (1 channel), ``log_radius`` the natural log of the radius in mm (1),
    ``identity`` the logits of :data:`TREES` (3), ``features`` the last decoder level (``widths[0]`` channels).
    """

    heat: Tensor
    log_radius: Tensor
    identity: Tensor
    features: Tensor


def phase_index(name: str) -> int:
    """Return the position of a phase name in :data:`PHASES`; unknown names share the last one.

    Examples
    --------
    >>> phase_index("portal"), phase_index("image")
    (2, 4)
    """
    return PHASES.index(name) if name in PHASES else len(PHASES) - 1


def normalise(hounsfield: Tensor) -> Tensor:
    """Return the network's input of CT values: (HU - 100) / 100, cut to -3..4 (-200..500 HU)."""
    return ((hounsfield - _CENTRE_HU) / _SCALE_HU).clamp(_LOWEST, _HIGHEST)


class PhaseFusion(nn.Module):
    """One stem for all phases, told which phase it sees, and a fusion over those that are there.

    Every phase goes through the same convolution; its embedding scales and shifts the channels, so that a phase can have
    channels of its own. Fused are the attention-weighted mean and the maximum over the phases given. Nothing stands for a phase
    that is missing.

    Parameters
    ----------
    width : int
        Channels of the result.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, width, 3, padding=1)
        self.embedding = nn.Embedding(len(PHASES), 2 * width)
        self.attention = nn.Conv3d(width, 1, 1, bias=False)
        self.mix = nn.Conv3d(2 * width, width, 1)
        nn.init.normal_(self.embedding.weight, std=0.2)

    def forward(self, phases: Mapping[str, Tensor]) -> Tensor:
        """Return (batch, width, ...) of phases (batch, 1, ...) by name, the same whatever their order."""
        # A fixed order, because sums of floats depend on it.
        names = sorted(phases, key=lambda name: (phase_index(name), name))
        seen = [self._look(phases[name], name) for name in names]
        if len(seen) == 1:
            return self.mix(torch.cat([seen[0], seen[0]], 1))
        stacked = torch.stack(seen)
        weight = torch.stack([self.attention(one) for one in seen]).softmax(0)
        return self.mix(torch.cat([(weight * stacked).sum(0), stacked.amax(0)], 1))

    def _look(self, image: Tensor, name: str) -> Tensor:
        scale, shift = self.embedding.weight[phase_index(name)].chunk(2)
        seen = self.stem(image) * (1.0 + scale.view(1, -1, 1, 1, 1)) + shift.view(1, -1, 1, 1, 1)
        return nn.functional.leaky_relu(seen, 0.01)


class HeatmapNetwork(nn.Module):
    """Residual 3-D U-Net with heads for centerline heat, radius and tree identity.

    Parameters
    ----------
    widths : sequence of int
        Channels of each level; each level halves the grid, so every side of the input is a multiple of
        ``2 ** (len(widths) - 1)``. (12, 24, 48, 96) has 0.77 million parameters.
    n_groups : int
        Groups of the group normalisation; divides every width.
    use : {"cnn", "both", "foundation"}
        What the decoder sees: the network's own levels, these and the maps of an encoder, or those maps alone. With both, the
        gates are closed at the start, and the network answers as the plain one with the same weights does, bit for bit.
    maps : sequence of GateCard
        The encoder's maps; none with "cnn".

    Raises
    ------
    InputError
        The groups do not divide the widths, or the maps do not fit the use or the levels.

    References
    ----------
    Cicek et al., "3D U-Net", MICCAI 2016, section 2; He et al., "Deep residual learning", CVPR 2016, section 3. The blocks are
    those of MONAI's DynUNet.

    Examples
    --------
    >>> network = HeatmapNetwork((4, 8), n_groups=2)
    >>> out = network({"portal": torch.zeros(1, 1, 8, 8, 8), "arterial": torch.zeros(1, 1, 8, 8, 8)})
    >>> out.identity.shape, out.features.shape
    (torch.Size([1, 3, 8, 8, 8]), torch.Size([1, 4, 8, 8, 8]))
    """

    def __init__(
        self, widths: Sequence[int] = (12, 24, 48, 96), n_groups: int = 4, use: Use = "cnn", maps: Sequence[GateCard] = ()
    ) -> None:
        super().__init__()
        if not widths or any(width % n_groups for width in widths):
            raise InputError("widths that the groups divide", f"{tuple(widths)} in {n_groups} groups", "change one of them")
        if (use == "cnn") != (not maps) or any(not 0 <= one.level < len(widths) for one in maps):
            found = f"use {use} with maps on levels {[one.level for one in maps]} of {len(widths)}"
            raise InputError("maps on levels of the network, and none for the use cnn", found, "change one of them")
        self.widths, self.n_groups, self.use, self.maps = tuple(widths), n_groups, use, tuple(maps)
        norm = ("GROUP", {"num_groups": n_groups})
        pairs = list(pairwise(widths))
        self.fusion = PhaseFusion(widths[0])
        self.first = UnetResBlock(3, widths[0], widths[0], 3, 1, norm)
        self.down = nn.ModuleList([UnetResBlock(3, fine, coarse, 3, 2, norm) for fine, coarse in pairs])
        self.up = nn.ModuleList([UnetUpBlock(3, coarse, fine, 3, 1, 2, norm) for fine, coarse in pairs])
        self.heads = nn.Conv3d(widths[0], 2 + len(TREES), 1)
        with torch.no_grad():
            bias = self.heads.bias
            assert bias is not None
            bias.zero_()
            bias[0], bias[1] = _FIRST_HEAT_LOGIT, _FIRST_LOG_RADIUS
        # Made last: the same seed gives the same other weights with and without them.
        opening = 0.0 if use == "both" else 1.0
        self.gates = nn.ModuleList([FeatureGate(one.channels, widths[one.level], opening) for one in maps])

    @property
    def multiple(self) -> int:
        """Every side of the input is a multiple of this."""
        return int(2 ** (len(self.widths) - 1))

    def channels_last(self) -> Self:
        """Return the network itself with its kernels laid out for channels-last input, which is 15 to 35 % faster on CPUs."""
        for parameter in self.parameters():
            if parameter.ndim == 5:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        return self

    def forward(self, phases: Mapping[str, Tensor], context: Sequence[Tensor] = ()) -> Output:
        """Return the output of normalised phases, each (batch, 1, planes, rows, columns), by name in any order.

        Parameters
        ----------
        phases : mapping of phase name to tensor
        context : sequence of (batch, channels, planes, rows, columns)
            The maps of the encoder, each on the cells of its level.

        Raises
        ------
        InputError
            No phase was given, or not as many maps as the network has gates.
        ShapeError
            Phases differ in shape, or a side is no multiple of :attr:`multiple`.
        """
        require_fitting(phases, self.multiple)
        if len(context) != len(self.maps):
            raise InputError(f"{len(self.maps)} maps of an encoder", f"{len(context)}", "encode the image as the card says")
        skips = [self.first(self.fusion(phases))]
        for block in self.down:
            skips.append(block(skips[-1]))
        if self.use == "foundation":
            skips = [torch.zeros_like(level) for level in skips]
        for one, gate, features in zip(self.maps, self.gates, context, strict=True):
            skips[one.level] = skips[one.level] + gate(features)
        values = skips.pop()
        for block in reversed(self.up):
            values = block(values, skips.pop())
        said = self.heads(values)
        return Output(said[:, :1], said[:, 1:2].clamp(max=_LARGEST_LOG_RADIUS), said[:, 2:], values)


def require_fitting(phases: Mapping[str, Tensor], multiple: int) -> None:
    """Check that there are phases, (batch, 1, planes, rows, columns), of one shape whose sides are multiples of ``multiple``.

    Raises
    ------
    InputError
        No phase was given.
    ShapeError
        Another shape, or several.
    """
    if not phases:
        raise InputError("at least one phase", "none", "pass a mapping of phase name to tensor")
    # As plain numbers: while a network is traced for another engine, sides are tensors.
    shapes = {tuple(int(side) for side in image.shape) for image in phases.values()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 5 or shape[1] != 1 or any(side % multiple for side in shape[2:]):
        raise ShapeError(
            f"phases of one shape (batch, 1, planes, rows, columns) with sides that are multiples of {multiple}",
            f"{sorted(shapes)}",
            "pad them",
        )
