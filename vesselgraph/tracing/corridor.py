"""The corridor of the skeleton: what paths of other generators have to leave before they are anything new."""

from __future__ import annotations

from collections.abc import Iterable

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
    for k in range(26):
        # Faces first: the nearest of several that it touches.
        for i in range(len(skeleton)):
            u = neighbours[skeleton[i], _NEAREST_FIRST[k]]
            if u >= 0 and nearest[u] < 0:
                nearest[u] = i


def corridor(foreground: Foreground, skeleton: IntArray) -> IntArray:
    """Return for each voxel of the foreground the place in ``skeleton`` (ids) of the voxel it is or touches, (n,); -1: none."""
    nearest = np.full(len(foreground), -1, np.int64)
    _fill(skeleton, foreground.neighbours, nearest)
    return nearest


def leave_corridor(
    lines: Iterable[IntArray], nearest: IntArray, skeleton: IntArray, foreground: Foreground
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return the parts of paths that leave the corridor for at least 3 voxels and come back to it elsewhere.

    Parameters
    ----------
    lines : arrays of ids
        Each a path of neighbouring voxels.
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
    found: dict[tuple[int, int, bytes], IntArray] = {}
    for line in lines:
        inside = np.flatnonzero(nearest[line] >= 0)
        for gap in np.flatnonzero(np.diff(inside) > _N_OUTSIDE):
            part = line[inside[gap] : inside[gap + 1] + 1]
            tip, foot = int(nearest[part[0]]), int(nearest[part[-1]])
            if tip > foot:
                tip, foot, part = foot, tip, part[::-1]
            if tip != foot:
                # The voxels in the corridor are left out: the skeleton's own stand for them.
                found.setdefault((tip, foot, part.tobytes()), part[1:-1])
    keys = sorted(found)
    paths = [np.concatenate([[skeleton[k[0]]], found[k], [skeleton[k[1]]]]) for k in keys]
    offset = np.concatenate([[0], np.cumsum([len(path) for path in paths])]).astype(np.int64)
    ids = np.concatenate(paths) if paths else np.zeros(0, np.int64)
    ends = np.array([k[:2] for k in keys], dtype=np.int64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1], offset, foreground.voxels[ids].astype(np.int64)
