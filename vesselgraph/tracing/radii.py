"""Radii along branches: what a cross-section said where it could be trusted, carried to where it could not."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _fill_and_smooth(radius, low, high, reach):  # type: ignore[no-untyped-def]
    """Fill NaN from the nearest known values of the branch and take a running median of ``2 reach + 1`` points."""
    known = -1
    for i in range(low, high):
        if not np.isnan(radius[i]):
            if known < 0:
                radius[low:i] = radius[i]
            else:
                for k in range(known + 1, i):
                    share = (k - known) / (i - known)
                    radius[k] = (1.0 - share) * radius[known] + share * radius[i]
            known = i
    if known < 0:
        return False
    radius[known + 1 : high] = radius[known]
    copy = radius[low:high].copy()
    for i in range(high - low):
        radius[low + i] = np.median(copy[max(0, i - reach) : min(high - low, i + reach + 1)])
    copy = radius[low:high].copy()
    for i in range(high - low):
        radius[low + i] = np.mean(copy[max(0, i - 1) : min(high - low, i + 2)])
    return True


@njit(cache=True, nogil=True)
def smooth_radii(section, scale, offset, from_mask):  # type: ignore[no-untyped-def]
    """Return one radius a path point, (M,) in voxels, > 0.

    From a mask, ``section`` holds measured radii with NaN near junctions; from heat, ``scale`` holds the estimate of the
    heatmap, 0 where there is none. A branch without any measurement falls back to ``scale``, at least half a voxel.
    """
    radius = np.empty(section.size)
    for e in range(offset.size - 1):
        low, high = offset[e], offset[e + 1]
        for i in range(low, high):
            value = section[i] if from_mask else scale[i]
            radius[i] = value if value > 0.0 else np.nan
        if not _fill_and_smooth(radius, low, high, 3):
            for i in range(low, high):
                radius[i] = max(scale[i], 0.5)
    return radius
