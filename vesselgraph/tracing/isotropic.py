"""Heat or a mask on the finest of its spacings, only near its foreground: thick slices become cubes where vessels are.

Strategy. The fine grid is made of zeros, which a computer gives out page by page when they are first written. Only the tiles
of 8 x 8 x 8 fine voxels within reach of a voxel of the foreground are filled, so time and memory follow the foreground, not the
box. Heat is interpolated linearly. A mask is interpolated by its signed distance to the wall (Raya & Udupa 1990), whose sign
alone matters. A cell of eight voxels that are all inside or all outside needs no distance, and in any other the nearest voxel
of the other kind is not farther than the diagonal of a cell; so the distance is found by looking around.
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.space import Space
from vesselgraph.threads import run_parts
from vesselgraph.volume import Volume

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TILE = 8
# Rim of the box around the foreground, in its own voxels.
_RIM = 3


class _Axis(NamedTuple):
    """How fine voxels of one axis lie among coarse ones: all (n_fine,)."""

    low: IntArray
    high: IntArray
    weight: Float64
    nearest: IntArray
    is_inside: NDArray[np.bool_]


def isotropic_near(
    volume: Volume, radius: Volume | None, voxels: NDArray[np.int32], reach: float, *, from_mask: bool
) -> tuple[Volume, Volume | None]:
    """Return heat (or a mask) and radii on an isotropic grid of the finest spacing, 0 far from the foreground.

    Parameters
    ----------
    volume : Volume
        float32 heat; of a mask voxels above 0.5 are inside.
    radius : Volume, optional
        float32 on the same grid; the nearest voxel is taken.
    voxels : (n, 3)
        The foreground; of a mask all voxels inside.
    reach : mm
        Everything within this distance of the foreground, and a rim of a voxel beyond, is filled.
    from_mask : bool
        The result is then 0 or 1.

    Returns
    -------
    heat, radius : Volume, Volume or None
        On the same fine grid, which depends on where the foreground lies and not on the box around it.

    References
    ----------
    Raya & Udupa, "Shape-based interpolation of multidimensional objects", IEEE Trans. Med. Imaging 9 (1990).
    """
    space, shape = _grid_around(voxels, volume.space)
    axes = _axes(volume, space, shape)
    tiles = _tiles_near(voxels, volume.space, space, shape, reach)
    coarse = np.ascontiguousarray(volume.array, dtype=np.float32)
    fine = _paged_zeros(shape)
    if from_mask:
        wall = _paged_zeros(volume.shape)
        around, distance = _steps_around(volume.space.spacing)
        fixed = (voxels, coarse, around, distance, wall)
        run_parts(lambda begin, end: _measure_wall(begin, end, *fixed), len(voxels))
        run_parts(lambda begin, end: _fill_mask(begin, end, tiles, coarse, wall, *axes, fine), len(tiles))
    else:
        run_parts(lambda begin, end: _fill_linear(begin, end, tiles, coarse, *axes, fine), len(tiles))
    if radius is None:
        return Volume(fine, space), None
    widths = _paged_zeros(shape)
    known = np.ascontiguousarray(radius.array, dtype=np.float32)
    run_parts(lambda begin, end: _fill_nearest(begin, end, tiles, known, *axes, widths), len(tiles))
    return Volume(fine, space), Volume(widths, space)


def _paged_zeros(shape: tuple[int, int, int]) -> Float32:
    """Return zeros whose memory is taken in small pages when they are written; numpy's own come in pages of megabytes."""
    size = int(np.prod(shape, dtype=np.int64))
    # Shared pages, the default where there is a choice, are taken when they are read.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return np.frombuffer(mmap.mmap(-1, 4 * size, **private), np.float32, size).reshape(shape)


def _grid_around(voxels: NDArray[np.int32], coarse: Space) -> tuple[Space, tuple[int, int, int]]:
    """Return the fine grid over the box of the voxels and a rim, also where that leaves the image."""
    first, last = voxels.min(axis=0) - _RIM, voxels.max(axis=0) + 1 + _RIM
    step = float(coarse.spacing.min())
    n = np.maximum(1, np.round((last - first) * coarse.spacing / step)).astype(int).tolist()
    return coarse.shifted(first).rescaled((step, step, step)), (n[0], n[1], n[2])


