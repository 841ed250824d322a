"""The corridor of the skeleton: what paths of other generators have to leave before they are anything new."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.topology import OFFSETS

IntArray = NDArray[np.int64]

# A path leaves the corridor for at least so many voxels.
_N_OUTSIDE = 3
_NEAREST_FIRST = np.argsort(np.abs(OFFSETS).sum(axis=1), kind="stable")


@njit(cache=True, nogil=True)
def _fill(skeleton, neighbours, nearest):  # type: ignore[no-untyped-def]
    for i in range(len(skeleton)):
        nearest[skeleton[i]] = i
    # Faces first, then edges, then corners: the nearest of several that it touches.
    for first, last in ((0, 6), (6, 18), (18, 26)):
        for i in range(len(skeleton)):
            for k in range(first, last):
                u = neighbours[skeleton[i], _NEAREST_FIRST[k]]
                if u >= 0 and nearest[u] < 0:
                    nearest[u] = i


def corridor(foreground: Foreground, skeleton: IntArray) -> NDArray[np.int32]:
    """Return for each voxel of the foreground the place in ``skeleton`` (ids) of the voxel it is or touches, (n,); -1: none."""
    nearest = np.full(len(foreground), -1, np.int32)
    _fill(skeleton, foreground.neighbours, nearest)
    return nearest


@njit(cache=True, nogil=True)
def _find_parts(offset, line, nearest, part, name):  # type: ignore[no-untyped-def]
    """Fill first and last place (last < first: turned), tip, foot and a number made of the voxels of each part; how many."""
    n = 0
    for i in range(offset.size - 1):
        before = -1
        for j in range(offset[i], offset[i + 1]):
            if nearest[line[j]] < 0:
                continue
            if before >= 0 and j - before > _N_OUTSIDE:
                tip, foot = nearest[line[before]], nearest[line[j]]
                if tip != foot:
                    first, last = (before, j) if tip < foot else (j, before)
                    part[n] = first, last
                    name[n, 0], name[n, 1] = min(tip, foot), max(tip, foot)
                    number, step = np.int64(0), 1 if last > first else -1
                    for k in range(first, last + step, step):
                        number = number * np.int64(1000003) + line[k]
                    name[n, 2] = number
                    n += 1
            before = j
    return n


@njit(cache=True, nogil=True)
def _is_new(part, name, line):  # type: ignore[no-untyped-def]
    """Return which parts differ from the one before them, (B,)."""
    new = np.ones(len(part), np.bool_)
    for i in range(1, len(part)):
        a, b = part[i - 1], part[i]
        length = abs(b[1] - b[0])
        if (name[i] != name[i - 1]).any() or abs(a[1] - a[0]) != length:
            continue
        same = True
        for k in range(length + 1):
            same &= line[a[0] + (k if a[1] > a[0] else -k)] == line[b[0] + (k if b[1] > b[0] else -k)]
        new[i] = not same
    return new


@njit(cache=True, nogil=True)
def _draw(part, name, line, skeleton, voxels, offset, path):  # type: ignore[no-untyped-def]
    for i in range(len(part)):
        first, last = part[i]
        step = 1 if last > first else -1
        n = offset[i + 1] - offset[i]
        for k in range(n):
            # The voxels in the corridor are left out: the skeleton's own stand for them.
            v = skeleton[name[i, 0]] if k == 0 else skeleton[name[i, 1]] if k == n - 1 else line[first + step * k]
            for axis in range(3):
                path[offset[i] + k, axis] = voxels[v, axis]


def leave_corridor(
    offset: IntArray, line: IntArray, nearest: NDArray[np.int32], skeleton: IntArray, foreground: Foreground
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return the parts of paths that leave the corridor for at least 3 voxels and come back to it elsewhere.

    Parameters
    ----------
    offset, line : (L + 1,), (K,)
        Ids of the voxels of each path, neighbour by neighbour.
    nearest : (n,)
        From :func:`corridor`.
    skeleton : (S,)
        Ids of its voxels.
    foreground : Foreground
        n voxels.

    Returns
    -------
    tip, foot : (B,)
        Places in ``skeleton``, tip < foot, sorted; each part once.
    offset, path : (B + 1,), (K, 3)
        Voxels from tip to foot.
    """
    room = len(line) // _N_OUTSIDE + 1
    part, name = np.empty((room, 2), np.int64), np.empty((room, 3), np.int64)
    n = _find_parts(offset, line, nearest, part, name)
    order = np.lexsort(name[:n].T[::-1])
    part, name = part[order], name[order]
    new = _is_new(part, name, line)
    part, name = part[new], name[new]
    ends = np.concatenate([[0], np.cumsum(np.abs(part[:, 1] - part[:, 0]) + 1)]).astype(np.int64)
    path = np.empty((ends[-1], 3), np.int64)
    _draw(part, name, line, skeleton, foreground.voxels, ends, path)
    return name[:, 0], name[:, 1], ends, path
