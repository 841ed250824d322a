"""Multi-scale Hessian ridge filter: the twin of ``vesselgraph.heatmap.kernels``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import cuda

from cuda_kernels.device import launch, launch_volume
from cuda_kernels.single import on_device
from vesselgraph.heatmap.kernels import gaussian_taps, ridge_at

_ridge_at = on_device(ridge_at)


@cuda.jit
def smooth_axis(source, taps, axis, target):  # type: ignore[no-untyped-def]
    """Convolve a volume along one axis; ends are repeated. One thread a voxel, neighbours in a warp along columns.

    The same sum in the same order as the CPU's, which works line by line to fill vector registers.
    """
    n_planes, n_rows, n_columns = source.shape
    x0, y0, z0 = cuda.grid(3)
    step_x, step_y, step_z = cuda.gridsize(3)
    last = source.shape[axis] - 1
    for z in range(z0, n_planes, step_z):
        for y in range(y0, n_rows, step_y):
            for x in range(x0, n_columns, step_x):
                total = taps[0] * source[z, y, x]
                for k in range(1, taps.size):
                    if axis == 0:
                        pair = source[max(z - k, 0), y, x] + source[min(z + k, last), y, x]
                    elif axis == 1:
                        pair = source[z, max(y - k, 0), x] + source[z, min(y + k, last), x]
                    else:
                        pair = source[z, y, max(x - k, 0)] + source[z, y, min(x + k, last)]
                    total += taps[k] * pair
                target[z, y, x] = total


@cuda.jit
def ridge_best(smoothed, scale, sigma, best, best_sigma):  # type: ignore[no-untyped-def]
    """Keep the strongest ``scale`` times ridge strength so far and the ``sigma`` it came with, in place; one thread a voxel."""
    n_planes, n_rows, n_columns = smoothed.shape
    x0, y0, z0 = cuda.grid(3)
    step_x, step_y, step_z = cuda.gridsize(3)
    for z in range(z0 + 1, n_planes - 1, step_z):
        for y in range(y0 + 1, n_rows - 1, step_y):
            for x in range(x0 + 1, n_columns - 1, step_x):
                answer = scale * _ridge_at(smoothed, z, y, x)
                if answer > best[z, y, x]:
                    best[z, y, x] = answer
                    best_sigma[z, y, x] = sigma


@cuda.jit
def fill(target, value):  # type: ignore[no-untyped-def]
    """Write one value everywhere in a flat array; one thread an element."""
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        target[i] = value


def smooth(volume: Any, sigma_vox: float) -> Any:
    """Return the device volume convolved with an isotropic Gaussian, as a new one; border values are repeated outwards."""
    taps = cuda.to_device(gaussian_taps(sigma_vox))
    first, second = cuda.device_array(volume.shape, np.float32), cuda.device_array(volume.shape, np.float32)
    launch_volume(smooth_axis, volume.shape, volume, taps, 0, first)
    launch_volume(smooth_axis, volume.shape, first, taps, 1, second)
    launch_volume(smooth_axis, volume.shape, second, taps, 2, first)
    return first


def ridge_filter(volume: Any, sigmas_vox: Sequence[float], weights: Sequence[float]) -> tuple[Any, Any]:
    """Return the strongest weighted answer over the scales and the sigma it came from, as device arrays.

    Parameters
    ----------
    volume : (planes, rows, columns) float32 device array
        Bright vessels, isotropic grid.
    sigmas_vox : sequence of float
        Scales, rising; each is smoothed on from the one before.
    weights : sequence of float
        What the scale-normalised answer of each scale is multiplied with.

    Returns
    -------
    best : (planes, rows, columns) float32 device array
        0 at the border and where there is no tube.
    sigma : same shape, float32 device array
        0 where ``best`` is.
    """
    best, best_sigma = cuda.device_array(volume.shape, np.float32), cuda.device_array(volume.shape, np.float32)
    for array in (best, best_sigma):
        launch(fill, volume.size, array.reshape(volume.size), np.float32(0.0))
    before = 0.0
    for sigma, weight in zip(sigmas_vox, weights, strict=True):
        volume = smooth(volume, float(np.sqrt(sigma**2 - before**2)))
        before = sigma
        launch_volume(ridge_best, volume.shape, volume, np.float32(sigma**2 * weight), np.float32(sigma), best, best_sigma)
    return best, best_sigma
