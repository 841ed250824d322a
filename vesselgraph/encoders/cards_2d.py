"""Cards of encoders that look at slices. Parameters are those of the network as it is made here, without heads."""

from __future__ import annotations

from typing import Any

from vesselgraph.encoders.card import EncoderCard, InputCard, MapCard, Use, WeightsCard, slice_maps

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# The abdominal soft-tissue window; none of the natural-image encoders was made for HU, so this is a choice of ours.
_LOW, _HIGH = -160.0, 240.0


def _input(
    scaling: tuple[tuple[float, ...], tuple[float, ...]], multiple: int, side: int | None = None, **more: Any
) -> InputCard:
    mean, std = scaling
    return InputCard(low=_LOW, high=_HIGH, mean=mean, std=std, multiple=(1, multiple, multiple), side=side, **more)


def _layers(taps: tuple[int, ...], width: int, patch: int) -> tuple[MapCard, ...]:
    return slice_maps(tuple(f"layer {tap}" for tap in taps), (width,) * len(taps), (patch,) * len(taps))


def _quarters(n_layers: int) -> tuple[int, ...]:
    # 2-5-8-11 of 12 layers, 4-11-17-23 of 24 as in Dino U-Net (arXiv 2508.20909); others alike.
    if n_layers == 24:
        return (4, 11, 17, 23)
    return tuple(round(n_layers * part / 4) - 1 for part in (1, 2, 3, 4))


def _vit(name: str, title: str, model: str, settings: dict[str, Any], **more: Any) -> EncoderCard:
    patch, width = int(settings["patch_size"]), int(settings["hidden_size"])
    taps = _quarters(int(settings["num_hidden_layers"]))
    scaling = more.pop("scaling", _IMAGENET)
    config = {"model": model, "settings": settings, "reading": "tokens", "taps": taps, "patch": patch}
    config |= {"n_prefix": more.pop("n_prefix", 1), "arguments": more.pop("arguments", {})}
    return EncoderCard(
        name=name,
        title=title,
        kind="2d",
        builder="transformers",
        config=config,
        input=_input(scaling, patch),
        maps=_layers(taps, width, patch),
        **more,
    )


_DINOV2: dict[str, Any] = {
    "source": "Oquab et al., DINOv2, arXiv 2304.07193; Hugging Face facebook/dinov2-{small,base,large,giant}",
    "licence": "Apache-2.0",
    "commercial_use": "yes",
    "read": "sizes of the model cards; docs/sources.md 17 and 44 use these networks",
}


def _dinov2(size: str, width: int, layers: int, heads: int, n: int, millions: float) -> EncoderCard:
    settings: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    settings |= {"image_size": 518, "patch_size": 14, "use_swiglu_ffn": size == "giant"}
    title = f"DINOv2 ViT-{size}/14"
    return _vit(f"dinov2-{size}", title, "Dinov2Model", settings, n_parameters=n, published_millions=millions, **_DINOV2)


DINOV2 = (
    _dinov2("small", 384, 12, 6, 22_056_576, 21.0),
    _dinov2("base", 768, 12, 12, 86_580_480, 86.0),
    _dinov2("large", 1024, 24, 16, 304_368_640, 300.0),
    _dinov2("giant", 1536, 40, 24, 1_136_480_768, 1100.0),
)

_DINOV3: dict[str, Any] = {
    "source": "Simeoni et al., DINOv3, arXiv 2508.10104; Hugging Face facebook/dinov3-*-pretrain-lvd1689m",
    "licence": "DINOv3 licence",
    "commercial_use": "own terms",
    "gated": True,
    "read": "sizes of the model cards; docs/sources.md 8 audits these networks",
}


def _dinov3(size: str, width: int, layers: int, heads: int, inner: int, n: int, millions: float) -> EncoderCard:
    gated = size in {"huge-plus", "7b", "small-plus"}
    settings: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    settings |= {"intermediate_size": inner, "patch_size": 16, "num_register_tokens": 4}
    settings |= {"use_gated_mlp": True, "hidden_act": "silu"} if gated else {}
    settings |= {"query_bias": False, "value_bias": False} if size == "7b" else {}
    return _vit(
        f"dinov3-{size}",
        f"DINOv3 ViT-{size}/16",
        "DINOv3ViTModel",
        settings,
        n_prefix=5,
        n_parameters=n,
        published_millions=millions,
        **_DINOV3,
    )


DINOV3 = (
    _dinov3("small", 384, 12, 6, 1536, 21_596_544, 21.0),
    _dinov3("small-plus", 384, 12, 6, 1536, 28_692_864, 29.0),
    _dinov3("base", 768, 12, 12, 3072, 85_660_416, 86.0),
    _dinov3("large", 1024, 24, 16, 4096, 303_129_600, 300.0),
    _dinov3("huge-plus", 1280, 32, 20, 5120, 840_592_640, 840.0),
    _dinov3("7b", 4096, 40, 32, 8192, 6_716_035_072, 6716.0),
)


