"""Free ends of a skeleton: where vessels seem to stop, and where they were heading."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.skeleton import Chains

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# A tip's direction is that of its last voxels. A branch of at most so many voxels with one free end is a spur, or even a bump.
_N_DIRECTION, _N_SPUR, _N_BUMP = 8, 6, 3
# At a blunt end the middle of the skeleton within `_N_DIRECTION` steps lies at least so many voxels behind.
_LEAST_LEAN, _BLUNT_COSINE, _MOST_REACHED = 1.2, 0.0, 128


@njit(cache=True, nogil=True)
def _place(skeleton, row_start, voxels, shape, ids, skeleton_of):  # type: ignore[no-untyped-def]
    """Fill the foreground id of each skeleton voxel, and the other way round."""
    line, i = np.int64(-1), np.int64(0)
    for v in range(len(skeleton)):
        # Both lists are in raster order, so a line is walked once.
        if skeleton[v, 0] * shape[1] + skeleton[v, 1] != line:
            line = skeleton[v, 0] * shape[1] + skeleton[v, 1]
            i = row_start[line]
        while voxels[i, 2] < skeleton[v, 2]:
            i += 1
        ids[v] = i
        skeleton_of[i] = v


@njit(cache=True, nogil=True)
def _direction(voxels, offset, members, e, side, out):  # type: ignore[no-untyped-def]
    """Fill the unit direction in which branch ``e`` runs out of its first (side 0) or last voxel; return whether it has one."""
    first, stop = offset[e], offset[e + 1]
    back = min(_N_DIRECTION - 1, stop - first - 1)
    here = members[first] if side == 0 else members[stop - 1]
    there = members[first + back] if side == 0 else members[stop - 1 - back]
    norm = 0.0
    for k in range(3):
        out[k] = voxels[here, k] - voxels[there, k]
        norm += out[k] ** 2
    if norm > 0.0:
        out /= np.sqrt(norm)
    return norm > 0.0


@njit(cache=True, nogil=True)
def _lean(first_voxel, voxels, start, neighbour, reached, seen, turn, out):  # type: ignore[no-untyped-def]
    """Fill the mean offset from a skeleton voxel to the skeleton within some steps of it; return its length.

    Close to 0 in the middle of a vessel, where what lies before and behind balances; several voxels at its end. ``seen`` holds
    ``turn`` for the voxels of this call, lower numbers elsewhere.
    """
    reached[0] = first_voxel
    seen[first_voxel] = turn
    n, first = 1, 0
    for _ in range(_N_DIRECTION):
        last = n
        for i in range(first, last):
            for k in range(start[reached[i]], start[reached[i] + 1]):
                v = neighbour[k]
                if seen[v] < turn and n < _MOST_REACHED:
                    reached[n] = v
                    seen[v] = turn
                    n += 1
        first = last
    length = 0.0
    for k in range(3):
        out[k] = 0.0
        for i in range(n):
            out[k] += voxels[reached[i], k] - voxels[first_voxel, k]
        out[k] /= n
        length += out[k] ** 2
    return np.sqrt(length)


@njit(cache=True, nogil=True)
def _curve_ends(voxels, ends, offset, members, degree, start, neighbour, cosine, tips, branch, outward, cosines):  # type: ignore[no-untyped-def]
    """Fill the ends to search from: voxel, branch, unit direction, smallest cosine to it; return how many.

    A short spur is a corner of a blunt end if the skeleton around its base leans away from it. It then points where the end
    points, and what it meets may lie aside. Else it sticks out of a vessel's side and is no end, if it is very short.
    """
    own, main = np.empty(3), np.empty(3)
    reached, seen = np.empty(_MOST_REACHED, np.int64), np.zeros(len(voxels), np.int32)
    n = 0
    for e in range(len(ends)):
        for side in range(2):
            cosines[n] = cosine
            if degree[ends[e, side]] != 1 or not _direction(voxels, offset, members, e, side, own):
                continue
            tip, base = members[offset[e]], members[offset[e + 1] - 1]
            if side == 1:
                tip, base = base, tip
            if offset[e + 1] - offset[e] <= _N_SPUR and degree[ends[e, 1 - side]] > 1:
                lean = _lean(base, voxels, start, neighbour, reached, seen, 2 * e + side + 1, main)
                if lean >= _LEAST_LEAN:
                    own[:] = -main / lean
                    cosines[n] = min(cosine, _BLUNT_COSINE)
                elif offset[e + 1] - offset[e] <= _N_BUMP:
                    continue
            tips[n], branch[n], outward[n] = tip, e, own
            n += 1
    return n


def place_skeleton(foreground: Foreground, voxels: IntArray) -> tuple[IntArray, NDArray[np.int32]]:
    """Return the id of each skeleton voxel (S, 3) in the foreground, (S,), and the other way round, (n,): -1 where none is."""
    ids, skeleton_of = np.empty(len(voxels), np.int64), np.full(len(foreground), -1, np.int32)
    _place(voxels, foreground.row_start, foreground.voxels, foreground.shape, ids, skeleton_of)
    return ids, skeleton_of


def free_ends(voxels: IntArray, chains: Chains, max_turn_deg: float) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Return the ends of branches from which a vessel may go on.

    Parameters
    ----------
    voxels : (S, 3)
        Skeleton voxels in raster order.
    chains : Chains
        Their branches.
    max_turn_deg : float
        Largest angle to the direction of an end; at least a right angle at blunt ends.

    Returns
    -------
    tip, branch : (T,)
        Skeleton voxel and branch of each end.
    outward : (T, 3)
        Unit direction, in voxels.
    cosine : (T,)
        Cosine of the largest angle to it.
    """
    degree = np.bincount(chains.ends.ravel(), minlength=chains.n_nodes)
    n_ends = 2 * len(chains.ends)
    tips, branch = np.empty(n_ends, np.int64), np.empty(n_ends, np.int64)
    outward, cosines = np.empty((n_ends, 3)), np.empty(n_ends + 1)
    cosine = float(np.cos(np.deg2rad(max_turn_deg)))
    n = _curve_ends(
        voxels, chains.ends, chains.offset, chains.members, degree, *chains.joined, cosine, tips, branch, outward, cosines
    )  # fmt: skip
    return tips[:n], branch[:n], outward[:n], cosines[:n]
