import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.encoders.tiny import picture
from vesselgraph.config import SliceConfig, TileConfig
from vesselgraph.encoders.card import EncoderCard, InputCard, MapCard
from vesselgraph.encoders.loading import make_encoder
from vesselgraph.encoders.registry import CARDS, find_card
from vesselgraph.encoders.resnet_inflated import InflatedResNet
from vesselgraph.encoders.volumes import ConvEncoder
from vesselgraph.errors import InputError, RangeError, ShapeError
from vesselgraph.space import Space

SMALLER = {
    "segresnet-16": {"settings": {"init_filters": 8, "in_channels": 1, "blocks_down": [1, 1, 1, 1], "blocks_up": [1, 1, 1]}},
    "dynunet-32": {
        "settings": {
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 2,
            "kernel_size": [3] * 5,
            "strides": [1, 2, 2, 2, 2],
            "upsample_kernel_size": [2] * 4,
            "filters": [4, 8, 8, 8, 8],
        }
    },
    "astra-resnet152": {"depths": [1, 1, 1, 1], "width": 4},
    "resnet50-3d": {
        "model": "ResNet",
        "settings": {
            "block": "bottleneck",
            "layers": [1, 1, 1, 1],
            "block_inplanes": [4, 8, 16, 32],
            "n_input_channels": 1,
            "conv1_t_stride": 2,
            "feed_forward": False,
        },
    },
    "vista3d": {"settings": {"encoder_embed_dim": 8, "in_channels": 1}},
}


def small(name, n_cells=1):
    """Return a narrow encoder with the stages of a registered one, its normalisations switched off."""
    card = find_card(name)
    config = {**card.config, **SMALLER.get(name, {})}
    torch.manual_seed(0)
    encoder = make_encoder(card.model_copy(update={"config": config}))
    for module in encoder.network.modules():
        for child_name, child in list(module.named_children()):
            # Statistics over the whole image would tie every cell to every voxel; rectifiers would hide some.
            if "Norm" in type(child).__name__ or "ReLU" in type(child).__name__:
                module.add_module(child_name, nn.Identity())
    return encoder


def encoded(encoder, images):
    with torch.no_grad():
        return encoder.encode(images, [Space.axial()] * len(images))


SIDES = {"segresnet-16": 40, "dynunet-32": 40, "vista3d": 40, "efficientnet-lite0": 288, "resnet50": 288}
CHAINED = ["segresnet-16", "dynunet-32", "astra-resnet152", "resnet50-3d", "vista3d"]


