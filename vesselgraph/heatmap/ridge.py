"""The network-free heatmap: how strongly each voxel lies on a tube, against what noise and texture of this image do."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.config import HeatmapConfig
from vesselgraph.errors import InputError
from vesselgraph.heatmap.kernels import Float32, damp_borders, damp_borders_at, ridge_volume, smooth
from vesselgraph.heatmap.oriented import best_along_lines, in_blocks, packed_hessian
from vesselgraph.progress import Progress

BoolArray = NDArray[np.bool_]

# A tube of radius r answers most strongly to a Gaussian of sigma r / 1.4 (blurred disc in 2-D: r / sqrt 2).
_RADIUS_PER_SIGMA = 1.4
_FILL_SIGMA_VOX = 3.0
_MIN_SPREAD = 1e-3
_MIN_SAMPLES = 50

# Below this scale answers are averaged along lines; wider vessels stand out of the noise without.
_FINE_SIGMA_VOX = 2.3
_LINE_SIGMA_VOX = 1.0
_LINE_SIGMA_PER_SIGMA = 0.75
_WORTH_A_LINE = 2.0
_N_SAMPLED = 100_000
_BRIGHTEST = 0.999
# What damping borders leaves of a thin vessel's answer in noise, which bends and tilts it.
_LEFT_BY_DAMPING = 0.875
# Of the way from the organ's median to its brightest vessels: brighter bodies are enhanced.
_ENHANCED = 0.15


def ridge_heat(
    image: Float32, inside: BoolArray, core: BoolArray, voxel: float, config: HeatmapConfig, progress: Progress
) -> tuple[Float32, Float32]:
    """Return heat in [0, 1] and the radius estimate in mm on one isotropic grid.

    At each scale the strength of the Hessian ridge is divided by its median over the region, which noise and texture set
    because vessels fill little of it. So heat means the same at every scale and dose: ``z^2 / (z^2 + half^2)`` of the
    strongest relative answer ``z``, with ``half`` the answer that counts as half a vessel. Where a vessel is thin and noise
    matters most, the Hessian is averaged along lines first (:mod:`vesselgraph.heatmap.oriented`), at the voxels whose plain
    answer makes that worth while. In a whole field of view, where skin, bone and organs have borders, answers on the shoulder
    of a border are damped (:func:`vesselgraph.heatmap.kernels.steadiness`).

    Parameters
    ----------
    image : (planes, rows, columns) float32
        Bright or dark vessels, see ``config.polarity``.
    inside : same shape, bool
        Where vessels are looked for; values outside are not used.
    core : same shape, bool
        The organ itself; answers in ``inside`` but not in ``core`` count less.
    voxel : mm
        Size of a voxel.
    config : HeatmapConfig
        Radii, scales, ``half_answer``.
    progress : Progress
        Called per scale.

    References
    ----------
    Lindeberg, "Edge detection and ridge detection with automatic scale selection", IJCV 30 (1998), for gamma-normalised
    scales; Sato et al., "Three-dimensional multi-scale line filter", Medical Image Analysis 2 (1998), for the eigenvalue
    combination. The normalisation by the image's own median answer and the line averaging are ours.
    """
    # What is no vessel there is filled like the outside: cut after the filter, it would leave ridges at its flanks.
    inside = inside & ~foreign_to_organ(image, core, voxel, config)
    values = flatten_outside(image, inside, core, config)
    smallest = config.smallest_radius(voxel)
    radii = np.geomspace(max(smallest, 0.7 * voxel), max(config.max_radius, smallest, voxel), config.n_scales)
    sigmas = radii / _RADIUS_PER_SIGMA / voxel
    best, radius = np.zeros(image.shape, np.float32), np.zeros(image.shape, np.float32)
    hint, answer = np.zeros(image.shape, np.float32), np.zeros(image.shape, np.float32)
    fine: list[Float32] = []
    smoothed, sigma_before = values, 0.0
    # In an organ there are no borders of large bodies: those around it are filled.
    tolerance = np.float32(config.border_tolerance) if core.all() else None
    for i, sigma in enumerate(sigmas):
        progress("ridge filter", 0.5 * i / len(sigmas))
        smoothed = smooth(smoothed, float(np.sqrt(sigma**2 - sigma_before**2)))
        sigma_before = sigma
        ridge_volume(smoothed, np.float32(sigma**2), answer)
        usual = usual_answer(answer[core])
        if tolerance is not None:
            damp_borders(smoothed, np.float32(sigma), tolerance, answer)
            usual *= _LEFT_BY_DAMPING
        answer *= _one_over(usual)
        if sigma < _FINE_SIGMA_VOX:
            fine.append(smoothed)
            np.maximum(hint, answer, out=hint)
        else:
            _keep_best(best, radius, answer, radii[i])
    worth = in_blocks(np.argwhere((hint >= _WORTH_A_LINE) & inside))
    sampled = _sampled(core)
    for i, smoothed in enumerate(fine):
        progress("ridge filter along lines", 0.5 + 0.5 * i / len(fine))
        line_sigma = _LINE_SIGMA_VOX + _LINE_SIGMA_PER_SIGMA * sigmas[i]
        packed = packed_hessian(smoothed)
        usual = usual_answer(best_along_lines(packed, sampled, sigmas[i], line_sigma))
        answer[:] = 0.0
        along = best_along_lines(packed, worth, sigmas[i], line_sigma)
        if tolerance is not None:
            damp_borders_at(smoothed, worth, np.float32(sigmas[i]), tolerance, along)
            usual *= _LEFT_BY_DAMPING
        answer[tuple(worth.T)] = along * _one_over(usual)
        _keep_best(best, radius, answer, radii[i])
    progress("ridge filter along lines", 1.0)
    best *= np.where(core | (radius >= config.rim_radius), np.float32(1.0), np.float32(config.rim_weight))
    best *= inside
    radius *= best > 0
    squared = best * best
    return squared / (squared + np.float32(config.half_answer**2)), radius


def foreign_to_organ(image: Float32, core: BoolArray, voxel: float, config: HeatmapConfig) -> BoolArray:
    """Return the voxels around the organ that are no vessels of it, and those next to them.

    Bone and kidney outshine the brightest vessels of the organ. Bright bodies into which a ball of ``config.max_radius`` fits
    (cava, heart, spleen) are wider than what is looked for; of what the border of the region leaves of them, slabs, the
    filter would make tubes.

    Parameters
    ----------
    image : (planes, rows, columns) float32
    core : same shape, bool
        The organ.
    voxel : mm
        Size of a voxel.
    config : HeatmapConfig
        Its polarity and largest radius.
    """
    if not core.any() or core.all():
        return np.zeros(image.shape, np.bool_)
    values = smooth(image if config.polarity == "bright" else -image, 1.0)
    tissue = values[core]
    middle, brightest = np.quantile(tissue, [0.5, _BRIGHTEST])
    outshines = values > brightest + 0.2 * (brightest - middle)
    reach = config.max_radius / voxel
    deep = _distance_to(core | (values <= middle + _ENHANCED * (brightest - middle))) > reach
    wide = _distance_to(deep) <= reach if deep.any() else deep
    return np.asarray(ndimage.binary_dilation(~core & (outshines | wide), iterations=2) & ~core)


def _distance_to(part: BoolArray) -> Float32:
    """Return how far each voxel is from a part of the grid that is not empty, voxels; 0 or below inside of it."""
    image = sitk.GetImageFromArray(part.astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=False)
    return np.asarray(sitk.GetArrayFromImage(distance), dtype=np.float32)


def _sampled(part: BoolArray) -> NDArray[np.int64]:
    """Return about ``_N_SAMPLED`` voxels of a part of the grid, evenly in raster order, (n, 3)."""
    flat = np.flatnonzero(part)
    return np.stack(np.unravel_index(flat[:: max(1, len(flat) // _N_SAMPLED)], part.shape), axis=1)


def _keep_best(best: Float32, radius: Float32, answer: Float32, tube_radius: float) -> None:
    """Take ``answer`` and its radius where it is larger, in place."""
    radius[answer > best] = tube_radius
    np.maximum(best, answer, out=best)


def usual_answer(answers: Float32) -> float:
    """Return the median positive answer; 0 if there are hardly any."""
    positive = answers[answers > 0]
    return float(np.median(positive)) if len(positive) >= _MIN_SAMPLES else 0.0


def _one_over(usual: float) -> np.float32:
    return np.float32(1.0 / usual if usual > 0 else 0.0)


def flatten_outside(image: Float32, inside: BoolArray, core: BoolArray, config: HeatmapConfig) -> Float32:
    """Return the image with vessels bright, the range clipped to tissue and vessels, and the outside filled from inside.

    Clipping just below the tissue keeps dark gaps (fat, fissures, lesions) from making ridges of what lies between them;
    clipping above keeps bone and calcifications from outshining vessels.

    Raises
    ------
    InputError
        The region holds no finite contrast.
    """
    values = image if config.polarity == "bright" else -image
    region = values[core & inside]
    centre = float(np.median(region))
    spread = 1.4826 * float(np.median(np.abs(region - centre)))
    if spread < _MIN_SPREAD * max(1.0, float(np.ptp(region))):
        spread = float(region.std())
    if not spread > 0:
        raise InputError("an image with contrast inside the region", f"the constant value {centre:g}", "check image and mask")
    clipped = np.clip(values, centre - config.clip_below * spread, centre + config.clip_above * spread).astype(np.float32)
    if inside.all():
        return clipped
    weight = ndimage.gaussian_filter(inside.astype(np.float32), _FILL_SIGMA_VOX, truncate=3.0)
    fill = ndimage.gaussian_filter(np.where(inside, clipped, np.float32(0.0)), _FILL_SIGMA_VOX, truncate=3.0)
    fill = np.where(weight > 1e-3, fill / np.maximum(weight, np.float32(1e-3)), np.float32(centre))
    return np.where(inside, clipped, fill).astype(np.float32)
