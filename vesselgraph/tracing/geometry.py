"""Sub-voxel centerlines and radii from voxel chains. Everything is in voxels of one isotropic grid, (plane, row, column).

Strategy. A chain of voxels zigzags around the true line. Its points are pulled, in the plane across the vessel, to the middle
of the cross-section (rays to the wall of a mask, or the centroid of heat), smoothed along the branch, and pulled again. Close
to a junction the cross-section is not that of one vessel, so there a point only follows its neighbours. Radii come from the
same cross-sections: the circle of equal area.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.threads import run_parts
from vesselgraph.tracing.ridges import plane_axes

FloatArray = NDArray[np.float64]

N_RAYS = 24
_COS = np.cos(2.0 * np.pi * np.arange(N_RAYS) / N_RAYS)
_SIN = np.sin(2.0 * np.pi * np.arange(N_RAYS) / N_RAYS)
_RAY_STEP = 0.25
_LEAK_FACTOR = 1.5
_N_PASSES = 4
_ONE = np.uint64(1)


def _disc() -> FloatArray:
    """Return place along both axes and weight of the points of a disc of radius 1: eight on each of two rings, (16, 3)."""
    ring, k = np.repeat([1.0, 2.0], 8), np.tile(np.arange(8.0), 2)
    angle = 2.0 * np.pi * (k + 0.5 * (ring % 2)) / 8.0
    return np.stack([0.5 * ring * np.cos(angle), 0.5 * ring * np.sin(angle), ring], axis=1)


_ALONG_FIRST, _ALONG_SECOND, _DISC_WEIGHT = np.ascontiguousarray(_disc().T.astype(np.float32))
_N_DISC = len(_DISC_WEIGHT)


@njit(cache=True, nogil=True)
def sample(volume, z, y, x):  # type: ignore[no-untyped-def]
    """Return the trilinear value of ``volume`` at a position; outside of it the value is 0."""
    n_planes, n_rows, n_columns = volume.shape
    if z < 0.0 or y < 0.0 or x < 0.0 or z > n_planes - 1 or y > n_rows - 1 or x > n_columns - 1:
        return 0.0
    # Numbers without a sign are looked up as they are, others are first asked whether they count from the end.
    z0, y0, x0 = np.uint64(z), np.uint64(y), np.uint64(x)
    fz, fy, fx = z - z0, y - y0, x - x0
    # On the last plane, row or column its own value counts for all.
    z1, y1 = min(z0 + _ONE, np.uint64(n_planes - 1)), min(y0 + _ONE, np.uint64(n_rows - 1))
    x1 = min(x0 + _ONE, np.uint64(n_columns - 1))
    low = (volume[z0, y0, x0] * (1 - fx) + volume[z0, y0, x1] * fx) * (1 - fy) + (
        volume[z0, y1, x0] * (1 - fx) + volume[z0, y1, x1] * fx
    ) * fy
    high = (volume[z1, y0, x0] * (1 - fx) + volume[z1, y0, x1] * fx) * (1 - fy) + (
        volume[z1, y1, x0] * (1 - fx) + volume[z1, y1, x1] * fx
    ) * fy
    return low * (1 - fz) + high * fz


@njit(cache=True, nogil=True)
def _tangent(points, low, high, i, tangent):  # type: ignore[no-untyped-def]
    """Fill the unit tangent at point ``i`` of the branch ``low:high`` from up to two points on each side."""
    a, b = max(i - 2, low), min(i + 2, high - 1)
    norm = 0.0
    for k in range(3):
        tangent[k] = points[b, k] - points[a, k]
        norm += tangent[k] ** 2
    norm = math.sqrt(norm)
    if norm < 1e-9:
        tangent[0], tangent[1], tangent[2] = 1.0, 0.0, 0.0
        return
    for k in range(3):
        tangent[k] /= norm


@njit(cache=True, nogil=True)
def ray_length(volume, level, z, y, x, dz, dy, dx, longest):  # type: ignore[no-untyped-def]
    """Return how far a ray runs until the volume falls below ``level``; at most ``longest``."""
    before = sample(volume, z, y, x)
    length = 0.0
    while length < longest:
        length += _RAY_STEP
        value = sample(volume, z + length * dz, y + length * dy, x + length * dx)
        if value < level:
            drop = before - value
            return length - _RAY_STEP * ((level - value) / drop if drop > 1e-12 else 1.0)
        before = value
    return longest


@njit(cache=True, nogil=True)
def _wall_section(volume, point, first, second, longest, rays, shift):  # type: ignore[no-untyped-def]
    """Fill the shift to the middle of the cross-section of a mask and return its equal-area radius; 0 outside the mask."""
    if sample(volume, point[0], point[1], point[2]) < 0.5:
        shift[:] = 0.0
        return 0.0
    for k in range(N_RAYS):
        c, s = _COS[k], _SIN[k]
        d0, d1, d2 = c * first[0] + s * second[0], c * first[1] + s * second[1], c * first[2] + s * second[2]
        rays[k] = ray_length(volume, 0.5, point[0], point[1], point[2], d0, d1, d2, longest)
    # Rays that run into another vessel are cut at a multiple of the median ray.
    cut = _LEAK_FACTOR * np.median(rays)
    area, move_a, move_b = 0.0, 0.0, 0.0
    for k in range(N_RAYS):
        length = min(rays[k], cut)
        area += length * length
        move_a += length * _COS[k]
        move_b += length * _SIN[k]
    for k in range(3):
        shift[k] = 2.0 / N_RAYS * (move_a * first[k] + move_b * second[k])
    return math.sqrt(area / N_RAYS)


@njit(cache=True, nogil=True)
def _sample_disc(heat, line, place, part, point, first, second, reach):  # type: ignore[no-untyped-def]
    """Fill rows 0 to 2 of ``part`` with weighted squared heat at the disc around a point, and its parts along both axes.

    All of the disc lies before the last plane, row and column. ``line`` is the heat in a line. Three loops: positions and
    weights are worked out for several points of the disc at once, reading is not.
    """
    row, plane = np.uint64(heat.shape[2]), np.uint64(heat.shape[1] * heat.shape[2])
    z0, y0, x0 = point[0], point[1], point[2]
    f0, f1, f2 = reach * first[0], reach * first[1], reach * first[2]
    s0, s1, s2 = reach * second[0], reach * second[1], reach * second[2]
    for k in range(_N_DISC):
        z = z0 + _ALONG_FIRST[k] * f0 + _ALONG_SECOND[k] * s0
        y = y0 + _ALONG_FIRST[k] * f1 + _ALONG_SECOND[k] * s1
        x = x0 + _ALONG_FIRST[k] * f2 + _ALONG_SECOND[k] * s2
        low0, low1, low2 = np.int64(z), np.int64(y), np.int64(x)
        part[0, k], part[1, k], part[2, k] = z - low0, y - low1, x - low2
        place[k] = (low0 * heat.shape[1] + low1) * heat.shape[2] + low2
    for k in range(_N_DISC):
        a = np.uint64(place[k])
        b, c = a + row, a + plane
        d = c + row
        part[3, k], part[4, k], part[5, k], part[6, k] = line[a], line[a + _ONE], line[b], line[b + _ONE]
        part[7, k], part[8, k], part[9, k], part[10, k] = line[c], line[c + _ONE], line[d], line[d + _ONE]
    for k in range(_N_DISC):
        fz, fy, fx = part[0, k], part[1, k], part[2, k]
        a = part[3, k] + fx * (part[4, k] - part[3, k])
        b = part[5, k] + fx * (part[6, k] - part[5, k])
        c = part[7, k] + fx * (part[8, k] - part[7, k])
        d = part[9, k] + fx * (part[10, k] - part[9, k])
        low, high = a + fy * (b - a), c + fy * (d - c)
        value = low + fz * (high - low)
        weight = value * value * _DISC_WEIGHT[k]
        part[0, k], part[1, k], part[2, k] = weight, weight * _ALONG_FIRST[k], weight * _ALONG_SECOND[k]


@njit(cache=True, nogil=True)
def _heat_shift(heat, line, place, part, point, first, second, reach, shift):  # type: ignore[no-untyped-def]
    """Fill the shift to the heat centroid of the disc of radius ``reach`` across the vessel."""
    shift[:] = 0.0
    for k in range(3):
        # At the border of the box there may be no whole disc.
        extent = reach * math.sqrt(first[k] ** 2 + second[k] ** 2)
        if not extent <= point[k] < heat.shape[k] - 1 - extent:
            return
    value = sample(heat, point[0], point[1], point[2])
    total, move_a, move_b = np.float64(value * value), np.float64(0.0), np.float64(0.0)
    _sample_disc(heat, line, place, part, point, first, second, reach)
    for k in range(_N_DISC):
        total += part[0, k]
        move_a += part[1, k]
        move_b += part[2, k]
    scale = reach / total if total > 1e-12 else 0.0
    for k in range(3):
        shift[k] = scale * (move_a * first[k] + move_b * second[k])


@njit(cache=True, nogil=True)
def _smooth_branch(points, low, high, n_passes):  # type: ignore[no-untyped-def]
    """Average every inner point with its neighbours (1, 2, 1) ``n_passes`` times; the ends stay."""
    before = np.zeros(3)
    for _ in range(n_passes):
        for k in range(3):
            before[k] = points[low, k]
        for i in range(low + 1, high - 1):
            for k in range(3):
                here = points[i, k]
                points[i, k] = 0.25 * (before[k] + points[i + 1, k]) + 0.5 * here
                before[k] = here


@njit(cache=True, nogil=True)
def _refine(begin, end, points, offset, end_reach, volume, from_mask, section_radius):  # type: ignore[no-untyped-def]
    """Refine the branches ``begin`` to ``end``: see :func:`refine`."""
    tangent, first, second = np.zeros(3), np.zeros(3), np.zeros(3)
    shift, rays = np.zeros(3), np.zeros(N_RAYS)
    line, place, part = volume.reshape(volume.size), np.empty(_N_DISC, np.int64), np.empty((11, _N_DISC), np.float32)
    longest = 0.25 * (volume.shape[0] + volume.shape[1] + volume.shape[2])
    for e in range(begin, end):
        low, high = offset[e], offset[e + 1]
        _smooth_branch(points, low, high, _N_PASSES)
        # The last turn only measures, which heat does not need.
        for turn in range(_N_PASSES if from_mask else _N_PASSES - 1):
            last = turn == _N_PASSES - 1
            for i in range(low, high):
                section_radius[i] = np.nan
                from_start, from_end = 0.0, 0.0
                for k in range(3):
                    from_start += (points[i, k] - points[low, k]) ** 2
                    from_end += (points[i, k] - points[high - 1, k]) ** 2
                inner = i not in (low, high - 1)
                if not (inner or from_mask):
                    continue
                if math.sqrt(from_start) < end_reach[e, 0] or math.sqrt(from_end) < end_reach[e, 1]:
                    continue
                _tangent(points, low, high, i, tangent)
                plane_axes(tangent, first, second)
                if from_mask:
                    section_radius[i] = _wall_section(volume, points[i], first, second, longest, rays, shift)
                else:
                    _heat_shift(volume, line, place, part, points[i], first, second, 1.5, shift)
                if not inner or last:
                    continue
                size = math.sqrt(shift[0] ** 2 + shift[1] ** 2 + shift[2] ** 2)
                factor = 0.7 * (1.0 if size < 0.7 else 0.7 / size)
                for k in range(3):
                    points[i, k] += factor * shift[k]
            if not last:
                _smooth_branch(points, low, high, 1)


def refine(
    points: FloatArray, offset: NDArray[np.int64], end_reach: FloatArray, volume: NDArray[np.float32], from_mask: bool
) -> FloatArray:
    """Move the inner points of all branches to the middle of their cross-sections, in place.

    Parameters
    ----------
    points : (M, 3)
        In voxels.
    offset : (E + 1,)
        Slices of the branches.
    end_reach : (E, 2)
        Within this distance of a branch's start and end a point only follows its neighbours.
    volume : (planes, rows, columns)
        Heat, or a mask.
    from_mask : bool
        Which of both.

    Returns
    -------
    section_radius : (M,)
        The equal-area radius from a mask, NaN where it was not measured.
    """
    section = np.full(len(points), np.nan)
    fixed = (points, offset, end_reach, volume, from_mask, section)
    run_parts(lambda begin, end: _refine(begin, end, *fixed), len(offset) - 1)
    return section


@njit(cache=True, nogil=True)
def _sample_points(begin, end, volume, points, values):  # type: ignore[no-untyped-def]
    """Fill the trilinear values of ``volume`` at some of the points (M, 3)."""
    for i in range(begin, end):
        values[i] = sample(volume, points[i, 0], points[i, 1], points[i, 2])


def sample_points(volume: NDArray[np.float32], points: FloatArray) -> FloatArray:
    """Return the trilinear values of ``volume`` at points (M, 3) in voxels, (M,); 0 outside."""
    values = np.zeros(len(points))
    run_parts(lambda begin, end: _sample_points(begin, end, volume, points, values), len(points))
    return values
