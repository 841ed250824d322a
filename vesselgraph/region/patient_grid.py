"""The image on a coarse isotropic grid along the patient's own axes, where anatomy is looked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesselgraph.resampling import resample
from vesselgraph.space import Space
from vesselgraph.volume import Volume

FloatGrid = NDArray[np.float32]
BoolGrid = NDArray[np.bool_]

# Far below air: marks voxels of the patient grid that the image does not cover.
_OUTSIDE = -10000.0


@dataclass(frozen=True, eq=False)
class PatientGrid:
    """HU on axes that point up, back and to the patient's left, whatever the orientation of the image.

    Parameters
    ----------
    hu : (planes, rows, columns) float32
        Block means, so noise is low; planes go up, rows go back, columns go left.
    covered : (planes, rows, columns) bool
        Where the image has data.
    space : Space
        Axis-aligned, isotropic.
    """

    hu: FloatGrid
    covered: BoolGrid
    space: Space

    @property
    def step(self) -> float:
        """Voxel edge in mm."""
        return float(self.space.spacing[0])

    def millilitres(self, inside: BoolGrid) -> float:
        """Return the volume of the True voxels."""
        return float(np.count_nonzero(inside)) * self.space.voxel_volume / 1000.0


def to_patient_grid(image: Volume, step: float) -> PatientGrid:
    """Return the image on the isotropic patient grid of ``step`` mm that covers its box.

    Block means first, world-true linear interpolation after, so a CT of any orientation, anisotropy or size costs about one
    pass over its voxels. Non-finite voxels count as air.
    """
    blocks = _padded(_block_mean(image, step))
    low, high = image.bounds
    shape = np.maximum(1, np.round((high - low)[::-1] / step)).astype(int)
    space = Space.axial((step, step, step), low + step / 2.0)
    moved = resample(blocks, space, (int(shape[0]), int(shape[1]), int(shape[2])), fill=_OUTSIDE)
    hu = np.asarray(moved.array, dtype=np.float32)
    covered = hu > _OUTSIDE / 2.0
    return PatientGrid(np.where(covered, hu, np.float32(-1024.0)), covered, space)


def _block_mean(image: Volume, step: float) -> Volume:
    """Return means of the largest blocks of whole voxels that are not longer than ``step`` along any axis."""
    factor = np.clip(np.floor(step / image.space.spacing + 1e-6).astype(int), 1, np.array(image.shape))
    counts = np.array(image.shape) // factor
    used = counts * factor
    means = np.empty(tuple(counts), dtype=np.float32)
    for plane in range(int(counts[0])):
        slab = image.array[plane * factor[0] : (plane + 1) * factor[0], : used[1], : used[2]].astype(np.float32)
        slab = np.nan_to_num(slab, nan=-1024.0, posinf=3071.0, neginf=-1024.0)
        means[plane] = slab.reshape(factor[0], counts[1], factor[1], counts[2], factor[2]).mean(axis=(0, 2, 4))
    return Volume(means, image.space.rescaled(image.space.spacing * factor), image.name)


def _padded(volume: Volume) -> Volume:
    """Repeat the outermost voxels once, so that interpolation reaches the corners of the image box."""
    return Volume(np.pad(volume.array, 1, mode="edge"), volume.space.shifted((-1, -1, -1)), volume.name)
