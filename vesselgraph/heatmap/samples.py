"""Training patches: cut from a case, turned, scaled, mirrored, and changed in intensity, with the exact truth of the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.config import AugmentConfig, TrainHeatmapConfig
from vesselgraph.heatmap.cases import TrainingCase
from vesselgraph.heatmap.targets import Float32, Segments, Target, measure_target
from vesselgraph.space import FloatArray

_ON_VESSEL = 0.65
_MIDDLE_HU = 110.0


@dataclass(frozen=True, eq=False)
class Sample:
    """A patch of each phase in HU, its truth, where the truth counts, and where it lies; all of one cubic shape."""

    phases: Mapping[str, Float32]
    target: Target
    counts: NDArray[np.bool_]
    named: bool
    place: Placement


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a patch lies in its case: case voxel = ``matrix @ (patch voxel - middle) + centre``."""

    matrix: FloatArray
    centre: FloatArray

    @property
    def scale(self) -> float:
        """Case voxels a patch voxel spans."""
        return float(np.cbrt(abs(np.linalg.det(self.matrix))))

    def first(self, side: int) -> FloatArray:
        """Return the case voxel of the first voxel of a patch of that side."""
        return np.asarray(self.centre - self.matrix @ _middle(side))


def draw_phases(available: list[str], config: TrainHeatmapConfig, rng: np.random.Generator) -> dict[str, str]:
    """Return which phases a batch shows: the name told to the network, and the phase it is.

    ``one_phase_fraction`` of the draws are a single phase, half of them portal if it is there; a share of those is called
    unknown. The others are any non-empty subset. ``available`` must not be empty.
    """
    if len(available) == 1 or rng.random() < config.one_phase_fraction:
        portal = "portal" in available and rng.random() < 0.5
        phase = "portal" if portal else available[int(rng.integers(len(available)))]
        return {"unknown" if rng.random() < config.unknown_fraction else phase: phase}
    chosen = rng.permutation(available)[: int(rng.integers(1, len(available) + 1))]
    return {str(phase): str(phase) for phase in chosen}


def draw_sample(case: TrainingCase, shown: Mapping[str, str], config: TrainHeatmapConfig, rng: np.random.Generator) -> Sample:
    """Return one random patch of a case.

    Parameters
    ----------
    case : TrainingCase
    shown : mapping of the name told to the network to the phase of the case
    config : TrainHeatmapConfig
        Patch size, step, sigma, augmentation.
    rng : Generator
        All that is random comes from it: the same state gives the same patch.
    """
    place = draw_placement(case, config, rng)
    target = target_at(case, place, shown.values(), config)
    shape = (config.patch,) * 3
    offset = place.first(config.patch)
    phases = {}
    thickness = _draw_thickness(config, rng)
    for told, phase in shown.items():
        array = case.phases[phase]
        if _is_whole(place):
            values = _cut(array, place, config.patch)
        else:
            values = ndimage.affine_transform(
                array, place.matrix, offset, shape, output=np.float32, order=1, mode="nearest", prefilter=False
            )
        phases[told] = change_intensity(values, thickness, config.augment, config.step, rng)
    counts = ndimage.affine_transform(
        case.counts.view(np.uint8), place.matrix, offset, shape, order=0, mode="constant", prefilter=False
    ).astype(np.bool_)
    return Sample(phases, target, counts, case.named, place)


def draw_placement(case: TrainingCase, config: TrainHeatmapConfig, rng: np.random.Generator) -> Placement:
    """Return a random place, mostly around a centerline; a share of them is mirrored, turned and scaled."""
    middle = 0.5 * (case.segments.start + case.segments.end)
    within = np.rint(middle).astype(np.int64)
    valid = ((within >= 0) & (within < np.array(case.shape))).all(axis=1)
    within = within[valid]
    within = within[case.counts[tuple(within.T)]]
    if len(within) and rng.random() < _ON_VESSEL:
        centre = within[int(rng.integers(len(within)))]
    else:
        voxels = np.flatnonzero(case.counts)
        centre = np.array(np.unravel_index(int(voxels[int(rng.integers(len(voxels)))]), case.shape))
    spread = config.patch // 4
    # A patch of an even side has its middle between voxels: half a voxel makes whole voxels of whole voxels.
    centre = centre + rng.integers(-spread, spread + 1, 3) + (0.5 if config.patch % 2 == 0 else 0.0)
    # Beyond the case there is nothing to learn.
    half, last = (config.patch - 1) / 2, np.array(case.shape) - 1.0
    centre = np.where(last > 2 * half, np.clip(centre, half, last - half), np.floor(last / 2) + half % 1)
    return Placement(_draw_matrix(config.augment, rng), np.asarray(centre, np.float64))


