"""Choosing the region of an image that came without an organ mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vesselgraph.config import RegionConfig
from vesselgraph.errors import InputError
from vesselgraph.progress import Progress, silent
from vesselgraph.region.anatomy import BONE, find_anatomy
from vesselgraph.region.balls import distance_to
from vesselgraph.region.checks import Check, assess, cut_faces
from vesselgraph.region.inside import inside_patient
from vesselgraph.region.liver import Candidate, find_candidate
from vesselgraph.region.margin import add_margin
from vesselgraph.region.measure import describe, is_scaled_in_hu
from vesselgraph.region.model import Region
from vesselgraph.region.patient_grid import BoolGrid, PatientGrid, to_patient_grid
from vesselgraph.resampling import resample
from vesselgraph.volume import PhaseSet, Volume

_MIN_BONE_MM3 = 50.0
# Vessels in the rim may be as bright as spongy bone, but only bone has cortex: its densest tenth is brighter than this.
_CORTEX = 330.0
_BONE_RIM = 3.0
_PORTAL_WORDS = ("port", "ven", "pv")


@dataclass(frozen=True, eq=False)
class _Finding:
    """What was found in one phase."""

    image: Volume
    grid: PatientGrid | None
    candidate: Candidate | None
    checks: list[Check]
    complaint: str

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing that could be a liver was found."""
        return self.candidate is None or any(check.is_vital and check.score <= 0.0 for check in self.checks)


def estimate_region(
    image: Volume | PhaseSet,
    config: RegionConfig = RegionConfig(),  # noqa: B008
    *,
    progress: Progress = silent,
) -> Region:
    """Return where to look for vessels in an image: the liver on portal-phase abdominal CT, else the whole field of view.

    No network and no atlas: the largest even organ right of the midline is grown from its core on a coarse grid and kept
    only if it passes checks that a wrong guess breaks (brightness, thickness, side, bone around it, volume, enhanced
    vessels in it, how much chest is in view).

    Parameters
    ----------
    image : Volume or PhaseSet
        CT in HU for the liver; anything for the whole field of view. Of several phases, those named portal or venous are
        tried first.
    config : RegionConfig
        ``method`` "auto" falls back to the whole field of view, on CT without skin, couch and outer air, and says why;
        "liver" takes the best guess even if checks of phase or field of view fail; "whole" estimates nothing and leaves
        nothing out. ``margin`` is added around the liver.
    progress : Progress
        Told how far the search is.

    Returns
    -------
    Region
        Kind "liver" or "whole". ``confidence`` of a liver is the score of its weakest check. ``measurements`` of a liver
        hold volume, mean and sd without the rim, and the value of every check; a liver that the field of view cuts is
        named so in the note.

    Raises
    ------
    InputError
        ``method`` is "liver" and nothing that could be a liver was found; the message says why.

    Notes
    -----
    Deterministic. Needs one pass over the image and then about 0.2 s of processor time per litre of body. Meant for any
    orientation and voxel size up to about 5 mm; not for a mirrored organ (situs inversus).

    Examples
    --------
    >>> from vesselgraph.space import Space
    >>> mr = Volume(np.full((4, 4, 4), 300.0), Space.axial())
    >>> estimate_region(mr).kind
    'whole'
    """
    progress("looking for the liver", 0.0)
    volumes = _by_preference(image)
    if config.method == "whole":
        region = _whole(volumes[0], "The whole field of view, as asked for.")
    else:
        region = _search(volumes, config, progress)
    progress("looking for the liver", 1.0)
    return region


def _by_preference(image: Volume | PhaseSet) -> list[Volume]:
    if isinstance(image, Volume):
        return [image]
    names = sorted(image, key=lambda name: not any(word in name.lower() for word in _PORTAL_WORDS))
    return [image[name] for name in names]


def _search(volumes: list[Volume], config: RegionConfig, progress: Progress) -> Region:
    findings = []
    for index, volume in enumerate(volumes):
        finding = _look(volume, config.step)
        if not finding.complaint:
            return _liver(finding, config)
        findings.append(finding)
        progress("looking for the liver", (index + 1) / (len(volumes) + 1))
    if config.method == "auto":
        return _fallback(findings[0])
    for finding in findings:
        if not finding.is_hopeless:
            return _liver(finding, config)
    raise InputError(
        "an image with a liver (region.method is 'liver')",
        findings[0].complaint,
        "pass an organ mask, or set region.method to 'auto' or 'whole'",
    )


