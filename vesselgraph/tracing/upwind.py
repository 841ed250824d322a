"""The time at which a front reaches a voxel, from the times of its neighbours: one small function for each scheme."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.tracing.topology import OFFSETS

# Place of the face neighbours in OFFSETS: before and after along planes, rows, columns.
FACES = np.array([[4, 21], [10, 15], [12, 13]], dtype=np.int64)


def _triangles() -> NDArray[np.int64]:
    """Return for each of the 26 directions the (face, edge, corner) triangles it belongs to, (26, 8, 3), padded with -1."""
    place = {tuple(offset): i for i, offset in enumerate(OFFSETS.tolist())}
    found: list[list[list[int]]] = [[] for _ in range(26)]
    for corner in (o for o in OFFSETS.tolist() if np.abs(o).sum() == 3):
        for out in range(3):
            edge = [0 if k == out else c for k, c in enumerate(corner)]
            for also in (k for k in range(3) if k != out):
                face = [0 if k == also else c for k, c in enumerate(edge)]
                triangle = [place[tuple(o)] for o in (face, edge, corner)]
                for member in triangle:
                    found[member].append(triangle)
    table = np.full((26, 8, 3), -1, np.int64)
    for i, triangles in enumerate(found):
        table[i, : len(triangles)] = triangles
    return table


_TRIANGLES = _triangles()
# Axis along which the face, the edge and the corner neighbour of each triangle lie one after the other.
_AXES = np.zeros((26, 8, 3), np.int64)
for _i, _k in np.argwhere(_TRIANGLES[..., 0] >= 0):
    _steps = np.abs(OFFSETS[_TRIANGLES[_i, _k]])
    _AXES[_i, _k] = [np.argmax(step) for step in (_steps[0], _steps[1] - _steps[0], _steps[2] - _steps[1])]
IS_FACE = np.abs(OFFSETS).sum(axis=1) == 1


@njit(cache=True, nogil=True)
def godunov(a, b, c, wa, wb, wc, slowness):  # type: ignore[no-untyped-def]
    """Return the first-order arrival time from the earlier neighbour of each axis (infinite: none); w = 1 / spacing^2.

    The largest root of wa (t - a)^2 + wb (t - b)^2 + wc (t - c)^2 = slowness^2 over the neighbours earlier than t.
    """
    if b < a:
        a, b, wa, wb = b, a, wb, wa
    if c < b:
        b, c, wb, wc = c, b, wc, wb
    if b < a:
        a, b, wa, wb = b, a, wb, wa
    t = a + slowness / np.sqrt(wa)
    if t <= b:
        return t
    # Times are taken relative to the earliest, which keeps their differences exact.
    u = b - a
    total, first, second = wa + wb, wb * u, wb * u * u - slowness * slowness
    t = a + (first + np.sqrt(max(first * first - total * second, 0.0))) / total
    if t <= c:
        return t
    v = c - a
    total, first, second = total + wc, first + wc * v, second + wc * v * v
    return a + (first + np.sqrt(max(first * first - total * second, 0.0))) / total


@njit(cache=True, nogil=True)
def over_leg(near, far, length, across, slowness):  # type: ignore[no-untyped-def]
    """Return the arrival time over the line from a neighbour at right angles to another, infinite if not through its inside.

    ``near`` is the time at the neighbour ``length`` away, ``far`` that of one ``across`` further sideways.
    """
    slope = (near - far) / across
    if not 0.0 <= slope < slowness:
        return np.inf
    onward = np.sqrt(slowness * slowness - slope * slope)
    return near + length * onward if onward * across >= slope * length else np.inf


@njit(cache=True, nogil=True)
def over_triangle(face, edge, corner, hi, hj, hk, slowness):  # type: ignore[no-untyped-def]
    """Return the earliest arrival over the triangle of a face (hi away), an edge (hj further) and a corner neighbour (hk more).

    The front is plane: its slopes along j and k are differences of the three times, the one along i follows from the slowness.
    """
    side, far_side = np.sqrt(hi * hi + hj * hj), np.sqrt(hj * hj + hk * hk)
    best = min(face + slowness * hi, edge + slowness * side, corner + slowness * np.sqrt(hi * hi + hj * hj + hk * hk))
    best = min(best, over_leg(face, edge, hi, hj, slowness), over_leg(face, corner, hi, far_side, slowness))
    best = min(best, over_leg(edge, corner, side, hk, slowness))
    gj, gk = (face - edge) / hj, (edge - corner) / hk
    rest = slowness * slowness - gj * gj - gk * gk
    if gj * hk >= gk * hj and gk >= 0.0 and rest > 0.0:
        gi = np.sqrt(rest)
        if gi * hj >= gj * hi:
            best = min(best, face + hi * gi)
    return best


@njit(cache=True, nogil=True)
def arrival(scheme, now, before, low, high, neighbours, slowness, v, back, spacing):  # type: ignore[no-untyped-def]
    """Return the time of voxel ``v`` given that its neighbour in direction ``back`` has just changed.

    Times of the block ``low:high`` are read from ``now``, all others from ``before``.
    """
    u = neighbours[v, back]
    if scheme == 2:
        length = 0.0
        for k in range(3):
            length += (OFFSETS[back, k] * spacing[k]) ** 2
        start = now[u] if low <= u < high else before[u]
        return start + np.sqrt(length) * 0.5 * (slowness[u] + slowness[v])
    if scheme == 0:
        a = b = c = np.inf
        for side in range(2):
            w = neighbours[v, FACES[0, side]]
            if w >= 0:
                a = min(a, now[w] if low <= w < high else before[w])
            w = neighbours[v, FACES[1, side]]
            if w >= 0:
                b = min(b, now[w] if low <= w < high else before[w])
            w = neighbours[v, FACES[2, side]]
            if w >= 0:
                c = min(c, now[w] if low <= w < high else before[w])
        return godunov(a, b, c, 1.0 / spacing[0] ** 2, 1.0 / spacing[1] ** 2, 1.0 / spacing[2] ** 2, slowness[v])
    best = np.inf
    for triangle in range(8):
        if _TRIANGLES[back, triangle, 0] < 0:
            break
        face = edge = corner = np.inf
        w = neighbours[v, _TRIANGLES[back, triangle, 0]]
        if w >= 0:
            face = now[w] if low <= w < high else before[w]
        w = neighbours[v, _TRIANGLES[back, triangle, 1]]
        if w >= 0:
            edge = now[w] if low <= w < high else before[w]
        w = neighbours[v, _TRIANGLES[back, triangle, 2]]
        if w >= 0:
            corner = now[w] if low <= w < high else before[w]
        i, j, k = _AXES[back, triangle, 0], _AXES[back, triangle, 1], _AXES[back, triangle, 2]
        best = min(best, over_triangle(face, edge, corner, spacing[i], spacing[j], spacing[k], slowness[v]))
    return best