def _convnext(size: str, depths: tuple[int, ...], widths: tuple[int, ...], n: int, millions: float) -> EncoderCard:
    return EncoderCard(
        name=f"dinov3-convnext-{size}",
        title=f"DINOv3 ConvNeXt-{size}",
        kind="2d",
        builder="transformers",
        config={
            "model": "DINOv3ConvNextModel",
            "settings": {"depths": list(depths), "hidden_sizes": list(widths)},
            "reading": "maps",
            "taps": (0, 1, 2, 3),
        },
        input=_input(_IMAGENET, 32),
        maps=slice_maps(("stage 0", "stage 1", "stage 2", "stage 3"), widths, (4, 8, 16, 32)),
        n_parameters=n,
        published_millions=millions,
        **_DINOV3,
    )


CONVNEXT = (
    _convnext("tiny", (3, 3, 9, 3), (96, 192, 384, 768), 27_820_128, 29.0),
    _convnext("small", (3, 3, 27, 3), (96, 192, 384, 768), 49_454_688, 50.0),
    _convnext("base", (3, 3, 27, 3), (128, 256, 512, 1024), 87_566_464, 89.0),
    _convnext("large", (3, 3, 27, 3), (192, 384, 768, 1536), 196_230_336, 198.0),
)

_POSITIONS = {"interpolate_pos_encoding": True}


def _tower(name: str, title: str, settings: dict[str, Any], source: str, licence: str, use: Use, **more: Any) -> EncoderCard:
    prefixed = more.pop("weights", WeightsCard(prefix="vision_model."))
    return _vit(
        name,
        title,
        more.pop("model", "CLIPVisionModel"),
        settings,
        source=source,
        licence=licence,
        commercial_use=use,
        arguments=_POSITIONS,
        weights=prefixed,
        **more,
    )


_SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "patch_size": 14}
_VIT_B = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 16}
_VIT_L = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 16}
_VIT_H = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16, "patch_size": 14}

LANGUAGE = (
    _tower(
        "siglip-so400m-384",
        "SigLIP shape-optimised 400M, image tower",
        {**_SO400M, "image_size": 384},
        "Zhai et al., SigLIP, arXiv 2303.15343; Hugging Face google/siglip-so400m-patch14-384",
        "Apache-2.0",
        "yes",
        model="SiglipVisionModel",
        n_prefix=0,
        scaling=_HALF,
        n_parameters=428_225_600,
        published_millions=428.0,
    ),
    _tower(
        "medsiglip-448",
        "MedSigLIP image tower (the encoder of MedGemma)",
        {**_SO400M, "image_size": 448},
        "MedGemma, arXiv 2507.05201; Hugging Face google/medsiglip-448",
        "Health AI Developer Foundations terms",
        "own terms",
        gated=True,
        model="SiglipVisionModel",
        n_prefix=0,
        scaling=_HALF,
        n_parameters=428_565_440,
        published_millions=430.0,
        read="tower of the SigLIP-400M configuration at 448 pixels; docs/sources.md 13",
    ),
    _tower(
        "clip-base-16",
        "CLIP ViT-B/16, image tower",
        {**_VIT_B, "image_size": 224},
        "Radford et al., CLIP, arXiv 2103.00020; Hugging Face openai/clip-vit-base-patch16",
        "MIT",
        "yes",
        scaling=_CLIP,
        n_parameters=85_799_424,
        published_millions=86.0,
    ),
    _tower(
        "clip-large-14",
        "CLIP ViT-L/14, image tower",
        {**_VIT_L, "patch_size": 14, "image_size": 224},
        "Radford et al., CLIP, arXiv 2103.00020; Hugging Face openai/clip-vit-large-patch14",
        "MIT",
        "yes",
        scaling=_CLIP,
        n_parameters=303_179_776,
        published_millions=304.0,
    ),
)


def _mae(size: str, settings: dict[str, int], n: int, millions: float) -> EncoderCard:
    return _vit(
        f"vit-mae-{size}",
        f"Masked autoencoder ViT-{size}, encoder",
        "ViTMAEModel",
        {**settings, "image_size": 224, "mask_ratio": 0.0},
        source=f"He et al., MAE, arXiv 2111.06377; Hugging Face facebook/vit-mae-{size}",
        licence="CC-BY-NC-4.0",
        commercial_use="no",
        arguments={**_POSITIONS, "in_order": True},
        weights=WeightsCard(prefix="vit."),
        n_parameters=n,
        published_millions=millions,
    )


MAE = (
    _mae("base", _VIT_B, 85_798_656, 86.0),
    _mae("large", _VIT_L, 303_301_632, 304.0),
    _mae("huge", _VIT_H, 630_764_800, 632.0),
)

ALL = (*DINOV2, *DINOV3, *CONVNEXT, *LANGUAGE, *MAE)
