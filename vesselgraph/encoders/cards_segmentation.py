"""Cards of the image encoders of promptable segmentation systems, and of systems that are built on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesselgraph.encoders.card import EncoderCard, InputCard, MapCard, WeightsCard, slice_maps

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def _square(side: int) -> InputCard:
    return InputCard(low=-160, high=240, side=side, **_IMAGENET)


def _tower(
    name: str, title: str, config: Mapping[str, Any], seen: InputCard, maps: tuple[MapCard, ...], prefix: str, **more: Any
) -> EncoderCard:
    """Return the card of an image encoder that transformers makes; keys of its file begin with ``prefix``."""
    return EncoderCard(
        name=name,
        title=title,
        kind="2d",
        group="S",
        builder="transformers",
        config=config,
        input=seen,
        maps=maps,
        weights=WeightsCard(prefix=prefix),
        **more,
    )


def _sam(name: str, title: str, size: str, **more: Any) -> EncoderCard:
    width, layers, heads, global_layers, n, millions = _SAM_SIZES[size]
    settings = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return _tower(
        name,
        title,
        {"model": "SamVisionModel", "settings": settings | {"global_attn_indexes": global_layers}, "reading": "neck"},
        _square(1024),
        slice_maps(("neck",), (256,), (16,)),
        "vision_encoder.",
        n_parameters=n,
        published_millions=millions,
        **more,
    )


_SAM_SIZES = {
    "base": (768, 12, 12, [2, 5, 8, 11], 89_670_912, 91.0),
    "large": (1024, 24, 16, [5, 11, 17, 23], 308_278_272, 308.0),
    "huge": (1280, 32, 16, [7, 15, 23, 31], 637_026_048, 636.0),
}
_SAM: dict[str, Any] = {
    "source": "Kirillov et al., Segment Anything, arXiv 2304.02643; Hugging Face facebook/sam-vit-{base,large,huge}",
    "licence": "Apache-2.0",
    "commercial_use": "yes",
}
_KEYS_UNSEEN = "network as stated; the file and its key names could not be seen"

SAM = (
    *(_sam(f"sam-{size}", f"Segment Anything, ViT-{size} image encoder", size, **_SAM) for size in _SAM_SIZES),
    _sam(
        "lvm-med-sam-base",
        "LVM-Med, SAM ViT-B image encoder",
        "base",
        source="LVM-Med, arXiv 2306.11925; Google Drive of its repository",
        licence="CC-BY-NC-ND-2.0",
        commercial_use="no",
        read=f"docs/sources.md 37; {_KEYS_UNSEEN}",
    ),
    _sam(
        "finetune-sam-base",
        "Finetune-SAM, ViT-B image encoder (adapters and LoRA left out)",
        "base",
        source="Gu et al., How to build the best medical image segmentation algorithm using SAM; links of its repository",
        licence="code Apache-2.0, weights not stated",
        commercial_use="not stated",
        read=f"docs/sources.md 15; {_KEYS_UNSEEN}; also published with ViT-T and ViT-H",
    ),
    _sam(
        "sam-adapter-huge",
        "SAM-Adapter, frozen ViT-H image encoder (its MLP adapters left out)",
        "huge",
        source="Chen et al., SAM-Adapter, arXiv 2304.09148",
        licence="code MIT, weights of SAM Apache-2.0",
        commercial_use="yes",
        read="docs/sources.md 55; the encoder is SAM's own, frozen: use its weights",
    ),
    _sam(
        "medclip-sam-huge",
        "MedCLIP-SAM and v2, ViT-H image encoder",
        "huge",
        source="Koleilat et al., MedCLIP-SAM, arXiv 2403.20253, and v2, arXiv 2409.19483",
        licence="code MIT, weights of SAM Apache-2.0",
        commercial_use="yes",
        read="docs/sources.md 50 and 53; the encoder is SAM's own; its other half is biomedclip-base",
    ),
)

_HIERA: dict[str, tuple[dict[str, Any], int, float]] = {
    "tiny": ({}, 27_219_136, 38.9),
    "small": ({"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]}, 34_316_992, 46.0),
    "base-plus": (
        {
            "hidden_size": 112,
            "num_attention_heads": 2,
            "embed_dim_per_stage": [112, 224, 448, 896],
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "blocks_per_stage": [2, 3, 16, 3],
            "global_attention_blocks": [12, 16, 20],
            "window_positional_embedding_background_size": [14, 14],
        },
        69_106_816,
        80.8,
    ),
    "large": (
        {
            "hidden_size": 144,
            "num_attention_heads": 2,
            "embed_dim_per_stage": [144, 288, 576, 1152],
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "blocks_per_stage": [2, 6, 36, 4],
            "global_attention_blocks": [23, 33, 43],
            "window_size_per_stage": [8, 4, 16, 8],
        },
        212_703_280,
        224.4,
    ),
}


def _sam2(name: str, title: str, size: str, **more: Any) -> EncoderCard:
    settings, n, whole = _HIERA[size]
    widths = settings.get("embed_dim_per_stage", [96, 192, 384, 768])
    read = more.pop("read", "") + f"whole model as published: {whole} million; the image encoder is what is made here"
    return _tower(
        name,
        title,
        {
            "model": "Sam2VisionModel",
            "settings": {"backbone_config": settings, "backbone_channel_list": widths[::-1]},
            "backbone": "Sam2HieraDetConfig",
            "reading": "pyramid",
            "taps": (0, 1, 2),
        },
        _square(1024),
        # The stem is a 7 x 7 kernel padded by 3; the maximum of 2 x 2 cells moves the centres of coarser levels.
        slice_maps(("level 0", "level 1", "level 2"), (256,) * 3, (4, 8, 16), [(step - 4) / 2 for step in (4, 8, 16)]),
        "vision_encoder.",
        n_parameters=n,
        read=read,
        **more,
    )


_SAM2: dict[str, Any] = {
    "source": "Ravi et al., SAM 2, arXiv 2408.00714; Hugging Face facebook/sam2.1-hiera-*",
    "licence": "Apache-2.0",
    "commercial_use": "yes",
}
_UNRELEASED = "weights not stated; "

SAM2 = (
    *(_sam2(f"sam2-{size}", f"SAM 2, Hiera-{size} image encoder", size, **_SAM2) for size in _HIERA),
    _sam2(
        "sam2-sgp-small",
        "SAM2-SGP, Hiera-S image encoder (its LoRA left out)",
        "small",
        source="SAM2-SGP, support-set guided prompting",
        licence="code Apache-2.0, weights of SAM 2 Apache-2.0",
        commercial_use="yes",
        read=f"docs/sources.md 47; {_UNRELEASED}",
    ),
    _sam2(
        "sss-sam2-small",
        "SSS, semi-supervised SAM 2, image encoder",
        "small",
        source="SSS: semi-supervised SAM-2 with efficient prompting",
        licence="not stated",
        commercial_use="not stated",
        read=f"docs/sources.md 48; size of the encoder not stated, small is a guess; {_UNRELEASED}",
    ),
    _sam2(
        "vessa-sam2-small",
        "VESSA, SAM 2-style image encoder",
        "small",
        source="VESSA: vision-language assistant for semi-supervised segmentation",
        licence="not stated",
        commercial_use="not stated",
        read=f"docs/sources.md 71; size of the encoder not stated, small is a guess; {_UNRELEASED}",
    ),
)


def _sam3(name: str, title: str, **more: Any) -> EncoderCard:
    vit = {
        "hidden_size": 1024,
        "intermediate_size": 4736,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 1008,
        "patch_size": 14,
        "pretrain_image_size": 336,
        "window_size": 24,
        "global_attn_indexes": [7, 15, 23, 31],
    }
    return _tower(
        name,
        title,
        {
            "model": "Sam3VisionModel",
            "settings": {"backbone_config": vit},
            "backbone": "Sam3ViTConfig",
            "reading": "pyramid",
            "taps": (0, 1, 2),
        },
        InputCard(low=-160, high=240, side=1008, mean=(0.5,) * 3, std=(0.5,) * 3),
        slice_maps(("x4", "x2", "x1"), (256, 256, 256), (3.5, 7, 14)),
        "detector_model.vision_encoder.",
        n_parameters=454_038_784,
        **more,
    )


SAM3 = (
    _sam3(
        "sam3",
        "SAM 3, image encoder",
        source="SAM 3, arXiv 2511.16719; Hugging Face facebook/sam3",
        licence="SAM licence",
        commercial_use="own terms",
        gated=True,
        published_millions=450.0,
        read="configuration of transformers; about 450 million stated for the vision part",
    ),
    _sam3(
        "medical-sam3",
        "Medical SAM3, image encoder",
        source="Medical SAM3, 2026; weights of its repository",
        licence="not stated",
        commercial_use="not stated",
        read=f"docs/sources.md 11; {_KEYS_UNSEEN}",
    ),
)

DAVIT = _tower(
    "tap-slf-florence2",
    "TAP-SLF, Florence-2-base image encoder (DaViT; its prompts and LoRA left out)",
    {"model": "Florence2VisionBackbone", "settings": {}, "reading": "davit"},
    InputCard(low=-160, high=240, multiple=(1, 32, 32), **_IMAGENET),
    slice_maps(("stage 0", "stage 1", "stage 2", "stage 3"), (128, 256, 512, 1024), (4, 8, 16, 32), (0, 0, 0, 0)),
    "vision_tower.",
    source="TAP-SLF: task prompts and selective layer fine-tuning, ultrasound; encoder of Florence-2, arXiv 2311.06242",
    licence="Florence-2 MIT; TAP-SLF not stated",
    commercial_use="not stated",
    read="docs/sources.md 30; which Florence-2 is used is not stated, base is a guess",
    n_parameters=90_368_000,
)

CLIPSEG = _tower(
    "clipseg-base-16",
    "CLIPSeg, ViT-B/16 image tower (for the vision-language segmentation models)",
    {
        "model": "CLIPSegVisionModel",
        "settings": {"patch_size": 16, "image_size": 224},
        "reading": "tokens",
        "taps": (3, 6, 9),
        "n_prefix": 1,
        "patch": 16,
        "arguments": {"interpolate_pos_encoding": True},
    },
    InputCard(low=-160, high=240, multiple=(1, 16, 16), **_IMAGENET),
    slice_maps(("layer 3", "layer 6", "layer 9"), (768, 768, 768), (16, 16, 16)),
    "clip.vision_model.",
    source="Lueddecke and Ecker, CLIPSeg, arXiv 2112.10003; Hugging Face CIDAS/clipseg-rd64-refined",
    licence="Apache-2.0",
    commercial_use="yes",
    read="docs/sources.md 63; the fine-tuned medical weights could not be seen",
    n_parameters=85_799_424,
    published_millions=86.0,
)

ALL = (*SAM, *SAM2, *SAM3, DAVIT, CLIPSEG)
