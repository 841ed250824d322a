import re

import numpy as np
import pytest
import torch
from torch import nn

from tests.encoders.tiny import FAMILIES, card_of, picture
from vesselgraph.config import SliceConfig
from vesselgraph.encoders.card import InputCard
from vesselgraph.encoders.doors import encode_volume
from vesselgraph.encoders.loading import make_encoder
from vesselgraph.encoders.sampling import sample
from vesselgraph.encoders.slices import slice_images
from vesselgraph.errors import BudgetError, InputError, RangeError, ShapeError
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def made(family, **config):
    torch.manual_seed(1)
    return make_encoder(card_of(family), SliceConfig(**config))


def encoded(encoder, images):
    with torch.no_grad():
        return encoder.encode(images, [Space.axial()] * len(images))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_maps_of_its_card(family):
    encoder = made(family)
    said = encoded(encoder, picture(2, 1, 3, 56, 42))
    assert [one.data.shape[1] for one in said.maps] == [one.channels for one in encoder.card.maps]
    for one, card in zip(said.maps, encoder.card.maps, strict=True):
        side = encoder.input.side
        ratio = side / 56 if side else 1.0
        assert one.stride == pytest.approx((1.0, card.stride[1] / ratio, card.stride[2] / ratio))
        if family == "sam2":
            # Its cells lie around corners of the grid: the stem is a 7 x 7 kernel padded by 3.
            continue
        # Cells cover the whole slice, and start and end less than a cell beyond it.
        for axis, n_pixels in ((1, 56), (2, 42)):
            first, step, n_cells = one.offset[axis], one.stride[axis], one.data.shape[2 + axis]
            assert first - step / 2 == pytest.approx(-0.5)
            assert first + (n_cells - 0.5) * step >= n_pixels - 0.5 - 1e-6
    assert said.tokens.shape[:2] == (2, 3)
    assert said.token_mask.all()
    assert torch.allclose(said.pooled, said.tokens.mean(1))
    assert all(one.data.isfinite().all() for one in said.maps)