def _look(image: Volume, step: float) -> _Finding:
    """Search one phase; the finding has an empty complaint if the liver is believed."""
    if not is_scaled_in_hu(image):
        return _Finding(image, None, None, [], "the image is not CT in Hounsfield units (no air or fat)")
    grid = to_patient_grid(image, step)
    anatomy = find_anatomy(grid)
    candidate = find_candidate(grid, anatomy)
    if candidate is None:
        return _Finding(image, grid, None, [], "no large, even organ lies right of the midline")
    checks = assess(grid, anatomy, candidate)
    complaint = "; ".join(check.complaint for check in checks if check.score <= 0.0)
    return _Finding(image, grid, candidate, checks, complaint)


def _liver(finding: _Finding, config: RegionConfig) -> Region:
    assert finding.grid is not None
    assert finding.candidate is not None
    image = finding.image
    organ, mask = _on_image_grid(finding.grid, finding.candidate, image, config.margin)
    # An organ that leaked between the ribs holds pieces of them.
    leak = _bone_near(image, organ)
    mask &= ~leak & (organ | ~_bone_near(image, mask & ~organ))
    organ &= ~leak
    measurements = describe(image, organ) | {check.name: check.value for check in finding.checks}
    note = (
        f"The liver was estimated from its brightness ({finding.candidate.mode_hu:.0f} HU), place and shape. "
        f"A rim of {config.margin:g} mm was added, without bone."
    )
    cut = cut_faces(finding.grid, finding.candidate.inside)
    if cut:
        note += f" The field of view cuts the liver {', '.join(cut)}."
    if finding.complaint:
        note += f" Taken as asked for, though {finding.complaint}."
    confidence = min(check.score for check in finding.checks)
    return Region(
        image.with_array(mask, "estimated liver"),
        image.with_array(organ, "estimated liver"),
        "liver",
        confidence,
        note,
        measurements,
    )


def _on_image_grid(grid: PatientGrid, candidate: Candidate, image: Volume, margin: float) -> tuple[BoolGrid, BoolGrid]:
    """Return the organ, and the organ with its rim, on the image grid: smooth level sets of the distance to its surface."""
    step = grid.step
    outward = distance_to(candidate.inside, step) - step / 2.0
    distance = Volume(np.pad(outward, 1, mode="edge"), grid.space.shifted((-1, -1, -1)))
    near = np.argwhere(outward <= margin + step)
    low, high = near.min(axis=0) - 1, near.max(axis=0) + 1
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    index = image.space.to_index(grid.space.to_world(corners))
    first = np.clip(np.floor(index.min(axis=0)).astype(int), 0, np.array(image.shape) - 1)
    last = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, first + 1, image.shape)
    box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    shape = (int(last[0] - first[0]), int(last[1] - first[1]), int(last[2] - first[2]))
    fine = np.asarray(resample(distance, image.space.shifted(first), shape, fill=1e6).array, dtype=np.float32)
    organ, mask = np.zeros(image.shape, dtype=bool), np.zeros(image.shape, dtype=bool)
    organ[box], mask[box] = fine <= 0.0, fine <= margin
    return organ, mask


def _bone_near(image: Volume, part: BoolGrid) -> BoolGrid:
    """Return the voxels within 3 mm of bone in a part of the image: it answers a ridge filter like the widest vessel."""
    values = np.asarray(image.array)
    labels, n_labels = ndimage.label(part & (values > BONE))
    n_voxels = np.bincount(labels.ravel(), minlength=n_labels + 1)
    n_cortex = np.bincount(labels[values > _CORTEX], minlength=n_labels + 1)
    is_bone = (n_voxels * image.space.voxel_volume > _MIN_BONE_MM3) & (n_cortex >= 0.1 * n_voxels)
    is_bone[0] = False
    return np.asarray(add_margin(image.with_array(is_bone[labels]), _BONE_RIM).array)


def _fallback(finding: _Finding) -> Region:
    note = f"The whole field of view, because no liver on portal-phase CT was found: {finding.complaint}."
    inside = None if finding.grid is None else inside_patient(finding.grid, finding.image)
    if inside is not None:
        note += " Skin, couch and the air around the patient were left out."
    if finding.grid is not None:
        note += " Bone and organ edges are traced there like vessels: pass a mask of what lies around the vessels wanted."
    return _whole(finding.image, note, inside)


def _whole(image: Volume, note: str, inside: BoolGrid | None = None) -> Region:
    searched = np.ones(image.shape, dtype=bool) if inside is None else inside
    whole = image.with_array(searched, "whole field of view")
    return Region(whole, whole, "whole", 1.0, note, describe(image, searched))
