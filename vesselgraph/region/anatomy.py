"""Landmarks every CT of the trunk shows: the body, lungs, bone and the midline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.region.balls import closed, dilated, eroded
from vesselgraph.region.patient_grid import BoolGrid, PatientGrid

# Hounsfield units by definition: air -1000, water 0. Fat is near -100; aerated lung lies between -950 and -500, and neither
# the air around the patient nor bowel gas does. The mean of a 3 mm block of bone with its marrow is above 250 HU, that of
# blood in the portal phase below 220 HU.
_TISSUE = -300.0
_LUNG = (-960.0, -500.0)
BONE = 250.0
# A lung base in view has more than this; smaller pieces are partial volume along the skin, or a stomach bubble.
_MIN_LUNG_ML = 100.0
# Half of one vertebral body.
_MIN_BONE_ML = 20.0
# Wider than a chest wall seen through one 3 mm block, thinner than a lung.
_WALL_GAP = 6.0
# Tables, blankets and arms hang on contacts thinner than twice this.
_TABLE_NECK = 9.0
# The air film along skin and bowel that partial volume turns into lung values is thinner than twice this.
_FILM = 4.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Masks on the patient grid and the column of the midline.

    Parameters
    ----------
    body, lung, bone : bool grid
        The body with what it encloses in its planes; aerated lung; bone.
    midline : float
        Column of the patient's midline: of the bones if there are enough of them, else of the body.
    """

    body: BoolGrid
    lung: BoolGrid
    bone: BoolGrid
    midline: float


def find_anatomy(grid: PatientGrid) -> Anatomy:
    """Return body, lungs, bone and midline; masks are empty where there is no body."""
    body = _body(grid)
    bone = body & (grid.hu > BONE)
    landmark = bone if grid.millilitres(bone) >= _MIN_BONE_ML else body
    columns = np.nonzero(landmark)[2]
    midline = float(np.median(columns)) if columns.size else grid.hu.shape[2] / 2.0
    return Anatomy(body, _lung(grid, bone), bone, midline)


def _body(grid: PatientGrid) -> BoolGrid:
    """Return the largest piece of tissue with what it encloses in its planes, without table and arms."""
    wall = closed(grid.hu > _TISSUE, _WALL_GAP, grid.step)
    filled = np.stack([_without_outside(plane) for plane in wall])
    core = largest_piece(eroded(filled, _TABLE_NECK, grid.step))
    return dilated(core, _TABLE_NECK, grid.step) & filled


def _without_outside(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what is not connected with the rim of the plane through background."""
    background = np.pad(~plane, 1, constant_values=True)
    labels, _ = ndimage.label(background)
    return np.asarray(labels != labels[0, 0])[1:-1, 1:-1]


def _lung(grid: PatientGrid, bone: BoolGrid) -> BoolGrid:
    """Return large pieces of lung density in front of the back of the bones: a foam table is as light but lies behind."""
    light = (grid.hu > _LUNG[0]) & (grid.hu < _LUNG[1]) & grid.covered
    labels, n_labels = ndimage.label(eroded(light, _FILM, grid.step))
    if n_labels == 0:
        return np.zeros_like(light)
    index = np.arange(n_labels + 1)
    size = ndimage.sum_labels(np.ones_like(labels), labels, index) * grid.space.voxel_volume / 1000.0
    rows = np.broadcast_to(np.arange(light.shape[1], dtype=np.float32)[None, :, None], light.shape)
    depth = ndimage.mean(rows, labels, index)
    back = float(np.percentile(np.nonzero(bone)[1], 98)) if bone.any() else np.inf
    keep = (size > _MIN_LUNG_ML) & (depth < back)
    keep[0] = False
    return dilated(keep[labels], _FILM, grid.step) & light


def largest_piece(inside: BoolGrid) -> BoolGrid:
    """Return the largest face-connected piece; all False if there is none."""
    labels, n_labels = ndimage.label(inside)
    if n_labels == 0:
        return inside
    size = np.bincount(labels.ravel())
    size[0] = 0
    return np.asarray(labels == size.argmax())
