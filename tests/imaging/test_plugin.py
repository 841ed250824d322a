import copy

import pytest
import torch
from torch import nn

from tests.imaging.small import backbone_of, image_of
from vesselgraph.encoders.loading import make_encoder
from vesselgraph.encoders.registry import find_card
from vesselgraph.errors import ConfigError, InputError
from vesselgraph.imaging.adapting import adapted
from vesselgraph.imaging.classifier import Classifier
from vesselgraph.imaging.looking import encode, prepared, summarise, tokens_of
from vesselgraph.imaging.plugin import TaskPlugin, stacked
from vesselgraph.imaging.weights import make_plugin
from vesselgraph.imaging_config import PluginConfig, TrainClassifierConfig


def config_of(**plugin):
    return TrainClassifierConfig(plugin=PluginConfig(**plugin))


def stirred(plugin, seed=3):
    """Move everything that learns, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, value in plugin.trained():
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    return plugin


@pytest.mark.parametrize(
    ("name", "fused", "n_adapters", "millions"),
    [
        # Rank 8 on fused query, key and value, on the output and on the patch embedding.
        ("dinov3-large", True, 24 * (8 * (1024 + 3072) + 8 * 2048) + 8 * (768 + 1024), 1.20),
        ("dinov2-base", True, 12 * (8 * (768 + 2304) + 8 * 1536) + 8 * (588 + 768), 0.45),
        # Separate ones, as the published 2 million suggest.
        ("siglip-so400m-384", False, 27 * 4 * 8 * 2304 + 8 * (588 + 1152), 2.0),
    ],
)
def test_parameters_of_the_published_sizes(name, fused, n_adapters, millions):
    with torch.device("meta"):
        encoder = make_encoder(find_card(name))
        width = encoder.card.maps[-1].channels
        plugin = TaskPlugin(width, ("finding",), PluginConfig(adapter="lora", fused=fused, head="focal"))
        plugin.add_adapters(encoder.network, encoder.card)
    assert plugin.n_trained() == n_adapters + width + (width + 1)
    assert plugin.n_trained() / 1e6 == pytest.approx(millions, abs=0.01)


def test_shared_inputs_are_lora_on_one_fused_layer():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    fused = nn.Sequential(nn.Linear(12, 36))
    split = nn.ModuleDict({f"{one}_proj": nn.Linear(12, 12) for one in "qkv"})
    network = nn.ModuleDict({"attention": split})
    for n, one in enumerate("qkv"):
        split[f"{one}_proj"].load_state_dict(
            {"weight": fused[0].weight[12 * n : 12 * n + 12], "bias": fused[0].bias[12 * n : 12 * n + 12]}
        )
    peft.inject_adapter_in_model(peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"]), fused)
    plugin = TaskPlugin(12, ("a",), PluginConfig(adapter="lora", layers=r"attention\.[qkv]_proj", n_layers=3, rank=4, alpha=8))
    plugin.add_adapters(network, find_card("dinov2-base"))
    layers = plugin.adapters[""]
    with torch.no_grad():
        fused[0].lora_B["default"].weight.normal_()
        layers["attention.q_proj"].lora_A["default"].weight.copy_(fused[0].lora_A["default"].weight)
        for n, one in enumerate("qkv"):
            layers[f"attention.{one}_proj"].lora_B["default"].weight.copy_(
                fused[0].lora_B["default"].weight[12 * n : 12 * n + 12]
            )
    values = torch.randn(5, 12)
    with torch.no_grad():
        ours = torch.cat([layers[f"attention.{one}_proj"](values) for one in "qkv"], 1)
        assert torch.allclose(ours, fused(values), atol=1e-5)


@pytest.mark.parametrize("plugin", [{"adapter": "lora"}, {"adapter": "molre"}, {"adapter": "lora", "place": "tokens"}, {}])
def test_a_new_plugin_sees_what_the_bare_encoder_sees(plugin):
    backbone, config = backbone_of(), config_of(**plugin)
    volume = prepared(image_of(1), config, backbone)
    with torch.no_grad():
        before = summarise(backbone, volume)
        made = make_plugin(backbone, config, ("a",), ("",))
        with adapted(backbone.encoder.network, made.adapters[""]):
            assert torch.equal(summarise(backbone, volume), before)
        part = made.views[0]
        mask = torch.ones(1, len(before), dtype=torch.bool)
        assert torch.equal(part(before[None], mask)[0], part.pool(before[None], mask)[0])


def test_summaries_are_the_tokens_of_encode():
    backbone = backbone_of("dinov2")
    volume = prepared(image_of(2, side=28), config_of(), backbone)
    with torch.no_grad():
        assert torch.equal(summarise(backbone, volume), tokens_of(encode(backbone, volume)))


@pytest.mark.parametrize("adapter", ["lora", "molre"])
def test_adding_and_using_a_task_leaves_the_others_bit_identical(adapter):
    backbone = backbone_of()
    names = [name for name, _ in backbone.encoder.network.named_modules()]
    weights = copy.deepcopy(backbone.encoder.network.state_dict())
    classifier = Classifier(backbone)
    config = config_of(adapter=adapter, rank=2, n_experts=2)
    classifier.add("first", stirred(make_plugin(backbone, config, ("a", "b"), ("",))), config)
    alone = classifier.classify(image_of(1), "first", heat="auto")
    other = config_of(adapter="lora", rank=4, alpha=2.0)
    classifier.add("second", stirred(make_plugin(backbone, other, ("c",), ("",)), 9), other)
    second = classifier.classify(image_of(1), "second", heat="auto")
    again = classifier.classify(image_of(1), "first", heat="auto")
    assert (again.probability == alone.probability).all()
    assert (again.uncertainty == alone.uncertainty).all()
    assert (again.heat[""].array == alone.heat[""].array).all()
    assert second.labels == ("c",)
    assert [name for name, _ in backbone.encoder.network.named_modules()] == names
    assert all(torch.equal(value, weights[key]) for key, value in backbone.encoder.network.state_dict().items())
    with pytest.raises(InputError, match="a name other than first, second"):
        classifier.add("first", make_plugin(backbone, config, ("a",), ("",)), config)
    with pytest.raises(InputError, match="a task of first, second"):
        classifier.classify(image_of(1))


def test_only_the_plugin_learns():
    backbone = backbone_of()
    config = config_of(adapter="lora", rank=2)
    plugin = make_plugin(backbone, config, ("a",), ("",))
    volume = prepared(image_of(1), config, backbone)
    with adapted(backbone.encoder.network, plugin.adapters[""]):
        tokens = summarise(backbone, volume)
    plugin(plugin.batch([{"": tokens}])).raw.sum().backward()
    assert all(value.grad is None for value in backbone.encoder.network.parameters())
    missing = [name for name, value in plugin.trained() if value.grad is None]
    assert not missing


def test_a_missing_view_has_no_part():
    plugin = stirred(TaskPlugin(6, ("a",), PluginConfig(), ("portal", "late")))
    both = {"portal": torch.randn(3, 6), "late": torch.randn(2, 6)}
    one = {"portal": both["portal"], "late": None}
    answer = plugin(plugin.batch([one, both]))
    assert answer.view_weights[0].tolist() == [1.0, 0.0]
    assert float(answer.view_weights[1].sum().detach()) == pytest.approx(1.0)
    assert 0.0 < float(answer.view_weights[1, 1].detach()) < 1.0
    alone = plugin(plugin.batch([one]))
    assert torch.allclose(answer.raw[0], alone.raw[0], atol=1e-6)
    assert not torch.allclose(answer.raw[0], answer.raw[1], atol=1e-3)


def test_padding_a_batch_changes_nothing():
    plugin = stirred(TaskPlugin(6, ("a",), PluginConfig(adapter="molre", place="tokens", rank=2)))
    cases = [{"": torch.randn(n, 6)} for n in (4, 1, 7)]
    together = plugin(plugin.batch(cases)).raw
    apart = torch.cat([plugin(plugin.batch([case])).raw for case in cases])
    assert torch.allclose(together, apart, atol=1e-6)
    tokens, mask = stacked([torch.ones(2, 3), None], 3)
    assert (tuple(tokens.shape), mask.tolist()) == ((2, 2, 3), [[True, True], [False, False]])


def test_layers_that_cannot_be_found_raise():
    backbone = backbone_of("convnext")
    with pytest.raises(ConfigError, match=r"plugin\.n_layers with plugin\.layers"):
        make_plugin(backbone, config_of(adapter="lora", layers="x"), ("a",), ("",))
    with pytest.raises(ConfigError, match="layers of convnext that adapter molre knows"):
        make_plugin(backbone, config_of(adapter="molre"), ("a",), ("",))
    with pytest.raises(InputError, match="3 layers that fit"):
        make_plugin(backbone, config_of(adapter="lora", layers="x", n_layers=3), ("a",), ("",))
    with pytest.raises(ConfigError, match="at least one label"):
        TaskPlugin(6, (), PluginConfig())


def test_convolutions_can_be_adapted_too():
    encoder = make_encoder(find_card("efficientnet-lite0"))
    plugin = TaskPlugin(1280, ("a",), PluginConfig(adapter="lora", rank=2))
    plugin.add_adapters(encoder.network, encoder.card)
    # Every block but the first has an expansion and a projection; the first a projection; and there is the head.
    assert len(plugin.adapters[""]) == 15 * 2 + 1 + 1
