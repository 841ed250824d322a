"""The network-free heatmap: how strongly each voxel lies on a tube, against what noise and texture of this image do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.config import HeatmapConfig
from vesselgraph.errors import InputError
from vesselgraph.heatmap.kernels import Float32, ridge_volume, smooth
from vesselgraph.progress import Progress

BoolArray = NDArray[np.bool_]

# A tube of radius r answers most strongly to a Gaussian of sigma r / 1.4 (blurred disc in 2-D: r / sqrt 2).
_RADIUS_PER_SIGMA = 1.4
_FILL_SIGMA_VOX = 3.0
_MIN_SPREAD = 1e-3
_MIN_SAMPLES = 50


def ridge_heat(
    image: Float32, inside: BoolArray, voxel: float, config: HeatmapConfig, progress: Progress
) -> tuple[Float32, Float32]:
    """Return heat in [0, 1] and the radius estimate in mm on one isotropic grid.

    At each scale the strength of the Hessian ridge is divided by its median over the region, which noise and texture set
    because vessels fill little of it. So heat means the same at every scale and dose: ``z^2 / (z^2 + half^2)`` of the
    strongest relative answer ``z``, with ``half`` the answer that counts as half a vessel.

    Parameters
    ----------
    image : (planes, rows, columns) float32
        Bright vessels.
    inside : same shape, bool
        Where vessels are looked for; values outside are not used.
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
    combination. The normalisation by the image's own median answer is ours.
    """
    values = flatten_outside(image, inside, config)
    best = np.zeros(image.shape, np.float32)
    radius = np.zeros(image.shape, np.float32)
    answer = np.zeros(image.shape, np.float32)
    radii = np.geomspace(max(config.min_radius, 0.7 * voxel), max(config.max_radius, config.min_radius, voxel), config.n_scales)
    smoothed, sigma_before = values, 0.0
    for i, tube_radius in enumerate(radii):
        progress("ridge filter", i / len(radii))
        sigma = tube_radius / _RADIUS_PER_SIGMA / voxel
        smoothed = smooth(smoothed, float(np.sqrt(sigma**2 - sigma_before**2)))
        sigma_before = sigma
        ridge_volume(smoothed, np.float32(sigma**2), answer)
        usual = usual_answer(answer, inside)
        if usual > 0:
            keep_best(best, radius, answer, np.float32(1.0 / usual), np.float32(tube_radius))
    progress("ridge filter", 1.0)
    best *= inside
    radius *= best > 0
    squared = best * best
    return squared / (squared + np.float32(config.half_answer**2)), radius


def keep_best(best: Float32, radius: Float32, answer: Float32, scale: np.float32, tube_radius: np.float32) -> None:
    """Replace ``best`` and ``radius`` where ``scale * answer`` is larger, in place."""
    answer *= scale
    better = answer > best
    np.copyto(best, answer, where=better)
    radius[better] = tube_radius


def usual_answer(answer: Float32, inside: BoolArray) -> float:
    """Return the median positive answer inside the region; 0 if there is hardly any."""
    positive = answer[inside]
    positive = positive[positive > 0]
    return float(np.median(positive)) if len(positive) >= _MIN_SAMPLES else 0.0


def flatten_outside(image: Float32, inside: BoolArray, config: HeatmapConfig) -> Float32:
    """Return the image with vessels bright, the range clipped to tissue and vessels, and the outside filled from inside.

    Clipping just below the tissue keeps dark gaps (fat, fissures, lesions) from making ridges of what lies between them;
    clipping above keeps bone and calcifications from outshining vessels.

    Raises
    ------
    InputError
        The region holds no finite contrast.
    """
    values = image if config.polarity == "bright" else -image
    region = values[inside]
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
