"""Array kernels of the ridge filter: separable Gaussian smoothing and Hessian ridge strength.

Everything is float32 on (plane, row, column) arrays of one isotropic grid; lengths are in voxels.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def gaussian_taps(sigma_vox: float) -> Float32:
    """Return the right half (centre first) of a normalised, sampled Gaussian cut at 3 sigma."""
    reach = max(1, math.ceil(3.0 * sigma_vox))
    taps = np.exp(-0.5 * (np.arange(reach + 1) / sigma_vox) ** 2)
    return (taps / (2.0 * taps.sum() - taps[0])).astype(np.float32)


@njit(cache=True, parallel=True, fastmath=True, nogil=True)
def _smooth_planes(source, taps, target):  # type: ignore[no-untyped-def]
    """Convolve along axis 0; ends are repeated."""
    n_planes, n_rows, n_columns = source.shape
    for y in prange(n_rows):
        for z in range(n_planes):
            for x in range(n_columns):
                target[z, y, x] = taps[0] * source[z, y, x]
            for k in range(1, taps.size):
                low, high = max(z - k, 0), min(z + k, n_planes - 1)
                weight = taps[k]
                for x in range(n_columns):
                    target[z, y, x] += weight * (source[low, y, x] + source[high, y, x])


@njit(cache=True, parallel=True, fastmath=True, nogil=True)
def _smooth_rows_columns(volume, taps):  # type: ignore[no-untyped-def]
    """Convolve along axes 1 and 2 in place, plane by plane; ends are repeated."""
    n_planes, n_rows, n_columns = volume.shape
    for z in prange(n_planes):
        plane = np.zeros((n_rows, n_columns), np.float32)
        for y in range(n_rows):
            for x in range(n_columns):
                plane[y, x] = taps[0] * volume[z, y, x]
            for k in range(1, taps.size):
                low, high = max(y - k, 0), min(y + k, n_rows - 1)
                weight = taps[k]
                for x in range(n_columns):
                    plane[y, x] += weight * (volume[z, low, x] + volume[z, high, x])
        reach = taps.size - 1
        line = np.zeros(n_columns + 2 * reach, np.float32)
        for y in range(n_rows):
            for x in range(n_columns):
                line[reach + x] = plane[y, x]
            for k in range(reach):
                line[k] = plane[y, 0]
                line[reach + n_columns + k] = plane[y, n_columns - 1]
            for x in range(n_columns):
                volume[z, y, x] = taps[0] * line[reach + x]
            for k in range(1, taps.size):
                weight = taps[k]
                for x in range(n_columns):
                    volume[z, y, x] += weight * (line[reach + x - k] + line[reach + x + k])


def smooth(volume: Float32, sigma_vox: float) -> Float32:
    """Return the volume convolved with an isotropic Gaussian; border values are repeated outwards."""
    if sigma_vox <= 0.0:
        return volume
    taps = gaussian_taps(sigma_vox)
    result = np.zeros_like(volume)
    _smooth_planes(volume, taps, result)
    _smooth_rows_columns(result, taps)
    return result


@njit(cache=True, fastmath=True, nogil=True)
def ridge_strength(hzz, hyy, hxx, hzy, hzx, hyx):  # type: ignore[no-untyped-def]
    """Return the bright-tube strength of a Hessian: the geometric mean of its two most negative eigenvalues.

    0 unless both are negative and the mean of all three is. A sheet (one strong eigenvalue) scores low, a tube high,
    a blob as a tube.
    """
    mean = (hzz + hyy + hxx) / np.float32(3.0)
    if mean >= 0.0:
        return np.float32(0.0)
    dz, dy, dx = hzz - mean, hyy - mean, hxx - mean
    spread = (dz * dz + dy * dy + dx * dx + np.float32(2.0) * (hzy * hzy + hzx * hzx + hyx * hyx)) / np.float32(6.0)
    if spread <= np.float32(1e-20):
        return -mean
    root = math.sqrt(spread)
    determinant = dz * (dy * dx - hyx * hyx) - hzy * (hzy * dx - hyx * hzx) + hzx * (hzy * hyx - dy * hzx)
    half = np.float32(0.5) * determinant / (root * spread)
    half = min(np.float32(1.0), max(np.float32(-1.0), half))
    angle = math.acos(half) / np.float32(3.0)
    lowest = mean + np.float32(2.0) * root * math.cos(angle + np.float32(2.0943951))
    highest = mean + np.float32(2.0) * root * math.cos(angle)
    middle = np.float32(3.0) * mean - lowest - highest
    if middle >= 0.0:
        return np.float32(0.0)
    return np.float32(math.sqrt(lowest * middle))


@njit(cache=True, fastmath=True, nogil=True)
def ridge_at(v, z, y, x):  # type: ignore[no-untyped-def]
    """Return the ridge strength of the central-difference Hessian at an inner voxel."""
    two, quarter = np.float32(2.0), np.float32(0.25)
    centre = two * v[z, y, x]
    hzz = v[z - 1, y, x] + v[z + 1, y, x] - centre
    hyy = v[z, y - 1, x] + v[z, y + 1, x] - centre
    hxx = v[z, y, x - 1] + v[z, y, x + 1] - centre
    if hzz + hyy + hxx >= 0.0:
        return np.float32(0.0)
    hzy = quarter * (v[z + 1, y + 1, x] - v[z + 1, y - 1, x] - v[z - 1, y + 1, x] + v[z - 1, y - 1, x])
    hzx = quarter * (v[z + 1, y, x + 1] - v[z + 1, y, x - 1] - v[z - 1, y, x + 1] + v[z - 1, y, x - 1])
    hyx = quarter * (v[z, y + 1, x + 1] - v[z, y + 1, x - 1] - v[z, y - 1, x + 1] + v[z, y - 1, x - 1])
    return ridge_strength(hzz, hyy, hxx, hzy, hzx, hyx)


@njit(cache=True, parallel=True, fastmath=True, nogil=True)
def ridge_volume(smooth_volume, scale, target):  # type: ignore[no-untyped-def]
    """Write ``scale`` times the ridge strength of the central-difference Hessian at each inner voxel; 0 at the border."""
    n_planes, n_rows, n_columns = smooth_volume.shape
    for z in prange(n_planes):
        if z in (0, n_planes - 1):
            target[z] = np.float32(0.0)
            continue
        for y in range(n_rows):
            for x in range(n_columns):
                target[z, y, x] = np.float32(0.0)
            if y in (0, n_rows - 1):
                continue
            for x in range(1, n_columns - 1):
                target[z, y, x] = scale * ridge_at(smooth_volume, z, y, x)


@njit(cache=True, fastmath=True, nogil=True)
def steadiness(v, z, y, x, strength, sigma, tolerance):  # type: ignore[no-untyped-def]
    """Return in [0, 1] how much a ridge of this strength is the middle of something and not the shoulder of a border.

    In the middle of a tube the image is flat: 1. On the shoulder of a border it falls by ``g`` a voxel, and only because the
    border is bent, with radius R, does it pass for a ridge: ``strength = g sigma sqrt(sigma / R)``, so that what is returned is
    ``exp(-R / (2 tolerance^2))``, R in voxels.
    """
    half = np.float32(0.5)
    gz = half * (v[z + 1, y, x] - v[z - 1, y, x])
    gy = half * (v[z, y + 1, x] - v[z, y - 1, x])
    gx = half * (v[z, y, x + 1] - v[z, y, x - 1])
    slope = sigma * sigma * sigma * (gz * gz + gy * gy + gx * gx)
    return math.exp(-half * slope / max(strength * strength * tolerance * tolerance, np.float32(1e-20)))


@njit(cache=True, parallel=True, fastmath=True, nogil=True)
def damp_borders(smooth_volume, sigma, tolerance, strength):  # type: ignore[no-untyped-def]
    """Multiply ridge strengths (scaled by ``sigma^2``) by their steadiness, in place; the border of the grid is left alone."""
    n_planes, n_rows, n_columns = smooth_volume.shape
    for z in prange(1, n_planes - 1):
        for y in range(1, n_rows - 1):
            for x in range(1, n_columns - 1):
                here = strength[z, y, x]
                if here > 0.0:
                    strength[z, y, x] = here * steadiness(smooth_volume, z, y, x, here, sigma, tolerance)


@njit(cache=True, fastmath=True, nogil=True)
def damp_borders_at(smooth_volume, points, sigma, tolerance, strength):  # type: ignore[no-untyped-def]
    """Do the same to the strengths of single inner voxels, (n, 3)."""
    n_planes, n_rows, n_columns = smooth_volume.shape
    for i in range(len(points)):
        z, y, x = points[i]
        inner = 0 < z < n_planes - 1 and 0 < y < n_rows - 1 and 0 < x < n_columns - 1
        if inner and strength[i] > 0.0:
            strength[i] *= steadiness(smooth_volume, z, y, x, strength[i], sigma, tolerance)
