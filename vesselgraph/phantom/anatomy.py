"""The liver as a signed distance in millimetres, different for every seed.

Frame of the phantom: x left, y back, z up, millimetres from the middle of the field of view. All proportions follow half the
field of view, so that a smaller field holds a smaller liver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from vesselgraph.space import FloatArray


@numba.njit(cache=True, nogil=True, error_model="numpy")
def ellipsoid(x: float, y: float, z: float, shapes: FloatArray, n: int) -> float:
    """Return about the signed distance to ellipsoid ``n`` of (k, 2, 3) centres and axes: right on and near its surface."""
    a, b, c = shapes[n, 1, 0], shapes[n, 1, 1], shapes[n, 1, 2]
    u, v, w = (x - shapes[n, 0, 0]) / a, (y - shapes[n, 0, 1]) / b, (z - shapes[n, 0, 2]) / c
    one = u * u + v * v + w * w
    if one < 1e-12:
        return -min(a, b, c)
    two = (u / a) ** 2 + (v / b) ** 2 + (w / c) ** 2
    return (one - np.sqrt(one)) / np.sqrt(two)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def smooth_union(a: float, b: float, width: float) -> float:
    """Return the smaller of two distances, rounded where they are within ``width`` mm of each other."""
    share = min(max(0.5 + 0.5 * (b - a) / width, 0.0), 1.0)
    return b * (1.0 - share) + a * share - width * share * (1.0 - share)


class LiverShape(NamedTuple):
    """What the kernels need to know of a liver.

    Parameters
    ----------
    lobes : (n, 2, 3) mm
        Centre and axes of the ellipsoids that are blended, the right lobe first.
    hollows : (m, 2, 3) mm
        Centre and axes of the ellipsoids cut out: cava, kidney, hilum.
    waves, phases : (k, 3) 1/mm, (k,)
        Slow bumps of the surface.
    size : float, mm
        The smallest half field of view: widths and bumps are proportional to it.
    """

    lobes: FloatArray
    hollows: FloatArray
    waves: FloatArray
    phases: FloatArray
    size: float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def liver(x: float, y: float, z: float, shape: LiverShape) -> float:
    """Return about the signed distance of one point to the liver's surface, negative inside."""
    result = ellipsoid(x, y, z, shape.lobes, 0)
    for n in range(1, len(shape.lobes)):
        result = smooth_union(result, ellipsoid(x, y, z, shape.lobes, n), 0.35 * shape.size)
    for n in range(len(shape.waves)):
        angle = x * shape.waves[n, 0] + y * shape.waves[n, 1] + z * shape.waves[n, 2] + shape.phases[n]
        result += 0.02 * shape.size * np.sin(angle)
    for n in range(len(shape.hollows)):
        result = -smooth_union(-result, ellipsoid(x, y, z, shape.hollows, n), 0.1 * shape.size)
    return result


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _liver_many(points: FloatArray, shape: LiverShape) -> FloatArray:
    result = np.empty(len(points))
    for n in range(len(points)):
        result[n] = liver(points[n, 0], points[n, 1], points[n, 2], shape)
    return result


@dataclass(frozen=True, eq=False)
class Organ:
    """A liver in a field of view of half-size ``half`` along x, y, z, (3,) mm."""

    half: FloatArray
    shape: LiverShape

    @property
    def size(self) -> float:
        """The smallest half field of view, mm."""
        return self.shape.size

    def distance(self, points: FloatArray) -> FloatArray:
        """Return about the signed distance of (n, 3) points to the surface, (n,) mm, negative inside."""
        return _liver_many(np.ascontiguousarray(points), self.shape)

    def place(self, *fractions: float) -> FloatArray:
        """Return the point at these fractions of the half field of view, (3,) mm."""
        return np.asarray(fractions) * self.half

    def inward(self, start: FloatArray, depth: float) -> FloatArray:
        """Return the first point on the way from ``start`` to the middle of the right lobe that is ``depth`` mm inside.

        The middle itself is returned where the liver is thinner than that.
        """
        way = start + np.linspace(0.0, 1.0, 401)[:, None] * (self.shape.lobes[0, 0] - start)
        deep = self.distance(way) <= -depth
        return np.asarray(way[int(deep.argmax())] if deep.any() else way[-1])


CAVA = np.array([[0.16, 0.62, 0.0], [0.14, 0.16, 8.0]])
"""Centre and axes of the cava in fractions of the half field of view: nearly a cylinder along z."""

HILUM = np.array([0.24, 0.24, -0.42])
"""Where the portal vein comes from, in the same fractions."""


def make_organ(half: FloatArray, rng: np.random.Generator) -> Organ:
    """Return a liver for a field of view of half-size ``half``; every draw looks different."""
    jitter = rng.uniform(0.94, 1.06, (3, 3))
    shift = rng.uniform(-0.03, 0.03, (3, 3))
    centres = np.array([[-0.23, 0.02, -0.02], [0.06, -0.20, 0.10], [0.48, -0.42, 0.14]]) + shift
    axes = np.array([[0.58, 0.74, 0.82], [0.66, 0.52, 0.60], [0.44, 0.34, 0.38]]) * jitter
    hollows = np.array(
        [
            [CAVA[0], 1.12 * CAVA[1]],
            [[-0.28, 0.84, -0.76], [0.30, 0.26, 0.46]],
            [[0.26, 0.28, -0.56], [0.26, 0.34, 0.36]],
        ]
    )
    shape = LiverShape(
        lobes=np.stack([centres, axes], axis=1) * half,
        hollows=hollows * half,
        waves=rng.normal(0.0, 3.0, (4, 3)) / half,
        phases=rng.uniform(0.0, 2.0 * np.pi, 4),
        size=float(half.min()),
    )
    return Organ(half, shape)
