"""Erosion, dilation, opening and closing by balls of a radius in mm, through distance transforms.

The border of the grid is no boundary: an organ that the field of view cuts is not eroded there.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

BoolGrid = NDArray[np.bool_]


def distance_to(inside: BoolGrid, step: float) -> NDArray[np.float32]:
    """Return the distance in mm from each voxel to the nearest True voxel: 0 or below in it, infinite if there is none."""
    if not inside.any():
        return np.full(inside.shape, np.inf, dtype=np.float32)
    image = sitk.GetImageFromArray(inside.astype(np.uint8))
    image.SetSpacing((step, step, step))
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return np.asarray(sitk.GetArrayFromImage(distance), dtype=np.float32)


def dilated(inside: BoolGrid, radius: float, step: float) -> BoolGrid:
    """Return ``inside`` grown by ``radius`` mm."""
    return np.asarray(distance_to(inside, step) <= radius)


def eroded(inside: BoolGrid, radius: float, step: float) -> BoolGrid:
    """Return ``inside`` shrunk by ``radius`` mm."""
    return np.asarray(distance_to(~inside, step) > radius)


def closed(inside: BoolGrid, radius: float, step: float) -> BoolGrid:
    """Return ``inside`` with gaps narrower than twice ``radius`` mm filled."""
    return eroded(dilated(inside, radius, step), radius, step) | inside
