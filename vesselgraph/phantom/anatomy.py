"""The liver as a signed distance in millimetres, different for every seed.

Frame of the phantom: x left, y back, z up, millimetres from the middle of the field of view. All proportions follow half the
field of view, so that a smaller field holds a smaller liver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from vesselgraph.space import FloatArray


@numba.njit(cache=True)
def ellipsoid(x: float, y: float, z: float, shape: FloatArray) -> float:
    """Return about the signed distance to an ellipsoid, ``shape`` = (centre, axes) (2, 3): right on and near its surface."""
    one = 0.0
    two = 0.0
    for k in range(3):
        d = (x, y, z)[k] - shape[0, k]
        u = d / shape[1, k]
        one += u * u
        two += (u / shape[1, k]) ** 2
    if one < 1e-12:
        return -min(shape[1, 0], shape[1, 1], shape[1, 2])
    one = np.sqrt(one)
    return one * (one - 1.0) / np.sqrt(two)


@numba.njit(cache=True)
def smooth_union(a: float, b: float, width: float) -> float:
    """Return the smaller of two distances, rounded where they are within ``width`` mm of each other."""
    share = min(max(0.5 + 0.5 * (b - a) / width, 0.0), 1.0)
    return b * (1.0 - share) + a * share - width * share * (1.0 - share)


@numba.njit(cache=True)
def liver(
    x: float, y: float, z: float, lobes: FloatArray, hollows: FloatArray, waves: FloatArray, phases: FloatArray, size: float
) -> float:
    """Return about the signed distance of one point to the liver's surface; see :class:`Organ` for the arrays."""
    result = ellipsoid(x, y, z, lobes[0])
    for n in range(1, len(lobes)):
        result = smooth_union(result, ellipsoid(x, y, z, lobes[n]), 0.35 * size)
    for n in range(len(waves)):
        result += 0.02 * size * np.sin(x * waves[n, 0] + y * waves[n, 1] + z * waves[n, 2] + phases[n])
    for n in range(len(hollows)):
        result = -smooth_union(-result, ellipsoid(x, y, z, hollows[n]), 0.1 * size)
    return result


@numba.njit(cache=True)
def _liver_many(
    points: FloatArray, lobes: FloatArray, hollows: FloatArray, waves: FloatArray, phases: FloatArray, size: float
) -> FloatArray:
    result = np.empty(len(points))
    for n in range(len(points)):
        result[n] = liver(points[n, 0], points[n, 1], points[n, 2], lobes, hollows, waves, phases, size)
    return result


@dataclass(frozen=True, eq=False)
class Organ:
    """A liver.

    Parameters
    ----------
    half : (3,) mm
        Half the field of view along x, y, z.
    lobes : (n, 2, 3) mm
        Centre and axes of the ellipsoids that are blended, the right lobe first.
    hollows : (m, 2, 3) mm
        Centre and axes of the ellipsoids cut out: cava, kidney, hilum.
    waves, phases : (k, 3) 1/mm, (k,)
        Slow bumps of the surface.
    """

    half: FloatArray
    lobes: FloatArray
    hollows: FloatArray
    waves: FloatArray
    phases: FloatArray

    @property
    def size(self) -> float:
        """The smallest half field of view, mm: what widths and bumps are proportional to."""
        return float(self.half.min())

    def distance(self, points: FloatArray) -> FloatArray:
        """Return about the signed distance of (n, 3) points to the surface, (n,) mm, negative inside."""
        return _liver_many(
            np.ascontiguousarray(points), self.lobes, self.hollows, self.waves, self.phases, self.size
        )

    def place(self, *fractions: float) -> FloatArray:
        """Return the point at these fractions of the half field of view, (3,) mm."""
        return np.asarray(fractions) * self.half

    def inward(self, start: FloatArray, depth: float) -> FloatArray:
        """Return the first point on the way from ``start`` to the middle of the right lobe that is ``depth`` mm inside.

        The middle itself is returned where the liver is thinner than that.
        """
        way = start + np.linspace(0.0, 1.0, 401)[:, None] * (self.lobes[0, 0] - start)
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
    centres = np.array([[-0.26, 0.02, -0.04], [0.02, -0.18, 0.10], [0.44, -0.40, 0.18]]) + shift
    axes = np.array([[0.58, 0.72, 0.76], [0.62, 0.48, 0.52], [0.42, 0.30, 0.34]]) * jitter
    hollows = np.array(
        [
            [CAVA[0], 1.12 * CAVA[1]],
            [[-0.28, 0.84, -0.76], [0.30, 0.26, 0.46]],
            [[0.26, 0.28, -0.56], [0.26, 0.34, 0.36]],
        ]
    )
    return Organ(
        half,
        np.stack([centres, axes], axis=1) * half,
        hollows * half,
        rng.normal(0.0, 3.0, (4, 3)) / half,
        rng.uniform(0.0, 2.0 * np.pi, 4),
    )
