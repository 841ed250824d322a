"""How the networks are trained: what studies are drawn from, how patches are changed, and the settings of each fit.

Names and units follow :mod:`vesselgraph.config`, which passes these models on.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vesselgraph.stage_config import StageConfig


class StudyRanges(StageConfig):
    """What random studies are drawn from: lowest and highest value of each setting, evenly unless said otherwise."""

    shape: tuple[int, int, int] = Field((128, 128, 128), description="size of the field along planes, rows, columns, mm")
    slice_thickness: tuple[float, float] = Field((0.8, 5.0), description="slice thickness, mm, logarithmic")
    overlap: tuple[float, float] = Field((0.6, 1.0), description="distance of planes over slice thickness")
    in_plane_spacing: tuple[float, float] = Field((1.0, 1.0), description="distance of rows and columns, mm")
    center_x: tuple[float, float] = Field((-85.0, 0.0), description="middle of the field, world x, mm")
    center_y: tuple[float, float] = Field((-40.0, 15.0), description="middle of the field, world y, mm")
    center_z: tuple[float, float] = Field((-35.0, 35.0), description="middle of the field, world z, mm")
    body_scale: tuple[float, float] = Field((0.85, 1.12), description="size relative to an average adult")
    fat: tuple[float, float] = Field((8.0, 35.0), description="thickness of the fat under the skin, mm")
    n_portal_tips: tuple[int, int] = Field((500, 1200), description="tips of the portal tree")
    n_hepatic_tips: tuple[int, int] = Field((450, 1100), description="tips of the hepatic veins")
    tip_radius: tuple[float, float] = Field((0.42, 0.7), description="mean radius of tips, mm")
    murray_exponent: tuple[float, float] = Field((2.75, 3.2), description="exponent of the radii at junctions")
    curvature: tuple[float, float] = Field((0.02, 0.1), description="sideways swing of branches over their length")
    min_clearance: tuple[float, float] = Field((0.0, 1.5), description="free space between vessels, mm")
    artery_ratio: tuple[float, float] = Field((0.22, 0.42), description="radius of artery over portal vein")
    duct_ratio: tuple[float, float] = Field((0.12, 0.35), description="radius of bile duct over portal vein")
    wide_duct_ratio: tuple[float, float] = Field((0.5, 0.9), description="the same where bile is blocked")
    wide_ducts_fraction: float = Field(0.06, ge=0, le=1, description="share of patients with blocked bile")
    n_lesions: tuple[int, int] = Field((0, 7), description="solid lesions")
    n_cysts: tuple[int, int] = Field((0, 5), description="cysts")
    lesion_radius: tuple[float, float] = Field((4.0, 32.0), description="largest radius of lesions, mm")
    n_spots: tuple[int, int] = Field((0, 6), description="calcified spots in the liver")
    fissure: tuple[float, float] = Field((0.0, 2.5), description="half width of the fatty cleft, mm")
    mottling: tuple[float, float] = Field((0.0, 12.0), description="mixture of the contrast medium in the blood, HU")
    texture: tuple[float, float] = Field((1.0, 7.0), description="fine variation of tissue, HU")
    texture_length: tuple[float, float] = Field((1.2, 4.0), description="its correlation length, mm")
    patchiness: tuple[float, float] = Field((1.0, 11.0), description="slow variation of tissue, HU")
    blur: tuple[float, float] = Field((0.4, 1.05), description="in-plane sigma of the point spread, mm")
    sharpness: tuple[float, float] = Field((0.0, 0.9), description="edge enhancement of the kernel")
    noise: tuple[float, float] = Field((4.0, 26.0), description="standard deviation of the noise, HU, logarithmic")
    noise_length: tuple[float, float] = Field((0.4, 1.4), description="correlation length of the noise, mm")
    noise_ramp: tuple[float, float] = Field((-0.6, 1.0), description="how much the noise lacks low frequencies")
    noise_aspect: tuple[float, float] = Field((0.9, 1.5), description="length of the noise sideways over front to back, rooted")
    streaks: tuple[float, float] = Field((1.0, 9.0), description="streaks where there are any, HU")
    streaks_fraction: float = Field(0.35, ge=0, le=1, description="share of studies with streaks")
    motion_fraction: float = Field(0.5, ge=0, le=1, description="share of studies whose phases are of several breaths")
    shift: tuple[float, float] = Field((0.0, 2.5), description="breathing shift left after registration, mm")
    residue: tuple[float, float] = Field((0.0, 2.0), description="smooth deformation left after registration, mm")
    native_liver: tuple[float, float] = Field((35.0, 68.0), description="liver without contrast medium, HU; low: fatty")
    native_blood: tuple[float, float] = Field((33.0, 50.0), description="blood without contrast medium, HU")
    liver_uptake: tuple[float, float] = Field((30.0, 70.0), description="enhancement of the liver in the portal phase, HU")
    portal_contrast: tuple[float, float] = Field((25.0, 105.0), description="portal vein over liver in the portal phase, HU")
    hepatic_share: tuple[float, float] = Field((0.72, 1.03), description="enhancement of hepatic over that of portal veins")


class AugmentConfig(StageConfig):
    """How a training patch is changed before the network sees it."""

    flip_fraction: float = Field(0.25, ge=0, le=1, description="share of patches mirrored, for each axis")
    permute_fraction: float = Field(0.15, ge=0, le=1, description="share of patches with axes in another order")
    affine_fraction: float = Field(0.4, ge=0, le=1, description="share of patches turned and scaled")
    max_turn_deg: float = Field(20.0, ge=0, le=180, description="largest turn about each axis")
    max_scale: float = Field(0.15, ge=0, le=1, description="largest change of size, as a natural logarithm")
    gain: float = Field(0.25, ge=0, le=1, description="largest change of contrast, as a natural logarithm")
    gamma: float = Field(0.15, ge=0, le=1, description="largest bend of the intensity curve, as a natural logarithm")
    shift: float = Field(30.0, ge=0, le=200, description="largest shift of all values, HU")
    noise: float = Field(15.0, ge=0, le=100, description="largest deviation of added noise, HU")
    blur: float = Field(0.8, ge=0, le=3, description="largest sigma of added blur, mm")
    thick_fraction: float = Field(0.25, ge=0, le=1, description="share of patches seen as thick slices")
    max_thickness: float = Field(5.0, ge=1, le=10, description="largest slice thickness, mm")


class FeaturesConfig(StageConfig):
    """Which features of a frozen encoder the heatmap network sees beside, or instead of, its own."""

    use: Literal["cnn", "foundation", "both"] = Field(
        "cnn", description="cnn: its own features; foundation: the encoder's alone; both: the encoder's join through gates"
    )
    encoder: str = Field("efficientnet-lite0", description="name of the encoder, see `vesselgraph encoders list`")
    weights: str = Field("", description="its weights: file or folder; empty: those of the installed package")
    sha256: str = Field("", description="their SHA-256, where the encoder's card pins none")
    random_weights: bool = Field(False, description="an encoder with random weights, to compare with")
    random_seed: int = Field(0, ge=0, description="which random weights")
    maps: tuple[str, ...] = Field((), description="names of its maps that are used; empty: all")
    cache_gigabytes: float = Field(20.0, gt=0, description="disk space for the features of cases, in the run's folder")


class TrainHeatmapConfig(StageConfig):
    """How the heatmap network is trained."""

    widths: tuple[int, ...] = Field((12, 24, 48, 96), min_length=1, description="channels of each level of the network")
    n_groups: int = Field(4, ge=1, le=32, description="groups of the group normalisation; divides every width")
    start_from: str = Field("", description="weights to start from, of the same widths and step; empty: random ones")
    step: float = Field(1.0, gt=0, le=5, description="step of the isotropic grid the network works on, mm")
    sigma: float = Field(1.5, gt=0, le=10, description="heat is exp(-d^2 / (2 sigma^2)), d the distance to a centerline, mm")
    patch: int = Field(64, ge=8, le=256, description="side of a training patch, voxels; a multiple of 2^(levels - 1)")
    batch: int = Field(2, ge=1, le=256, description="patches a step and device")
    n_steps: int = Field(40_000, ge=1, description="training steps")
    rate: float = Field(2e-3, gt=0, le=0.1, description="largest learning rate (AdamW)")
    n_warm_up: int = Field(300, ge=0, description="steps over which the rate rises; then it falls as a cosine")
    last_rate_fraction: float = Field(0.01, ge=0, le=1, description="rate at the last step, share of the largest")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="weight decay (AdamW)")
    largest_gradient: float = Field(1.0, gt=0, description="gradients are cut to this norm")
    average: float = Field(0.999, ge=0, lt=1, description="decay of the running mean of the weights, which is what is saved")
    foreground_weight: float = Field(1.0, ge=0, description="extra weight of the heat error where heat is 1")
    recall_weight: float = Field(0.1, ge=0, description="weight of the skeleton recall loss")
    radius_weight: float = Field(0.2, ge=0, description="weight of the radius error on centerlines (log mm)")
    identity_weight: float = Field(0.2, ge=0, description="weight of naming the tree near centerlines")
    rim: float = Field(8.0, ge=0, le=50, description="how far around the organ the truth counts, mm")
    clear_radius: tuple[float, float] = Field(
        (0.6, 1.4), description="radius, mm, up to which heat is 0 and from which it is 1"
    )
    clear_visibility: tuple[float, float] = Field(
        (0.8, 2.4), description="contrast to noise times radius (mm, at least 1) up to which heat is 0 and from which it is 1"
    )
    one_phase_fraction: float = Field(0.6, ge=0, le=1, description="share of batches that see one phase, half of them portal")
    unknown_fraction: float = Field(0.5, ge=0, le=1, description="share of single phases whose name is not told")
    studies: StudyRanges = StudyRanges()
    n_studies: int = Field(200, ge=0, description="generated studies to learn from; 0: the manifest's cases only")
    first_seed: int = Field(100_000, ge=0, description="seed of the first generated study")
    n_validation: int = Field(2, ge=0, le=100, description="generated studies to judge on, seeds just below the first one")
    manifest: str = Field("", description="CSV of real cases to learn from as well; empty: none")
    real_fraction: float = Field(0.5, ge=0, le=1, description="share of the patches taken from real cases, if there are any")
    pool: int = Field(6, ge=1, description="cases patches are drawn from at one time (memory: about 50 MB each)")
    n_steps_a_case: int = Field(60, ge=1, description="steps after which the oldest case of the pool makes room for the next")
    n_workers: int = Field(1, ge=0, le=64, description="processes that prepare batches")
    seed: int = Field(0, ge=0, description="seed of the weights and of everything drawn at random")
    validate_every: int = Field(500, ge=1, description="steps between validations")
    validation_side: int = Field(128, ge=16, le=512, description="side of the box that is judged, voxels")
    checkpoint_minutes: float = Field(10.0, gt=0, description="time between checkpoints")
    device: Literal["cpu", "cuda", "mps"] = Field("cpu", description="kind of device")
    n_devices: int = Field(1, ge=1, description="devices of each machine")
    n_machines: int = Field(1, ge=1, description="machines")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = Field("32-true", description="arithmetic; mixed is for GPUs")
    augment: AugmentConfig = AugmentConfig()
    features: FeaturesConfig = FeaturesConfig()
