"""What a region measures: volume and brightness of the organ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.volume import Volume

# Air is -1000 HU and fat about -100 HU: an image that reaches below -200 with a range of hundreds is scaled in HU.
_AIRY = -200.0


def is_scaled_in_hu(image: Volume) -> bool:
    """Return whether the values look like Hounsfield units: they reach air."""
    return bool(float(image.array.min()) < _AIRY)


def describe(image: Volume, inside: NDArray[np.bool_]) -> dict[str, float]:
    """Return volume, mean and standard deviation of the image where ``inside`` (same shape) is True.

    The keys are ``volume_ml`` with ``mean_hu`` and ``sd_hu``, or with ``mean_value`` and ``sd_value`` off the HU scale.
    Voxels that are not finite are left out of mean and deviation; the deviation of nothing is 0.
    """
    values = image.array[inside].astype(np.float64)
    values = values[np.isfinite(values)]
    unit = "hu" if is_scaled_in_hu(image) else "value"
    return {
        "volume_ml": float(inside.sum()) * image.space.voxel_volume / 1000.0,
        f"mean_{unit}": float(values.mean()) if values.size else 0.0,
        f"sd_{unit}": float(values.std()) if values.size else 0.0,
    }
