"""The same network by two libraries, with the same drawn weights: timm, transformers, torchvision, MONAI and our own.

All of it needs timm and torchvision and is skipped without them; docs/encoders.md says where it was run.
"""

import torch
from torch import nn

from tests.encoders.tiny import for_builder
from vesselgraph.encoders.key_names import from_timm_vit
from vesselgraph.encoders.loading import make_encoder
from vesselgraph.encoders.registry import find_card
from vesselgraph.encoders.resnet_inflated import InflatedResNet


def compared(theirs, ours, images):
    """Compare a timm and a transformers model layer by layer, and after the last norm."""
    with torch.no_grad():
        last, layers = theirs.forward_intermediates(images, norm=False, output_fmt="NLC", return_prefix_tokens=True)
        said = ours(images, output_hidden_states=True)
    if theirs.num_prefix_tokens:
        layers = [torch.cat([prefix, patches], 1) for patches, prefix in layers]
    for one, other in zip(layers, said.hidden_states[1:], strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert torch.allclose(last, said.last_hidden_state, atol=1e-4)


def opened(model):
    """Return a model whose layer scales and tokens are drawn, so that nothing hides behind small numbers."""
    for name, value in model.named_parameters():
        if "gamma" in name or "token" in name or "bias" in name:
            nn.init.uniform_(value, 0.2, 1.0)
    return model.eval()


def test_timm_and_transformers_agree_on_dinov2():
    for_builder("timm")
    import timm
    import transformers

    torch.manual_seed(0)
    size = {"embed_dim": 24, "depth": 3, "num_heads": 2, "img_size": 56, "num_classes": 0}
    theirs = opened(timm.create_model("vit_small_patch14_dinov2", **size))
    config = transformers.Dinov2Config(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=56, patch_size=14)
    ours = transformers.Dinov2Model(config).eval()
    ours.load_state_dict(from_timm_vit(theirs.state_dict(), frozenset(ours.state_dict())))
    compared(theirs, ours, torch.randn(2, 3, 56, 56))


def halves(key, value, home):
    """Return query, key and value of one matrix of timm by the names of transformers."""
    last = key.rpartition(".")[2]
    return {f"{home}{one}_proj.{last}": cut for one, cut in zip("qkv", value.chunk(3), strict=True)}


def test_timm_and_transformers_agree_on_dinov3():
    for_builder("timm")
    import timm
    import transformers

    torch.manual_seed(0)
    theirs = opened(timm.create_model("vit_small_patch16_dinov3", embed_dim=32, depth=3, num_heads=2, num_classes=0))
    config = transformers.DINOv3ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=128, patch_size=16, num_register_tokens=4
    )
    ours = transformers.DINOv3ViTModel(config).eval()
    names = {"attn.proj.": "attention.o_proj.", "mlp.fc1.": "mlp.up_proj.", "mlp.fc2.": "mlp.down_proj."}
    names |= {"gamma_1": "layer_scale1.lambda1", "gamma_2": "layer_scale2.lambda1"}
    outer = {"cls_token": "embeddings.cls_token", "reg_token": "embeddings.register_tokens"}
    outer |= {"patch_embed.proj.": "embeddings.patch_embeddings."}
    layers = next(key for key in ours.state_dict() if ".0.norm1.weight" in key).partition("0.")[0]
    found = {key: value for key, value in ours.state_dict().items() if key.endswith(("q_proj.bias", "v_proj.bias"))}
    found = {key: torch.zeros_like(value) for key, value in found.items()} | {"embeddings.mask_token": torch.zeros(1, 1, 32)}
    for key, value in theirs.state_dict().items():
        if key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            home = f"{layers}{number}."
            if "qkv" in rest:
                found |= halves(rest, value, f"{home}attention.")
                continue
            old = next((old for old in names if rest.startswith(old)), "")
            found[home + names.get(old, "") + rest.removeprefix(old)] = value
        else:
            old = next((old for old in outer if key.startswith(old)), "")
            found[outer.get(old, "") + key.removeprefix(old)] = value
    ours.load_state_dict(found)
    compared(theirs, ours, torch.randn(2, 3, 64, 48))