@pytest.mark.parametrize("name", [*CHAINED, "efficientnet-lite0", "resnet50"])
def test_stride_and_offset_by_the_middle_of_what_a_cell_sees(name):
    """The voxels that move one cell lie evenly around the place the card gives it, away from the border."""
    encoder = small(name)
    flat = encoder.card.kind == "2d"
    side = SIDES.get(name, 96)
    for level, card in enumerate(encoder.card.maps[:2]):
        images = picture(1, 1, 1 if flat else side, side, side, seed=level).requires_grad_()
        one = encoder.encode(images * 100.0, [Space.axial()]).maps[level]
        middle = tuple(n // 2 for n in one.data.shape[2:])
        one.data[(0, slice(None), *middle)].abs().sum().backward()
        moved = images.grad[0, 0] != 0
        for axis in range(1 if flat else 0, 3):
            others = tuple(a for a in range(3) if a != axis)
            where = torch.nonzero(moved.any(dim=others[1]).any(dim=others[0])).flatten()
            low, high = int(where.min()), int(where.max())
            assert 0 < low < high < images.shape[2 + axis] - 1, "what it sees must not reach the border"
            assert (low + high) / 2 == pytest.approx(card.offset[axis] + middle[axis] * card.stride[axis])


@pytest.mark.parametrize("name", [card.name for card in CARDS.values() if card.kind == "3d" and card.name in SMALLER])
def test_maps_have_the_strides_of_the_card(name):
    encoder = small(name)
    said = encoded(encoder, picture(2, 1, 33, 40, 48))
    for one, card in zip(said.maps, encoder.card.maps, strict=True):
        padded = [-(-side // step) * step for side, step in zip((33, 40, 48), encoder.input.multiple, strict=True)]
        assert list(one.data.shape[2:]) == [int(side / step) for side, step in zip(padded, card.stride, strict=True)]
    assert said.tokens is None
    assert torch.allclose(said.pooled, said.maps[-1].data.mean((2, 3, 4)))
    taken = sum(one.data.numel() // one.data.shape[1] // 2 for one in said.maps)
    cells = sum(
        math.prod(int(side / step) for side, step in zip(padded, card.stride, strict=True)) for card in encoder.card.maps
    )
    assert taken == cells


def test_taps_are_the_stages_themselves():
    encoder = small("segresnet-16")
    images = picture(1, 1, 16, 16, 16)
    with torch.no_grad():
        values = encoder.network.convInit((images + 200) / 700)
        direct = [values := layer(values) for layer in encoder.network.down_layers]
    for one, wanted in zip(encoded(encoder, images).maps, direct, strict=True):
        assert torch.equal(one.data, wanted)


def test_swin_gives_its_five_scales():
    card = find_card("swin-unetr-48")
    config = {**card.config, "settings": {"in_channels": 1, "out_channels": 2, "feature_size": 12}}
    said = encoded(make_encoder(card.model_copy(update={"config": config})), picture(1, 1, 64, 64, 64))
    assert [tuple(one.data.shape[1:]) for one in said.maps] == [
        (12, 32, 32, 32),
        (24, 16, 16, 16),
        (48, 8, 8, 8),
        (96, 4, 4, 4),
        (192, 2, 2, 2),
    ]


def chain_card(multiple=4):
    return EncoderCard(
        name="two",
        title="two",
        kind="3d",
        source="a test",
        licence="none",
        commercial_use="yes",
        input=InputCard(low=0, high=1, multiple=(multiple,) * 3),
        maps=(
            MapCard(name="a", channels=2, stride=(2, 2, 2), offset=(0, 0, 0)),
            MapCard(name="b", channels=3, stride=(4, 4, 4), offset=(0, 0, 0)),
        ),
    )


@pytest.fixture
def two():
    torch.manual_seed(0)
    first, second = nn.Conv3d(1, 2, 3, 2, padding=1), nn.Conv3d(2, 3, 3, 2, padding=1)
    network = nn.Sequential(first, second)
    return network, lambda images: (first(images), network(images))


@pytest.mark.parametrize("shape", [(16, 24, 32), (19, 9, 21)])
def test_tiles_change_nothing_where_the_margin_covers_what_a_cell_sees(two, shape):
    network, look = two
    images = picture(2, 1, *shape)
    whole = encoded(ConvEncoder(network, chain_card(), look), images)
    tiled = encoded(ConvEncoder(network, chain_card(), look, TileConfig(tile=8, margin=4)), images)
    for one, other in zip(whole.maps, tiled.maps, strict=True):
        assert torch.allclose(one.data, other.data, atol=1e-6)
    # Without a margin the border of each tile is seen wrongly, so the test can fail.
    cut = encoded(ConvEncoder(network, chain_card(), look, TileConfig(tile=8, margin=0)), images)
    assert not torch.allclose(whole.maps[1].data, cut.maps[1].data, atol=1e-6)


def test_bad_use_raises(two):
    network, look = two
    with pytest.raises(InputError, match="tiles and margins that are multiples"):
        ConvEncoder(network, chain_card(), look, TileConfig(tile=6, margin=4))
    with pytest.raises(RangeError, match="no gradients with tiles"):
        ConvEncoder(network, chain_card(), look, TileConfig(tile=8, margin=4)).encode(
            picture(1, 1, 16, 16, 16), [Space.axial()]
        )
    with pytest.raises(ShapeError, match=r"images \(batch, 1"):
        ConvEncoder(network, chain_card(), look).encode(picture(1, 16, 16, 16), [Space.axial()])
    with pytest.raises(InputError, match="settings of TileConfig"):
        make_encoder(find_card("segresnet-16"), SliceConfig())


def test_inflation_keeps_the_answer_of_a_2d_network_on_equal_planes():
    """Kernels of a 2-D ResNet over three planes, each a third, answer as it does where all planes are the same."""
    torch.manual_seed(0)
    network = InflatedResNet((1, 1, 1, 1), 4).eval().double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                module.weight[:] = module.weight.mean(2, keepdim=True)
    image = torch.rand(1, 3, 1, 64, 64, dtype=torch.float64)
    deep = image.expand(1, 3, 64, 64, 64)

    def stages(values):
        values = network.maxpool(network.act(network.bn1(network.conv1(values))))
        return network.layer2(network.layer1(values))

    with torch.no_grad():
        answer = stages(deep)
    inner = answer[:, :, 3:-3]
    assert torch.allclose(inner, inner[:, :, :1].expand_as(inner), atol=1e-12)
    flat = nn.functional.conv2d(image[:, :, 0], network.conv1.weight.sum(2), stride=2, padding=3)
    stem = network.conv1(deep)[:, :, 5]
    assert np.allclose(stem.detach(), flat.detach())
