"""Is it a liver on portal-phase CT? Anatomy that a wrong guess breaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesselgraph.region.anatomy import Anatomy
from vesselgraph.region.balls import dilated
from vesselgraph.region.liver import Candidate, depth_inside
from vesselgraph.region.patient_grid import BoolGrid, PatientGrid


@dataclass(frozen=True)
class Check:
    """One plausibility check.

    Parameters
    ----------
    name : str
        Key of ``value`` in the measurements of a region.
    value : float
        What was measured.
    score : float
        0 where the check fails, 1 where it passes clearly, linear between.
    complaint : str
        What is wrong if it fails, in plain words.
    is_vital : bool
        Whether a failure means that the guess is no liver at all, rather than a liver of another phase or field of view.
    """

    name: str
    value: float
    score: float
    complaint: str
    is_vital: bool


def assess(grid: PatientGrid, anatomy: Anatomy, candidate: Candidate) -> list[Check]:
    """Return every check of a candidate."""
    depth = depth_inside(candidate, grid.step)
    return [
        _brightness(candidate),
        _thickness(depth),
        _side(grid, anatomy, candidate),
        *_surroundings(grid, anatomy, candidate),
        _volume(grid, candidate),
        _vessels(grid, candidate, depth),
        _field_of_view(grid, anatomy, candidate),
    ]


def cut_faces(grid: PatientGrid, inside: BoolGrid) -> list[str]:
    """Return the sides on which the field of view cuts the organ: at least 10 cm2 of it lie on that side of the image."""
    names = (("below", "above"), ("in front", "behind"), ("on the right", "on the left"))
    faces = []
    for axis, pair in enumerate(names):
        used = np.flatnonzero(grid.covered.any(axis=tuple(a for a in range(3) if a != axis)))
        for index, name in zip((used[0], used[-1]), pair, strict=True):
            if np.take(inside, index, axis=axis).sum() * grid.step**2 >= 1000.0:
                faces.append(name)
    return faces


def _ramp(value: float, fails: float, passes: float) -> float:
    return float(np.clip((value - fails) / (passes - fails), 0.0, 1.0))


def _brightness(candidate: Candidate) -> Check:
    # Fatty liver in the portal phase goes down to 40 HU, brain and bladder stay below; above 170 HU it is blood or kidney.
    hu = candidate.mode_hu
    score = min(_ramp(hu, 35.0, 60.0), _ramp(hu, 180.0, 150.0))
    return Check("mode_hu", hu, score, f"the largest even tissue on the right has {hu:.0f} HU, which is no liver", True)


def _thickness(depth: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Check:
    # Even a child's liver holds a ball of 5 cm; muscle and bowel of the trunk do not.
    radius = float(depth.max())
    return Check("inner_radius", radius, _ramp(radius, 20.0, 32.0), f"it is only {2 * radius:.0f} mm thick", True)


def _side(grid: PatientGrid, anatomy: Anatomy, candidate: Candidate) -> Check:
    columns = np.arange(grid.hu.shape[2])[None, None, :] < anatomy.midline
    share = float((candidate.inside & columns).sum() / max(1, candidate.inside.sum()))
    return Check("right_fraction", share, _ramp(share, 0.4, 0.6), f"only {share:.0%} of it lies on the right", True)


def _surroundings(grid: PatientGrid, anatomy: Anatomy, candidate: Candidate) -> list[Check]:
    # Ribs touch a liver here and there; a skull encloses a brain, and a thigh encloses its bone. Lung covers the dome and
    # the sulcus behind it; it encloses a heart.
    shell = dilated(candidate.inside, 12.0, grid.step) & ~candidate.inside
    n_shell = max(1, int(shell.sum()))
    bone, lung = float((shell & anatomy.bone).sum() / n_shell), float((shell & anatomy.lung).sum() / n_shell)
    return [
        Check("bone_fraction", bone, _ramp(bone, 0.25, 0.15), f"{bone:.0%} of its surroundings are bone", True),
        Check("lung_fraction", lung, _ramp(lung, 0.33, 0.25), f"{lung:.0%} of its surroundings are lung", True),
    ]


def _volume(grid: PatientGrid, candidate: Candidate) -> Check:
    # Adult livers: 600 mL after resection or in end-stage cirrhosis, 3500 mL with polycystic or metastatic disease. A field
    # of view that cuts the liver must still show a slab of it.
    volume = grid.millilitres(candidate.inside)
    least = 150.0 if cut_faces(grid, candidate.inside) else 500.0
    score = min(_ramp(volume, least, 1.6 * least), _ramp(volume, 4000.0, 3000.0))
    return Check("grid_volume_ml", volume, score, f"its volume of {volume:.0f} mL is none of a liver", False)


def _vessels(grid: PatientGrid, candidate: Candidate, depth: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Check:
    inner = depth > 6.0
    excess = (grid.hu - candidate.parenchyma_hu)[inner]
    if excess.size == 0:
        return Check("vessel_fraction", 0.0, 0.0, "no vessels show in it", False)
    noise = 1.4826 * float(np.median(np.abs(excess - np.median(excess))))
    share = float((excess > max(15.0, 3.0 * noise)).mean())
    return Check("vessel_fraction", share, _ramp(share, 0.008, 0.02), "no enhanced vessels show in it", False)


def _field_of_view(grid: PatientGrid, anatomy: Anatomy, candidate: Candidate) -> Check:
    planes = np.flatnonzero(candidate.inside.any(axis=(1, 2)))
    height = float(planes.size) * grid.step
    above = anatomy.lung[int(planes[-1]) + 1 :].any(axis=(1, 2))
    chest = float(np.count_nonzero(above)) * grid.step
    is_cut = "below" in cut_faces(grid, candidate.inside)
    share = chest / height if is_cut else 0.0
    return Check("chest_ratio", share, _ramp(share, 1.0, 0.5), "the image shows the chest and only the top of the liver", False)