def test_timm_and_transformers_agree_on_siglip():
    for_builder("timm")
    import timm
    import transformers

    torch.manual_seed(0)
    size = {"embed_dim": 32, "depth": 3, "num_heads": 2, "img_size": 64, "num_classes": 0}
    theirs = opened(timm.create_model("vit_base_patch16_siglip_224", **size))
    config = transformers.SiglipVisionConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=128, image_size=64, patch_size=16
    )
    ours = transformers.SiglipVisionModel(config).eval()
    state, prefix = theirs.state_dict(), next(iter(ours.state_dict())).partition("embeddings")[0]
    found = {}
    names = {"norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj"}
    outer = {"norm.": "post_layernorm.", "patch_embed.proj.": "embeddings.patch_embedding."}
    pool = {"latent": "probe", "norm.": "layernorm.", "proj.": "attention.out_proj.", "mlp.": "mlp."}
    for key, value in state.items():
        if key == "pos_embed":
            found["embeddings.position_embedding.weight"] = value[0]
        elif key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            home, part = f"encoder.layers.{number}.", rest.rpartition(".")
            if "qkv" in rest:
                found |= halves(rest, value, f"{home}self_attn.")
            else:
                found[f"{home}{names.get(part[0], part[0])}.{part[2]}"] = value
        elif key.startswith("attn_pool."):
            rest = key.removeprefix("attn_pool.")
            if rest.startswith("q."):
                last = rest.removeprefix("q.")
                both = torch.cat([value, state[f"attn_pool.kv.{last}"]])
                found[f"head.attention.in_proj_{last}"] = both
            elif not rest.startswith("kv."):
                old = next(old for old in pool if rest.startswith(old))
                found["head." + pool[old] + rest.removeprefix(old)] = value
        else:
            old = next(old for old in outer if key.startswith(old))
            found[outer[old] + key.removeprefix(old)] = value
    ours.load_state_dict({prefix + key: value for key, value in found.items()})
    images = torch.randn(2, 3, 64, 64)
    compared(theirs, ours, images)
    with torch.no_grad():
        assert torch.allclose(theirs(images), ours(images).pooler_output, atol=1e-4)


def torchvision_resnet50():
    for_builder("timm")
    import torchvision

    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean):
                nn.init.uniform_(value, 0.2, 0.8)
    return theirs


def stages(network, images):
    values = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        values = stage(values)
        yield values


def test_the_inflated_network_is_torchvisions_where_planes_are_equal():
    """Planes are all alike, so only those that see beyond the ends of the volume differ."""
    theirs = torchvision_resnet50()
    ours = InflatedResNet((3, 4, 6, 3)).eval()
    keys = {}
    for key, value in theirs.state_dict().items():
        if key.startswith("fc."):
            continue
        wanted = ours.state_dict()[key]
        keys[key] = value if value.ndim < 4 else value[:, :, None].expand_as(wanted) / wanted.shape[2]
    ours.load_state_dict(keys)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        values = ours.maxpool(ours.act(ours.bn1(ours.conv1(images[:, :, None].expand(-1, -1, 160, -1, -1)))))
        for name, flat in zip(("layer1", "layer2", "layer3"), stages(theirs, images), strict=False):
            values = ours.get_submodule(name)(values)
            middle = values[:, :, values.shape[2] // 2]
            assert torch.allclose(middle, flat, atol=1e-3 * float(flat.abs().max()))


def test_the_resnet_of_the_registry_is_torchvisions():
    theirs = torchvision_resnet50()
    encoder = make_encoder(find_card("resnet50"))
    encoder.network.load_state_dict({key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")})
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for one, other in zip(encoder.tower(images).maps, stages(theirs, images), strict=True):
            assert torch.allclose(one, other, atol=1e-4 * float(other.abs().max()))
