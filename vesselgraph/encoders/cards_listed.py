"""Cards of the other medical encoders: those on a network that is made here, and those of which only a card can be given."""

from __future__ import annotations

from typing import Any

from vesselgraph.encoders.card import EncoderCard, InputCard, MapCard, WeightsCard
from vesselgraph.encoders.cards_2d import CONVNEXT, DINOV2, DINOV3

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_TIMM = WeightsCard(names="timm-vit", ignore=("head.", "fc_norm.", "decoder", "mask_token"))
_UNSEEN = "network as stated; the file and its key names could not be seen"
_DINOV2_OF = {card.name.removeprefix("dinov2-"): card for card in DINOV2}
_DINOV3_OF = {card.name.removeprefix("dinov3-"): card for card in DINOV3}
_CONVNEXT_OF = {card.name.removeprefix("dinov3-convnext-"): card for card in CONVNEXT}


def _like(base: EncoderCard, name: str, title: str, **more: Any) -> EncoderCard:
    """Return a card of a system whose encoder has the network of another card."""
    kept = {"weights": WeightsCard(), "gated": False, "n_parameters": base.n_parameters, "published_millions": None}
    return base.model_copy(update={**kept, "name": name, "title": title, **more})


REDDINO = tuple(
    _like(
        _DINOV2_OF[size],
        f"reddino-{size}",
        f"RedDino ViT-{size}/14, red blood cells",
        source=f"RedDino, arXiv 2508.08180; Hugging Face Snarcy/RedDino-{size}",
        licence="Apache-2.0",
        commercial_use="yes",
        read="docs/sources.md 44; published for 224 pixels with timm's key names",
        config={**_DINOV2_OF[size].config, "settings": {**_DINOV2_OF[size].config["settings"], "image_size": 224}},
        n_parameters=n,
        published_millions=millions,
        weights=_TIMM,
    )
    for size, n, millions in (("small", 21_629_184, 21.6), ("base", 85_725_696, 85.7), ("large", 303_228_928, 303.0))
)

ON_DINO = (
    _like(
        _DINOV2_OF["base"],
        "chexficient",
        "CheXficient, DINOv2 ViT-B/14 image tower, chest X-ray",
        source="CheXficient; Hugging Face StanfordAIMI/CheXficient",
        licence="MIT",
        commercial_use="yes",
        read=f"docs/sources.md 7; 378 pixels, loaded by code of its own there; {_UNSEEN}",
    ),
    *(
        _like(
            _DINOV3_OF[size],
            f"dino-unet-{size}",
            f"Dino U-Net, frozen DINOv3 ViT-{size}/16 encoder (its adapter and decoder left out)",
            group="S",
            source="Dino U-Net, arXiv 2508.20909",
            licence="DINOv3 licence; Dino U-Net not stated",
            commercial_use="own terms",
            gated=True,
            read="docs/sources.md 18; the encoder is DINOv3's own, frozen, with these taps; use its weights",
            weights=WeightsCard(),
        )
        for size in ("small", "base", "large", "7b")
    ),
    _like(
        _CONVNEXT_OF["large"],
        "dino-augseg-convnext-large",
        "DINO-AugSeg, DINOv3 ConvNeXt-L encoder",
        group="S",
        source="DINO-AugSeg; Hugging Face appletree1900/DINO-AugSeg",
        licence="not stated",
        commercial_use="not stated",
        read=f"docs/sources.md 52; {_UNSEEN}",
    ),
)


def _plain_vit(name: str, title: str, settings: dict[str, int], n: int, millions: float, **more: Any) -> EncoderCard:
    taps = (2, 5, 8, 11) if settings["num_hidden_layers"] == 12 else (4, 11, 17, 23)
    width, patch = settings["hidden_size"], settings["patch_size"]
    middle = (patch - 1) / 2
    return EncoderCard(
        name=name,
        title=title,
        kind="2d",
        builder="transformers",
        config={
            "model": "ViTModel",
            "settings": {**settings, "layer_norm_eps": 1e-6},
            "make": {"add_pooling_layer": False},
            "reading": "tokens",
            "taps": taps,
            "n_prefix": 1,
            "patch": patch,
            "arguments": {"interpolate_pos_encoding": True},
        },
        input=InputCard(low=-160, high=240, multiple=(1, patch, patch), **_IMAGENET),
        maps=tuple(
            MapCard(name=f"layer {tap}", channels=width, stride=(1, patch, patch), offset=(0, middle, middle)) for tap in taps
        ),
        n_parameters=n,
        published_millions=millions,
        weights=more.pop("weights", _TIMM),
        **more,
    )


_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "patch_size": 16}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096, "patch_size": 16}
_N_BASE, _N_LARGE = 85_798_656, 303_301_632

