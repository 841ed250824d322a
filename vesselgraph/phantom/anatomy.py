"""The liver and what lies around it, as signed distances in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesselgraph.space import FloatArray


def ellipsoid_distance(points: FloatArray, centre: FloatArray, axes: FloatArray) -> FloatArray:
    """Return about the signed distance (exact on the surface and to first order beside it) of (n, 3) points, (n,) mm."""
    scaled = (points - centre) / axes
    one = np.sqrt((scaled**2).sum(axis=-1))
    two = np.sqrt(((scaled / axes) ** 2).sum(axis=-1))
    # At the very centre both norms vanish; the distance there is the shortest axis.
    return np.where(one > 1e-6, one * (one - 1.0) / np.maximum(two, 1e-12), -axes.min())


def smooth_union(a: FloatArray, b: FloatArray, width: float) -> FloatArray:
    """Return the smaller of two distances, rounded where they are within ``width`` mm of each other."""
    share = np.clip(0.5 + 0.5 * (b - a) / width, 0.0, 1.0)
    return b * (1.0 - share) + a * share - width * share * (1.0 - share)


@dataclass(frozen=True, eq=False)
class Organ:
    """A liver in the frame of the phantom: x left, y back, z up, millimetres from the centre of the field of view.

    Parameters
    ----------
    half : (3,) mm
        Half the field of view along x, y, z; all proportions follow it.
    lobes : (n, 2, 3) mm
        Centre and axes of the ellipsoids that are blended, the right lobe first.
    hollows : (m, 2, 3) mm
        Centre and axes of the ellipsoids cut out: cava, kidney, hilum.
    waves : (k, 3) and phases (k,)
        Wave vectors (1/mm) and phases of the slow bumps of the surface.
    """

    half: FloatArray
    lobes: FloatArray
    hollows: FloatArray
    waves: FloatArray
    phases: FloatArray

    def distance(self, points: FloatArray) -> FloatArray:
        """Return about the signed distance of (n, 3) points to the surface, (n,) mm, negative inside."""
        width = 0.35 * float(self.half.min())
        result = ellipsoid_distance(points, *self.lobes[0])
        for centre, axes in self.lobes[1:]:
            result = smooth_union(result, ellipsoid_distance(points, centre, axes), width)
        bump = 0.02 * float(self.half.min())
        for wave, phase in zip(self.waves, self.phases, strict=True):
            result = result + bump * np.sin(points @ wave + phase)
        for centre, axes in self.hollows:
            result = -smooth_union(-result, ellipsoid_distance(points, centre, axes), 0.3 * width)
        return result

    def place(self, *fractions: float) -> FloatArray:
        """Return the point at these fractions of the half field of view, (3,) mm."""
        return np.asarray(fractions) * self.half

    def inward(self, point: FloatArray, depth: float) -> FloatArray:
        """Return the first point on the way from ``point`` to the middle of the right lobe that is ``depth`` mm inside.

        The middle itself is returned where the liver is thinner than that.
        """
        way = point + np.linspace(0.0, 1.0, 201)[:, None] * (self.lobes[0, 0] - point)
        deep = self.distance(way) <= -depth
        return np.asarray(way[int(deep.argmax())] if deep.any() else way[-1])


def make_organ(half: FloatArray, rng: np.random.Generator) -> Organ:
    """Return a liver that fills most of a field of view of half-size ``half``; every draw looks different."""
    jitter = rng.uniform(0.92, 1.06, (3, 3))
    shift = rng.uniform(-0.04, 0.04, (3, 3))
    centres = np.array([[-0.24, 0.00, -0.02], [0.02, -0.20, 0.12], [0.42, -0.38, 0.20]]) + shift
    axes = np.array([[0.60, 0.68, 0.74], [0.60, 0.44, 0.50], [0.40, 0.30, 0.34]]) * jitter
    hollow_centres = np.array([[0.16, 0.60, 0.30], [-0.30, 0.80, -0.72], [0.26, 0.26, -0.52]])
    hollow_axes = np.array([[0.18, 0.20, 1.60], [0.30, 0.26, 0.46], [0.28, 0.34, 0.36]])
    waves = rng.normal(0.0, 3.0, (4, 3)) / half
    return Organ(
        half,
        np.stack([centres, axes], axis=1) * half,
        np.stack([hollow_centres, hollow_axes], axis=1) * half,
        waves,
        rng.uniform(0.0, 2.0 * np.pi, 4),
    )
