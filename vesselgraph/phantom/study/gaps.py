"""Distances of points and segments, as small compiled functions."""

from __future__ import annotations

import numba

from vesselgraph.space import FloatArray


@numba.njit(cache=True, nogil=True, error_model="numpy")
def point_gap(p: FloatArray, starts: FloatArray, m: int, ends: FloatArray, n: int) -> float:
    """Return the squared distance of a point to the segment from row m of ``starts`` to row n of ``ends``.

    Rows are named by number: views of rows cost more than the distance.
    """
    u, v, w = ends[n, 0] - starts[m, 0], ends[n, 1] - starts[m, 1], ends[n, 2] - starts[m, 2]
    x, y, z = p[0] - starts[m, 0], p[1] - starts[m, 1], p[2] - starts[m, 2]
    t = min(max((x * u + y * v + z * w) / max(u * u + v * v + w * w, 1e-12), 0.0), 1.0)
    return (x - t * u) ** 2 + (y - t * v) ** 2 + (z - t * w) ** 2


@numba.njit(cache=True, nogil=True, error_model="numpy")
def segments_meet(p: FloatArray, q: FloatArray, a: FloatArray, b: FloatArray, reach: float) -> bool:
    """Return whether two segments come nearer than ``reach`` (closest points by clamping, Ericson 2005, section 5.1.9)."""
    for k in range(3):
        if max(p[k], q[k]) + reach < min(a[k], b[k]) or min(p[k], q[k]) - reach > max(a[k], b[k]):
            return False
    u0, u1, u2 = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    v0, v1, v2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    r0, r1, r2 = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    uu, vv = u0 * u0 + u1 * u1 + u2 * u2, v0 * v0 + v1 * v1 + v2 * v2
    uv, ur = u0 * v0 + u1 * v1 + u2 * v2, u0 * r0 + u1 * r1 + u2 * r2
    vr = v0 * r0 + v1 * r1 + v2 * r2
    det = uu * vv - uv * uv
    s = min(max((uv * vr - ur * vv) / det, 0.0), 1.0) if det > 1e-9 else 0.0
    t = (uv * s + vr) / max(vv, 1e-12)
    if t < 0.0:
        t, s = 0.0, min(max(-ur / max(uu, 1e-12), 0.0), 1.0)
    elif t > 1.0:
        t, s = 1.0, min(max((uv - ur) / max(uu, 1e-12), 0.0), 1.0)
    x, y, z = r0 + s * u0 - t * v0, r1 + s * u1 - t * v1, r2 + s * u2 - t * v2
    return x * x + y * y + z * z < reach * reach
