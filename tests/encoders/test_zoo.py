"""Towers of timm and open_clip. What needs the libraries is skipped without them; docs/encoders.md says where it was run."""

import sys

import pytest
import torch
from torch import nn

from tests.encoders.tiny import for_builder, picture
from vesselgraph.config import SliceConfig
from vesselgraph.encoders import zoo_towers
from vesselgraph.encoders.card import slice_maps
from vesselgraph.encoders.loading import load_encoder, make_encoder
from vesselgraph.encoders.registry import find_card
from vesselgraph.encoders.zoo_towers import OpenClipTower, TimmTower
from vesselgraph.errors import BackendUnavailableError, CheckpointError, InputError
from vesselgraph.space import Space


@pytest.mark.parametrize(("name", "library"), [("timm-dinov3-small", "timm"), ("fetalclip", "open_clip")])
def test_a_missing_library_says_what_to_install(name, library, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(BackendUnavailableError, match=rf'expected the library {library}.*pip install "vesselgraph\[zoo\]"'):
        make_encoder(find_card(name))


def test_a_torchvision_of_another_release_says_so(monkeypatch):
    def broken(_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(zoo_towers, "import_module", broken)
    with pytest.raises(BackendUnavailableError, match=r"got operator torchvision::nms does not exist \(torch .*fit each other"):
        make_encoder(find_card("cris-resnet50"))


class Attention(nn.Module):
    """Attention with timm's names: one matrix for query, key and value, and a plain way beside the fused one."""

    def __init__(self, width, n_heads):
        super().__init__()
        self.qkv, self.proj, self.attn_drop = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.Dropout(0.5)
        self.n_heads, self.fused_attn = n_heads, True

    def forward(self, tokens):
        n, count, width = tokens.shape
        query, key, value = self.qkv(tokens).view(n, count, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        if self.fused_attn:
            mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        else:
            mixed = self.attn_drop((query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(3)) @ value
        return self.proj(mixed.transpose(1, 2).reshape(n, count, width))


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attn, self.norm = attention, nn.LayerNorm(16)

    def forward(self, tokens):
        tokens = self.norm(tokens)
        if isinstance(self.attn, nn.MultiheadAttention):
            return tokens + self.attn(tokens, tokens, tokens, need_weights=False)[0]
        return tokens + self.attn(tokens)


class Network(nn.Module):
    """A transformer with a class token and one register before the patches of 4 x 4 pixels."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.patches = nn.Parameter(torch.randn(1, 2, 16)), nn.Conv2d(3, 16, 4, 4)
        made = {"timm": lambda: Attention(16, 2), "open-clip": lambda: nn.MultiheadAttention(16, 2, batch_first=True)}
        self.blocks = nn.ModuleList([Block(made[kind]()) for _ in range(3)])

    def forward_features(self, images):
        tokens = torch.cat([self.first.expand(len(images), -1, -1), self.patches(images).flatten(2).transpose(1, 2)], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def forward(self, images):
        return self.forward_features(images)[:, 0]


def tower_of(kind):
    torch.manual_seed(0)
    made = {"timm": TimmTower, "open-clip": OpenClipTower}[kind]
    return made(Network(kind), taps=("blocks.0", "blocks.2"), n_prefix=2, patch=4, attention="blocks.2.attn").eval()


@pytest.mark.parametrize("kind", ["timm", "open-clip"])
def test_taps_are_the_patches_of_their_blocks(kind):
    tower, images = tower_of(kind), picture(2, 3, 8, 12)
    seen = tower(images)
    whole = tower.network.forward_features(images)
    assert torch.equal(seen.maps[1], whole[:, 2:].transpose(1, 2).unflatten(2, (2, 3)))
    assert torch.equal(seen.summary, whole[:, 0])
    first = tower.network
    first.blocks = first.blocks[:1]
    assert torch.equal(seen.maps[0], first.forward_features(images)[:, 2:].transpose(1, 2).unflatten(2, (2, 3)))


@pytest.mark.parametrize("kind", ["timm", "open-clip"])
def test_attention_is_that_of_the_class_token_and_nothing_stays_changed(kind):
    tower, images = tower_of(kind), picture(2, 3, 8, 12)
    before = tower(images)
    with torch.no_grad():
        seen = tower(images, attention=True)
        last = tower.network.blocks[2]
        tower.network.blocks = tower.network.blocks[:2]
        tokens = last.norm(tower.network.forward_features(images))
        if kind == "timm":
            query, key, _ = last.attn.qkv(tokens).view(2, 8, 3, 2, 8).permute(2, 0, 3, 1, 4)
            share = (query[:, :, :1] @ key.transpose(2, 3) / 8**0.5).softmax(3).mean(1)[:, 0]
        else:
            share = last.attn(tokens, tokens, tokens)[1][:, 0]
    assert torch.allclose(seen.attention, share[:, 2:].view(2, 2, 3), atol=1e-6)
    assert torch.allclose(seen.summary, before.summary, atol=1e-6)
    assert getattr(last.attn, "fused_attn", True)
    modules = list(last.modules())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in modules)


@pytest.mark.parametrize("kind", ["timm", "open-clip"])
def test_slopes_are_how_the_summary_changes_with_the_last_map(kind):
    """The class token does not see the patches of its own layer, so a tower that pools the patches is looked at."""
    tower = tower_of(kind)
    tower.summary = lambda images: tower.network.forward_features(images)[:, 2:].mean(1)
    seen = tower(picture(1, 3, 8, 12))
    slope = tower.slope(seen, torch.arange(16.0)[None])
    assert torch.allclose(slope, (torch.arange(16.0) / 6).view(1, 16, 1, 1).expand(1, 16, 2, 3))


def small(name, n_maps, channels, **settings):
    """Return a card cut down in depth and width."""
    card = find_card(name)
    for_builder(card.builder)
    config = {**card.config, "settings": {**card.config["settings"], **settings}}
    if "n_blocks" in config:
        config["n_blocks"] = settings["depth"]
    if config.get("attention"):
        stem = config["taps"][0].rpartition(".")[0]
        config |= {"taps": [f"{stem}.0", f"{stem}.1"], "attention": f"{stem}.1.attn"}
    maps = card.maps[:n_maps]
    maps = slice_maps([one.name for one in maps], channels, [one.stride[1] for one in maps], [one.offset[1] for one in maps])
    return card.model_copy(update={"config": config, "maps": maps, "n_parameters": None})


def small_card(kind):
    if kind == "timm":
        return small("timm-dinov3-base", 2, (24, 24), embed_dim=24, depth=2, num_heads=2)
    if kind == "open-clip":
        return small("fetalclip", 2, (24, 24), image_size=224, width=24, layers=2, heads=2, output_dim=8)
    return small("cris-resnet50", 4, (32, 64, 128, 256), layers=[1, 1, 1, 1], width=8, heads=8, output_dim=8)


KINDS = ["timm", "open-clip", "resnet"]


def made(kind, **config):
    torch.manual_seed(1)
    encoder = make_encoder(small_card(kind), SliceConfig(**config))
    for module in encoder.network.modules():
        # open_clip closes the last norm of a residual block at first, and timm its layer scales nearly.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    for name, value in encoder.network.named_parameters():
        if "gamma" in name:
            nn.init.uniform_(value, 0.5, 1.5)
    return encoder


def encoded(encoder, images):
    with torch.no_grad():
        return encoder.encode(images, [Space.axial()] * len(images))


@pytest.mark.parametrize("kind", KINDS)
def test_real_networks_give_the_maps_of_their_card_in_any_chunk(kind):
    images = picture(1, 1, 3, 64, 48) * 400 - 160
    encoder = made(kind)
    said, again = encoded(encoder, images), encoded(made(kind, chunk=2), images)
    assert [one.data.shape[1] for one in said.maps] == [one.channels for one in encoder.card.maps]
    rows, _ = (224, 168) if encoder.input.side else (64, 48)
    for one, other, card in zip(said.maps, again.maps, encoder.card.maps, strict=True):
        assert one.stride[1] == pytest.approx(card.stride[1] * 64 / rows)
        assert torch.allclose(one.data, other.data, atol=1e-5)
    assert said.tokens.shape == (1, 3, encoder.card.maps[-1].channels)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_the_librarys_own_intermediates(kind):
    encoder = made(kind)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        seen = encoder.tower(images)
        if kind == "timm":
            last, theirs = encoder.network.forward_intermediates(images, indices=[0, 1], norm=False)
            assert torch.allclose(seen.summary, last[:, 0], atol=1e-5)
        else:
            indices = [1, 2, 3, 4] if kind == "resnet" else [0, 1]
            theirs = encoder.network.forward_intermediates(images, indices=indices, intermediates_only=True)
            theirs = theirs["image_intermediates"]
    for one, other in zip(seen.maps, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("kind", ["timm", "open-clip"])
def test_real_class_tokens_share_their_attention(kind):
    encoder = made(kind, attention=True)
    plain = made(kind)
    images = picture(1, 1, 2, 224, 224) * 400 - 160
    said = encoded(encoder, images)
    n = 224 // encoder.tower.patch
    assert said.attention.shape == (1, 2, n, n)
    assert (said.attention > 0).all()
    assert (said.attention.flatten(2).sum(2) < 1).all()
    assert torch.allclose(said.tokens, encoded(plain, images).tokens, atol=1e-5)
    with pytest.raises(InputError, match="class token"):
        made("resnet", attention=True)


@pytest.mark.parametrize("kind", KINDS)
def test_files_fill_the_networks(kind, monkeypatch, tmp_path):
    from safetensors.torch import save_file

    from vesselgraph.encoders import loading
    from vesselgraph.encoders.digests import digest_of

    encoder = made(kind)
    monkeypatch.setattr(loading, "find_card", lambda _: encoder.card)
    weights, path = encoder.card.weights, tmp_path / "w.safetensors"
    keys = {weights.prefix + key: value.clone() for key, value in encoder.network.state_dict().items()}
    keys |= {f"{weights.prefix}{one}x": torch.zeros(1) for one in weights.ignore}
    save_file(keys, path)
    loaded = load_encoder("any", path, sha256=digest_of((path,)))
    images = picture(1, 1, 1, 64, 64) * 400 - 160
    assert torch.equal(encoded(encoder, images).maps[-1].data, encoded(loaded, images).maps[-1].data)
    save_file(dict(list(keys.items())[1:]), path)
    with pytest.raises(CheckpointError, match="1 missing"):
        load_encoder("any", path, sha256=digest_of((path,)))


@pytest.mark.parametrize("level", [0, 1])
def test_a_cell_of_the_clip_resnet_lies_in_the_middle_of_what_it_sees(level):
    encoder = made("resnet")
    images = (picture(1, 1, 1, 160, 160) * 400 - 160).requires_grad_()
    one = encoder.card.maps[level]
    middle = int(80 / one.stride[1])
    encoder.encode(images, [Space.axial()]).maps[level].data[0, :, 0, middle, middle].square().sum().backward()
    moved = images.grad[0, 0, 0] != 0
    for axis in (0, 1):
        where = torch.nonzero(moved.any(dim=1 - axis)).flatten()
        assert len(where) < 160
        assert (int(where.min()) + int(where.max())) / 2 == pytest.approx(one.offset[1] + middle * one.stride[1])


def test_lora_fits_the_fused_projections_of_timm():
    from vesselgraph.imaging.adapting import make_adapters
    from vesselgraph.imaging_config import PluginConfig

    encoder = made("timm")
    names = make_adapters(encoder.network, encoder.card, PluginConfig(adapter="lora", place="blocks", rank=2))
    assert sorted(names) == [
        "blocks.0.attn.proj",
        "blocks.0.attn.qkv",
        "blocks.1.attn.proj",
        "blocks.1.attn.qkv",
        "patch_embed.proj",
    ]
