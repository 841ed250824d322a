"""Radii from cross-sections of the image: the twin of ``vesselgraph.tracing.radii.radii_from_image``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda, float32

from cuda_kernels.device import launch
from cuda_kernels.single import on_device
from vesselgraph.tracing.radii import N_ANGLES, RINGS, half_width, ring_median

_N_RINGS = len(RINGS)


_ring_median = on_device(ring_median)
_half_width = on_device(half_width)


@cuda.jit
def ring_profiles(volume, points, first, second, guess, rings, profile):  # type: ignore[no-untyped-def]
    """Fill the medians over circles of growing size around each path point, (rings, n); one thread a point and ring."""
    values = cuda.local.array(N_ANGLES, float32)
    n = points.shape[0]
    for item in range(cuda.grid(1), n * rings.size, cuda.gridsize(1)):
        ring, i = item // n, item % n
        profile[ring, i] = _ring_median(volume, points, first, second, i, rings[ring] * guess[i], values)


@cuda.jit
def half_widths(profile, low, high, guess, width):  # type: ignore[no-untyped-def]
    """Fill the radius where each point's profile falls half-way, NaN where it is not believed; one thread a point."""
    for i in range(cuda.grid(1), guess.size, cuda.gridsize(1)):
        width[i] = _half_width(profile, low[i], high[i], i, guess[i])


def section_radii(volume: Any, points: Any, first: Any, second: Any, guess: Any, branch: tuple[Any, Any]) -> Any:
    """Return the radius that the cross-section of an image gives at each path point, (n,) float32 device array; NaN if none.

    Parameters
    ----------
    volume : (planes, rows, columns) float32 device array
        The image.
    points : (n, 3) float32 device array
        Path points in voxels of the image.
    first, second : (n, 3) float32 device arrays
        What one mm along two directions across the path is in voxels.
    guess : (n,) float32 device array
        Radius guess in mm.
    branch : two (n,) int32 device arrays
        First point, and one past the last, of the branch that each point belongs to.
    """
    n = guess.size
    profile, width = cuda.device_array((_N_RINGS, n), np.float32), cuda.device_array(n, np.float32)
    rings = cuda.to_device(RINGS.astype(np.float32))
    launch(ring_profiles, n * _N_RINGS, volume, points, first, second, guess, rings, profile)
    launch(half_widths, n, profile, *branch, guess, width)
    return width
