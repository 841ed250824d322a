"""How classifiers of whole images are trained: data, encoder, plugin, head and fit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vesselgraph.encoder_config import SliceConfig, TileConfig
from vesselgraph.stage_config import StageConfig


class PluginConfig(StageConfig):
    """What a task adds to a frozen encoder."""

    adapter: Literal["none", "lora", "molre"] = Field(
        "none", description="what is learned beside the frozen weights: nothing, low-rank changes, or a mixture of such"
    )
    place: Literal["blocks", "tokens"] = Field(
        "blocks", description="where: in the encoder's own layers (needs gradients through it), or on the slices' vectors"
    )
    rank: int = Field(8, ge=1, le=256, description="rank of a change")
    alpha: float = Field(16.0, gt=0, description="changes are scaled by alpha / rank")
    n_experts: int = Field(6, ge=1, le=64, description="experts of a mixture")
    fused: bool = Field(True, description="query, key and value share the inner half of their change, as one fused layer would")
    layers: str = Field(
        "", description="regular expression of the layers adapted; empty: attention and patches, or the 1 x 1 convolutions"
    )
    n_layers: int = Field(0, ge=0, description="how many layers the expression must fit; needed with it")
    pooling: Literal["query", "mean", "max", "last"] = Field("query", description="how the slices' vectors become one")
    head: Literal["evidence", "focal"] = Field(
        "evidence", description="evidence: probability and uncertainty from evidence for and against; focal: a logit"
    )


class TrainClassifierConfig(StageConfig):
    """How a classifier of images is trained on a frozen encoder."""

    manifest: str = Field("", description="CSV with case, split, image (or image:NAME for each view), mask and label columns")
    labels: tuple[str, ...] = Field(
        (), description="columns with the labels: 0, 1, or nothing where unknown; empty: all others"
    )
    groups: dict[str, tuple[str, ...]] = Field({}, description="labels that are also scored together, by the group's name")
    encoder: str = Field("efficientnet-lite0", description="name of an encoder, see `vesselgraph encoders list`")
    weights: str = Field("", description="its weights: file or folder; empty: those of the installed package")
    sha256: str = Field("", description="their SHA-256, where the encoder's card pins none")
    random_weights: bool = Field(False, description="an encoder with random weights, to compare with")
    spacing: tuple[float, float, float] | None = Field(
        None, description="plane, row and column distance images are brought to first, mm; not set: as they are"
    )
    values: Literal["hu", "percentiles"] = Field(
        "hu", description="hu: the encoder's own window; percentiles: 1 to 99 % become that window, for MR"
    )
    slices: SliceConfig = SliceConfig()
    tiles: TileConfig = TileConfig()
    plugin: PluginConfig = PluginConfig()
    flip_fraction: float = Field(
        0.0, ge=0, le=1, description="share of images mirrored along columns (adapters in blocks only)"
    )
    noise: float = Field(0.0, ge=0, description="deviation of noise added in training (adapters in blocks only), image units")
    focal_gamma: float = Field(2.0, ge=0, le=10, description="how much the focal loss leaves easy cases aside")
    balance: bool = Field(True, description="weigh labels by prevalence, so that both answers count alike")
    most_weight: float = Field(10.0, ge=1, description="largest weight that balance gives")
    pull: float = Field(0.1, ge=0, le=10, description="weight of the divergence that takes misleading evidence back")
    n_pull_epochs: int = Field(10, ge=1, description="epochs over which that weight rises")
    pixel_weight: float = Field(0.0, ge=0, le=100, description="weight of the pixel supervision by masks; 0: none")
    decoder_width: int = Field(32, ge=1, le=1024, description="channels of its decoder")
    n_epochs: int = Field(60, ge=1, le=100_000, description="passes over the training cases")
    batch: int = Field(16, ge=1, description="cases a step")
    rate: float = Field(1e-2, gt=0, le=1, description="learning rate of the head at the start; it falls as a cosine")
    query_rate: float = Field(
        0.04,
        gt=0,
        le=10,
        description="the same of pooling's queries, times the root of their width: about how far a step moves a slice's score; "
        "ten times faster they settle on slices by chance",
    )
    adapter_rate: float = Field(1e-4, gt=0, le=1, description="the same of adapters")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="weight decay (AdamW)")
    drop_fraction: float = Field(
        0.0, ge=0, lt=0.5, description="share of training cases, the most uncertain out of fold, left out of the final fit"
    )
    n_folds: int = Field(5, ge=2, le=50, description="folds of those out-of-fold predictions")
    n_resamples: int = Field(1000, ge=0, le=100_000, description="bootstrap resamples of the confidence intervals")
    checkpoint_epochs: int = Field(5, ge=1, description="epochs between checkpoints")
    seed: int = Field(0, ge=0, description="seed of weights, order and everything drawn")
    device: Literal["cpu", "cuda", "mps"] = Field("cpu", description="kind of device")
