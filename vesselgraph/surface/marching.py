"""Marching cubes over the blocks of a field: a closed two-manifold triangle surface, not yet decimated."""

from __future__ import annotations

import numpy as np
from numba import njit

from vesselgraph.graph import IntArray
from vesselgraph.progress import Progress
from vesselgraph.space import FloatArray
from vesselgraph.surface.cases import MIDDLE, N_SLOTS, Cases, marching_cases
from vesselgraph.surface.cones import BLOCK
from vesselgraph.surface.field import OUTSIDE, Field, evaluate
from vesselgraph.threads import run_parts

_CORNERS = BLOCK + 1
_NUDGE = 0.02


def march(field: Field, progress: Progress) -> tuple[FloatArray, IntArray]:
    """Return points (P, 3) mm near the zero level of the field, in its frame, and faces (F, 3) turned outward.

    Notes
    -----
    Only blocks near a cone's surface are sampled; the value of a shared grid point is the same in every block. Vertices
    are welded by the number of the grid edge they lie on, never by position, so that the result is closed and manifold
    whatever the values are.
    """
    cases = marching_cases()
    parts = run_parts(
        lambda start, stop: _march_blocks(field, cases, start, stop), len(field.key), 64, progress, "surface: sampling"
    )
    keys = np.concatenate([part[0] for part in parts]) if parts else np.zeros((0, 3), np.int64)
    place = np.concatenate([part[1] for part in parts]) if parts else np.zeros((0, 3))
    key, first, faces = np.unique(keys.ravel(), return_index=True, return_inverse=True)
    points = _positions(field, key, place.ravel()[first])
    faces = faces.reshape(-1, 3).astype(np.int64)
    _place_middles(points, faces, key % N_SLOTS > 2)
    return points, faces


def _positions(field: Field, key: IntArray, place: FloatArray) -> FloatArray:
    corner, slot = np.divmod(key, N_SLOTS)
    n = field.dims * BLOCK + 1
    points = np.stack(np.unravel_index(corner, tuple(n)), axis=1).astype(np.float64)
    on_edge = np.flatnonzero(slot < 3)
    points[on_edge, slot[on_edge]] += place[on_edge]
    return points * field.step


def _place_middles(points: FloatArray, faces: IntArray, middle: np.ndarray) -> None:
    """Put the middle vertex of a loop at the mean of its ring (it is the last corner of its faces, by the table)."""
    fans = faces[middle[faces[:, 2]]]
    total, count = np.zeros_like(points), np.zeros(len(points))
    np.add.at(total, fans[:, 2], points[fans[:, 0]])
    np.add.at(count, fans[:, 2], 1.0)
    points[middle] = total[middle] / count[middle, None]


@njit(cache=True, nogil=True)
def _sample_block(field: Field, block: int, values: FloatArray, near: FloatArray, near_cone: IntArray) -> bool:
    """Fill the (9, 9, 9) values of a block; eighths that cannot hold surface only get their sign. Return if any can."""
    step = field.step
    key = field.key[block]
    k0 = key % field.dims[2] * BLOCK
    j0 = key // field.dims[2] % field.dims[1] * BLOCK
    i0 = key // field.dims[2] // field.dims[1] * BLOCK
    half = BLOCK // 2
    # The field changes by little more than 1 mm a mm (blend width included), hence the 10 % of slack.
    safe = 1.1 * np.sqrt(3.0) * half / 2 * step
    middle = np.empty(8)
    for e in range(8):
        x = (i0 + half * (0.5 + (e & 1))) * step
        y = (j0 + half * (0.5 + ((e >> 1) & 1))) * step
        z = (k0 + half * (0.5 + (e >> 2))) * step
        middle[e] = evaluate(field, 8 * block + e, x, y, z, near, near_cone)[0]
    found = False
    for write_surface in (False, True):
        for e in range(8):
            if (abs(middle[e]) <= safe) != write_surface:
                continue
            a, b, c = half * (e & 1), half * ((e >> 1) & 1), half * (e >> 2)
            for i in range(a, a + half + 1):
                for j in range(b, b + half + 1):
                    for k in range(c, c + half + 1):
                        if write_surface:
                            found = True
                            values[i, j, k] = evaluate(
                                field, 8 * block + e, (i0 + i) * step, (j0 + j) * step, (k0 + k) * step, near, near_cone
                            )[0]
                        else:
                            values[i, j, k] = np.sign(middle[e]) * OUTSIDE
    return found


@njit(cache=True, nogil=True)
def _grown(array: np.ndarray) -> np.ndarray:
    larger = np.empty((2 * len(array), 3), array.dtype)
    larger[: len(array)] = array
    return larger


@njit(cache=True, nogil=True)
def _crossing(a: float, b: float) -> float:
    """Return where the zero lies between two values; never at an end, where triangles would shrink to nothing."""
    return min(max(a / (a - b), _NUDGE), 1.0 - _NUDGE)


@njit(cache=True, nogil=True)
def _march_blocks(field: Field, cases: Cases, start: int, stop: int) -> tuple[IntArray, FloatArray]:
    """Return for each triangle corner of some blocks its vertex number and its place along the grid edge."""
    keys, place = np.empty((256, 3), np.int64), np.empty((256, 3))
    values = np.empty((_CORNERS, _CORNERS, _CORNERS))
    near, near_cone = np.empty((field.n_near, 2)), np.empty(field.n_near, np.int64)
    ny, nz = field.dims[1] * BLOCK + 1, field.dims[2] * BLOCK + 1
    n = 0
    for block in range(start, stop):
        if not _sample_block(field, block, values, near, near_cone):
            continue
        key = field.key[block]
        k0 = key % field.dims[2] * BLOCK
        j0 = key // field.dims[2] % field.dims[1] * BLOCK
        i0 = key // field.dims[2] // field.dims[1] * BLOCK
        for i in range(BLOCK):
            for j in range(BLOCK):
                for k in range(BLOCK):
                    case = 0
                    for c in range(8):
                        if values[i + (c & 1), j + ((c >> 1) & 1), k + (c >> 2)] < 0.0:
                            case |= 1 << c
                    for t in range(cases.n_triangles[case]):
                        if n == len(keys):
                            keys, place = _grown(keys), _grown(place)
                        for v in range(3):
                            edge = cases.triangle[case, t, v]
                            if edge >= MIDDLE:
                                corner = ((i0 + i) * ny + j0 + j) * nz + k0 + k
                                keys[n, v] = corner * N_SLOTS + 3 + edge - MIDDLE
                                place[n, v] = 0.0
                                continue
                            low, axis = cases.edge_corner[edge], cases.edge_axis[edge]
                            x, y, z = i + (low & 1), j + ((low >> 1) & 1), k + (low >> 2)
                            corner = ((i0 + x) * ny + j0 + y) * nz + k0 + z
                            keys[n, v] = corner * N_SLOTS + axis
                            place[n, v] = _crossing(values[x, y, z], values[x + (axis == 0), y + (axis == 1), z + (axis == 2)])
                        n += 1
    return keys[:n].copy(), place[:n].copy()
