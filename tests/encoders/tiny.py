"""Small encoders with random weights, one of each family that transformers brings."""

from importlib import import_module

import pytest
import torch

from vesselgraph.encoders.card import EncoderCard, InputCard, MapCard

_SMALL = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48}
_VIT = {key: value for key, value in _SMALL.items() if key != "intermediate_size"}
_BETWEEN = {"interpolate_pos_encoding": True}
_HIERA = {
    "hidden_size": 8,
    "image_size": [64, 64],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 2, 4, 8],
    "blocks_per_stage": [1, 1, 2, 1],
    "global_attention_blocks": [3],
}
_SAM3_VIT = {
    **_SMALL,
    "num_hidden_layers": 2,
    "image_size": 56,
    "patch_size": 14,
    "pretrain_image_size": 28,
    "window_size": 2,
    "global_attn_indexes": [1],
}


def tokens(model, settings, patch, n_prefix, **arguments):
    config = {"model": model, "settings": settings, "reading": "tokens", "taps": (0, 3), "patch": patch, "n_prefix": n_prefix}
    return {**config, "arguments": arguments}, [(24, patch), (24, patch)], patch, None


# Name: what the builder needs, (channels, stride) of each map, what sides must be multiples of, fixed side.
FAMILIES = {
    "dinov2": tokens("Dinov2Model", {**_VIT, "image_size": 56, "patch_size": 14}, 14, 1),
    "dinov3": tokens("DINOv3ViTModel", {**_SMALL, "patch_size": 8, "num_register_tokens": 4}, 8, 5),
    "siglip": tokens("SiglipVisionModel", {**_SMALL, "image_size": 32, "patch_size": 8}, 8, 0, **_BETWEEN),
    "clip": tokens("CLIPVisionModel", {**_SMALL, "image_size": 32, "patch_size": 8}, 8, 1, **_BETWEEN),
    "mae": tokens(
        "ViTMAEModel", {**_SMALL, "image_size": 32, "patch_size": 8, "mask_ratio": 0.0}, 8, 1, **_BETWEEN, in_order=True
    ),
    "vit": tokens("ViTModel", {**_SMALL, "image_size": 32, "patch_size": 8}, 8, 1, **_BETWEEN),
    "convnext": (
        {
            "model": "DINOv3ConvNextModel",
            "settings": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 12, 16, 24]},
            "reading": "maps",
            "taps": (0, 1, 2, 3),
        },
        [(8, 4), (12, 8), (16, 16), (24, 32)],
        32,
        None,
    ),
    "sam": (
        {
            "model": "SamVisionModel",
            "settings": {
                **_VIT,
                "image_size": 64,
                "patch_size": 16,
                "global_attn_indexes": [1],
                "window_size": 2,
                "output_channels": 8,
                "mlp_dim": 48,
            },
            "reading": "neck",
        },
        [(8, 16)],
        1,
        64,
    ),
    "sam2": (
        {
            "model": "Sam2VisionModel",
            "settings": {
                "backbone_config": _HIERA,
                "backbone_channel_list": [64, 32, 16, 8],
                "fpn_hidden_size": 8,
                "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            },
            "backbone": "Sam2HieraDetConfig",
            "reading": "pyramid",
            "taps": (0, 1, 2),
        },
        [(8, 4), (8, 8), (8, 16)],
        1,
        64,
    ),
    "sam3": (
        {
            "model": "Sam3VisionModel",
            "settings": {"backbone_config": _SAM3_VIT, "fpn_hidden_size": 8},
            "backbone": "Sam3ViTConfig",
            "reading": "pyramid",
            "taps": (0, 1, 2),
        },
        [(8, 3.5), (8, 7), (8, 14)],
        1,
        56,
    ),
}


def for_builder(builder):
    """Skip the test unless the library this builder takes its networks from can be used here."""
    if builder not in {"timm", "open-clip"}:
        pytest.importorskip("transformers")
        return
    library = builder.replace("-", "_")
    try:
        import_module(library)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{library} needs a torchvision of torch's release, and is no part of these tests' environment: {error}")


def card_of(family, **more):
    """Return a card of a small network; random weights only."""
    pytest.importorskip("transformers")
    config, maps, multiple, side = FAMILIES[family]
    # SAM 2's stem pads its kernel by 3 of 7, so that cell 0 lies on pixel 0.
    first = 4 if family == "sam2" else 1
    return EncoderCard(
        name=family,
        title=family,
        kind="2d",
        source="a test",
        licence="none",
        commercial_use="yes",
        builder="transformers",
        config=config,
        input=InputCard(low=0, high=1, mean=(0.5,) * 3, std=(0.5,) * 3, side=side, multiple=(1, multiple, multiple)),
        maps=tuple(
            MapCard(name=str(n), channels=c, stride=(1, s, s), offset=(0, (s - first) / 2, (s - first) / 2))
            for n, (c, s) in enumerate(maps)
        ),
        **more,
    )


def picture(*shape, seed=0):
    """Return random values in [0, 1]."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))
