"""How the learned pruner is trained: where its graphs come from, what counts as true, and the settings of the fit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vesselgraph.config import HeatmapConfig, TraceConfig
from vesselgraph.stage_config import StageConfig
from vesselgraph.training_config import FeaturesConfig, StudyRanges

Shown = Literal["native", "arterial", "portal", "delayed", "unknown", "all"]
"""What is shown of a study: one phase, the portal phase without its name, or all phases."""


class TrainPrunerConfig(StageConfig):
    """How the graph attention pruner is trained.

    Its graphs are traced from heatmaps of generated studies, by the settings of ``heatmap`` and ``trace``.
    """

    studies: StudyRanges = StudyRanges(shape=(112, 112, 112))
    n_studies: int = Field(24, ge=1, description="generated studies to learn from")
    n_validation: int = Field(12, ge=1, le=1000, description="generated studies to choose and calibrate on, seeds just below")
    first_seed: int = Field(200_000, ge=1000, description="seed of the first study; none the heatmap network learned from")
    whole: StudyRanges = StudyRanges(shape=(176, 192, 240), center_x=(-34, -26), center_y=(-15, -7), center_z=(-14, -6))
    n_whole: int = Field(5, ge=0, description="further studies to learn from, drawn from `whole`: they show the whole liver")
    first_whole_seed: int = Field(200_100, ge=1000, description="seed of the first of these")
    views: tuple[Shown, ...] = Field(
        ("portal", "portal", "unknown", "portal", "all", "portal", "delayed", "portal", "arterial", "portal"),
        min_length=1,
        description="what is shown of each study, in turn: a phase, unknown (the portal phase without its name) or all phases; "
        "of those to choose on, the first",
    )
    heatmap: HeatmapConfig = HeatmapConfig(method="network")
    trace: TraceConfig = TraceConfig()
    least_clarity: float = Field(
        0.05, ge=0, le=1, description="true vessels less clear than this (0 to 1, from calibre and contrast) count as not there"
    )
    sure_clarity: float = Field(
        0.5, ge=0, le=1, description="scored are those from here on; those in between count neither way then"
    )
    piece_length: float = Field(8.0, gt=1, le=50, description="longer branches are cut into pieces this long, mm")
    groups: tuple[str, ...] = Field(
        ("heat", "geometry", "position", "evidence", "contrast"),
        description="feature groups the network is told; network only for heatmaps of one; encoder comes by features.use",
    )
    features: FeaturesConfig = FeaturesConfig()
    head: Literal["logit", "evidence"] = Field(
        "logit", description="what is told of a piece: a logit; or evidence for and against, hence an uncertainty as well"
    )
    pull: float = Field(0.1, ge=0, le=10, description="weight of the divergence that takes misleading evidence back")
    width: int = Field(48, ge=8, le=512, description="channels between layers")
    n_layers: int = Field(3, ge=0, le=12, description="attention layers")
    n_heads: int = Field(4, ge=1, le=16, description="attention heads")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in training")
    feature_noise: float = Field(0.05, ge=0, le=1, description="noise on the features in training, share of their deviation")
    rate: float = Field(2e-3, gt=0, le=0.1, description="learning rate at the start; it falls as a cosine")
    weight_decay: float = Field(1e-3, ge=0, le=1, description="weight decay")
    n_epochs: int = Field(20, ge=1, le=10_000, description="passes over the training graphs")
    seed: int = Field(0, ge=0, description="seed of weights, order and dropout")

    @property
    def told(self) -> tuple[str, ...]:
        """The feature groups the network is told: ``features.use`` adds ``encoder``, "foundation" in place of ``network``."""
        if self.features.use == "cnn":
            return self.groups
        own = self.groups if self.features.use == "both" else tuple(one for one in self.groups if one != "network")
        return (*own, "encoder")
