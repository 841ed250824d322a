"""Oriented ridge strength: the Hessian averaged along a line before it is judged, in the best of many directions.

Strategy. Noise is short, vessels are long. For each direction the Hessian is averaged along a short line through the voxel,
and the tube strength is taken in the plane across that line. A vessel along the line keeps its answer, noise averages out.
The best direction wins: the 13 steps to the neighbours are tried first, then the 8 finer ones next to the best of them. Lines
run through the nearest voxels of fixed offsets, so a step costs one load, from the cache when voxels come :func:`in_blocks`.
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
# Blocks whose Hessian, with the reach of the lines, fits a core's cache.
_BLOCK_VOX = 16


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
def _across(hzz, hyy, hxx, hzy, hzx, hyx, z, y, x):  # type: ignore[no-untyped-def]
    """Return the geometric mean of a Hessian's curvatures across unit vector (z, y, x); 0 unless both are negative."""
    two = np.float32(2.0)
    along = hzz * z * z + hyy * y * y + hxx * x * x + two * (hzy * z * y + hzx * z * x + hyx * y * x)
    if hzz + hyy + hxx - along >= 0.0:
        return np.float32(0.0)
    product = (
        (hyy * hxx - hyx * hyx) * z * z
        + (hzz * hxx - hzx * hzx) * y * y
        + (hzz * hyy - hzy * hzy) * x * x
        + two * ((hyx * hzx - hzy * hxx) * z * y + (hzy * hyx - hyy * hzx) * z * x + (hzy * hzx - hzz * hyx) * y * x)
    )
    if product <= 0.0:
        return np.float32(0.0)
    return np.float32(math.sqrt(product))


@njit(cache=True, fastmath=True, nogil=True, inline="always")
def _line_answer(flat, start, steps, weights, directions, d):  # type: ignore[no-untyped-def]
    """Return the ridge strength across direction ``d`` of the Hessian averaged along its steps from voxel ``start``."""
    hzz = hyy = hxx = hzy = hzx = hyx = np.float32(0.0)
    for s in range(weights.size):
        i, weight = start + steps[d, s], weights[s]
        hzz += weight * flat[i, 0]
        hyy += weight * flat[i, 1]
        hxx += weight * flat[i, 2]
        hzy += weight * flat[i, 3]
        hzx += weight * flat[i, 4]
        hyx += weight * flat[i, 5]
    return _across(hzz, hyy, hxx, hzy, hzx, hyx, directions[d, 0], directions[d, 1], directions[d, 2])


@njit(cache=True, fastmath=True, nogil=True)
def _best_answer(flat, start, steps, weights, directions, fine):  # type: ignore[no-untyped-def]
    """Return the best line answer at one voxel: of the neighbour directions first, then of those around the best."""
    best, coarse = np.float32(0.0), 0
    for d in range(fine.shape[0]):
        answer = _line_answer(flat, start, steps, weights, directions, d)
        if answer > best:
            best, coarse = answer, d
    for k in range(fine.shape[1]):
        d = fine[coarse, k]
        best = max(best, _line_answer(flat, start, steps, weights, directions, d))
    return best


@njit(cache=True, nogil=True)
def _steps_within(z, y, x, line, shape, steps):  # type: ignore[no-untyped-def]
    """Fill the steps of one line to flat voxels; those out of the volume lead to voxel 0, on the border, whose Hessian is 0."""
    start = (z * shape[1] + y) * shape[2] + x
    for s in range(line.shape[0]):
        z1, y1, x1 = z + line[s, 0], y + line[s, 1], x + line[s, 2]
        inside = 0 <= z1 < shape[0] and 0 <= y1 < shape[1] and 0 <= x1 < shape[2]
        steps[s] = (z1 * shape[1] + y1) * shape[2] + x1 - start if inside else -start


@njit(cache=True, parallel=True, fastmath=True, nogil=True)
def oriented_answers(packed, voxels, lines, weights, directions, fine, answers):  # type: ignore[no-untyped-def]
    """Fill the best oriented ridge strength at each voxel, (n, 3): the neighbour directions first, then around the best."""
    shape = packed.shape[:3]
    flat = packed.reshape(shape[0] * shape[1] * shape[2], 6)
    reach = weights.size // 2
    inner_steps = np.empty(lines.shape[:2], np.int64)
    for d in range(lines.shape[0]):
        for s in range(weights.size):
            inner_steps[d, s] = (lines[d, s, 0] * shape[1] + lines[d, s, 1]) * shape[2] + lines[d, s, 2]
    for i in prange(voxels.shape[0]):
        z, y, x = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        start = (z * shape[1] + y) * shape[2] + x
        steps = inner_steps
        if min(z, y, x, shape[0] - 1 - z, shape[1] - 1 - y, shape[2] - 1 - x) < reach:
            steps = np.empty_like(inner_steps)
            for d in range(lines.shape[0]):
                _steps_within(z, y, x, lines[d], shape, steps[d])
        answers[i] = _best_answer(flat, start, steps, weights, directions, fine)


def in_blocks(voxels: IntArray) -> IntArray:
    """Return the voxels, (n, 3), block by block, so that lines through those visited in turn read the same memory."""
    block = voxels // _BLOCK_VOX
    count = block.max(axis=0, initial=0) + 1
    return voxels[np.argsort((block[:, 0] * count[1] + block[:, 1]) * count[2] + block[:, 2], kind="stable")]


def best_along_lines(packed: Float32, voxels: IntArray, sigma_vox: float, length_sigma_vox: float) -> Float32:
    """Return the scale-normalised oriented ridge strength at voxels, (n,).

    Parameters
    ----------
    packed : (planes, rows, columns, 6) float32
        :func:`packed_hessian` of the image at scale ``sigma_vox``.
    voxels : (n, 3)
        Where to look; many are quickest :func:`in_blocks`.
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
        packed,
        voxels,
        line_offsets(directions, half_length),
        (weights / weights.sum()).astype(np.float32),
        directions.astype(np.float32),
        refinements(directions),
        answers,
    )
    return np.float32(sigma_vox**2) * answers
