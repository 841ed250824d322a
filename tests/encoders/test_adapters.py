import pytest
import torch
from torch import nn

from tests.encoders.tiny import card_of, picture
from vesselgraph.encoders.adapters import (
    adapter_state,
    add_lora,
    add_molre,
    load_adapter,
    matching_modules,
    merge_lora,
    save_adapter,
)
from vesselgraph.encoders.loading import make_encoder
from vesselgraph.encoders.molre import MoLRELinear, gate_load
from vesselgraph.errors import CheckpointError, InputError, ShapeError
from vesselgraph.space import Space

ATTENTION = r".*attention\.(q|k|v|o)_proj"


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return make_encoder(card_of("dinov2"))


def said(encoder):
    with torch.no_grad():
        return encoder.encode(picture(1, 1, 2, 56, 56), [Space.axial()]).maps[-1].data


def stirred(network, seed=1):
    """Move every trained parameter, as training would."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            if value.requires_grad:
                value.add_(torch.randn_like(value) * 0.1)


def test_one_expert_equals_lora_of_peft():
    """The same A and B give the same answer, whatever the single gate's logit is."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = nn.Linear(12, 7)
    ours = MoLRELinear(base, 1, 4, 16.0)
    lora = nn.Sequential(nn.Linear(12, 7))
    lora[0].load_state_dict(base.state_dict())
    peft.inject_adapter_in_model(peft.LoraConfig(r=4, lora_alpha=16, target_modules=["0"]), lora)
    stirred(ours)
    with torch.no_grad():
        lora[0].lora_A["default"].weight.copy_(ours.down[0])
        lora[0].lora_B["default"].weight.copy_(ours.up[0])
    values = torch.randn(3, 5, 12)
    assert torch.allclose(ours(values), lora(values), atol=1e-6)
    assert not torch.allclose(ours(values), base(values), atol=1e-3)


@pytest.mark.parametrize(
    ("base", "shape"),
    [
        (nn.Linear(6, 5), (3, 6)),
        (nn.Conv2d(6, 5, 3, stride=2, padding=1), (2, 6, 9, 8)),
        (nn.Conv3d(6, 5, 3, padding=1), (1, 6, 4, 5, 6)),
    ],
    ids=["linear", "conv2d", "conv3d"],
)
def test_lora_is_the_layer_plus_its_two_small_ones(base, shape):
    """alpha / rank times B of A beside the frozen layer, whatever kind of layer it is; at first, and merged, the same."""
    pytest.importorskip("peft")
    network = nn.ModuleDict({"a": base})
    values = picture(*shape)
    frozen = base(values).detach()
    assert add_lora(network, "a", n_modules=1, rank=2, alpha=6.0, kinds=(type(base),)) == ["a"]
    layer = network["a"]
    assert torch.equal(layer(values), frozen)
    stirred(network)
    wanted = frozen + 3.0 * layer.lora_B["default"](layer.lora_A["default"](values))
    assert torch.allclose(layer(values), wanted, atol=1e-5)
    assert not torch.allclose(wanted, frozen, atol=1e-3)
    merge_lora(network)
    assert type(network["a"]) is type(base)
    assert torch.allclose(network["a"](values), wanted, atol=1e-5)


def test_at_first_the_answer_is_the_frozen_one_bit_for_bit():
    torch.manual_seed(0)
    base = nn.Linear(6, 5)
    values = torch.randn(2, 3, 6)
    before = base(values)
    assert torch.equal(MoLRELinear(base, 6, 4)(values), before)


def test_a_one_sided_gate_picks_one_expert():
    torch.manual_seed(0)
    layer = MoLRELinear(nn.Linear(6, 5), 3, 2)
    stirred(layer)
    with torch.no_grad():
        layer.router.outer.weight.zero_()
        layer.router.outer.bias.copy_(torch.tensor([-200.0, 200.0, -200.0]))
    values = torch.randn(4, 6)
    wanted = layer.base(values) + layer.scaling * values @ layer.down[1].T @ layer.up[1].T
    assert torch.allclose(layer(values), wanted, atol=1e-6)
    assert torch.allclose(layer.merged(torch.tensor([0.0, 1.0, 0.0]))(values), wanted, atol=1e-6)


