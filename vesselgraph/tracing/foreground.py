"""The foreground: the list of voxels above a threshold, with everyone's neighbours. All of tracing runs on this list.

Strategy. Voxels are listed in raster order, so those of one line (fixed plane and row) lie side by side, in rising columns. Two
passes over the volume make the list, one that counts each line and one that fills it. Neighbours are read from a box of three
planes that slides through the volume and holds the ids of their voxels: no search, no branch, and it stays in the cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.threads import run_parts
from vesselgraph.tracing.prefetch import prefetch

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

# Values are asked for so many voxels ahead.
_AHEAD = 16


@dataclass(frozen=True, eq=False)
class Foreground:
    """Voxels of an object in a box, in raster order, and who touches whom.

    Attributes
    ----------
    shape : (3,)
        Planes, rows and columns of the box.
    voxels : (n, 3) int32
        Plane, row, column of each voxel. A voxel's place in this list is its id.
    row_start : (planes * rows + 1,) int64
        The ids on line ``plane * rows + row`` are ``row_start[line]`` up to, not including, ``row_start[line + 1]``.
    neighbours : (n, 26) int32
        Ids of the 26 neighbours in the order of ``topology.OFFSETS``; -1 where there is no voxel of the object.
    """

    shape: tuple[int, int, int]
    voxels: Int32
    row_start: Int64
    neighbours: Int32

    def __len__(self) -> int:
        """Return the number of voxels."""
        return len(self.voxels)


@njit(cache=True, nogil=True)
def first_at(row_start, voxels, n_rows, z, y, x):  # type: ignore[no-untyped-def]
    """Return the id of the first voxel of a line at or after column ``x``, and the end of the line."""
    low, high = row_start[z * n_rows + y], row_start[z * n_rows + y + 1]
    stop = high
    while low < high:
        middle = (low + high) >> 1
        if voxels[middle, 2] < x:
            low = middle + 1
        else:
            high = middle
    return low, stop


@njit(cache=True, nogil=True)
def voxel_at(row_start, voxels, n_planes, n_rows, n_columns, z, y, x):  # type: ignore[no-untyped-def]
    """Return the id of the voxel at a place, -1 if it is none of the object or outside of the box."""
    if z < 0 or y < 0 or x < 0 or z >= n_planes or y >= n_rows or x >= n_columns:
        return -1
    low, stop = first_at(row_start, voxels, n_rows, z, y, x)
    return low if low < stop and voxels[low, 2] == x else -1


@njit(cache=True, nogil=True)
def _count(begin, end, heat, inside, bounded, threshold, counts):  # type: ignore[no-untyped-def]
    """Fill the number of voxels of each line of some planes into ``counts`` (planes * rows,)."""
    n_rows, n_columns = heat.shape[1:]
    for z in range(begin, end):
        for y in range(n_rows):
            n = 0
            if bounded:
                for x in range(n_columns):
                    n += (heat[z, y, x] > threshold) & inside[z, y, x]
            else:
                for x in range(n_columns):
                    n += heat[z, y, x] > threshold
            counts[z * n_rows + y] = n


@njit(cache=True, nogil=True)
def _fill(begin, end, heat, inside, bounded, threshold, row_start, voxels):  # type: ignore[no-untyped-def]
    n_rows = heat.shape[1]
    for z in range(begin, end):
        for y in range(n_rows):
            i, stop = row_start[z * n_rows + y], row_start[z * n_rows + y + 1]
            x = 0
            while i < stop:
                if heat[z, y, x] > threshold and (not bounded or inside[z, y, x]):
                    voxels[i, 0], voxels[i, 1], voxels[i, 2] = z, y, x
                    i += 1
                x += 1


@njit(cache=True, nogil=True)
def _put_plane(z, voxels, row_start, shape, clear, ids):  # type: ignore[no-untyped-def]
    """Write the ids of the voxels on a plane, or -1 again, into its slice of ``ids``; a plane outside of the box has none."""
    if 0 <= z < shape[0]:
        for i in range(row_start[z * shape[1]], row_start[(z + 1) * shape[1]]):
            ids[z % 3, voxels[i, 1] + 1, voxels[i, 2] + 1] = -1 if clear else i


@njit(cache=True, nogil=True)
def _join_planes(begin, end, voxels, row_start, shape, neighbours):  # type: ignore[no-untyped-def]
    """Fill ``neighbours`` of the voxels on some planes from the ids on three planes, with a margin of one voxel all around."""
    ids = np.full((3, shape[1] + 2, shape[2] + 2), -1, np.int32)
    for z in range(begin - 1, begin + 1):
        _put_plane(z, voxels, row_start, shape, False, ids)
    for z in range(begin, end):
        _put_plane(z + 1, voxels, row_start, shape, False, ids)
        for i in range(row_start[z * shape[1]], row_start[(z + 1) * shape[1]]):
            y, x = voxels[i, 1], voxels[i, 2]
            slot = 0
            for dz in range(3):
                plane = (z + dz + 2) % 3
                for dy in range(3):
                    for dx in range(3):
                        if dz != 1 or dy != 1 or dx != 1:
                            neighbours[i, slot] = ids[plane, y + dy, x + dx]
                            slot += 1
        _put_plane(z - 1, voxels, row_start, shape, True, ids)


def find_foreground(
    heat: NDArray[Any], threshold: float, *, inside: NDArray[np.bool_] | None = None, joined: bool = True
) -> Foreground:
    """Return the voxels hotter than ``threshold``.

    Parameters
    ----------
    heat : (planes, rows, columns)
        Any real type. Voxels that are not a number are left out.
    threshold : float
        Voxels at the threshold itself are left out.
    inside : same shape, bool, optional
        Voxels where this is false are left out.
    joined : bool
        If false, only the list is made, and ``neighbours`` has no rows.

    Returns
    -------
    foreground : Foreground
        Empty if nothing is hotter.

    Notes
    -----
    ``heat`` is read twice, in parallel over its planes; nothing of its size is made. 116 bytes a voxel of the foreground.

    Examples
    --------
    >>> heat = np.zeros((1, 2, 3), np.float32)
    >>> heat[0, 0, 1] = heat[0, 1, 2] = 1.0
    >>> found = find_foreground(heat, 0.5)
    >>> found.voxels.tolist(), found.row_start.tolist()
    ([[0, 0, 1], [0, 1, 2]], [0, 1, 2])
    >>> found.neighbours.max(axis=1).tolist()
    [1, 0]
    """
    n_planes, n_rows, n_columns = heat.shape
    bounded = inside is not None
    mask = inside if inside is not None else np.ones((1, 1, 1), np.bool_)
    counts = np.empty(n_planes * n_rows, np.int64)
    limit = heat.dtype.type(threshold) if heat.dtype.kind == "f" else threshold
    run_parts(lambda begin, end: _count(begin, end, heat, mask, bounded, limit, counts), n_planes)
    row_start = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=row_start[1:])
    voxels = np.empty((int(row_start[-1]), 3), np.int32)
    run_parts(lambda begin, end: _fill(begin, end, heat, mask, bounded, limit, row_start, voxels), n_planes)
    if not joined:
        return Foreground((n_planes, n_rows, n_columns), voxels, row_start, np.empty((0, 26), np.int32))
    return from_list((n_planes, n_rows, n_columns), voxels, row_start)


def from_list(shape: tuple[int, int, int], voxels: Int32, row_start: Int64 | None = None) -> Foreground:
    """Return the foreground of voxels (n, 3) that are in raster order and inside of ``shape``."""
    if row_start is None:
        line = voxels[:, 0].astype(np.int64) * shape[1] + voxels[:, 1]
        row_start = np.searchsorted(line, np.arange(shape[0] * shape[1] + 1)).astype(np.int64)
    neighbours = np.empty((len(voxels), 26), np.int32)
    run_parts(lambda begin, end: _join_planes(begin, end, voxels, row_start, shape, neighbours), shape[0])
    return Foreground(shape, voxels, row_start, neighbours)


@njit(cache=True, nogil=True)
def _sample_list(begin, end, voxels, row_start, shape, values, points, result):  # type: ignore[no-untyped-def]
    for m in range(begin, end):
        z0, y0, x0 = math.floor(points[m, 0]), math.floor(points[m, 1]), math.floor(points[m, 2])
        total = 0.0
        for line in range(4):
            z, y = z0 + (line >> 1), y0 + (line & 1)
            share = (1.0 - abs(points[m, 0] - z)) * (1.0 - abs(points[m, 1] - y))
            if share > 0.0 and 0 <= z < shape[0] and 0 <= y < shape[1]:
                i, stop = first_at(row_start, voxels, shape[1], z, y, x0)
                while i < stop and voxels[i, 2] <= x0 + 1:
                    total += share * (1.0 - abs(points[m, 2] - voxels[i, 2])) * values[i]
                    i += 1
        result[m] = total


@njit(cache=True, nogil=True)
def _take(begin, end, heat, voxels, values):  # type: ignore[no-untyped-def]
    n_rows, n_columns = heat.shape[1:]
    for i in range(begin, end):
        if i + _AHEAD < end:
            z, y, x = voxels[i + _AHEAD]
            prefetch(heat, (np.int64(z) * n_rows + y) * n_columns + x)
        values[i] = heat[voxels[i, 0], voxels[i, 1], voxels[i, 2]]


def take_at(heat: NDArray[np.float32], voxels: Int32) -> NDArray[np.float32]:
    """Return the values of a volume at voxels (n, 3), (n,)."""
    values = np.empty(len(voxels), np.float32)
    run_parts(lambda begin, end: _take(begin, end, heat, voxels, values), len(voxels))
    return values


def sample_list(foreground: Foreground, values: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return trilinear values, (M,), at points (M, 3) of the box; ``values`` (n,) belong to the voxels, all others are 0."""
    result = np.empty(len(points))
    fixed = (foreground.voxels, foreground.row_start, foreground.shape, values, points, result)
    run_parts(lambda begin, end: _sample_list(begin, end, *fixed), len(points))
    return result
