"""From tissue and vessels to Hounsfield units: partial volume, blur, texture, correlated noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.space import Space

Image = NDArray[np.float32]


def blur(image: Image, sigma: float, space: Space) -> Image:
    """Return the image after the scanner's point spread: Gaussian, ``sigma`` mm in plane and half of it across planes.

    Across planes the slice profile already averages over the slice thickness (partial volume).
    """
    widths = np.array([0.5 * sigma, sigma, sigma]) / space.spacing
    return np.asarray(ndimage.gaussian_filter(image, widths, mode="nearest", truncate=3.5))


def correlated_noise(shape: tuple[int, int, int], space: Space, std: float, rng: np.random.Generator) -> Image:
    """Return noise with the texture of a reconstruction kernel and standard deviation ``std``.

    White noise, band-passed in plane (filtered back-projection leaves little noise at the lowest frequencies), slightly
    smooth across planes.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    fine = ndimage.gaussian_filter(white, np.array([0.3, 0.6, 0.6]) / space.spacing, mode="wrap", truncate=3.5)
    coarse = ndimage.gaussian_filter(white, np.array([0.3, 1.8, 1.8]) / space.spacing, mode="wrap", truncate=3.0)
    noise = fine - 0.6 * coarse
    return np.asarray(noise * np.float32(std / max(float(noise.std()), 1e-6)), dtype=np.float32)


def texture(shape: tuple[int, int, int], space: Space, std: float, rng: np.random.Generator) -> Image:
    """Return a slow variation of tissue with a correlation length of about 4 mm and standard deviation ``std``."""
    slow = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 4.0 / space.spacing, mode="wrap", truncate=3.0)
    return np.asarray(slow * np.float32(std / max(float(slow.std()), 1e-9)), dtype=np.float32)
