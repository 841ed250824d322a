"""Radii from cross-sections of the image: the twin of ``vesselgraph.tracing.radii.radii_from_image``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda, float32, njit

from cuda_kernels.device import launch
from cuda_kernels.single import on_device
from vesselgraph.tracing.geometry import sample
from vesselgraph.tracing.radii import HALF_WINDOW, N_ANGLES, N_BACKGROUND, NARROWEST, RINGS, WIDEST

_N_RINGS = len(RINGS)


@njit(cache=True, nogil=True)
def ring_median(volume, points, first, second, i, reach, values):  # type: ignore[no-untyped-def]
    """Return the median of the volume on a circle around path point ``i``; ``values`` is scratch for the circle.

    ``first`` and ``second`` are what one length across the path is in voxels along each axis, so grids may be anisotropic.
    """
    for k in range(N_ANGLES):
        angle = 2.0 * math.pi * k / N_ANGLES
        a, b = reach * math.cos(angle), reach * math.sin(angle)
        value = sample(
            volume,
            points[i, 0] + a * first[i, 0] + b * second[i, 0],
            points[i, 1] + a * first[i, 1] + b * second[i, 1],
            points[i, 2] + a * first[i, 2] + b * second[i, 2],
        )
        j = k
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    return 0.5 * (values[(N_ANGLES - 1) // 2] + values[N_ANGLES // 2])


@njit(cache=True, nogil=True)
def half_width(profile, low, high, i, guess):  # type: ignore[no-untyped-def]
    """Return the radius at which the profile (rings, n) at point ``i`` falls half-way to the background; 0 if not believed.

    The profile is the mean over the points of the branch ``low:high`` next to ``i``.
    """
    window = min(HALF_WINDOW, (high - low - 1) // 2)
    start, stop = max(i - window, low), min(i + window + 1, high)
    axis = background = 0.0
    for j in range(start, stop):
        axis += profile[0, j]
        for ring in range(profile.shape[0] - N_BACKGROUND, profile.shape[0]):
            background += profile[ring, j]
    axis, background = axis / (stop - start), background / (N_BACKGROUND * (stop - start))
    if axis == background:
        return 0.0
    before = 1.0
    for ring in range(1, profile.shape[0]):
        total = 0.0
        for j in range(start, stop):
            total += profile[ring, j]
        share = (total / (stop - start) - background) / (axis - background)
        if share < 0.5:
            width = guess * RINGS[1] * (ring - 1 + (before - 0.5) / (before - share))
            return max(width, NARROWEST * guess) if 0.0 < width <= WIDEST * guess else 0.0
        before = share
    return 0.0


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
    """Fill the radius where each point's profile falls half-way, 0 where it is not believed; one thread a point."""
    for i in range(cuda.grid(1), guess.size, cuda.gridsize(1)):
        width[i] = _half_width(profile, low[i], high[i], i, guess[i])


def section_radii(volume: Any, points: Any, first: Any, second: Any, guess: Any, branch: tuple[Any, Any]) -> Any:
    """Return the radius that the cross-section of an image gives at each path point, (n,) float32 device array; 0 if none.

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
