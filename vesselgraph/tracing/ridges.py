"""Ridge voxels: foreground voxels through whose cube, or close by, the height ridge of the heat runs.

A point lies on a height ridge if the gradient vanishes in the plane across the ridge and both curvatures there are negative.
One Newton step in that plane estimates how far the ridge is from a voxel's centre.

The height is smoothed first. That needs heat around each foreground voxel, so the work goes by small tiles: those that hold any
foreground are read with a margin into a block that stays in the cache, smoothed there, and asked at their foreground voxels.

References
----------
Eberly, Gardner, Morse, Pizer, Scharlach, "Ridges for image analysis", J. Math. Imaging and Vision 4 (1994).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.threads import run_parts
from vesselgraph.tracing.foreground import Foreground

SIGMA_VOX = 0.8
"""Width of the smoothing of the height."""

# The height may bend upwards along a ridge by this share of the weaker curvature across it.
_LEAST_RATIO = 0.5
_REACH = 2
_MARGIN = _REACH + 1
_TILE = (16, 16, 128)
_LOT = 64
_ONE = np.uint64(1)


def _gaussian(sigma: float) -> NDArray[np.float32]:
    weight = np.exp(-0.5 * (np.arange(_REACH + 1) / sigma) ** 2)
    return (weight / (weight[0] + 2.0 * weight[1:].sum())).astype(np.float32)


WEIGHTS = _gaussian(SIGMA_VOX)
_W0, _W1, _W2 = WEIGHTS

# 2 cos(2/3 acos(s)) for 0 <= s <= 1 by powers of s, interpolated at Chebyshev's points.
_P0, _P1, _P2, _P3 = 1.00000037, 1.1546638, -0.22161094, 0.10294953
_P4, _P5, _P6 = -0.0527995, 0.02100351, -0.00420698


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


@njit(inline="always")
def largest_eigenvalue(a, b, c, d, e, f):  # type: ignore[no-untyped-def]
    """Return the largest eigenvalue of [[a, d, e], [d, b, f], [e, f, c]], to 4e-7 of what they lie apart."""
    mean = (a + b + c) / 3.0
    p, q, r = a - mean, b - mean, c - mean
    spread = (p * p + q * q + r * r + 2.0 * (d * d + e * e + f * f)) / 6.0
    root = math.sqrt(spread)
    cube = root * spread
    half = 0.5 * (p * (q * r - f * f) - d * (d * r - f * e) + e * (d * f - q * e)) / (cube if cube > 1e-27 else 1.0)
    half = half if half < 1.0 else 1.0
    half = half if half > -1.0 else -1.0
    # 2 cos(acos(half) / 3), by the cosine of half of that angle: there it is smooth, so a short polynomial does.
    s = math.sqrt(0.5 + 0.5 * half)
    odd = _P1 + s * s * (_P3 + s * s * _P5)
    even = _P2 + s * s * (_P4 + s * s * _P6)
    return mean + root * (_P0 + s * (odd + s * even))


@njit(inline="always")
def slopes_at(field, z, y, x):  # type: ignore[no-untyped-def]
    """Return slope (3) and second derivatives (zz, yy, xx, zy, zx, yx) of a field at an inner voxel by central differences."""
    # Numbers without a sign are looked up as they are, others are first asked whether they count from the end.
    z, y, x = np.uint64(z), np.uint64(y), np.uint64(x)
    z0, y0, x0, z1, y1, x1 = z - _ONE, y - _ONE, x - _ONE, z + _ONE, y + _ONE, x + _ONE
    here = field[z, y, x]
    low0, low1, low2 = field[z0, y, x], field[z, y0, x], field[z, y, x0]
    high0, high1, high2 = field[z1, y, x], field[z, y1, x], field[z, y, x1]
    return (
        0.5 * (high0 - low0),
        0.5 * (high1 - low1),
        0.5 * (high2 - low2),
        high0 + low0 - 2.0 * here,
        high1 + low1 - 2.0 * here,
        high2 + low2 - 2.0 * here,
        0.25 * (field[z1, y1, x] - field[z1, y0, x] - field[z0, y1, x] + field[z0, y0, x]),
        0.25 * (field[z1, y, x1] - field[z1, y, x0] - field[z0, y, x1] + field[z0, y, x0]),
        0.25 * (field[z, y1, x1] - field[z, y1, x0] - field[z, y0, x1] + field[z, y0, x0]),
    )


@njit(inline="always")
def distance_to_ridge(g0, g1, g2, a, b, c, d, e, f, required):  # type: ignore[no-untyped-def]
    """Return how far the ridge passes from where a height has this slope and these second derivatives; infinite if none does.

    Written without a branch, so that a compiler can do several voxels at once.
    """
    # The ridge runs along the eigenvector of the largest eigenvalue; the other two have this sum and product.
    along = largest_eigenvalue(a, b, c, d, e, f)
    both = a + b + c - along
    product = a * b + a * c + b * c - d * d - e * e - f * f - along * both
    weaker = 0.5 * both + math.sqrt(abs(0.25 * both * both - product))
    apart = along * along - both * along + product
    # On the flank of a bent ridge the height bends upwards along the slope, more than it bends down across it.
    is_ridge = (product > 0.0) & (weaker <= -required) & (along <= -_LEAST_RATIO * weaker) & (apart > 0.0)
    # Cayley and Hamilton: H H - both H + product is 0 across the ridge and ``apart`` along it, so that no vector is needed to
    # part the slope, and across the ridge the inverse of H is (both - H) / product.
    h0, h1, h2 = a * g0 + d * g1 + e * g2, d * g0 + b * g1 + f * g2, e * g0 + f * g1 + c * g2
    share = 1.0 / (apart if is_ridge else 1.0)
    w0 = share * (a * h0 + d * h1 + e * h2 - both * h0 + product * g0)
    w1 = share * (d * h0 + b * h1 + f * h2 - both * h1 + product * g1)
    w2 = share * (e * h0 + f * h1 + c * h2 - both * h2 + product * g2)
    s0 = both * (g0 - w0) - (h0 - along * w0)
    s1 = both * (g1 - w1) - (h1 - along * w1)
    s2 = both * (g2 - w2) - (h2 - along * w2)
    distance = math.sqrt(s0 * s0 + s1 * s1 + s2 * s2) / (product if is_ridge else 1.0)
    return distance if is_ridge else math.inf


@njit(cache=True, nogil=True, error_model="numpy")
def ridge_at(field, z, y, x, required):  # type: ignore[no-untyped-def]
    """Return how far the ridge of ``field`` passes from the centre of an inner voxel, in voxels; infinite if there is none.

    ``required``: the weaker of the two curvatures across a ridge is at least this, per square voxel.
    """
    g0, g1, g2, a, b, c, d, e, f = slopes_at(field, z, y, x)
    return distance_to_ridge(g0, g1, g2, a, b, c, d, e, f, required)


@njit(cache=True, nogil=True, error_model="numpy")
def _measure(lot):  # type: ignore[no-untyped-def]
    """Fill the last row of a lot (11 * :data:`_LOT`,) with the distances from the rows before it: slope, bends, required."""
    n = _LOT
    for i in range(n):
        lot[10 * n + i] = distance_to_ridge(
            lot[i], lot[n + i], lot[2 * n + i], lot[3 * n + i], lot[4 * n + i], lot[5 * n + i], lot[6 * n + i],
            lot[7 * n + i], lot[8 * n + i], lot[9 * n + i],
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _measure_all(own, voxels, corner, shape, field, base, share, lot, value, distance):  # type: ignore[no-untyped-def]
    """Fill the height at some voxels of a block and their distance to the ridge, a lot at a time."""
    for first in range(0, own.size, _LOT):
        n = min(_LOT, own.size - first)
        for m in range(n):
            v = own[first + m]
            z, y, x = voxels[v, 0], voxels[v, 1], voxels[v, 2]
            k, j, i = np.uint64(z - corner[0]), np.uint64(y - corner[1]), np.uint64(x - corner[2])
            value[v] = field[k, j, i]
            found = slopes_at(field, k, j, i)
            for row in range(9):
                lot[row * _LOT + m] = found[row]
            inner = 0 < z < shape[0] - 1 and 0 < y < shape[1] - 1 and 0 < x < shape[2] - 1
            lot[9 * _LOT + m] = base[v] + share * field[k, j, i] if inner else math.inf
        _measure(lot)
        for m in range(n):
            distance[own[first + m]] = lot[10 * _LOT + m]


@njit(cache=True, nogil=True)
def _sort_into_tiles(begin, end, voxels, row_start, shape, n_tiles, n_in, ids):  # type: ignore[no-untyped-def]
    """Fill how many voxels each tile of some layers of tiles has, and their ids tile by tile.

    Voxels lie in raster order, so those of a layer lie together, in ``ids`` as in the list.
    """
    place = np.empty(n_tiles[1] * n_tiles[2], np.int64)
    for layer in range(begin, end):
        first = row_start[layer * _TILE[0] * shape[1]]
        stop = row_start[min((layer + 1) * _TILE[0], shape[0]) * shape[1]]
        own = n_in[layer * place.size : (layer + 1) * place.size]
        own[:] = 0
        for i in range(first, stop):
            own[voxels[i, 1] // _TILE[1] * n_tiles[2] + voxels[i, 2] // _TILE[2]] += 1
        n = first
        for tile in range(place.size):
            place[tile] = n
            n += own[tile]
        for i in range(first, stop):
            tile = voxels[i, 1] // _TILE[1] * n_tiles[2] + voxels[i, 2] // _TILE[2]
            ids[place[tile]] = i
            place[tile] += 1


@njit(cache=True, nogil=True)
def _read_block(heat, corner, size, with_heat, block):  # type: ignore[no-untyped-def]
    """Fill the part of a block that lies in the box with the heat from ``corner`` on, or with zeros."""
    low0, low1, low2 = max(0, -corner[0]), max(0, -corner[1]), max(0, -corner[2])
    high0 = min(size[0], heat.shape[0] - corner[0])
    high1 = min(size[1], heat.shape[1] - corner[1])
    high2 = min(size[2], heat.shape[2] - corner[2])
    for k in range(low0, high0):
        for j in range(low1, high1):
            # Lines are cut out first: only then is it known that no index is negative, and a line is copied as one.
            target = block[k, j, low2:high2]
            source = heat[corner[0] + k, corner[1] + j, corner[2] + low2 : corner[2] + high2]
            for i in range(high2 - low2):
                target[i] = source[i] if with_heat else np.float32(0.0)


@njit(cache=True, nogil=True)
def _lift_block(voxels, row_start, corner, size, shape, strip, next_id, lift, block):  # type: ignore[no-untyped-def]
    """Add the lift of the foreground voxels of a block.

    ``next_id`` holds for each line from ``strip`` on (plane, row) where the last block that began further left found its first
    voxel.
    """
    for z in range(max(0, corner[0]), min(corner[0] + size[0], shape[0])):
        for y in range(max(0, corner[1]), min(corner[1] + size[1], shape[1])):
            v, stop = next_id[z - strip[0], y - strip[1]], row_start[z * shape[1] + y + 1]
            while v < stop and voxels[v, 2] < corner[2]:
                v += 1
            next_id[z - strip[0], y - strip[1]] = v
            line = block[z - corner[0], y - corner[1]]
            while v < stop and voxels[v, 2] < corner[2] + size[2]:
                line[voxels[v, 2] - corner[2]] += lift[v]
                v += 1


@njit(cache=True, nogil=True)
def _enter_strip(row_start, shape, strip, next_id):  # type: ignore[no-untyped-def]
    """Fill ``next_id`` with the first voxel of each line of a strip of tiles and its margin."""
    for z in range(max(0, strip[0]), min(strip[0] + next_id.shape[0], shape[0])):
        for y in range(max(0, strip[1]), min(strip[1] + next_id.shape[1], shape[1])):
            next_id[z - strip[0], y - strip[1]] = row_start[z * shape[1] + y]


@njit(cache=True, nogil=True)
def _extend_block(corner, size, shape, block):  # type: ignore[no-untyped-def]
    """Continue a block beyond the borders of the box with the values at the border."""
    for k in range(size[0]):
        near_k = min(max(k, -corner[0]), shape[0] - 1 - corner[0])
        for j in range(size[1]):
            near_j = min(max(j, -corner[1]), shape[1] - 1 - corner[1])
            for i in range(size[2]):
                near_i = min(max(i, -corner[2]), shape[2] - 1 - corner[2])
                if near_k != k or near_j != j or near_i != i:
                    block[k, j, i] = block[near_k, near_j, near_i]


@njit(inline="always")
def _smooth_line(far_low, low, here, high, far_high, target, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        target[i] = _W0 * here[i] + _W1 * (low[i] + high[i]) + _W2 * (far_low[i] + far_high[i])


@njit(cache=True, nogil=True)
def _smooth_block(size, block, other):  # type: ignore[no-untyped-def]
    """Smooth a block, of which the outermost two layers are lost; the result is in ``other``."""
    # Lines are cut out first: only then is it known that no index is negative, and a line is smoothed several voxels at once.
    for k in range(_REACH, size[0] - _REACH):
        for j in range(size[1]):
            _smooth_line(block[k - 2, j], block[k - 1, j], block[k, j], block[k + 1, j], block[k + 2, j], other[k, j], size[2])
    for k in range(_REACH, size[0] - _REACH):
        for j in range(_REACH, size[1] - _REACH):
            _smooth_line(other[k, j - 2], other[k, j - 1], other[k, j], other[k, j + 1], other[k, j + 2], block[k, j], size[2])
    for k in range(_REACH, size[0] - _REACH):
        for j in range(_REACH, size[1] - _REACH):
            line = block[k, j]
            _smooth_line(line, line[1:], line[2:], line[3:], line[4:], other[k, j, _REACH:], size[2] - 2 * _REACH)


@njit(cache=True, nogil=True)
def _fill_tile(heat, with_heat, voxels, row_start, ids, strip, next_id, lift, block, other):  # type: ignore[no-untyped-def]
    """Leave the smoothed height around the voxels of a tile in ``other``; return the first voxel of that block."""
    low0, low1, low2 = voxels[ids[0]]
    high0, high1, high2 = low0, low1, low2
    for v in ids:
        z, y, x = voxels[v]
        low0, low1, low2 = min(low0, z), min(low1, y), min(low2, x)
        high0, high1, high2 = max(high0, z), max(high1, y), max(high2, x)
    corner = (low0 - _MARGIN, low1 - _MARGIN, low2 - _MARGIN)
    size = (high0 - low0 + 1 + 2 * _MARGIN, high1 - low1 + 1 + 2 * _MARGIN, high2 - low2 + 1 + 2 * _MARGIN)
    _read_block(heat, corner, size, with_heat, block)
    _lift_block(voxels, row_start, corner, size, heat.shape, strip, next_id, lift, block)
    outside = False
    for a in range(3):
        outside = outside or corner[a] < 0 or corner[a] + size[a] > heat.shape[a]
    if outside:
        _extend_block(corner, size, heat.shape, block)
    _smooth_block(size, block, other)
    return corner


@njit(cache=True, nogil=True)
def _find_ridges(begin, end, heat, with_heat, voxels, row_start, ids, start, used, lift, base, share, value, distance):  # type: ignore[no-untyped-def]
    """Fill the smoothed height at every voxel of the tiles ``used[begin:end]`` and its distance to the ridge."""
    block = np.empty((_TILE[0] + 2 * _MARGIN, _TILE[1] + 2 * _MARGIN, _TILE[2] + 2 * _MARGIN), np.float32)
    other = np.empty_like(block)
    lot = np.zeros(11 * _LOT)
    next_id, last = np.empty((_TILE[0] + 2 * _MARGIN, _TILE[1] + 2 * _MARGIN), np.int64), -1
    across, along = -(-heat.shape[1] // _TILE[1]), -(-heat.shape[2] // _TILE[2])
    for turn in range(begin, end):
        tile = used[turn]
        number = tile // along
        strip = (number // across * _TILE[0] - _MARGIN, number % across * _TILE[1] - _MARGIN)
        if number != last:
            _enter_strip(row_start, heat.shape, strip, next_id)
            last = number
        own = ids[start[tile] : start[tile + 1]]
        corner = _fill_tile(heat, with_heat, voxels, row_start, own, strip, next_id, lift, block, other)
        _measure_all(own, voxels, corner, heat.shape, other, base, share, lot, value, distance)


def find_ridges(
    heat: NDArray[np.float32],
    foreground: Foreground,
    lift: NDArray[np.float32],
    base: NDArray[np.float32],
    share: float,
    *,
    with_heat: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the smoothed height at each foreground voxel and how far its ridge passes from the voxel's centre.

    Parameters
    ----------
    heat : (planes, rows, columns) float32
        Read around the foreground only; beyond its borders it goes on as at the border.
    foreground : Foreground
        Where to look. Voxels on the border of the box have no ridge.
    lift : (n,) float32
        Added to the heat at the foreground voxels before smoothing.
    base, share : (n,) float32, float
        The weaker of the two curvatures across a ridge is at least ``base`` plus ``share`` of the smoothed height.
    with_heat : bool
        If false, the height is the lift alone.

    Returns
    -------
    value : (n,) float32
        The height after a Gaussian of ``SIGMA_VOX`` voxels.
    distance : (n,) float32
        In voxels; infinite where there is no ridge.
    """
    n_tiles = tuple(-(-n // edge) for n, edge in zip(foreground.shape, _TILE, strict=True))
    n_in, ids = np.empty(math.prod(n_tiles), np.int64), np.empty(len(foreground), np.int32)
    listed = (foreground.voxels, foreground.row_start, foreground.shape)
    run_parts(lambda begin, end: _sort_into_tiles(begin, end, *listed, n_tiles, n_in, ids), n_tiles[0])
    start = np.concatenate([[0], np.cumsum(n_in)])
    used = np.flatnonzero(n_in)
    value = np.empty(len(foreground), np.float32)
    distance = np.empty(len(foreground), np.float32)
    where = (foreground.voxels, foreground.row_start, ids, start, used)
    fixed = (heat, with_heat, *where, lift, base, np.float32(share), value, distance)
    run_parts(lambda begin, end: _find_ridges(begin, end, *fixed), len(used))
    return value, distance