def _draw_matrix(config: AugmentConfig, rng: np.random.Generator) -> FloatArray:
    flips, permutes, turns = rng.random(3), rng.random(), rng.random()
    order, angles = rng.permutation(3), np.deg2rad(config.max_turn_deg) * rng.uniform(-1, 1, 3)
    scale = np.exp(config.max_scale * rng.uniform(-1, 1))
    matrix = np.diag(np.where(flips < config.flip_fraction, -1.0, 1.0))
    if permutes < config.permute_fraction:
        matrix = matrix[:, order]
    if turns < config.affine_fraction:
        for axis, angle in enumerate(angles):
            turn = np.eye(3)
            one, other = (axis + 1) % 3, (axis + 2) % 3
            turn[one, one] = turn[other, other] = np.cos(angle)
            turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
            matrix = turn @ matrix
        matrix = scale * matrix
    return np.asarray(matrix)


def target_at(case: TrainingCase, place: Placement, phases: Iterable[str], config: TrainHeatmapConfig) -> Target:
    """Return the exact truth of a patch: the centerlines are moved, not a drawing of them.

    Vessels that none of the phases shows clearly get less heat.
    Scaling makes a larger or smaller patient: radii scale along, and heat keeps its width in mm.
    """
    inverse = np.linalg.inv(place.matrix)
    pieces = case.segments_seen(phases, config)
    moved = Segments(
        (pieces.start - place.centre) @ inverse.T + _middle(config.patch),
        (pieces.end - place.centre) @ inverse.T + _middle(config.patch),
        pieces.start_radius / place.scale,
        pieces.end_radius / place.scale,
        pieces.tree,
        pieces.clarity,
    )
    return measure_target(moved, (config.patch,) * 3, config.step, config.sigma)


def change_intensity(values: Float32, thickness: int, config: AugmentConfig, step: float, rng: np.random.Generator) -> Float32:
    """Return a patch in HU with random blur, slice thickness (in voxels), noise, contrast, bend and shift."""
    sigma, noise, grain = config.blur / step * rng.random(), config.noise * rng.random(), 0.8 * rng.random()
    gain, bend = np.exp(config.gain * rng.uniform(-1, 1)), np.exp(config.gamma * rng.uniform(-1, 1))
    shift = config.shift * rng.uniform(-1, 1)
    field = rng.standard_normal(values.shape, dtype=np.float32)
    if sigma > 0.3:
        values = ndimage.gaussian_filter(values, sigma, truncate=2.5)
    if grain > 0.3:
        # Smoothing lowers the deviation; the field is brought back to 1.
        field = ndimage.gaussian_filter(field, (0.0, grain, grain), truncate=2.5)
        field /= max(float(field.std()), 1e-6)
    values = values + np.float32(noise) * field
    if thickness > 1:
        values = _as_thick_slices(values, thickness)
    relative = (values - _MIDDLE_HU) * gain / 100.0
    bent = np.sign(relative) * np.abs(relative) ** bend
    return np.asarray(100.0 * bent + (_MIDDLE_HU + shift), np.float32)


def _draw_thickness(config: TrainHeatmapConfig, rng: np.random.Generator) -> int:
    thick, share = rng.random(), rng.random()
    if thick >= config.augment.thick_fraction:
        return 1
    largest = int(config.augment.max_thickness / config.step)
    return 2 + int(share * (largest - 1)) if largest >= 2 else 1


def _as_thick_slices(values: Float32, thickness: int) -> Float32:
    """Return the patch as thick slices show it: planes averaged in groups and interpolated between their middles."""
    n = len(values)
    starts = np.arange(0, n, thickness)
    slices = np.add.reduceat(values, starts, axis=0) / np.diff([*starts, n])[:, None, None].astype(np.float32)
    middles = 0.5 * (starts + np.minimum(starts + thickness, n) - 1)
    place = np.interp(np.arange(n), middles, np.arange(len(starts)))
    low = np.minimum(place.astype(np.int64), max(len(starts) - 2, 0))
    high = np.minimum(low + 1, len(starts) - 1)
    share = (place - low).astype(np.float32)[:, None, None]
    return np.asarray(slices[low] * (1 - share) + slices[high] * share)


def _is_whole(place: Placement) -> bool:
    """Whether the patch's voxels are voxels of the case, in the same order along each axis."""
    return bool(np.array_equal(place.matrix, np.eye(3)))


def _cut(array: NDArray[np.int16], place: Placement, side: int) -> Float32:
    first = np.rint(place.centre - _middle(side)).astype(np.int64)
    index = [np.clip(np.arange(f, f + side), 0, n - 1) for f, n in zip(first, array.shape, strict=True)]
    return array[np.ix_(*index)].astype(np.float32)


def _middle(side: int) -> FloatArray:
    return np.full(3, (side - 1) / 2.0)
