"""Height ridges and the order in which thinning asks: the twin of ``vesselgraph.tracing.ridges`` and of the stage's order.

Where the CPU smooths small tiles around the foreground, the device smooths the box: that is three passes at the speed of its
memory, and needs no tables.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda, float32

from cuda_kernels.device import launch, launch_volume
from cuda_kernels.foreground import DeviceForeground
from cuda_kernels.ridge_filter import fill, smooth_axis
from cuda_kernels.single import on_device
from vesselgraph.tracing.ridges import WEIGHTS, ridge_at

_ridge_at = on_device(ridge_at)


@cuda.jit
def lift_voxels(volume, voxels, lift):  # type: ignore[no-untyped-def]
    """Add a value at each foreground voxel; one thread a voxel."""
    for i in range(cuda.grid(1), lift.size, cuda.gridsize(1)):
        volume[voxels[i, 0], voxels[i, 1], voxels[i, 2]] += lift[i]


@cuda.jit
def look_for_ridges(smoothed, voxels, base, share, value, distance):  # type: ignore[no-untyped-def]
    """Fill the smoothed height at each voxel and its distance to the ridge; one thread a voxel."""
    n_planes, n_rows, n_columns = smoothed.shape
    for i in range(cuda.grid(1), value.size, cuda.gridsize(1)):
        z, y, x = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        height = smoothed[z, y, x]
        found = float32(math.inf)
        if 0 < z < n_planes - 1 and 0 < y < n_rows - 1 and 0 < x < n_columns - 1:
            found = _ridge_at(smoothed, z, y, x, base[i] + share * height)
        value[i] = height
        distance[i] = found


@cuda.jit
def near_deep(depth, neighbours, wide, otherwise, inside, base):  # type: ignore[no-untyped-def]
    """Fill ``inside`` for voxels that are ``wide`` or deeper, or touch one that is, else ``otherwise``; one thread a voxel."""
    for i in range(cuda.grid(1), depth.size, cuda.gridsize(1)):
        near = depth[i] >= wide
        for k in range(26):
            j = neighbours[i, k]
            if j >= 0 and depth[j] >= wide:
                near = True
        base[i] = inside if near else otherwise


@cuda.jit
def extremes(values, extent):  # type: ignore[no-untyped-def]
    """Lower ``extent[0]`` to the least value and raise ``extent[1]`` to the largest."""
    low, high = float32(math.inf), float32(-math.inf)
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        low, high = min(low, values[i]), max(high, values[i])
    cuda.atomic.min(extent, 0, low)
    cuda.atomic.max(extent, 1, high)


@cuda.jit
def removal_order(value, distance, height, ridge_width, order):  # type: ignore[no-untyped-def]
    """Fill when a voxel goes: off the ridge by height, then on the ridge the farthest from it first; one thread a voxel."""
    for i in range(cuda.grid(1), order.size, cuda.gridsize(1)):
        order[i] = float32(1.0) - distance[i] if distance[i] < ridge_width else value[i] / height[1] - float32(1.0)


@cuda.jit
def levels(order, extent, n_levels, level):  # type: ignore[no-untyped-def]
    """Fill the level of each voxel, 0 up to ``n_levels - 1`` from the least order to the largest; one thread a voxel."""
    low, high = extent[0], extent[1]
    scale = float32(n_levels - 1) / (high - low) if high > low else float32(0.0)
    for i in range(cuda.grid(1), order.size, cuda.gridsize(1)):
        level[i] = int((order[i] - low) * scale)


def _extent(values: Any) -> Any:
    extent = cuda.to_device(np.array([np.inf, -np.inf], np.float32))
    launch(extremes, values.size, values, extent)
    return extent


def find_ridges(volume: Any, foreground: DeviceForeground, lift: Any, base: Any, share: float) -> tuple[Any, Any]:
    """Return the smoothed height at each voxel and how far its ridge passes, both (n,) float32 device arrays.

    Parameters
    ----------
    volume : (planes, rows, columns) float32 device array
        Is lifted and overwritten.
    foreground : DeviceForeground
        Where to look.
    lift, base : (n,) float32 device arrays
        Added to the height before smoothing; least curvature across a ridge.
    share : float
        Of the smoothed height, added to ``base``.
    """
    n = len(foreground)
    value, distance = cuda.device_array(n, np.float32), cuda.device_array(n, np.float32)
    launch(lift_voxels, n, volume, foreground.voxels, lift)
    taps, other = cuda.to_device(WEIGHTS), cuda.device_array(volume.shape, np.float32)
    for axis, source, target in ((0, volume, other), (1, other, volume), (2, volume, other)):
        launch_volume(smooth_axis, volume.shape, source, taps, axis, target)
    launch(look_for_ridges, n, other, foreground.voxels, base, np.float32(share), value, distance)
    return value, distance


def removal_levels(value: Any, distance: Any, ridge_width: float, n_levels: int) -> Any:
    """Return the level at which thinning first asks each voxel, (n,) int32 device array."""
    n = value.size
    order, level = cuda.device_array(n, np.float32), cuda.device_array(n, np.int32)
    launch(removal_order, n, value, distance, _extent(value), np.float32(ridge_width), order)
    launch(levels, n, order, _extent(order), n_levels, level)
    return level


def wide_curvature(foreground: DeviceForeground, depth: Any, wide: float, inside: float, otherwise: float) -> Any:
    """Return ``inside`` at voxels in or next to a ball ``wide`` deep and ``otherwise`` elsewhere, (n,) float32 device array."""
    base = cuda.device_array(len(foreground), np.float32)
    numbers = (np.float32(wide), np.float32(otherwise), np.float32(inside))
    launch(near_deep, base.size, depth, foreground.neighbours, *numbers, base)
    return base


def scaled(values: Any, factor: float) -> Any:
    """Return device values times a factor, as a new array."""
    result = cuda.device_array(values.size, np.float32)
    launch(scale, values.size, values, np.float32(factor), result)
    return result


@cuda.jit
def scale(values, factor, result):  # type: ignore[no-untyped-def]
    """Fill values times a factor; one thread an element."""
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        result[i] = factor * values[i]


def constant(n: int, value: float) -> Any:
    """Return ``n`` times a value, (n,) float32 device array."""
    result = cuda.device_array(n, np.float32)
    launch(fill, n, result, np.float32(value))
    return result