def _axes(volume: Volume, space: Space, shape: tuple[int, int, int]) -> tuple[_Axis, _Axis, _Axis]:
    """Return where the fine voxels lie, axis by axis; both grids have the same directions."""
    first = volume.space.to_index(space.to_world(np.zeros(3)))
    found = []
    for axis in range(3):
        n = volume.shape[axis]
        place = first[axis] + np.arange(shape[axis]) * (space.spacing[axis] / volume.space.spacing[axis])
        within = np.clip(place, 0.0, n - 1.0)
        low = np.minimum(np.floor(within).astype(np.int64), max(n - 2, 0))
        nearest = np.clip(np.floor(place + 0.5).astype(np.int64), 0, n - 1)
        found.append(_Axis(low, np.minimum(low + 1, n - 1), within - low, nearest, (place >= -0.5) & (place <= n - 0.5)))
    return found[0], found[1], found[2]


def _tiles_near(voxels: NDArray[np.int32], coarse: Space, fine: Space, shape: tuple[int, int, int], reach: float) -> IntArray:
    """Return plane, row and column of the tiles, (T, 3), that hold a fine voxel within reach of the foreground."""
    scale = coarse.spacing / fine.spacing
    offset = fine.to_index(coarse.to_world(np.zeros(3)))
    n_tiles = [-(-n // _TILE) for n in shape]
    near = np.zeros(n_tiles, np.bool_)
    _mark_tiles(voxels, scale, offset, scale + reach / fine.spacing, near)
    return np.argwhere(near)


@njit(cache=True, nogil=True)
def _mark_tiles(voxels, scale, offset, half, near):  # type: ignore[no-untyped-def]
    """Mark the tiles that the box of ``half`` fine voxels around each coarse voxel meets."""
    first, last = np.empty(3, np.int64), np.empty(3, np.int64)
    for i in range(voxels.shape[0]):
        for a in range(3):
            middle = offset[a] + scale[a] * voxels[i, a]
            first[a] = max(int(np.floor((middle - half[a]) / _TILE)), 0)
            last[a] = min(int(np.floor((middle + half[a]) / _TILE)), near.shape[a] - 1)
        for z in range(first[0], last[0] + 1):
            for y in range(first[1], last[1] + 1):
                for x in range(first[2], last[2] + 1):
                    near[z, y, x] = True


def _steps_around(spacing: Float64) -> tuple[IntArray, Float32]:
    """Return the steps to all voxels within a cell's diagonal, (K, 3), and their lengths less half the finest spacing."""
    diagonal = float(np.linalg.norm(spacing))
    reach = np.floor(diagonal / spacing).astype(np.int64)
    grids = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    steps = np.stack([grid.ravel() for grid in grids], axis=1)
    length = np.linalg.norm(steps * spacing, axis=1)
    order = np.argsort(length, kind="stable")
    order = order[(length[order] > 0) & (length[order] <= diagonal * (1.0 + 1e-9))]
    return steps[order], (length[order] - 0.5 * spacing.min()).astype(np.float32)


@njit(cache=True, nogil=True)
def _distance_across(mask, around, distance, z, y, x):  # type: ignore[no-untyped-def]
    """Return how far the wall is from a voxel next to it, negative outside."""
    inside = mask[z, y, x] > 0.5
    for k in range(around.shape[0]):
        z1, y1, x1 = z + around[k, 0], y + around[k, 1], x + around[k, 2]
        on_grid = 0 <= z1 < mask.shape[0] and 0 <= y1 < mask.shape[1] and 0 <= x1 < mask.shape[2]
        if on_grid and (mask[z1, y1, x1] > 0.5) != inside:
            return distance[k] if inside else -distance[k]
    return 0.0


@njit(cache=True, nogil=True)
def _measure_wall(begin, end, voxels, mask, around, distance, wall):  # type: ignore[no-untyped-def]
    """Fill the signed distance of voxels inside that touch the outside, and of those outside that they touch."""
    for i in range(begin, end):
        z, y, x = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        touches = False
        for z1 in range(max(z - 1, 0), min(z + 2, mask.shape[0])):
            for y1 in range(max(y - 1, 0), min(y + 2, mask.shape[1])):
                for x1 in range(max(x - 1, 0), min(x + 2, mask.shape[2])):
                    if mask[z1, y1, x1] > 0.5:
                        continue
                    touches = True
                    if wall[z1, y1, x1] == 0.0:
                        wall[z1, y1, x1] = _distance_across(mask, around, distance, z1, y1, x1)
        if touches:
            wall[z, y, x] = _distance_across(mask, around, distance, z, y, x)


@njit(cache=True, nogil=True)
def _fill_linear(begin, end, tiles, coarse, along_z, along_y, along_x, fine):  # type: ignore[no-untyped-def]
    """Fill some tiles of ``fine`` with the trilinear values of ``coarse``."""
    z0, z1, wz, _, in_z = along_z
    y0, y1, wy, _, in_y = along_y
    x0, x1, wx, _, in_x = along_x
    for t in range(begin, end):
        for z in range(tiles[t, 0] * _TILE, min((tiles[t, 0] + 1) * _TILE, fine.shape[0])):
            for y in range(tiles[t, 1] * _TILE, min((tiles[t, 1] + 1) * _TILE, fine.shape[1])):
                if not (in_z[z] and in_y[y]):
                    continue
                a, b = coarse[z0[z], y0[y]], coarse[z0[z], y1[y]]
                c, d = coarse[z1[z], y0[y]], coarse[z1[z], y1[y]]
                wa, wb = (1.0 - wz[z]) * (1.0 - wy[y]), (1.0 - wz[z]) * wy[y]
                wc, wd = wz[z] * (1.0 - wy[y]), wz[z] * wy[y]
                for x in range(tiles[t, 2] * _TILE, min((tiles[t, 2] + 1) * _TILE, fine.shape[2])):
                    if in_x[x]:
                        i, j = x0[x], x1[x]
                        low = wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i]
                        high = wa * a[j] + wb * b[j] + wc * c[j] + wd * d[j]
                        fine[z, y, x] = low + wx[x] * (high - low)


@njit(cache=True, nogil=True)
def _fill_mask(begin, end, tiles, mask, wall, along_z, along_y, along_x, fine):  # type: ignore[no-untyped-def]
    """Fill some tiles of ``fine`` with 1 where the interpolated distance to the wall is not negative."""
    z0, z1, wz, _, in_z = along_z
    y0, y1, wy, _, in_y = along_y
    x0, x1, wx, _, in_x = along_x
    for t in range(begin, end):
        for z in range(tiles[t, 0] * _TILE, min((tiles[t, 0] + 1) * _TILE, fine.shape[0])):
            for y in range(tiles[t, 1] * _TILE, min((tiles[t, 1] + 1) * _TILE, fine.shape[1])):
                for x in range(tiles[t, 2] * _TILE, min((tiles[t, 2] + 1) * _TILE, fine.shape[2])):
                    if not (in_z[z] and in_y[y] and in_x[x]):
                        continue
                    n_inside, total = 0, 0.0
                    for corner in range(8):
                        k = z1[z] if corner & 4 else z0[z]
                        j = y1[y] if corner & 2 else y0[y]
                        i = x1[x] if corner & 1 else x0[x]
                        n_inside += mask[k, j, i] > 0.5
                        share = wz[z] if corner & 4 else 1.0 - wz[z]
                        share *= wy[y] if corner & 2 else 1.0 - wy[y]
                        share *= wx[x] if corner & 1 else 1.0 - wx[x]
                        total += share * wall[k, j, i]
                    if n_inside == 8 or (n_inside > 0 and total >= 0.0):
                        fine[z, y, x] = 1.0


@njit(cache=True, nogil=True)
def _fill_nearest(begin, end, tiles, coarse, along_z, along_y, along_x, fine):  # type: ignore[no-untyped-def]
    """Fill some tiles of ``fine`` with the nearest values of ``coarse``."""
    _, _, _, near_z, in_z = along_z
    _, _, _, near_y, in_y = along_y
    _, _, _, near_x, in_x = along_x
    for t in range(begin, end):
        for z in range(tiles[t, 0] * _TILE, min((tiles[t, 0] + 1) * _TILE, fine.shape[0])):
            for y in range(tiles[t, 1] * _TILE, min((tiles[t, 1] + 1) * _TILE, fine.shape[1])):
                for x in range(tiles[t, 2] * _TILE, min((tiles[t, 2] + 1) * _TILE, fine.shape[2])):
                    if in_z[z] and in_y[y] and in_x[x]:
                        fine[z, y, x] = coarse[near_z[z], near_y[y], near_x[x]]
