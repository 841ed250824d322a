"""Smooth functions of space, sampled on coarse grids: signed distances, displacements, textures."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.space import FloatArray


class Field(NamedTuple):
    """A signed distance (mm, negative inside) sampled on a regular grid of axes z, y, x.

    Parameters
    ----------
    values : (planes, rows, columns) float32
    origin : (3,) mm
        World x, y, z of the first sample.
    step : float, mm
    """

    values: NDArray[np.float32]
    origin: FloatArray
    step: float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def field_at(field: Field, x: float, y: float, z: float) -> float:
    """Return the trilinear value at a world position; outside of the grid that of its border."""
    nz, ny, nx = field.values.shape
    u = min(max((x - field.origin[0]) / field.step, 0.0), nx - 1.001)
    v = min(max((y - field.origin[1]) / field.step, 0.0), ny - 1.001)
    w = min(max((z - field.origin[2]) / field.step, 0.0), nz - 1.001)
    i, j, k = int(w), int(v), int(u)
    c, b, a = w - i, v - j, u - k
    f = field.values
    low = (f[i, j, k] * (1 - a) + f[i, j, k + 1] * a) * (1 - b) + (f[i, j + 1, k] * (1 - a) + f[i, j + 1, k + 1] * a) * b
    i += 1
    high = (f[i, j, k] * (1 - a) + f[i, j, k + 1] * a) * (1 - b) + (f[i, j + 1, k] * (1 - a) + f[i, j + 1, k + 1] * a) * b
    return low * (1 - c) + high * c


@numba.njit(cache=True, nogil=True)
def _many(field: Field, points: FloatArray) -> FloatArray:
    result = np.empty(len(points))
    for n in range(len(points)):
        result[n] = field_at(field, points[n, 0], points[n, 1], points[n, 2])
    return result


def distances(field: Field, points: FloatArray) -> FloatArray:
    """Return the field at (n, 3) world points, (n,)."""
    return _many(field, np.ascontiguousarray(points, dtype=np.float64))


def smooth_field(box: FloatArray, step: float, amplitude: float, wavelength: float, rng: np.random.Generator) -> Field:
    """Return a sum of waves of about this length with standard deviation ``amplitude``, sampled over a (2, 3) mm box."""
    count = np.ceil((box[1] - box[0]) / step).astype(int) + 2
    z, y, x = (box[0][k] + step * np.arange(count[k]) for k in (2, 1, 0))
    values = np.zeros((count[2], count[1], count[0]), np.float32)
    for wave in rng.normal(0.0, 2.0 * np.pi / wavelength / np.sqrt(3.0), (8, 3)):
        phase = rng.uniform(0.0, 2.0 * np.pi)
        angle = wave[2] * z[:, None, None] + wave[1] * y[None, :, None] + (wave[0] * x + phase)[None, None, :]
        values += np.sin(angle).astype(np.float32)
    return Field((0.5 * amplitude * values).astype(np.float32), box[0].astype(np.float64), step)