def test_gates_sum_to_one_and_belong_to_the_item():
    torch.manual_seed(0)
    layer = MoLRELinear(nn.Linear(6, 5), 4, 2)
    stirred(layer)
    values = torch.randn(3, 7, 6)
    gates = layer.gates(values)
    assert torch.allclose(gates.sum(-1), torch.ones(3))
    # The order of an item's tokens does not route it, and another item does not touch it.
    assert torch.allclose(layer.gates(values.flip(1)), gates, atol=1e-6)
    assert torch.allclose(layer(values)[1], layer(values[1:2])[0], atol=1e-6)
    given = layer(values, units=values[:, 0])
    assert torch.allclose(given[2], layer(values[2:], units=values[2:, 0])[0], atol=1e-6)
    load, entropy = gate_load(gates)
    assert float(load.sum()) == pytest.approx(1.0)
    assert 0.0 < entropy <= 1.0


def test_the_experts_sum_by_hand():
    layer = MoLRELinear(nn.Linear(1, 1, bias=False), 2, 1, alpha=3.0)
    with torch.no_grad():
        layer.base.weight.fill_(10.0)
        layer.down.copy_(torch.tensor([[[1.0]], [[2.0]]]))
        layer.up.copy_(torch.tensor([[[5.0]], [[7.0]]]))
        for one in layer.router.parameters():
            one.zero_()
    # 10 x + 3 (0.5 * 5 * 1 + 0.5 * 7 * 2) x with x = 2.
    assert layer(torch.tensor([[2.0]])).item() == pytest.approx(20.0 + 3.0 * (2.5 + 7.0) * 2.0)


def test_parameters_of_the_published_sizes():
    """One layer of ViT-L with six experts of rank 8 adds far less than 0.5 % of 300 million."""
    with torch.device("meta"):
        layer = MoLRELinear(nn.Linear(1024, 1024), 6, 8)
    added = sum(one.numel() for one in layer.parameters() if one.requires_grad)
    assert added == 6 * 8 * 2048 + 1024 * 256 + 256 + 256 * 6 + 6
    assert added / 304_368_640 < 0.005


def test_only_experts_and_router_learn():
    torch.manual_seed(0)
    layer = MoLRELinear(nn.Linear(4, 4), 2, 2)
    stirred(layer)
    layer(torch.randn(2, 4)).sum().backward()
    assert layer.base.weight.grad is None
    assert all(one.grad is not None for name, one in layer.named_parameters() if not name.startswith("base"))


def test_bad_experts_raise():
    with pytest.raises(InputError, match="rank of 1 to 3"):
        MoLRELinear(nn.Linear(3, 4), 2, 4)
    layer = MoLRELinear(nn.Linear(3, 4), 2, 1)
    with pytest.raises(ShapeError, match=r"routing units of shape \(5, 3\)"):
        layer(torch.zeros(5, 3), units=torch.zeros(4, 3))
    with pytest.raises(InputError, match="fixed gates"):
        layer.merged()


def test_lora_adapts_the_layers_asked_for_and_starts_at_the_frozen_answer(encoder):
    before = said(encoder)
    names = add_lora(encoder.network, ATTENTION, n_modules=16, rank=4, alpha=8)
    assert len(names) == 16
    assert torch.equal(said(encoder), before)
    assert sum(one.numel() for one in adapter_state(encoder.network).values()) == 16 * 4 * 48
    stirred(encoder.network)
    assert not torch.allclose(said(encoder), before, atol=1e-3)


def test_a_pattern_that_misses_raises(encoder):
    """The names of older versions fit nothing here; that must not pass in silence."""
    with pytest.raises(InputError, match=r"16 layers that fit .*; got 0"):
        add_lora(encoder.network, r".*\.(query|key|value)", n_modules=16, rank=4, alpha=8)
    with pytest.raises(InputError, match="got 12"):
        add_molre(encoder.network, r".*attention\.(q|k|v)_proj", n_modules=16)
    with pytest.raises(InputError, match="a regular expression"):
        matching_modules(encoder.network, "(")


