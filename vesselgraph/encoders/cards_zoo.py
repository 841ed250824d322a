"""Cards of encoders whose networks, or whose weights' key names, only timm and open_clip have (the extra ``zoo``)."""

from __future__ import annotations

from vesselgraph.encoders.card import EncoderCard, InputCard, WeightsCard, slice_maps
from vesselgraph.encoders.cards_2d import DINOV3

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def _timm_dinov3(base: EncoderCard, n_parameters: int) -> EncoderCard:
    size = base.name.removeprefix("dinov3-")
    model = f"vit_{size.replace('-', '_')}_patch16_dinov3"
    taps = [f"blocks.{tap}" for tap in base.config["taps"]]
    n_blocks = base.config["settings"]["num_hidden_layers"]
    config = {"model": model, "settings": {}, "taps": taps, "n_prefix": 5, "patch": 16, "n_blocks": n_blocks}
    return base.model_copy(
        update={
            "name": f"timm-{base.name}",
            "title": f"{base.title}, weights as timm repackages them",
            "source": f"{base.source}; Hugging Face timm/{model}.lvd1689m",
            "read": "network and key names of timm; query, key and value without bias, which is zero in the original; "
            "docs/sources.md 8",
            "builder": "timm",
            "config": config | {"attention": f"blocks.{n_blocks - 1}.attn"},
            "n_parameters": n_parameters,
        }
    )


# In the order of DINOV3: small, small-plus, base, large, huge-plus, 7b.
_SIZES = (21_586_944, 28_683_264, 85_641_216, 303_079_424, 840_509_440, 6_716_030_976)
TIMM = tuple(_timm_dinov3(base, n_parameters) for base, n_parameters in zip(DINOV3, _SIZES, strict=True))

FETALCLIP = EncoderCard(
    name="fetalclip",
    title="FetalCLIP ViT-L/14 image tower, fetal ultrasound",
    kind="2d",
    source="FetalCLIP, arXiv 2502.14807; SharePoint link of its repository",
    licence="not stated",
    commercial_use="not stated",
    read="docs/sources.md 46; configuration of open_clip as those who use the weights keep it; the file could not be seen",
    builder="open-clip",
    config={
        "model": "VisionTransformer",
        "settings": {
            "image_size": 224,
            "patch_size": 14,
            "width": 1024,
            "layers": 24,
            "heads": 16,
            "mlp_ratio": 4.0,
            "output_dim": 768,
        },
        "taps": [f"transformer.resblocks.{tap}" for tap in (4, 11, 17, 23)],
        "n_prefix": 1,
        "patch": 14,
        "attention": "transformer.resblocks.23.attn",
    },
    # open_clip adds positions as they are learned, so the image has to be their square.
    input=InputCard(low=-160, high=240, mean=_CLIP_MEAN, std=_CLIP_STD, side=224),
    maps=slice_maps([f"layer {tap}" for tap in (4, 11, 17, 23)], (1024,) * 4, (14,) * 4),
    n_parameters=303_179_776,
    published_millions=304.0,
    weights=WeightsCard(prefix="visual.", ignore=("proj",)),
)


def _cris(name: str, layers: list[int], n_parameters: int) -> EncoderCard:
    return EncoderCard(
        name=f"cris-{name}",
        title=f"CRIS, CLIP's {name} image encoder (its attention pooling, neck and decoder left out)",
        kind="2d",
        group="S",
        source="CRIS, CVPR 2022, arXiv 2111.15174; weights of CLIP, arXiv 2103.00020",
        licence="CLIP MIT; CRIS not stated",
        commercial_use="not stated",
        read="docs/sources.md 63; published with both depths, which of them the survey used could not be read; "
        "keys of CLIP's own file are known, those of the fine-tuned one could not be seen",
        builder="open-clip",
        config={
            "model": "ModifiedResNet",
            "settings": {"layers": layers, "output_dim": 1024, "heads": 32, "image_size": 224, "width": 64},
            "taps": ["layer1", "layer2", "layer3", "layer4"],
        },
        input=InputCard(low=-160, high=240, mean=_CLIP_MEAN, std=_CLIP_STD, multiple=(1, 32, 32)),
        # Means of 2 x 2 cells do the halving, so each level's first cell lies half a step further in.
        maps=slice_maps(
            ("layer1", "layer2", "layer3", "layer4"), (256, 512, 1024, 2048), (4, 8, 16, 32), (1.0, 3.0, 7.0, 15.0)
        ),
        n_parameters=n_parameters,
        weights=WeightsCard(prefix="visual.", ignore=("attnpool.",)),
    )


CRIS = (_cris("resnet50", [3, 4, 6, 3], 23_527_264), _cris("resnet101", [3, 4, 23, 3], 42_519_392))

ALL = (*TIMM, FETALCLIP, *CRIS)
