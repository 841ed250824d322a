"""From Hounsfield units to a scan: smooth displacement, point spread, slice profile, noise, streaks."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from vesselgraph.config import PhaseLook, StudyConfig
from vesselgraph.phantom.study.field import Field, distances, field_at, smooth_field
from vesselgraph.space import FloatArray, Space

Image = NDArray[np.float32]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _warp(image: Image, frame: FloatArray, inverse: FloatArray, shift: FloatArray, fields: tuple[Field, Field, Field]) -> Image:
    """Return the image looked up (trilinear) at positions moved by ``shift`` and the fields, all in world mm."""
    result = np.empty_like(image)
    planes, rows, columns = image.shape
    for i in range(planes):
        for j in range(rows):
            for k in range(columns):
                x = frame[0, 0] * i + frame[0, 1] * j + frame[0, 2] * k + frame[0, 3]
                y = frame[1, 0] * i + frame[1, 1] * j + frame[1, 2] * k + frame[1, 3]
                z = frame[2, 0] * i + frame[2, 1] * j + frame[2, 2] * k + frame[2, 3]
                dx = shift[0] + field_at(fields[0], x, y, z)
                dy = shift[1] + field_at(fields[1], x, y, z)
                dz = shift[2] + field_at(fields[2], x, y, z)
                u = min(max(i + inverse[0, 0] * dx + inverse[0, 1] * dy + inverse[0, 2] * dz, 0.0), planes - 1.001)
                v = min(max(j + inverse[1, 0] * dx + inverse[1, 1] * dy + inverse[1, 2] * dz, 0.0), rows - 1.001)
                w = min(max(k + inverse[2, 0] * dx + inverse[2, 1] * dy + inverse[2, 2] * dz, 0.0), columns - 1.001)
                a, b, c = int(u), int(v), int(w)
                p, q, r = u - a, v - b, w - c
                low = (image[a, b, c] * (1 - r) + image[a, b, c + 1] * r) * (1 - q) + (
                    image[a, b + 1, c] * (1 - r) + image[a, b + 1, c + 1] * r
                ) * q
                high = (image[a + 1, b, c] * (1 - r) + image[a + 1, b, c + 1] * r) * (1 - q) + (
                    image[a + 1, b + 1, c] * (1 - r) + image[a + 1, b + 1, c + 1] * r
                ) * q
                result[i, j, k] = low * (1 - p) + high * p
    return result


class Motion(NamedTuple):
    """Another breath: what lies at ``x + shift + fields(x)`` in the reference is seen at ``x``; world mm."""

    shift: FloatArray
    fields: tuple[Field, Field, Field]

    def seen_at(self, points: FloatArray) -> FloatArray:
        """Return where points (n, 3) of the reference are seen, to about a hundredth of a millimetre."""
        seen = points
        for _ in range(6):
            move = np.stack([distances(field, seen) for field in self.fields], axis=1)
            seen = points - self.shift - move
        return np.asarray(seen)


def make_motion(space: Space, shape: tuple[int, int, int], look: PhaseLook, rng: np.random.Generator) -> Motion:
    """Return a shift, mostly up or down, and a smooth deformation over a grid."""
    far = np.abs(space.direction) @ (np.array(shape) * space.spacing)
    middle = space.to_world((np.array(shape) - 1) / 2)
    box = np.stack([middle - 0.5 * far, middle + 0.5 * far])
    x, y, z = (smooth_field(box, 6.0, look.residue / np.sqrt(3.0), rng.uniform(40.0, 90.0), rng) for _ in range(3))
    way = rng.normal(0.0, 1.0, 3) * np.array([0.15, 0.25, 1.0])
    return Motion(look.shift * way / np.linalg.norm(way), (x, y, z))


def displace(image: Image, space: Space, motion: Motion) -> Image:
    """Return the image of the patient in another breath."""
    frame = np.column_stack([space.direction * space.spacing, space.origin])
    inverse = space.direction.T / space.spacing[:, None]
    return np.asarray(_warp(image, frame, inverse, motion.shift, motion.fields))


def point_spread(image: Image, config: StudyConfig, spacing: FloatArray) -> Image:
    """Return the image after the in-plane point spread of the kernel, edges enhanced by ``sharpness``."""
    sigma = config.blur / spacing[1:]
    result = ndimage.gaussian_filter(image, (0.0, *sigma), mode="nearest", truncate=3.0)
    if config.sharpness > 0.0:
        wider = ndimage.gaussian_filter(result, (0.0, *(0.9 / spacing[1:])), mode="nearest", truncate=3.0)
        result += config.sharpness * (result - wider)
    return np.asarray(result)


def slice_weights(config: StudyConfig, n_sub: int) -> NDArray[np.float32]:
    """Return the slice profile over sub-planes, (m,), m odd if ``n_sub`` is: a rounded box as wide as the slice."""
    step = config.spacing[0] / n_sub
    reach = int(np.ceil((0.75 * config.slice_thickness) / step))
    z = (np.arange(-reach, reach + 1)) * step
    half, edge = 0.5 * config.slice_thickness, 0.15 * config.slice_thickness + 0.1
    weights = 1.0 / (1.0 + np.exp((np.abs(z) - half) / (0.4 * edge)))
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def scan_noise(shape: tuple[int, int, int], config: StudyConfig, std: float, rng: np.random.Generator) -> Image:
    """Return noise of standard deviation ``std`` with the spectrum of filtered back-projection.

    In plane the power rises with the frequency and falls off with the kernel; across planes it is smoothed as far as slices
    overlap.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    spectrum = fft.rfft2(white, axes=(1, 2))
    fy = fft.fftfreq(shape[1], config.spacing[1])[:, None]
    fx = fft.rfftfreq(shape[2], config.spacing[2])[None, :]
    # A body that is wider than deep gives noise that is longer from side to side.
    f = np.sqrt((fy / config.noise_aspect) ** 2 + (fx * config.noise_aspect) ** 2)
    falling = np.exp(-((np.pi * f * max(config.noise_length, 0.05)) ** 2))
    spectrum *= np.asarray((f + 0.05) ** (0.5 * config.noise_ramp) * falling, dtype=np.float32)
    noise = fft.irfft2(spectrum, s=shape[1:], axes=(1, 2))
    overlap = config.slice_thickness / config.spacing[0]
    noise = ndimage.gaussian_filter1d(noise, 0.36 * overlap, axis=0, mode="wrap", truncate=3.0)
    noise *= np.float32(std / max(float(noise.std()), 1e-6))
    level = 1.0 + tissue_texture(shape, np.array(config.spacing), 0.12, 30.0, rng)
    return np.asarray(noise * np.maximum(level, 0.5), dtype=np.float32)


