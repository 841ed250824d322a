"""What a region measures: volume and brightness of the organ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.volume import Volume

# Air is -1000 HU and fat about -100 HU, so CT of a body reaches below -200; MR, masks and maps do not.
_AIRY = -200.0


def is_scaled_in_hu(image: Volume) -> bool:
    """Return whether the values look like Hounsfield units: they reach well below water."""
    return bool(float(np.fmin.reduce(image.array, axis=None)) < _AIRY)


def describe(image: Volume, inside: NDArray[np.bool_]) -> dict[str, float]:
    """Return volume, mean and standard deviation of the image where ``inside`` (same shape) is True.

    The keys are ``volume_ml`` with ``mean_hu`` and ``sd_hu``, or with ``mean_value`` and ``sd_value`` off the HU scale.
    Voxels that are not finite are left out of mean and deviation, which are 0 if nothing is left.
    """
    n_voxels, n_finite, total, squares = 0, 0, 0.0, 0.0
    for plane, chosen in zip(image.array, inside, strict=True):
        values = plane[chosen].astype(np.float64)
        n_voxels += values.size
        values = values[np.isfinite(values)]
        n_finite += values.size
        total += float(values.sum())
        squares += float(values @ values)
    mean = total / max(1, n_finite)
    variance = max(0.0, squares / max(1, n_finite) - mean * mean)
    unit = "hu" if is_scaled_in_hu(image) else "value"
    return {
        "volume_ml": n_voxels * image.space.voxel_volume / 1000.0,
        f"mean_{unit}": mean,
        f"sd_{unit}": float(np.sqrt(variance)),
    }
