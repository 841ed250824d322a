"""Depth: how far each foreground voxel is from the nearest voxel of the background, exactly, on the list alone.

Strategy. Squared distances grow axis by axis. Along its own line a voxel's nearest background is where its run of columns ends.
Then each voxel looks up and down its rows, and after that its planes, through the neighbour table, and takes the smallest of
its neighbours' squared distance plus the square of the step. It stops looking where the step alone is farther than the best, so
the work is the foreground times its depth.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.threads import run_parts
from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.topology import slot_of

_ROW_DOWN, _ROW_UP = slot_of(0, -1, 0), slot_of(0, 1, 0)
_PLANE_DOWN, _PLANE_UP = slot_of(-1, 0, 0), slot_of(1, 0, 0)


@njit(cache=True, nogil=True)
def along_columns(begin, end, voxels, row_start, n_columns, limit, squared):  # type: ignore[no-untyped-def]
    """Fill the squared distance to the nearest end of a voxel's run; an end at the border of the box is none."""
    for line in range(begin, end):
        i, stop = row_start[line], row_start[line + 1]
        while i < stop:
            j = i + 1
            while j < stop and voxels[j, 2] == voxels[j - 1, 2] + 1:
                j += 1
            first, last = voxels[i, 2], voxels[j - 1, 2]
            for k in range(i, j):
                best = limit
                if first > 0:
                    best = min(best, voxels[k, 2] - first + 1)
                if last < n_columns - 1:
                    best = min(best, last + 1 - voxels[k, 2])
                squared[k] = best * best
            i = j


@njit(cache=True, nogil=True)
def _best_towards(neighbours, before, i, slot, room, best):  # type: ignore[no-untyped-def]
    """Return the smaller of ``best`` and what lies within ``room`` steps of voxel ``i`` in one direction."""
    j = i
    step = 1
    while step * step < best:
        j = neighbours[j, slot]
        if j < 0:
            return step * step if step <= room else best
        best = min(best, step * step + before[j])
        step += 1
    return best


@njit(cache=True, nogil=True)
def _take_faces(begin, end, neighbours, faces):  # type: ignore[no-untyped-def]
    """Copy the neighbours that share a face along rows and planes: four of 26, which stay in the cache."""
    for i in range(begin, end):
        faces[i, 0], faces[i, 1] = neighbours[i, _ROW_DOWN], neighbours[i, _ROW_UP]
        faces[i, 2], faces[i, 3] = neighbours[i, _PLANE_DOWN], neighbours[i, _PLANE_UP]


@njit(cache=True, nogil=True)
def along_axis(begin, end, voxels, neighbours, axis, n_along, down, up, before, after):  # type: ignore[no-untyped-def]
    """Fill ``after`` with the squared distances that also look along ``axis``."""
    for i in range(begin, end):
        here = voxels[i, axis]
        best = _best_towards(neighbours, before, i, down, here, before[i])
        after[i] = _best_towards(neighbours, before, i, up, n_along - 1 - here, best)


def depth_of(foreground: Foreground, limit: int | None = None) -> NDArray[np.float32]:
    """Return the distance in voxels from each foreground voxel's centre to the nearest background voxel's, (n,).

    Parameters
    ----------
    foreground : Foreground
        Voxels outside of its box are no background: a vessel cut by the border of an image does not end there.
    limit : int, optional
        Larger depths are given as this. Time grows with the foreground times the depth, at most this.

    Returns
    -------
    depth : (n,) float32
        At least 1. Where there is no background at all, ``limit``, or the longest side of the box.

    Examples
    --------
    >>> from vesselgraph.tracing.foreground import find_foreground
    >>> tube = np.zeros((5, 5, 1), bool)
    >>> tube[1:4, 1:4] = True
    >>> depth_of(find_foreground(tube, 0)).tolist()
    [1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    """
    largest = max(foreground.shape) if limit is None else limit
    squared = np.empty(len(foreground), np.int32)
    other = np.empty(len(foreground), np.int32)
    planes, rows, columns = foreground.shape
    voxels, row_start, neighbours = foreground.voxels, foreground.row_start, foreground.neighbours
    faces = np.empty((len(voxels), 4), np.int32)
    run_parts(lambda a, b: _take_faces(a, b, neighbours, faces), len(voxels))
    run_parts(lambda a, b: along_columns(a, b, voxels, row_start, columns, largest, squared), planes * rows)
    run_parts(lambda a, b: along_axis(a, b, voxels, faces, 1, rows, 0, 1, squared, other), len(voxels))
    run_parts(lambda a, b: along_axis(a, b, voxels, faces, 0, planes, 2, 3, other, squared), len(voxels))
    return np.sqrt(squared, dtype=np.float32)