def streaks(shape: tuple[int, int, int], config: StudyConfig, rng: np.random.Generator) -> Image:
    """Return fine streaks from side to side, as arms and shoulders cast them, with standard deviation ``config.streaks``."""
    spacing = np.array(config.spacing)
    overlap = config.slice_thickness / config.spacing[0]
    white = rng.standard_normal(shape, dtype=np.float32)
    made = ndimage.gaussian_filter(white, (0.36 * overlap, 0.7 / spacing[1], 14.0 / spacing[2]), mode="wrap", truncate=2.5)
    # They come and go across the body.
    made *= np.maximum(1.0 + tissue_texture(shape, spacing, 0.6, 25.0, rng), 0.0)
    return np.asarray(made * np.float32(config.streaks / max(float(made.std()), 1e-6)), dtype=np.float32)


def tissue_texture(
    shape: tuple[int, int, int], spacing: FloatArray, std: float, length: float, rng: np.random.Generator
) -> Image:
    """Return a smooth random variation of tissue with this correlation length, mm."""
    coarse = np.maximum(spacing, 0.8 * length)
    small = tuple(int(np.ceil(n * s / c)) + 3 for n, s, c in zip(shape, spacing, coarse, strict=True))
    values = ndimage.gaussian_filter(rng.standard_normal(small, dtype=np.float32), length / coarse, mode="wrap", truncate=3.0)
    values *= np.float32(std / max(float(values.std()), 1e-9))
    field = Field(values, np.zeros(3), 1.0)
    return np.asarray(_stretch(field, shape, spacing / coarse))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _stretch(field: Field, shape: tuple[int, int, int], share: FloatArray) -> Image:
    result = np.empty(shape, np.float32)
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                result[i, j, k] = field_at(field, k * share[2] + 0.3, j * share[1] + 0.3, i * share[0] + 0.3)
    return result
