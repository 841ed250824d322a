"""One frozen, validated model per stage and PipelineConfig of them: with ``training_config`` the only home of a default.

Bare lengths are world millimetres; ``_fraction`` is in [0, 1]; ``_deg`` are degrees; ``n_`` counts. CLI options, TOML files and
``docs/configuration.md`` are derived from these fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from vesselgraph.encoder_config import SliceConfig as SliceConfig  # noqa: PLC0414
from vesselgraph.encoder_config import TileConfig as TileConfig  # noqa: PLC0414
from vesselgraph.errors import ConfigError
from vesselgraph.stage_config import StageConfig
from vesselgraph.training_config import AugmentConfig as AugmentConfig  # noqa: PLC0414
from vesselgraph.training_config import StudyRanges as StudyRanges  # noqa: PLC0414
from vesselgraph.training_config import TrainHeatmapConfig as TrainHeatmapConfig  # noqa: PLC0414


class RegistrationConfig(StageConfig):
    """How several phases are brought onto one grid."""

    reference: str = Field("", description="phase that gives the grid; empty: one named portal if there, else the first")
    step: float = Field(3.0, gt=0, le=10, description="grid step of the registration, mm")
    vessel_diameter: float = Field(15.0, ge=0, le=40, description="structures thinner than this do not drive the match, mm")
    max_shift: float = Field(30.0, ge=0, le=100, description="largest breathing shift searched for, mm")
    bspline_spacing: float = Field(50.0, gt=5, le=200, description="distance of the B-spline control points, mm")
    max_deformation: float = Field(20.0, ge=0, le=100, description="largest B-spline displacement, mm; 0: rigid only")
    min_gain_fraction: float = Field(
        0.04, ge=0, le=1, description="a step is kept if it raises the mutual information by at least this share"
    )
    sampling_fraction: float = Field(0.5, gt=0, le=1, description="share of the voxels the metric looks at")
    seed: int = Field(0, ge=0, description="seed of the metric's sampling")
    refuse_below: float = Field(0.3, ge=0, le=1, description="refuse when the body masks overlap less than this (Dice)")
    warn_below: float = Field(0.9, ge=0, le=1, description="warn when the body masks overlap less than this (Dice)")
    warn_correlation_below: float = Field(
        0.5, ge=-1, le=1, description="warn when soft tissue agrees less than this after the match (correlation)"
    )
    refuse_correlation_below: float = Field(
        0.0, ge=-1, le=1, description="refuse when it agrees less than this; -1 for contrasts that may be each other's opposite"
    )
    warn_motion_above: float = Field(
        50.0, gt=0, description="warn when the body had to move further than this on average, mm: breaths move it less"
    )


class RegionConfig(StageConfig):
    """Where vessels are looked for."""

    method: Literal["auto", "liver", "whole"] = Field(
        "auto",
        description="auto: the liver where it is found on portal-phase abdominal CT, else the whole field of view",
    )
    margin: float = Field(5.0, ge=0, le=100, description="rim added around the region, mm")
    step: float = Field(3.0, ge=2, le=5, description="step of the grid on which the liver is looked for, mm")


_USUAL_STEP = 1.0
_VOXELS_PER_STEP = 1.5
_FINEST_STEP = 0.6


class HeatmapConfig(StageConfig):
    """Centerline heat: a multi-scale ridge filter, or a trained network.

    A network brings its own step; the other settings of the ridge filter hold for the ridge heat it is multiplied by.
    """

    method: Literal["auto", "ridge", "network", "mask"] = Field(
        "auto",
        description="ridge: a filter, no training; network: trained weights; mask: the image itself is a drawing of vessels; "
        "auto: mask for an image of two values, the network in an organ that looks like the liver on CT, else the filter; "
        "the record says which and why",
    )
    weights: str = Field("", description="weights of the network (.safetensors, its card .json beside); empty: those shipped")
    encoder_weights: str = Field(
        "", description="weights of the encoder a network was trained with, if any; empty: those of the installed package"
    )
    feature_folder: str = Field("", description="where features of such an encoder are kept between runs; empty: nowhere")
    device: str = Field("cpu", description="where the network runs, as PyTorch names it: cpu, cuda, cuda:1, mps")
    backend: Literal["torch", "openvino"] = Field(
        "torch", description="what runs the network: PyTorch, or OpenVINO on the CPU (extra openvino), with the same results"
    )
    window: int = Field(64, ge=16, le=512, description="side of the box the network sees at once, voxels")
    ridge_power: float = Field(
        0.5, ge=0, le=2, description="a network's heat is multiplied by the ridge filter's to this power; 0: the network alone"
    )
    overlap_fraction: float = Field(0.25, ge=0, le=0.75, description="share of that side by which neighbouring boxes overlap")
    step: float | None = Field(
        None,
        gt=0,
        le=5,
        description="step of the isotropic tracing grid, mm, raised where data are coarser; not set: 1 mm, or 1.5 voxels where "
        "the image is finer than that along every axis, at least 0.6 mm",
    )
    min_radius: float | None = Field(
        None, gt=0, le=20, description="smallest vessel radius looked for, mm; not set: the step of the grid, at most 1 mm"
    )
    max_radius: float = Field(8.0, gt=0, le=40, description="largest vessel radius looked for, mm")
    n_scales: int = Field(7, ge=1, le=32, description="number of radii, geometrically spaced")
    half_answer: float = Field(8.0, gt=0, description="ridge answer, in multiples of the region's median, that gives heat 0.5")
    clip_below: float = Field(1.0, ge=0, description="values further below the region's median are cut, in robust deviations")
    clip_above: float = Field(5.0, gt=0, description="values further above the region's median are cut, in robust deviations")
    border_tolerance: float = Field(
        2.5,
        gt=0,
        description="in a whole field of view: how steep the image may be at a ridge, against its strength (times the root "
        "of the scale in voxels), before it counts as the border of a large body; larger: less is damped",
    )
    rim_weight: float = Field(0.3, ge=0, le=1, description="how much a thin vessel's answer counts in the rim around the organ")
    rim_radius: float = Field(2.5, ge=0, description="vessels at least this wide (radius, mm) count in full in the rim")
    polarity: Literal["bright", "dark"] = Field("bright", description="vessels brighter or darker than around them")

    @model_validator(mode="after")
    def _fits_device(self) -> Self:
        if self.backend == "openvino" and self.device != "cpu":
            raise ConfigError('device = "cpu" with backend = "openvino"', self.device, "leave the device as it is")
        return self

    def step_for(self, spacing: Sequence[float]) -> float:
        """Return the step of the tracing grid of an image, mm: as set or by its coarsest axis, no finer than its finest.

        Examples
        --------
        >>> [HeatmapConfig().step_for(spacing) for spacing in ((1.6, 0.6, 0.6), (0.5, 0.5, 0.5), (3.0, 3.0, 3.0))]
        [1.0, 0.75, 3.0]
        """
        finest, coarsest = min(spacing), max(spacing)
        usual = min(_USUAL_STEP, max(_FINEST_STEP, _VOXELS_PER_STEP * coarsest))
        wanted = usual if self.step is None else self.step
        return float(max(wanted, finest))

    def smallest_radius(self, step: float) -> float:
        """Return the smallest radius looked for on a grid, mm."""
        return min(_USUAL_STEP, step) if self.min_radius is None else self.min_radius


class TraceConfig(StageConfig):
    """From heatmap to an over-complete graph."""

    method: Literal["overcomplete", "zhang2020"] = Field(
        "overcomplete", description="all generators; or the tracer of Zhang et al. 2020 (Rivulet2) alone, as published"
    )
    threshold: float = Field(0.1, gt=0, lt=1, description="heat above which a voxel can belong to a vessel")
    ridge_width: float = Field(0.8, gt=0, le=1, description="voxels nearer than this to a height ridge lie on it, in voxels")
    min_curvature: float = Field(
        0.01, ge=0, le=1, description="least curvature across a ridge, share of its height per voxel^2"
    )
    max_gap: float = Field(8.0, ge=0, le=50, description="longest gap a candidate bridge may cross, mm")
    max_turn_deg: float = Field(60.0, ge=0, le=180, description="largest angle between a tip's direction and its bridge")
    n_bridges: int = Field(3, ge=0, le=16, description="most candidate bridges a tip")
    keypoint_paths: bool = Field(True, description="also propose minimal paths between points of the ridges")
    rivulet_paths: bool = Field(False, description="also propose the branches of Rivulet2 back-tracking, slower")
    through_paths: bool = Field(
        False, description="also propose, at nodes of four or more branches, paths that pass beside the node; heat only"
    )
    gap_rule: bool = Field(
        False, description="zhang2020: end a branch after 8 mean radii of gap; the published code never does"
    )
    non_stop: bool = Field(False, description="zhang2020: follow every branch to its end, without the rules that stop one")
    clean_up: bool = Field(True, description="zhang2020: join loose ends, keep the largest piece, drop short leaves")
    backend: Literal["numba", "cuda"] = Field("numba", description="where the kernels run")

    @model_validator(mode="after")
    def _fits_method(self) -> Self:
        if self.method == "overcomplete" and (self.gap_rule or self.non_stop or not self.clean_up):
            flags = f"gap_rule {self.gap_rule}, non_stop {self.non_stop}, clean_up {self.clean_up}"
            raise ConfigError('gap_rule, non_stop and clean_up with method = "zhang2020" only', flags, "set the method")
        if self.method == "zhang2020" and self.backend != "numba":
            raise ConfigError('backend = "numba" with method = "zhang2020"', self.backend, "leave the backend as it is")
        if self.non_stop and self.gap_rule:
            raise ConfigError("non_stop or gap_rule", "both", "choose one: non_stop leaves out the rule that gap_rule corrects")
        return self


class PruneConfig(StageConfig):
    """Cuts an over-complete graph down to the branches that are believed, by rules or as a trained network judges them.

    A branch earns its heat (learned: its presence) above a threshold, summed over its length; the sub-forest that earns most is
    kept. Heat thresholds, loops and bridges belong to the rules.
    """

    method: Literal["auto", "rules", "learned"] = Field(
        "rules",
        description="rules: heat and length; learned: a trained pruner; auto: learned where the heat is that of the network it "
        "was trained with, else the rules; the record says which and why",
    )
    weights: str = Field("", description="weights of the pruner (.safetensors, its card .json beside); empty: those shipped")
    encoder_weights: str = Field(
        "", description="weights of the encoder a pruner was trained with, if any; empty: those of the installed package"
    )
    feature_folder: str = Field("", description="where features of such an encoder are kept between runs; empty: nowhere")
    min_presence: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="presence at which a millimetre neither earns nor costs; not set: that of the card, lowered where the "
        "rules keep more",
    )
    least_recall: float = Field(
        0.0, ge=0, le=0.999, description="lower that presence until this share of what is expected to be real is kept; 0: off"
    )
    min_heat: float = Field(0.36, gt=0, lt=1, description="heat at which a millimetre of branch neither earns nor costs")
    branch_cost: float = Field(
        0.5, ge=0, description="what a side branch must earn beyond its parent's wall, mm of heat per mm of its radius"
    )
    tree_cost: float = Field(5.0, ge=0, description="what a separate tree must earn to stay, mm of heat")
    min_bridge_heat: float = Field(0.03, ge=0, le=1, description="a bridge goes if its coldest point is below this")
    loop_heat: float = Field(0.5, gt=0, le=1, description="a branch that closes a loop stays if its coldest point is hotter")
    piece_length: float = Field(
        8.0, gt=0, description="longer branches are cut into pieces this long, so that a part can go, mm"
    )

    @model_validator(mode="after")
    def _fits_method(self) -> Self:
        told = {key for key in self.model_fields_set if getattr(self, key) != type(self).model_fields[key].default}
        unused = sorted(told & {"weights", "encoder_weights", "feature_folder", "min_presence", "least_recall"})
        if self.method == "rules" and unused:
            raise ConfigError(
                f'{", ".join(unused)} with method = "learned" or "auto" only', '"rules"', "set the method, or leave them out"
            )
        return self


class SurfaceConfig(StageConfig):
    """From graph to a closed surface."""

    step: float = Field(0.5, gt=0, le=5, description="step of the sampling grid, mm; finer if a vessel is below 1.5 steps")
    blend_fraction: float = Field(0.25, ge=0, le=1, description="smooth blend at junctions, share of the local radius")
    max_error: float = Field(0.05, ge=0, le=2, description="largest distance decimation may move the surface, mm")
    min_radius: float = Field(0.3, gt=0, le=5, description="thinner branches are drawn with this radius, mm")
    max_blocks: int = Field(300_000, ge=1, description="refuse a surface of more grid blocks (8 steps a side) than this")
    enough_triangles: int = Field(0, ge=0, description="refine no further once there are so many; 0: until max_error is met")


class PhantomConfig(StageConfig):
    """A generated liver CT with exact truth."""

    shape: tuple[int, int, int] = Field((160, 160, 160), description="planes, rows, columns")
    spacing: tuple[float, float, float] = Field((1.0, 1.0, 1.0), description="voxel size in array order, mm")
    seed: int = Field(0, ge=0, description="seed of everything random")
    center: tuple[float, float, float] = Field((0.0, 0.0, 0.0), description="world x, y, z of the middle of the grid, mm")
    direction: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]] = Field(
        ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        description="rows of the matrix whose columns are the world unit vectors of the array axes; may be oblique",
    )
    n_tips: int = Field(120, ge=2, le=400, description="tips of each tree")
    tip_radius: float = Field(0.8, gt=0.1, le=5, description="mean radius of the tips, mm; single tips vary by -25 to +30 %")
    murray_exponent: float = Field(2.8, ge=2, le=4, description="radii at a junction: parent^e = sum of daughters^e")
    curvature: float = Field(0.06, ge=0, le=0.3, description="sideways swing of a branch over its length")
    min_clearance: float = Field(1.0, ge=0, le=10, description="free space between vessels that do not meet, mm")
    touching: float = Field(0.25, ge=0, le=1, description="share of the tips whose branch may touch the other tree")
    liver: float = Field(105.0, ge=-200, le=400, description="liver tissue, HU")
    texture: float = Field(5.0, ge=0, le=50, description="standard deviation of the slow variation of tissue, HU")
    portal_contrast: float = Field(65.0, ge=-100, le=400, description="portal veins over liver, HU, for wide vessels")
    hepatic_contrast: float = Field(60.0, ge=-100, le=400, description="hepatic veins over liver, HU, for wide vessels")
    blur: float = Field(0.7, ge=0, le=5, description="in-plane sigma of the scanner's point spread, mm")
    noise: float = Field(14.0, ge=0, le=200, description="standard deviation of the noise in a voxel of this grid, HU")
    noise_seed: int = Field(0, ge=0, description="another noise on the same anatomy")
    n_lesions: int = Field(4, ge=0, le=50, description="dark round lesions in the liver")
    n_cysts: int = Field(2, ge=0, le=50, description="water-filled cysts in the liver")
    n_spots: int = Field(20, ge=0, le=500, description="small bright spots in the liver that are no vessels of the truth")
    n_strands: int = Field(12, ge=0, le=200, description="short bright strands in the liver that are no vessels of the truth")


class PhaseLook(StageConfig):
    """Mean HU of blood and organs in one contrast phase of a generated study."""

    liver: float = Field(110.0, ge=-100, le=400, description="liver tissue, HU")
    portal: float = Field(190.0, ge=-100, le=700, description="blood in the portal veins, HU")
    hepatic: float = Field(182.0, ge=-100, le=700, description="blood in the hepatic veins and the upper cava, HU")
    artery: float = Field(190.0, ge=-100, le=700, description="blood in the arteries, HU")
    spleen: float = Field(120.0, ge=-100, le=400, description="spleen, HU")
    kidney: float = Field(190.0, ge=-100, le=500, description="renal cortex, HU")
    shift: float = Field(0.0, ge=0, le=30, description="breathing shift left after registration, mm")
    residue: float = Field(0.0, ge=0, le=10, description="standard deviation of the smooth deformation left, mm")
    noise: float = Field(12.0, ge=0, le=200, description="standard deviation of the noise in a voxel of the grid, HU")


class StudyConfig(StageConfig):
    """A generated multi-phase abdominal CT with exact truth, as used for training."""

    shape: tuple[int, int, int] = Field((128, 128, 128), description="planes, rows, columns")
    spacing: tuple[float, float, float] = Field((1.0, 1.0, 1.0), description="distance of planes, rows, columns, mm")
    slice_thickness: float = Field(1.0, gt=0, le=10, description="width of the slice profile, mm")
    center: tuple[float, float, float] = Field(
        (-45.0, -10.0, 0.0), description="world x, y, z of the middle of the grid, mm; 0, 0, 0 is the spine at mid-liver height"
    )
    seed: int = Field(0, ge=0, description="seed of everything random")
    noise_seed: int = Field(0, ge=0, description="another noise on the same anatomy")
    phases: tuple[str, ...] = Field(("native", "arterial", "portal", "delayed"), min_length=1, description="phases to make")
    reference: str = Field("portal", description="phase whose breathing position the truth has")
    body_scale: float = Field(1.0, gt=0.5, lt=1.6, description="size relative to an average adult")
    shape_variation: float = Field(1.0, ge=0, le=2, description="how much organs and named vessels vary")
    fat: float = Field(16.0, ge=3, le=70, description="thickness of the fat under the skin, mm")
    wall: float = Field(14.0, ge=5, le=30, description="thickness of the muscle wall, mm")
    n_portal_tips: int = Field(900, ge=20, le=5000, description="tips of the portal tree in the whole liver")
    n_hepatic_tips: int = Field(800, ge=20, le=5000, description="tips of the hepatic veins in the whole liver")
    tip_radius: float = Field(0.6, gt=0.1, le=3, description="mean radius of tips, mm; single tips vary by -30 to +40 %")
    murray_exponent: float = Field(3.0, ge=2, le=4, description="radii at a junction: parent^e = sum of daughters^e")
    curvature: float = Field(0.05, ge=0, le=0.3, description="sideways swing of a branch over its length")
    min_clearance: float = Field(0.8, ge=-2, le=5, description="free space between straight vessels that do not meet, mm")
    artery_ratio: float = Field(0.32, ge=0.1, le=0.8, description="radius of the hepatic artery over the portal vein beside it")
    smallest_artery: float = Field(0.3, ge=0.1, le=2, description="smallest radius of the hepatic artery, mm")
    duct_ratio: float = Field(0.22, ge=0.05, le=1.2, description="radius of bile ducts over the portal vein; wide when blocked")
    n_lesions: int = Field(3, ge=0, le=50, description="solid lesions in the liver")
    n_cysts: int = Field(2, ge=0, le=50, description="cysts in the liver")
    lesion_radius: float = Field(18.0, ge=1, le=60, description="largest radius of lesions, mm")
    n_spots: int = Field(2, ge=0, le=50, description="calcified spots in the liver")
    fissure: float = Field(1.5, ge=0, le=10, description="half width of the fatty cleft left of the gall bladder, mm")
    mottling: float = Field(
        5.0, ge=0, le=50, description="standard deviation of the contrast medium's mixture in the blood, HU"
    )
    texture: float = Field(4.0, ge=0, le=50, description="standard deviation of the fine variation of tissue, HU")
    texture_length: float = Field(2.0, gt=0, le=20, description="correlation length of that variation, mm")
    patchiness: float = Field(6.0, ge=0, le=50, description="standard deviation of the slow variation of tissue, HU")
    blur: float = Field(0.6, ge=0, le=4, description="in-plane sigma of the point spread, mm")
    sharpness: float = Field(0.0, ge=0, le=2, description="edge enhancement of the kernel")
    noise_length: float = Field(0.9, ge=0, le=4, description="in-plane correlation length of the noise, mm")
    noise_ramp: float = Field(
        0.0,
        ge=-2,
        le=2,
        description="how much the noise lacks low frequencies; 1: filtered back-projection, below 0: it has more",
    )
    noise_aspect: float = Field(
        1.1, ge=0.5, le=2, description="length of the noise from side to side over front to back, rooted"
    )
    streaks: float = Field(0.0, ge=0, le=60, description="standard deviation of streaks, HU")
    native: PhaseLook = PhaseLook(liver=58, portal=42, hepatic=42, artery=42, spleen=48, kidney=34)
    arterial: PhaseLook = PhaseLook(liver=70, portal=95, hepatic=48, artery=310, spleen=130, kidney=200)
    portal: PhaseLook = PhaseLook()
    delayed: PhaseLook = PhaseLook(liver=92, portal=118, hepatic=118, artery=112, spleen=95, kidney=170)

    @property
    def looks(self) -> dict[str, PhaseLook]:
        """The look of each phase that is made, by name."""
        return {name: getattr(self, name) for name in self.phases}


class PipelineConfig(StageConfig):
    """Everything ``reconstruct`` needs: one section a stage."""

    registration: RegistrationConfig = RegistrationConfig()
    region: RegionConfig = RegionConfig()
    heatmap: HeatmapConfig = HeatmapConfig()
    trace: TraceConfig = TraceConfig()
    prune: PruneConfig = PruneConfig()
    surface: SurfaceConfig = SurfaceConfig()
    max_memory_gb: float = Field(12.0, gt=0, description="refuse before work starts if the estimate is above this, GB")