PLAIN = (
    _plain_vit(
        "chexworld",
        "CheXWorld ViT-B/16, chest X-ray",
        _BASE,
        _N_BASE,
        86.0,
        source="CheXWorld, arXiv 2504.13820; Google Drive of its repository",
        licence="not stated",
        commercial_use="not stated",
        read=f"docs/sources.md 5; {_UNSEEN}",
    ),
    *(
        _plain_vit(
            f"panderm-{size}",
            f"PanDerm ViT-{size}/16, dermatology",
            settings,
            n,
            millions,
            source="PanDerm, arXiv 2410.15038; Google Drive of its repository",
            licence="CC-BY-NC-ND-4.0",
            commercial_use="no",
            read=f"docs/sources.md 56; CAE v2's blocks may carry layer scales that this network lacks; {_UNSEEN}",
        )
        for size, settings, n, millions in (("base", _BASE, _N_BASE, 86.0), ("large", _LARGE, _N_LARGE, 304.0))
    ),
    _plain_vit(
        "biomedclip-base",
        "BiomedCLIP ViT-B/16 image tower",
        _BASE,
        _N_BASE,
        86.0,
        source="Zhang et al., BiomedCLIP, arXiv 2303.00915; Hugging Face microsoft/BiomedCLIP-*",
        licence="MIT",
        commercial_use="yes",
        read=f"docs/sources.md 50, 53 and 63 use it; timm's key names under visual.trunk.; {_UNSEEN}",
        weights=_TIMM.model_copy(update={"prefix": "visual.trunk."}),
    ),
)


def _only(name: str, title: str, number: int, missing: str, **more: Any) -> EncoderCard:
    return EncoderCard(name=name, title=title, missing=missing, read=f"docs/sources.md {number}", **more)


ONLY = (
    _only(
        "mm-dinov2",
        "MM-DINOv2, brain MR, one patch embedding per sequence",
        16,
        "no weights are published, and its patch embedding per sequence is code under CC-BY-NC-4.0; use dinov2-base",
        kind="2d",
        source="MM-DINOv2",
        licence="CC-BY-NC-4.0 (code)",
        commercial_use="no",
    ),
    _only(
        "adam-v2",
        "Adam-v2 (Eden), part-whole anatomy, X-ray and fundus",
        27,
        "its network could not be read; see the repository JLiangLab/Eden",
        kind="2d",
        source="Adam-v2; GitHub JLiangLab/Eden",
        licence="not stated",
        commercial_use="not stated",
    ),
    _only(
        "pillar-0",
        "Pillar-0, volumetric CT and breast MR",
        28,
        "its network (Atlas) comes as code with the weights, and code from a download is not run here",
        kind="3d",
        source="Pillar-0; Hugging Face YalaLab/Pillar0-*",
        licence="ECL-2.0",
        commercial_use="yes",
    ),
    _only(
        "cardiac-clip",
        "Cardiac-CLIP, cardiac CT",
        43,
        "no release was found and its sizes could not be read",
        kind="3d",
        source="Cardiac-CLIP",
        licence="not stated",
        commercial_use="not stated",
    ),
    _only(
        "neurovfm",
        "NeuroVFM, volumetric JEPA, brain MR and CT (3-D ViT-B, patches of 4 x 16 x 16)",
        54,
        "its package needs flash-attn (a GPU) and drops background tokens in a way that could not be read exactly",
        kind="3d",
        source="NeuroVFM; Hugging Face mlinslab/neurovfm-encoder",
        licence="CC-BY-NC-SA-4.0",
        commercial_use="no",
        gated=True,
    ),
    _only(
        "m3ret",
        "M3Ret, one encoder for 2-D, 3-D and video retrieval",
        58,
        "no release was found and its patching could not be read",
        kind="3d",
        source="M3Ret",
        licence="not stated",
        commercial_use="not stated",
    ),
    _only(
        "mis-fm",
        "MIS-FM, PCT-Net pretrained by volume fusion, CT",
        19,
        "PCT-Net is a network of PyMIC, which is not among the libraries used here",
        kind="3d",
        group="S",
        source="MIS-FM, arXiv 2306.16925; Google Drive of its repository",
        licence="Apache-2.0",
        commercial_use="yes",
    ),
    _only(
        "fluorosam",
        "FluoroSAM, text-promptable, X-ray and fluoroscopy",
        40,
        "its image encoder is set by options of its own code and could not be read",
        kind="2d",
        group="S",
        source="FluoroSAM, arXiv 2403.08059; Google Drive of its repository",
        licence="CC-BY-NC-SA-4.0",
        commercial_use="no",
    ),
    _only(
        "nninteractive",
        "nnInteractive, 3-D promptable",
        60,
        "its network is made by the package nninteractive from plans that come with the weights",
        kind="3d",
        group="S",
        source="nnInteractive, arXiv 2503.08373; Hugging Face MIC-DKFZ/nnInteractive; PyPI nninteractive",
        licence="CC-BY-NC-SA-4.0",
        commercial_use="no",
    ),
)

ALL = (*REDDINO, *ON_DINO, *PLAIN, *ONLY)
