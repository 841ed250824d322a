"""Ridge voxels: foreground voxels through whose cube, or close by, the height ridge of the heat runs.

A point lies on a height ridge if the gradient vanishes in the plane across the ridge and both curvatures there are negative.
One Newton step in that plane estimates how far the ridge is from a voxel's centre.

References
----------
Eberly, Gardner, Morse, Pizer, Scharlach, "Ridges for image analysis", J. Math. Imaging and Vision 4 (1994).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def plane_axes(tangent, first, second):  # type: ignore[no-untyped-def]
    """Fill two unit vectors that span the plane across ``tangent``."""
    k = 0
    for i in range(1, 3):
        if abs(tangent[i]) < abs(tangent[k]):
            k = i
    for i in range(3):
        first[i] = -tangent[k] * tangent[i]
    first[k] += 1.0
    norm = math.sqrt(first[0] ** 2 + first[1] ** 2 + first[2] ** 2)
    for i in range(3):
        first[i] /= norm
    second[0] = tangent[1] * first[2] - tangent[2] * first[1]
    second[1] = tangent[2] * first[0] - tangent[0] * first[2]
    second[2] = tangent[0] * first[1] - tangent[1] * first[0]


@njit(cache=True, nogil=True)
def _ridge_direction(a, b, c, d, e, f, axis):  # type: ignore[no-untyped-def]
    """Fill the eigenvector of the largest eigenvalue of [[a, d, e], [d, b, f], [e, f, c]]; False if it is not distinct."""
    mean = (a + b + c) / 3.0
    p, q, r = a - mean, b - mean, c - mean
    spread = (p * p + q * q + r * r + 2.0 * (d * d + e * e + f * f)) / 6.0
    if spread <= 1e-18:
        return False
    root = math.sqrt(spread)
    half = 0.5 * (p * (q * r - f * f) - d * (d * r - f * e) + e * (d * f - q * e)) / (root * spread)
    largest = mean + 2.0 * root * math.cos(math.acos(min(1.0, max(-1.0, half))) / 3.0)
    p, q, r = a - largest, b - largest, c - largest
    best = 0.0
    for k in range(3):
        if k == 0:
            x, y, z = d * f - e * q, e * d - p * f, p * q - d * d
        elif k == 1:
            x, y, z = d * r - e * f, e * e - p * r, p * f - d * e
        else:
            x, y, z = q * r - f * f, f * e - d * r, d * f - q * e
        norm = x * x + y * y + z * z
        if norm > best:
            best = norm
            axis[0], axis[1], axis[2] = x, y, z
    if best <= 1e-30:
        return False
    norm = math.sqrt(best)
    for k in range(3):
        axis[k] /= norm
    return True


@njit(cache=True, nogil=True)
def _ridge_distance(field, voxels, required, distance):  # type: ignore[no-untyped-def]
    """Fill the distance in voxels from each voxel to the ridge next to it; infinite where there is none."""
    axis, u, v = np.zeros(3), np.zeros(3), np.zeros(3)
    for i in range(voxels.shape[0]):
        distance[i] = np.inf
        z, y, x = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        inner = 0 < z < field.shape[0] - 1 and 0 < y < field.shape[1] - 1 and 0 < x < field.shape[2] - 1
        if not inner:
            continue
        here = field[z, y, x]
        g0 = 0.5 * (field[z + 1, y, x] - field[z - 1, y, x])
        g1 = 0.5 * (field[z, y + 1, x] - field[z, y - 1, x])
        g2 = 0.5 * (field[z, y, x + 1] - field[z, y, x - 1])
        a = field[z + 1, y, x] + field[z - 1, y, x] - 2.0 * here
        b = field[z, y + 1, x] + field[z, y - 1, x] - 2.0 * here
        c = field[z, y, x + 1] + field[z, y, x - 1] - 2.0 * here
        d = 0.25 * (field[z + 1, y + 1, x] - field[z + 1, y - 1, x] - field[z - 1, y + 1, x] + field[z - 1, y - 1, x])
        e = 0.25 * (field[z + 1, y, x + 1] - field[z + 1, y, x - 1] - field[z - 1, y, x + 1] + field[z - 1, y, x - 1])
        f = 0.25 * (field[z, y + 1, x + 1] - field[z, y + 1, x - 1] - field[z, y - 1, x + 1] + field[z, y - 1, x - 1])
        if not _ridge_direction(a, b, c, d, e, f, axis):
            continue
        plane_axes(axis, u, v)
        huu = a * u[0] ** 2 + b * u[1] ** 2 + c * u[2] ** 2 + 2 * (d * u[0] * u[1] + e * u[0] * u[2] + f * u[1] * u[2])
        hvv = a * v[0] ** 2 + b * v[1] ** 2 + c * v[2] ** 2 + 2 * (d * v[0] * v[1] + e * v[0] * v[2] + f * v[1] * v[2])
        huv = (
            a * u[0] * v[0]
            + b * u[1] * v[1]
            + c * u[2] * v[2]
            + d * (u[0] * v[1] + u[1] * v[0])
            + e * (u[0] * v[2] + u[2] * v[0])
            + f * (u[1] * v[2] + u[2] * v[1])
        )
        determinant = huu * hvv - huv * huv
        middle = 0.5 * (huu + hvv) + math.sqrt(max(0.0, 0.25 * (huu - hvv) ** 2 + huv * huv))
        if determinant <= 0.0 or middle > -required[i]:
            continue
        gu, gv = g0 * u[0] + g1 * u[1] + g2 * u[2], g0 * v[0] + g1 * v[1] + g2 * v[2]
        du, dv = (huv * gv - hvv * gu) / determinant, (huv * gu - huu * gv) / determinant
        distance[i] = math.sqrt(du * du + dv * dv)


def ridge_distance(
    field: NDArray[np.float32], voxels: NDArray[np.int64], min_curvature: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far the height ridge of ``field`` passes from each voxel centre, in voxels; infinite where there is none.

    Parameters
    ----------
    field : (planes, rows, columns)
        Smooth.
    voxels : (n, 3)
        Where to look. Voxels on the border of the volume have no ridge.
    min_curvature : (n,)
        At each voxel the weaker of the two curvatures across a ridge is at least this, per square voxel.
    """
    distance = np.zeros(len(voxels))
    _ridge_distance(field, voxels, min_curvature, distance)
    return distance
