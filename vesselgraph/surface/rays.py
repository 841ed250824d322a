"""The volume of a union of round cones, by rays: independent of the grid, the blend and the field."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from vesselgraph.graph import IntArray
from vesselgraph.space import FloatArray

_N_HITS = 2e6
_RAYS_PER_RADIUS = 16.0
_SEED = 20


class UnionVolume(NamedTuple):
    """A volume and its standard error, cubic mm."""

    value: float
    error: float


def cone_volume(length: float, start_radius: float, end_radius: float) -> float:
    """Return the volume of the hull of two spheres, cubic mm: two sphere caps and the frustum between their tangent circles.

    Examples
    --------
    >>> round(cone_volume(10.0, 1.0, 1.0), 4) == round(np.pi * 10 + 4 / 3 * np.pi, 4)
    True
    >>> round(cone_volume(0.5, 2.0, 1.0), 4) == round(4 / 3 * np.pi * 8, 4)
    True
    """
    if length <= abs(start_radius - end_radius):
        return float(4.0 / 3.0 * np.pi * max(start_radius, end_radius) ** 3)
    sine = (start_radius - end_radius) / length
    cosine2 = 1.0 - sine**2
    rings = (start_radius**2 + start_radius * end_radius + end_radius**2) * cosine2
    frustum = np.pi / 3.0 * length * cosine2 * rings
    caps = [
        np.pi / 3.0 * height**2 * (3.0 * radius - height)
        for radius, height in ((start_radius, start_radius * (1.0 + sine)), (end_radius, end_radius * (1.0 - sine)))
    ]
    return float(frustum + sum(caps))


def union_volume(cone: FloatArray) -> UnionVolume:
    """Return the volume of the union of round cones, (S, 10) as in :class:`~vesselgraph.surface.field.Field`.

    A single cone has a closed form. Else a square lattice of parallel rays, at a random shift, is sent along x, y and z.
    Each ray meets each cone in one interval with a closed form (a cone is convex), and the length of the union of these
    intervals times the lattice cell is summed. The mean of the three directions is the volume, their scatter its
    error: about 1 part in 10,000 for a tree of some metres.
    """
    if len(cone) == 0:
        return UnionVolume(0.0, 0.0)
    if len(cone) == 1:
        start, end = float(cone[0, 7]), float(cone[0, 7] - cone[0, 8] * cone[0, 6])
        return UnionVolume(cone_volume(float(cone[0, 6]), start, end), 0.0)
    rng = np.random.default_rng(_SEED)
    values = [_along_axis(cone, axis, rng.random(2)) for axis in range(3)]
    return UnionVolume(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(3.0)))


def _along_axis(cone: FloatArray, axis: int, shift: FloatArray) -> float:
    order = np.roll(np.arange(3), -axis - 1)
    turned = cone.copy()
    turned[:, :3], turned[:, 3:6] = cone[:, order], cone[:, 3 + order]
    end = turned[:, :3] + turned[:, 3:6] * turned[:, 6:7]
    end_radius = turned[:, 7] - turned[:, 8] * turned[:, 6]
    reach = np.maximum(turned[:, 7], end_radius)[:, None]
    low = (np.minimum(turned[:, :3], end) - reach)[:, :2]
    high = (np.maximum(turned[:, :3], end) + reach)[:, :2]
    finest = min(turned[:, 7].min(), end_radius.min()) / _RAYS_PER_RADIUS
    cell = max(finest, float(np.sqrt(np.prod(high - low, axis=1).sum() / _N_HITS)))
    origin = low.min(axis=0) - shift * cell
    width = int((high[:, 1].max() - origin[1]) / cell) + 2
    first = np.floor((low - origin) / cell).astype(np.int64)
    last = np.ceil((high - origin) / cell).astype(np.int64)
    turned[:, :2] -= origin
    room = int(np.prod(last - first + 1, axis=1).sum())
    ray, begin, stop = np.empty(room, np.int64), np.empty(room), np.empty(room)
    n = _hits(turned, first, last, cell, width, ray, begin, stop)
    by_ray = np.lexsort((begin[:n], ray[:n]))
    return _covered(ray[by_ray], begin[by_ray], stop[by_ray]) * cell**2


@njit(cache=True, nogil=True)
def _hits(
    cone: FloatArray,
    first: IntArray,
    last: IntArray,
    cell: float,
    width: int,
    ray: IntArray,
    begin: FloatArray,
    stop: FloatArray,
) -> int:
    n = 0
    for s in range(len(cone)):
        for i in range(first[s, 0], last[s, 0] + 1):
            for j in range(first[s, 1], last[s, 1] + 1):
                low, high = _interval(cone[s], i * cell, j * cell)
                if low < high:
                    ray[n], begin[n], stop[n] = i * width + j, low, high
                    n += 1
    return n


@njit(cache=True, nogil=True)
def _interval(cone: FloatArray, x: float, y: float) -> tuple[float, float]:
    """Return where the ray along the third axis through (x, y) enters and leaves a round cone; reversed if it misses."""
    px, py, pz = x - cone[0], y - cone[1], -cone[2]
    ux, uy, uz, length, radius, sine = cone[3], cone[4], cone[5], cone[6], cone[7], cone[8]
    low, high = np.inf, -np.inf
    for t in (0.0, length):
        r = radius - sine * t
        room = r * r - (px - t * ux) ** 2 - (py - t * uy) ** 2
        if room > 0.0:
            half, middle = np.sqrt(room), t * uz - pz
            low, high = min(low, middle - half), max(high, middle + half)
    # The side between the circles where the spheres touch it: its radius there is (radius - sine * along) / cosine.
    cosine = np.sqrt(1.0 - sine * sine)
    along = px * ux + py * uy + pz * uz
    k, m = (radius - sine * along) / cosine, sine * uz / cosine
    a = 1.0 - uz * uz - m * m
    b = pz - along * uz + k * m
    c = px * px + py * py + pz * pz - along * along - k * k
    room = b * b - a * c
    if abs(a) > 1e-12 and room > 0.0:
        root = np.sqrt(room)
        for z in ((-b - root) / a, (-b + root) / a):
            place = along + z * uz
            if radius * sine <= place <= length + (radius - sine * length) * sine:
                low, high = min(low, z), max(high, z)
    return low, high


@njit(cache=True, nogil=True)
def _covered(ray: IntArray, begin: FloatArray, stop: FloatArray) -> float:
    total, last, reach = 0.0, -1, 0.0
    for n in range(len(ray)):
        if ray[n] != last or begin[n] > reach:
            total += stop[n] - begin[n]
            last, reach = ray[n], stop[n]
        elif stop[n] > reach:
            total += stop[n] - reach
            reach = stop[n]
    return total