@pytest.mark.parametrize("add", [add_lora, add_molre])
def test_layers_that_are_read_and_never_called_are_refused(add):
    """torch's own attention takes the weight of its last layer without calling it: an adapter there would do nothing."""
    network = nn.ModuleDict({"attn": nn.MultiheadAttention(8, 2)})
    with pytest.raises(InputError, match=r"got attn\.out_proj, whose weight .* reads past it"):
        add(network, r"attn\.out_proj", n_modules=1, rank=2, alpha=2)


def test_patches_can_be_adapted_too(encoder):
    names = add_lora(encoder.network, r".*patch_embeddings\.projection", n_modules=1, rank=2, alpha=4, kinds=(nn.Conv2d,))
    assert names == ["embeddings.patch_embeddings.projection"]


def test_merged_lora_answers_alike_and_leaves_plain_layers(encoder):
    names = [name for name, _ in encoder.network.named_parameters()]
    add_lora(encoder.network, ATTENTION, n_modules=16, rank=4, alpha=8)
    stirred(encoder.network)
    adapted = said(encoder)
    assert merge_lora(encoder.network) == 16
    assert torch.allclose(said(encoder), adapted, atol=1e-5)
    assert [name for name, _ in encoder.network.named_parameters()] == names


def test_molre_inside_attention_starts_frozen_and_routes_by_slice(encoder):
    before = said(encoder)
    add_molre(encoder.network, ATTENTION, n_modules=16, n_experts=3, rank=2)
    assert torch.equal(said(encoder), before)
    stirred(encoder.network)
    changed = said(encoder)
    assert not torch.allclose(changed, before, atol=1e-3)
    with torch.no_grad():
        single = encoder.encode(picture(1, 1, 2, 56, 56)[:, :, 1:], [Space.axial()]).maps[-1].data
    assert torch.allclose(changed[:, :, 1:], single, atol=1e-5)


def test_experts_on_convolutions_are_refused():
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.Linear(4, 4))
    with pytest.raises(InputError, match=r"linear layers for low-rank experts; got 1 convolutions, \['0'\].*add_lora"):
        add_molre(network, ".*", n_modules=1)
    assert all(value.requires_grad for value in network.parameters())
    assert add_molre(network, "1", n_modules=1, rank=2) == ["1"]


@pytest.mark.parametrize("kind", ["lora", "molre"])
def test_saving_and_loading_one_task_leaves_the_backbone_alone(encoder, kind, tmp_path):
    def adapted(one):
        if kind == "lora":
            add_lora(one.network, ATTENTION, n_modules=16, rank=4, alpha=8)
        else:
            add_molre(one.network, ATTENTION, n_modules=16, n_experts=2, rank=2)
        return one

    before, digest = said(encoder), encoder.card.digest()
    adapted(encoder)
    stirred(encoder.network)
    wanted = said(encoder)
    save_adapter(encoder.network, tmp_path / "task.safetensors", encoder_digest=digest)
    torch.manual_seed(0)
    other = make_encoder(encoder.card)
    assert torch.equal(said(other), before)
    load_adapter(adapted(other).network, tmp_path / "task.safetensors", encoder_digest=digest)
    assert torch.equal(said(other), wanted)


def test_adapters_of_another_encoder_or_shape_raise(encoder, tmp_path):
    file = tmp_path / "task.safetensors"
    with pytest.raises(InputError, match="frozen altogether"):
        save_adapter(encoder.network, file, encoder_digest="a")
    add_molre(encoder.network, ATTENTION, n_modules=16, n_experts=2, rank=2)
    save_adapter(encoder.network, file, encoder_digest="a")
    with pytest.raises(CheckpointError, match="encoder b; got those of a"):
        load_adapter(encoder.network, file, encoder_digest="b")
    other = make_encoder(encoder.card)
    add_molre(other.network, ATTENTION, n_modules=16, n_experts=2, rank=3)
    with pytest.raises(CheckpointError, match="32 that differ"):
        load_adapter(other.network, file, encoder_digest="a")
    with pytest.raises(CheckpointError, match="a file of adapters"):
        load_adapter(other.network, tmp_path / "none", encoder_digest="a")
