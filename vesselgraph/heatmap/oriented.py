"""Oriented ridge strength: the Hessian averaged along a line before it is judged, in the best of many directions.

Strategy. Noise is short, vessels are long. For each direction the Hessian is averaged along a short line through the voxel,
and the tube strength is taken in the plane across that line. A vessel along the line keeps its answer, noise averages out.
The best direction wins: the 13 steps to the neighbours are tried first, then the 8 finer ones next to the best of them. Lines
run through the nearest voxels of fixed offsets, so a step costs one load.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from vesselgraph.heatmap.kernels import Float32

IntArray = NDArray[np.int64]

_N_COARSE = 13
_N_FINE = 8


def line_directions() -> NDArray[np.float64]:
    """Return 49 unit vectors, (49, 3), one of each opposite pair: all primitive steps of at most two voxels.

    The first 13 are the steps to the 26 neighbours.
    """
    steps = [
        (z, y, x)
        for z in range(-2, 3)
        for y in range(-2, 3)
        for x in range(-2, 3)
        if (z, y, x) > (0, 0, 0) and math.gcd(z, y, x) == 1
    ]
    steps.sort(key=lambda step: max(abs(c) for c in step))
    return np.array(steps, dtype=np.float64) / np.linalg.norm(steps, axis=1, keepdims=True)


def refinements(directions: NDArray[np.float64]) -> IntArray:
    """Return for each of the 13 neighbour directions the other directions nearest to it, (13, 8) ids."""
    cosine = np.abs(directions[:_N_COARSE] @ directions[_N_COARSE:].T)
    return np.argsort(-cosine, axis=1, kind="stable")[:, :_N_FINE] + _N_COARSE


def line_offsets(directions: NDArray[np.float64], half_length: int) -> IntArray:
    """Return the voxel offsets of lines, (directions, 2 half_length + 1, 3), one step of a voxel after the other."""
    along = np.arange(-half_length, half_length + 1)
    return np.round(directions[:, None, :] * along[None, :, None]).astype(np.int64)


@njit(cache=True, parallel=True, fastmath=True, nogil=True)
def packed_hessian(volume):  # type: ignore[no-untyped-def]
    """Return the central-difference Hessian as (planes, rows, columns, 6): zz, yy, xx, zy, zx, yx; 0 at the border."""
    n_planes, n_rows, n_columns = volume.shape
    v = volume
    two, quarter = np.float32(2.0), np.float32(0.25)
    packed = np.zeros((n_planes, n_rows, n_columns, 6), np.float32)
    for z in prange(1, n_planes - 1):
        for y in range(1, n_rows - 1):
            for x in range(1, n_columns - 1):
                c = two * v[z, y, x]
                here = packed[z, y, x]
                here[0] = v[z - 1, y, x] + v[z + 1, y, x] - c
                here[1] = v[z, y - 1, x] + v[z, y + 1, x] - c
                here[2] = v[z, y, x - 1] + v[z, y, x + 1] - c
                here[3] = quarter * (v[z + 1, y + 1, x] - v[z + 1, y - 1, x] - v[z - 1, y + 1, x] + v[z - 1, y - 1, x])
                here[4] = quarter * (v[z + 1, y, x + 1] - v[z + 1, y, x - 1] - v[z - 1, y, x + 1] + v[z - 1, y, x - 1])
                here[5] = quarter * (v[z, y + 1, x + 1] - v[z, y + 1, x - 1] - v[z, y - 1, x + 1] + v[z, y - 1, x - 1])
    return packed


@njit(cache=True, fastmath=True, nogil=True)
def _across(h, d):  # type: ignore[no-untyped-def]
    """Return the geometric mean of the curvatures of Hessian ``h`` across unit vector ``d``; 0 unless both are negative."""
    z, y, x = d[0], d[1], d[2]
    along = h[0] * z * z + h[1] * y * y + h[2] * x * x + np.float32(2.0) * (h[3] * z * y + h[4] * z * x + h[5] * y * x)
    if h[0] + h[1] + h[2] - along >= 0.0:
        return np.float32(0.0)
    product = (
        (h[1] * h[2] - h[5] * h[5]) * z * z
        + (h[0] * h[2] - h[4] * h[4]) * y * y
        + (h[0] * h[1] - h[3] * h[3]) * x * x
        + np.float32(2.0)
        * ((h[5] * h[4] - h[3] * h[2]) * z * y + (h[3] * h[5] - h[1] * h[4]) * z * x + (h[3] * h[4] - h[0] * h[5]) * y * x)
    )
    if product <= 0.0:
        return np.float32(0.0)
    return np.float32(math.sqrt(product))


@njit(cache=True, fastmath=True, nogil=True)
def _line_answer(packed, z0, y0, x0, line, weights, direction, mean):  # type: ignore[no-untyped-def]
    """Return the ridge strength across ``direction`` of the Hessian averaged along one line, clipped to the volume."""
    n_planes, n_rows, n_columns = packed.shape[:3]
    for k in range(6):
        mean[k] = np.float32(0.0)
    for s in range(weights.size):
        z = min(max(z0 + line[s, 0], 0), n_planes - 1)
        y = min(max(y0 + line[s, 1], 0), n_rows - 1)
        x = min(max(x0 + line[s, 2], 0), n_columns - 1)
        here = packed[z, y, x]
        weight = weights[s]
        for k in range(6):
            mean[k] += weight * here[k]
    return _across(mean, direction)


@njit(cache=True, parallel=True, fastmath=True, nogil=True)
def oriented_answers(packed, voxels, lines, weights, directions, fine, answers):  # type: ignore[no-untyped-def]
    """Fill the best oriented ridge strength at each voxel, (n, 3): the neighbour directions first, then around the best."""
    for i in prange(voxels.shape[0]):
        mean = np.zeros(6, np.float32)
        z, y, x = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        best, coarse = np.float32(0.0), 0
        for d in range(fine.shape[0]):
            answer = _line_answer(packed, z, y, x, lines[d], weights, directions[d], mean)
            if answer > best:
                best, coarse = answer, d
        for k in range(fine.shape[1]):
            d = fine[coarse, k]
            best = max(best, _line_answer(packed, z, y, x, lines[d], weights, directions[d], mean))
        answers[i] = best


def best_along_lines(smoothed: Float32, voxels: IntArray, sigma_vox: float, length_sigma_vox: float) -> Float32:
    """Return the scale-normalised oriented ridge strength at voxels, (n,).

    Parameters
    ----------
    smoothed : (planes, rows, columns) float32
        The image at scale ``sigma_vox``.
    voxels : (n, 3)
        Where to look.
    sigma_vox : float
        Scale across the vessel.
    length_sigma_vox : float
        Standard deviation of the Gaussian weights along the line.
    """
    if len(voxels) == 0:
        return np.zeros(0, np.float32)
    half_length = max(1, round(2.0 * length_sigma_vox))
    along = np.arange(-half_length, half_length + 1)
    weights = np.exp(-0.5 * (along / length_sigma_vox) ** 2)
    directions = line_directions()
    answers = np.zeros(len(voxels), np.float32)
    oriented_answers(
        packed_hessian(smoothed),
        voxels,
        line_offsets(directions, half_length),
        (weights / weights.sum()).astype(np.float32),
        directions.astype(np.float32),
        refinements(directions),
        answers,
    )
    return np.float32(sigma_vox**2) * answers