@pytest.mark.parametrize("family", ["dinov2", "dinov3", "clip", "siglip", "vit"])
def test_encode_is_the_model_called_slice_by_slice(family):
    encoder = made(family)
    images = picture(1, 1, 2, 56, 56)
    said = encoded(encoder, images)
    more = {"interpolate_pos_encoding": True} if family in {"clip", "siglip", "vit"} else {}
    n_prefix, patch = encoder.tower.n_prefix, encoder.tower.patch
    for plane in range(2):
        pixels = ((images[0, 0, plane] - 0.5) / 0.5).expand(1, 3, 56, 56)
        with torch.no_grad():
            direct = encoder.network(pixels, output_hidden_states=True, **more)
        for tap, one in zip(encoder.tower.taps, said.maps, strict=True):
            grid = direct.hidden_states[tap + 1][0, n_prefix:].T.reshape(24, 56 // patch, 56 // patch)
            assert torch.allclose(one.data[0, :, plane], grid, atol=1e-5)
        summary = direct.last_hidden_state[0, 0] if n_prefix else direct.pooler_output[0]
        assert torch.allclose(said.tokens[0, plane], summary, atol=1e-5)


def test_the_last_tap_is_the_last_layer_before_its_norm():
    encoder = made("dinov2")
    said = encoded(encoder, picture(1, 1, 1, 56, 56))
    with torch.no_grad():
        pixels = (picture(1, 1, 1, 56, 56)[:, 0] - 0.5) / 0.5
        direct = encoder.network(pixels.expand(1, 3, 56, 56)).last_hidden_state[0, 1:]
        normed = encoder.network.layernorm(said.maps[-1].data[0, :, 0].flatten(1).T)
    assert torch.allclose(normed, direct, atol=1e-5)


@pytest.mark.parametrize("family", ["dinov3", "convnext"])
def test_chunks_change_nothing(family):
    images = picture(2, 1, 5, 64, 64)
    whole, parts = (encoded(made(family, chunk=chunk), images) for chunk in (100, 3))
    for one, other in zip(whole.maps, parts.maps, strict=True):
        assert torch.allclose(one.data, other.data, atol=1e-5)
    assert torch.allclose(whole.tokens, parts.tokens, atol=1e-5)


def test_mae_sees_every_patch_in_its_place():
    encoder = made("mae")
    first, again = (encoded(encoder, picture(1, 1, 1, 32, 32)) for _ in range(2))
    assert torch.equal(first.maps[0].data, again.maps[0].data)
    changed = picture(1, 1, 1, 32, 32)
    changed[..., 24:, 24:] = 0.0
    other = encoded(encoder, changed)
    moved = (first.maps[0].data - other.maps[0].data).abs().sum(1)[0, 0]
    assert moved.argmax() == 15


def test_policies_by_hand():
    volumes = torch.arange(4.0).view(1, 4, 1, 1) * 100.0
    card = InputCard(low=0, high=400, mean=(0, 0, 0), std=(1, 1, 1))
    repeat = slice_images(volumes, torch.tensor([1]), card, SliceConfig())
    assert repeat.flatten().tolist() == [0.25, 0.25, 0.25]
    beside = slice_images(volumes, torch.tensor([0, 2, 3]), card, SliceConfig(policy="neighbours"))
    assert beside.view(3, 3).tolist() == [[0.0, 0.0, 0.25], [0.25, 0.5, 0.75], [0.5, 0.75, 0.75]]
    windows = SliceConfig(policy="windows", windows=((0, 200), (100, 300), (-200, 200)))
    assert slice_images(volumes, torch.tensor([1]), card, windows).flatten().tolist() == [0.5, 0.0, 0.75]


def test_scaling_makes_finer_cells_in_the_right_place():
    """A bright spot answers in the cell that covers it, at both scales."""
    images = torch.zeros(1, 1, 1, 32, 32)
    images[..., 20:24, 8:12] = 1.0
    for scale in (1.0, 2.0):
        encoder = made("convnext", scale=scale)
        with torch.no_grad():
            moved = encoded(encoder, images).maps[0].data - encoded(encoder, torch.zeros_like(images)).maps[0].data
        one = encoded(encoder, images).maps[0]
        assert one.stride == (1.0, 4 / scale, 4 / scale)
        row, column = np.unravel_index(int(moved.abs().sum(1)[0, 0].argmax()), moved.shape[3:])
        assert abs(one.offset[1] + row * one.stride[1] - 21.5) <= 4
        assert abs(one.offset[2] + column * one.stride[2] - 9.5) <= 4


def test_three_directions_average_and_give_a_symmetric_answer():
    """Turning a cube turns what three directions say of it: the answer at a point stays the same."""
    encoder = made("dinov3", planes=3)
    cube = picture(1, 1, 16, 16, 16)
    said = encoded(encoder, cube)
    assert said.tokens.shape[1] == 48
    assert said.maps[0].data.shape[2:] == (16, 2, 2)
    # Where the first direction's cells and the resampled ones of the other two meet, by hand, from single directions.
    single = made("dinov3")
    rows_first = encoded(single, cube.permute(0, 1, 3, 2, 4)).maps[0]
    columns_first = encoded(single, cube.permute(0, 1, 4, 2, 3)).maps[0]
    planes_first = encoded(single, cube).maps[0]
    # Plane 4 lies at cell (4 - 3.5) / 8 of the other two; row and column cells are centred at 3.5 and 11.5.
    share = 0.5 / 8
    from_rows = rows_first.data[0, :, 3:5, :, 0].mean(1)
    from_columns = columns_first.data[0, :, 3:5, :, 0].mean(1)
    wanted = planes_first.data[0, :, 4, 0, 0] + torch.lerp(from_rows[:, 0], from_rows[:, 1], share)
    wanted = (wanted + torch.lerp(from_columns[:, 0], from_columns[:, 1], share)) / 3
    assert torch.allclose(said.maps[0].data[0, :, 4, 0, 0], wanted, atol=1e-5)


def test_attention_of_the_class_token():
    encoder = made("dinov3", attention=True)
    said = encoded(encoder, picture(1, 1, 2, 32, 32))
    assert said.attention.shape == (1, 2, 4, 4)
    assert (said.attention.flatten(2).sum(2) < 1.0).all()
    with pytest.raises(InputError, match="class token"):
        made("siglip", attention=True)


def test_half_keeps_three_digits():
    images = picture(1, 1, 2, 32, 32)
    whole, half = (encoded(made("dinov3", half=flag), images) for flag in (False, True))
    assert half.maps[0].data.dtype == torch.float16
    assert torch.allclose(whole.maps[0].data, half.maps[0].data.float(), rtol=2e-3, atol=2e-3)


def test_a_door_turns_and_places_the_volume():
    """The same patient stored in another axis order and flipped gives the same features at the same world points."""
    rng = np.random.default_rng(0)
    volume = Volume(rng.random((6, 32, 24)).astype(np.float32), Space.axial((2.0, 0.7, 0.7), (5.0, -3.0, 40.0)))
    card = card_of("dinov3")
    card = card.model_copy(update={"input": card.input.model_copy(update={"orientation": "SPL"})})
    encoder = make_encoder(card)
    flipped = Volume(
        volume.array[::-1, :, ::-1].transpose(2, 0, 1),
        Space(
            volume.space.spacing[[2, 0, 1]],
            volume.space.to_world([5, 0, 23]),
            (volume.space.direction * np.array([-1.0, 1.0, -1.0]))[:, [2, 0, 1]],
        ),
    )
    points = volume.space.to_world(rng.uniform(0, 5, (9, 3)))
    assert torch.allclose(
        sample(encode_volume(encoder, volume), points), sample(encode_volume(encoder, flipped), points), atol=1e-4
    )


def test_the_door_resamples_to_the_cards_spacing():
    card = card_of("dinov3")
    card = card.model_copy(update={"input": card.input.model_copy(update={"spacing": (2.0, 1.0, 1.0)})})
    said = encode_volume(make_encoder(card), Volume(np.zeros((8, 16, 16), np.int16), Space.axial((1.0, 2.0, 2.0))))
    assert said.shape == (4, 32, 32)
    assert said.spaces[0].spacing.tolist() == [2.0, 1.0, 1.0]


def test_bad_input_raises():
    encoder = made("dinov3")
    with pytest.raises(ShapeError, match=r"images \(batch, 1"):
        encoder.encode(torch.zeros(1, 2, 3, 16, 16), [Space.axial()])
    with pytest.raises(ShapeError, match="2 in the batch"):
        encoder.encode(torch.zeros(1, 1, 3, 16, 16), [Space.axial()] * 2)
    with pytest.raises(RangeError, match="1 that are NaN"):
        encode_volume(encoder, Volume(np.array([[[np.nan, 1.0]]]), Space.axial()))
    with pytest.raises(BudgetError, match="at most 1e-06 GB"):
        encode_volume(encoder, Volume(np.zeros((4, 32, 32)), Space.axial()), max_memory_gb=1e-6)


@pytest.mark.parametrize(("family", "config"), [("convnext", {"scale": 1.5}), ("dinov2", {"half": True}), ("sam", {})])
def test_the_estimate_is_what_the_maps_take(family, config):
    encoder = made(family, **config)
    said = encoded(encoder, picture(1, 1, 3, 50, 33))
    taken = sum(one.data.numel() * one.data.element_size() for one in said.maps)
    assert encoder.map_gigabytes(said.shape) * 1e9 == pytest.approx(taken)


# Attention ties every cell to every pixel; without what it adds, a cell sees its own patch and what convolutions mix in.
_MIXES = re.compile(r"(attn|attention|self_attn)\.(.*\.)?(o_proj|out_proj|proj|dense)$")


@pytest.mark.parametrize("family", [one for one in FAMILIES if one not in {"sam2", "sam3"}])
def test_a_cell_lies_in_the_middle_of_what_it_sees(family):
    torch.manual_seed(0)
    encoder = make_encoder(card_of(family))
    found = [module for name, module in encoder.network.named_modules() if _MIXES.search(name)]
    assert bool(found) == (family != "convnext")
    for module in found:
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
    # ConvNeXt's blocks reach 3 cells of every stage around; the coarsest ones touch the border.
    side = encoder.input.side or {"convnext": 256}.get(family, 7 * encoder.input.multiple[1])
    for level, one in enumerate(encoder.card.maps[:2]):
        images = picture(1, 1, 1, side, side, seed=level).requires_grad_()
        cells = encoder.encode(images, [Space.axial()]).maps[level].data
        middle = [(n - 1) // 2 for n in cells.shape[3:]]
        # The sum of the channels of a normalised answer is constant, hence the squares.
        cells[0, :, 0, middle[0], middle[1]].square().sum().backward()
        moved = images.grad[0, 0, 0] != 0
        for axis in (0, 1):
            where = torch.nonzero(moved.any(dim=1 - axis)).flatten()
            place = one.offset[1 + axis] + middle[axis] * one.stride[1 + axis]
            assert (int(where.min()) + int(where.max())) / 2 == pytest.approx(place)
            assert len(where) < side
