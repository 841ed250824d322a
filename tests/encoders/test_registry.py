import json

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from tests.encoders.tiny import for_builder
from vesselgraph.cli import encoding
from vesselgraph.cli.app import app
from vesselgraph.encoders.key_names import from_timm_vit
from vesselgraph.encoders.loading import make_encoder
from vesselgraph.encoders.registry import CARDS

MADE = [card for card in CARDS.values() if card.is_constructible]
# Every encoder and segmentation system of docs/sources.md, by the number it has there.
LISTED = {
    5,
    7,
    8,
    11,
    13,
    15,
    16,
    17,
    18,
    19,
    26,
    27,
    28,
    30,
    37,
    40,
    43,
    44,
    46,
    47,
    48,
    50,
    52,
    53,
    54,
    55,
    56,
    58,
    60,
    63,
    64,
    71,
}


@pytest.mark.parametrize("card", MADE, ids=lambda card: card.name)
def test_the_network_has_the_parameters_of_its_card(card):
    """Built with its real configuration, on a device that keeps no values."""
    for_builder(card.builder)
    with torch.device("meta"):
        encoder = make_encoder(card)
    made = sum(one.numel() for one in encoder.network.parameters())
    assert made == card.n_parameters
    if card.published_millions:
        assert made / 1e6 == pytest.approx(card.published_millions, rel=0.06)


@pytest.mark.parametrize(("name", "millions"), [("sam2-tiny", 38.9), ("sam2-small", 46.0), ("sam2-large", 224.4)])
def test_whole_sam2_has_the_published_size(name, millions):
    transformers = pytest.importorskip("transformers")
    config = CARDS[name].config
    backbone = transformers.Sam2HieraDetConfig(**config["settings"]["backbone_config"])
    vision = transformers.Sam2VisionConfig(**{**config["settings"], "backbone_config": backbone})
    with torch.device("meta"):
        whole = transformers.Sam2VideoModel(transformers.Sam2VideoConfig(vision_config=vision))
    assert sum(one.numel() for one in whole.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_whole_vista3d_has_the_published_size():
    from monai.networks.nets import vista3d132

    with torch.device("meta"):
        whole = vista3d132(**CARDS["vista3d"].config["settings"])
    assert sum(one.numel() for one in whole.parameters()) / 1e6 == pytest.approx(218.0, abs=0.1)


def test_every_listed_system_has_a_card():
    found = set()
    for card in CARDS.values():
        _, _, tail = card.read.partition("docs/sources.md ")
        words = tail.split(";")[0].replace(",", " ").split()
        found |= {int(word) for word in words if word.isdigit()}
    assert found >= LISTED


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
def test_cards_are_complete(card):
    assert card.source
    assert card.licence
    assert card.is_constructible != bool(card.missing)
    if card.is_constructible:
        assert card.input is not None
        assert card.maps
        assert len(card.input.mean) == len(card.input.std)
        assert card.input.low < card.input.high
    assert bool(card.weights.package) == bool(card.weights.files) == bool(card.weights.install)


class TimmBlock(nn.Module):
    """A block of a vision transformer with timm's names and its one matrix for query, key and value."""

    def __init__(self, width, n_heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 2 * width), "fc2": nn.Linear(2 * width, width)})
        self.n_heads = n_heads

    def forward(self, tokens):
        n, count, width = tokens.shape
        qkv = self.attn["qkv"](self.norm1(tokens)).view(n, count, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*qkv).transpose(1, 2).reshape(n, count, width)
        tokens = tokens + self.attn["proj"](mixed)
        return tokens + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(tokens))))


class TimmViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token, self.pos_embed = nn.Parameter(torch.randn(1, 1, 24)), nn.Parameter(torch.randn(1, 17, 24))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 24, 8, 8)})
        self.blocks = nn.ModuleList([TimmBlock(24, 2) for _ in range(2)])
        self.norm = nn.LayerNorm(24, 1e-6)

    def forward(self, images):
        tokens = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


def test_weights_with_timm_names_answer_alike():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = TimmViT().eval()
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-6,
    )
    ours = transformers.ViTModel(config, add_pooling_layer=False).eval()
    ours.load_state_dict(from_timm_vit(theirs.state_dict(), frozenset(ours.state_dict())))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(theirs(images), ours(images).last_hidden_state, atol=1e-5)


def test_dinov2_with_timm_names_has_every_key():
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8, mlp_ratio=2
    )
    with torch.device("meta"):
        wanted = transformers.Dinov2Model(config).state_dict()
    theirs = TimmViT().state_dict()
    keys = {key: value for key, value in theirs.items() if not key.startswith("blocks.1.")}
    keys |= {f"blocks.0.ls{one}.gamma": torch.ones(24) for one in (1, 2)}
    made = from_timm_vit(keys, frozenset(wanted))
    assert {key: value.shape for key, value in made.items()} == {key: value.shape for key, value in wanted.items()}


def test_command_lists_and_shows():
    run = CliRunner()
    rows = json.loads(run.invoke(app, ["encoders", "list", "--json"]).stdout)
    assert [row["name"] for row in rows] == list(CARDS)
    plain = run.invoke(app, ["encoders", "list"]).stdout
    assert all(name in plain for name in CARDS)
    shown = run.invoke(app, ["encoders", "info", "neurovfm"]).stdout
    assert "cannot be made" in shown
    assert "flash-attn" in shown
    facts = json.loads(run.invoke(app, ["encoders", "info", "astra-resnet152", "--json"]).stdout)
    assert facts["weights"]["sha256"].startswith("d793f6bb")


@pytest.mark.parametrize(("library", "extra"), [("transformers", "encoders"), ("timm", "zoo"), ("open_clip", "zoo")])
def test_the_list_says_which_extra_a_network_needs(library, extra, monkeypatch):
    monkeypatch.setattr(encoding, "find_spec", lambda name: None if name == library else object())
    rows = json.loads(CliRunner().invoke(app, ["encoders", "list", "--json"]).stdout)
    needy = {CARDS[row["name"]].builder for row in rows if row["here"] == f"needs extra {extra}"}
    assert needy == {library.replace("_", "-")}


@pytest.mark.parametrize("card", [one for one in MADE if one.config.get("reading") == "tokens"], ids=lambda card: card.name)
def test_patches_of_a_transformer_touch_and_begin_at_the_corner(card):
    patch = card.config["patch"]
    assert card.config["settings"].get("patch_size", patch) == patch == card.input.multiple[1]
    for one in card.maps:
        assert (one.stride, one.offset) == ((1, patch, patch), (0, (patch - 1) / 2, (patch - 1) / 2))
