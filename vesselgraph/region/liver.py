"""The liver on the patient grid: its brightness, a core that is certainly liver, and growth from that core.

In plain words. The liver is the largest even organ, and it lies on the right. So: (1) the commonest brightness of even soft
tissue right of the midline is a guess at the liver's; (2) the largest deep piece of that brightness is its core; (3) the
core grows into neighbours that are as bright as the liver is *there* (beam hardening shades a large liver by tens of HU),
but never through a neck thinner than ``2 * _NECK``, which keeps out of the heart, stomach, pancreas and abdominal wall;
(4) what the grown piece encloses - vessels, lesions - belongs to it, and so do the voxels it shares with fat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from vesselgraph.region.anatomy import Anatomy, largest_piece
from vesselgraph.region.balls import closed, dilated, distance_to, eroded
from vesselgraph.region.patient_grid import BoolGrid, FloatGrid, PatientGrid

# Parenchyma lies between water and densely enhanced blood in any phase, fatty and iron-laden livers included.
_SOFT = (0.0, 250.0)
# Even tissue: within 6 mm all soft, and with a standard deviation far below that between organs.
_TEXTURE_SCALE = 6.0
_MAX_TEXTURE_SD = 12.0
_EVEN_SHARE = 0.97
# Organs differ by 10 HU or more, so brightness is counted in half of that; up to three levels are tried.
_BIN = 5.0
_N_LEVELS = 3
_MIN_LEVEL_ML = 20.0
# Width of the ramp between left and right: the caudate lobe and the left lobe cross the midline.
_MIDLINE_RAMP = 40.0
# A core lies deeper than any muscle sheet, bowel wall or vessel of that brightness is thick.
_CORE_DEPTH = 9.0
# Half-width below which a passage is a leak (wall muscle, ligament, pancreas) and not a lobe; the second, stricter one is
# applied once to the grown whole, so that a lobe is kept or dropped as such.
_NECK = 7.5
_BRANCH_NECK = 12.0
# Bands of accepted brightness: 2.5 sd of the quiet image holds 99 % of even tissue, but never less than fat sparing makes.
_BAND_SD = 2.5
_MIN_BAND = 17.0
_SD_LIMITS = (6.0, 20.0)
# Shading varies over centimetres and stays within what beam hardening by arms and spine does.
_SHADING_SCALE = 20.0
_MAX_SHADING = 40.0
# One round advances by about the shading scale; the farthest tip of a liver is 25 cm from its core.
_N_ROUNDS = 14
_SEARCH_BOX = 130.0
_SETTLED = 0.005
# A voxel darker than this belongs to fat, lung or air; the fat that surrounds organs has about -100 HU.
_DARK = -30.0
_FAT = -100.0
# Vessels, and lesions at the surface, up to twice this wide are closed over.
_GAP = 15.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """One guess at the liver on the patient grid.

    Parameters
    ----------
    inside : bool grid
        The organ with its vessels and lesions.
    parenchyma_hu : float32 grid
        Brightness of the parenchyma around each place, shading included.
    mode_hu : float
        Typical brightness of the parenchyma.
    """

    inside: BoolGrid
    parenchyma_hu: FloatGrid
    mode_hu: float


def find_candidate(grid: PatientGrid, anatomy: Anatomy) -> Candidate | None:
    """Return the best guess at the liver, plausible or not; None where no even tissue lies right of the midline."""
    quiet = _quiet(grid.hu)
    soft = anatomy.body & grid.covered & (quiet > _SOFT[0]) & (quiet < _SOFT[1])
    right = _right_share(grid, anatomy)
    found = _best_core(quiet, soft, right, grid)
    if found is None:
        return None
    core, mode, band = found
    box = _search_box(core, grid.step)
    grown, reference = _grow(core[box], quiet[box], soft[box], mode, band, grid.step)
    inside = np.zeros_like(core)
    light = (grid.hu[box] < 0) | anatomy.bone[box] | anatomy.lung[box]
    filled = _with_contents(grown, light, grid.step)
    inside[box] = filled | (_rim(filled, grid.hu[box], reference) & ~light)
    parenchyma = np.full(core.shape, mode, dtype=np.float32)
    parenchyma[box] = reference
    return Candidate(inside, parenchyma, mode)


def _quiet(hu: FloatGrid) -> FloatGrid:
    """Return the 3 x 3 x 3 median: noise down, organ borders kept."""
    return np.asarray(sitk.GetArrayFromImage(sitk.Median(sitk.GetImageFromArray(hu), (1, 1, 1))), dtype=np.float32)


def _right_share(grid: PatientGrid, anatomy: Anatomy) -> FloatGrid:
    """Return 1 right of the midline, 0 left of it, with a linear ramp between."""
    columns = np.arange(grid.hu.shape[2], dtype=np.float32)
    ramp = np.clip(0.5 + (anatomy.midline - columns) * grid.step / _MIDLINE_RAMP, 0.0, 1.0)
    return np.asarray(np.broadcast_to(ramp.astype(np.float32), grid.hu.shape))


def _best_core(quiet: FloatGrid, soft: BoolGrid, right: FloatGrid, grid: PatientGrid) -> tuple[BoolGrid, float, float] | None:
    """Return the core with most volume on the right over the common brightness levels, its brightness and its band."""
    mean, even = _even_tissue(quiet, soft, grid.step)
    best: tuple[BoolGrid, float, float] | None = None
    best_weight = 0.0
    for level in _levels(mean, even, right, grid):
        sample = quiet[even & (np.abs(mean - level) < 2.0 * _BIN) & (right > 0.5)]
        if sample.size == 0:
            continue
        mode = float(np.median(sample))
        sd = float(np.clip(1.4826 * np.median(np.abs(sample - mode)), _SD_LIMITS[0], _SD_LIMITS[1]))
        band = max(_BAND_SD * sd, _MIN_BAND)
        core, weight = _core(soft & (np.abs(quiet - mode) < band), right, grid.step)
        if weight > best_weight:
            best, best_weight = (core, mode, band), weight
    return best


def _even_tissue(quiet: FloatGrid, soft: BoolGrid, step: float) -> tuple[FloatGrid, BoolGrid]:
    """Return the local mean of soft tissue and where it is even."""
    sigma = _TEXTURE_SCALE / step
    share = ndimage.gaussian_filter(soft.astype(np.float32), sigma)
    safe = np.maximum(share, np.float32(0.01))
    kept = np.where(soft, quiet, np.float32(0.0))
    mean = ndimage.gaussian_filter(kept, sigma) / safe
    variance = ndimage.gaussian_filter(kept * kept, sigma) / safe - mean * mean
    return mean, soft & (share > _EVEN_SHARE) & (variance < _MAX_TEXTURE_SD**2)


def _levels(mean: FloatGrid, even: BoolGrid, right: FloatGrid, grid: PatientGrid) -> list[float]:
    """Return the commonest brightness levels of even tissue on the right, commonest first."""
    edges = np.arange(_SOFT[0], _SOFT[1] + _BIN, _BIN)
    counts, _ = np.histogram(mean[even], bins=edges, weights=right[even])
    volume = np.convolve(counts * grid.space.voxel_volume / 1000.0, [0.25, 0.5, 0.25], mode="same")
    levels = []
    for _ in range(_N_LEVELS):
        top = int(volume.argmax())
        if volume[top] < _MIN_LEVEL_ML:
            break
        levels.append(float(edges[top] + _BIN / 2.0))
        volume[max(0, top - 3) : top + 4] = 0.0
    return levels


def _core(alike: BoolGrid, right: FloatGrid, step: float) -> tuple[BoolGrid, float]:
    """Return the deep piece with most volume on the right, and that volume in voxels."""
    labels, n_labels = ndimage.label(eroded(alike, _CORE_DEPTH, step))
    if n_labels == 0:
        return np.zeros_like(alike), 0.0
    weight = ndimage.sum_labels(right, labels, np.arange(1, n_labels + 1))
    best = int(np.argmax(weight))
    return np.asarray(labels == best + 1), float(weight[best])


def _search_box(core: BoolGrid, step: float) -> tuple[slice, slice, slice]:
    pad = int(np.ceil(_SEARCH_BOX / step))
    (found,) = ndimage.find_objects(core.astype(np.uint8))
    box = [slice(max(s.start - pad, 0), min(s.stop + pad, n)) for s, n in zip(found, core.shape, strict=True)]
    return box[0], box[1], box[2]


def _grow(
    core: BoolGrid, quiet: FloatGrid, soft: BoolGrid, mode: float, band: float, step: float
) -> tuple[BoolGrid, FloatGrid]:
    """Return the piece grown from the core within the band around the local brightness, and that brightness."""
    region = dilated(core, _CORE_DEPTH, step) & soft & (np.abs(quiet - mode) < band)
    reference, near = _local_brightness(region, quiet, mode, step)
    for _ in range(_N_ROUNDS):
        alike = region | (soft & near & (np.abs(quiet - reference) < band))
        grown = _opened_from(core, alike, _NECK, step)
        change = float((grown ^ region).sum()) / max(1.0, float(region.sum()))
        region = grown
        reference, near = _local_brightness(region, quiet, mode, step)
        if change < _SETTLED:
            break
    return _opened_from(core, region, _BRANCH_NECK, step), reference


def _local_brightness(region: BoolGrid, quiet: FloatGrid, mode: float, step: float) -> tuple[FloatGrid, BoolGrid]:
    """Return the shaded brightness of the region, carried on around it, and where it is backed by enough of the region."""
    sigma = _SHADING_SCALE / step
    weight = ndimage.gaussian_filter(region.astype(np.float32), sigma, truncate=3.0)
    excess = np.where(region, quiet - np.float32(mode), np.float32(0.0))
    shading = ndimage.gaussian_filter(excess, sigma, truncate=3.0) / np.maximum(weight, np.float32(1e-3))
    reference = np.float32(mode) + np.clip(shading, -_MAX_SHADING, _MAX_SHADING)
    return np.asarray(reference, dtype=np.float32), weight > 0.05


def _opened_from(core: BoolGrid, inside: BoolGrid, neck: float, step: float) -> BoolGrid:
    """Return what a ball of radius ``neck`` reaches from the core without leaving ``inside``, with a rim of one voxel."""
    deep = eroded(inside, neck, step)
    labels, n_labels = ndimage.label(deep)
    hit = np.zeros(n_labels + 1, dtype=bool)
    hit[np.unique(labels[core & deep])] = True
    hit[0] = False
    if not hit.any():
        return inside & dilated(core, neck, step)
    return dilated(hit[labels], neck + step, step) & inside


def _with_contents(region: BoolGrid, foreign: BoolGrid, step: float) -> BoolGrid:
    """Return the region with the vessels and lesions that it encloses or nearly encloses, but without fat, lung, bone."""
    filled = (closed(region, _GAP, step) & ~foreign) | region
    for axis in range(3):
        for plane in np.moveaxis(filled, axis, 0):
            plane[...] = ndimage.binary_fill_holes(plane)
    return largest_piece(filled)


def _rim(region: BoolGrid, hu: FloatGrid, reference: FloatGrid) -> BoolGrid:
    """Return the voxels around the region that it shares with fat or lung, at least half of them organ.

    The mean of such a voxel lies between both tissues, so the band of growth leaves it out.
    """
    around = ndimage.binary_dilation(region) & ~region
    beside_dark = ndimage.binary_dilation(hu < _DARK, np.ones((3, 3, 3), dtype=bool))
    return np.asarray(around & beside_dark & (hu > 0.5 * (reference + _FAT)))


def depth_inside(candidate: Candidate, step: float) -> FloatGrid:
    """Return how deep in mm each voxel of the candidate lies under its surface; 0 or below outside."""
    return np.asarray(distance_to(~candidate.inside, step))
