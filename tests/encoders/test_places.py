"""Where the cells of registered maps lie, by what they see, for the networks whose attention ties all cells together.

Attention is silenced; then a cell sees what its convolutions, patches and merged patches let it see, evenly around its place.
"""

import re

import pytest
import torch
from torch import nn

from tests.encoders.tiny import _HIERA, _SAM3_VIT, picture
from vesselgraph.encoders.loading import make_encoder
from vesselgraph.encoders.registry import find_card
from vesselgraph.space import Space

_MIXES = re.compile(r"attn(\.fn)?\.(o_proj|proj)$|attention\.(o_proj|proj)$")
_DAVIT = {"depths": (1, 1, 1, 1), "embed_dim": (8, 8, 16, 16), "num_heads": (1,) * 4, "num_groups": (1,) * 4, "window_size": 4}
SMALLER = {
    "swin-unetr-48": {"settings": {"in_channels": 1, "out_channels": 2, "feature_size": 12}},
    "tap-slf-florence2": {"settings": _DAVIT},
    "sam2-tiny": {"settings": {"backbone_config": _HIERA, "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 8}},
    "sam3": {"settings": {"backbone_config": _SAM3_VIT, "fpn_hidden_size": 8}},
}


def silenced(name, side=0):
    """Return a narrow encoder with the places and stages of a registered one; no cell attends to another."""
    card = find_card(name)
    if card.kind == "2d":
        pytest.importorskip("transformers")
    torch.manual_seed(0)
    changed = {"config": {**card.config, **SMALLER[name]}}
    if side:
        changed["input"] = card.input.model_copy(update={"side": side})
    encoder = make_encoder(card.model_copy(update=changed))
    mixing = [module for called, module in encoder.network.named_modules() if _MIXES.search(called)]
    assert mixing
    for module in mixing:
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
    return encoder


def seen(encoder, level, cell, shape):
    """Return first and last voxel, along every axis, of those that move a cell."""
    # Unit noise around the middle of the card's window, so that nothing is cut off.
    images = (encoder.input.low + picture(1, 1, *shape) * (encoder.input.high - encoder.input.low)).requires_grad_()
    encoder.encode(images, [Space.axial()]).maps[level].data[(0, slice(None), *cell)].square().sum().backward()
    where = torch.nonzero(images.grad[0, 0])
    return where.min(0).values.tolist(), where.max(0).values.tolist()


@pytest.mark.parametrize("level", range(5))
def test_cells_of_swin_see_their_own_voxels_and_no_other(level):
    encoder = silenced("swin-unetr-48")
    card, cell = encoder.card.maps[level], (1, 0, 1)
    low, high = seen(encoder, level, cell, (64, 64, 64))
    place = [offset + step * n for offset, step, n in zip(card.offset, card.stride, cell, strict=True)]
    assert [(first + last) / 2 for first, last in zip(low, high, strict=True)] == pytest.approx(place)
    assert [last - first + 1 for first, last in zip(low, high, strict=True)] == list(card.stride)


@pytest.mark.parametrize("level", range(4))
def test_cells_of_davit_lie_in_the_middle_of_what_they_see(level):
    encoder = silenced("tap-slf-florence2")
    card, side = encoder.card.maps[level], (64, 160, 320, 640)[level]
    middle = int(side / card.stride[1]) // 2
    low, high = seen(encoder, level, (0, middle, middle), (1, side, side))
    for axis in (1, 2):
        assert 0 < low[axis] < high[axis] < side - 1, "what it sees must not reach the border"
        assert (low[axis] + high[axis]) / 2 == pytest.approx(card.offset[axis] + middle * card.stride[axis])


@pytest.mark.parametrize("level", range(3))
def test_cells_of_sam_2_lie_in_the_middle_of_what_their_own_stage_sees(level):
    encoder = silenced("sam2-tiny", side=64)
    # Coarser stages are added to finer ones; what a level sees of its own is its stage, the coarsest first in the list.
    laterals = encoder.network.neck.convs
    for number, one in enumerate(laterals):
        if number != len(laterals) - 1 - level:
            nn.init.zeros_(one.weight)
    card = encoder.card.maps[level]
    middle = int(32 / card.stride[1])
    low, high = seen(encoder, level, (0, middle, middle), (1, 64, 64))
    for axis in (1, 2):
        assert 0 < low[axis] < high[axis] < 63
        assert (low[axis] + high[axis]) / 2 == pytest.approx(card.offset[axis] + middle * card.stride[axis])


@pytest.mark.parametrize("level", range(3))
def test_cells_of_sam_3_lie_evenly_in_the_patch_they_are_made_of(level):
    encoder = silenced("sam3", side=56)
    # The last convolution of a level mixes a cell with its neighbours, evenly; only its middle is left.
    last = encoder.network.neck.fpn_layers[level].proj2
    kernel = torch.zeros_like(last.weight)
    kernel[:, :, 1, 1] = last.weight[:, :, 1, 1]
    last.weight = nn.Parameter(kernel, requires_grad=False)
    card = encoder.card.maps[level]
    n = int(14 / card.stride[1])
    for patch in (1, 2):
        cells = range(patch * n, (patch + 1) * n)
        for cell in cells:
            low, high = seen(encoder, level, (0, cell, cell), (1, 56, 56))
            assert (low[1:], high[1:]) == ([14 * patch] * 2, [14 * patch + 13] * 2)
        places = [card.offset[1] + card.stride[1] * cell for cell in cells]
        assert sum(places) / n == pytest.approx(14 * patch + 6.5)
        assert places[0] - card.stride[1] / 2 == pytest.approx(14 * patch - 0.5)
