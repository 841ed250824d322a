"""A body of ellipsoids with the organs that a liver is told from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.space import Space
from vesselgraph.volume import Volume

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Body:
    image: Volume
    liver: Volume


def _ellipsoid(world: NDArray[np.float64], center: tuple[float, ...], radii: tuple[float, ...]) -> Bool:
    return ((((world - np.array(center)) / np.array(radii)) ** 2).sum(axis=-1) <= 1.0).astype(bool)


def _tube(world: NDArray[np.float64], start: tuple[float, ...], end: tuple[float, ...], radius: float) -> Bool:
    a, along = np.array(start), np.array(end) - np.array(start)
    offset = world - a
    share = np.clip((offset @ along) / (along @ along), 0.0, 1.0)
    offset -= share[..., None] * along
    return np.einsum("...i,...i->...", offset, offset) <= radius**2


@cache
def _build(
    liver_hu: float = 105.0,
    vessel_hu: float = 155.0,
    side: float = 1.0,
    z_range: tuple[float, float] = (-150.0, 130.0),
    spacing: tuple[float, float, float] = (5.0, 4.0, 4.0),
    noise: float = 12.0,
) -> Body:
    """Trunk with the liver at x < 0 (``side=-1`` mirrors it); lungs above z = 60; the patient's left is +x."""
    shape = tuple(round(extent / s) for extent, s in zip((z_range[1] - z_range[0], 270.0, 378.0), spacing, strict=True))
    space = Space.axial(spacing, (-189.0 + spacing[2] / 2, -135.0 + spacing[1] / 2, z_range[0] + spacing[0] / 2))
    world = space.to_world(np.stack(np.indices(shape), axis=-1))
    world = world * np.array([side, 1.0, 1.0])
    x, y, z = np.moveaxis(world, -1, 0)
    hu = np.full(shape, -1000.0)
    hu[(x / 170.0) ** 2 + (y / 115.0) ** 2 <= 1.0] = -100.0
    hu[(x / 155.0) ** 2 + (y / 100.0) ** 2 <= 1.0] = 55.0
    hu[(x / 142.0) ** 2 + (y / 88.0) ** 2 <= 1.0] = -90.0
    for sign in (-1.0, 1.0):
        lung = _ellipsoid(world, (70.0 * sign, 0.0, 150.0), (62.0, 80.0, 105.0))
        hu[lung] = -850.0
        hu[_ellipsoid(world, (60.0 * sign, 45.0, -90.0), (28.0, 28.0, 55.0))] = 175.0
    hu[_ellipsoid(world, (20.0, -15.0, 110.0), (50.0, 45.0, 50.0))] = 150.0
    hu[_ellipsoid(world, (100.0, 40.0, 10.0), (32.0, 38.0, 50.0))] = 120.0
    hu[_ellipsoid(world, (75.0, -40.0, -15.0), (35.0, 35.0, 45.0))] = 15.0
    liver = _ellipsoid(world, (-65.0, -5.0, -5.0), (72.0, 75.0, 80.0)) | _ellipsoid(
        world, (5.0, -45.0, 15.0), (75.0, 32.0, 38.0)
    )
    hu[liver] = liver_hu
    ends = ((-110, 0, 20), (-100, 30, -40), (-60, -50, 40), (-40, 20, 45), (30, -45, 20), (-80, -30, -60), (-120, -20, -20))
    for end in ends:
        hu[_tube(world, (-35.0, 0.0, 0.0), end, 5.5)] = vessel_hu
    hu[_tube(world, (0.0, 62.0, -400.0), (0.0, 62.0, 400.0), 20.0)] = 260.0
    hu[(np.abs(np.hypot(x / 148.0, y / 94.0) - 1.0) < 0.035) & (np.mod(z, 28.0) < 9.0)] = 420.0
    hu[(y > 118.0) & (y < 130.0)] = -850.0
    rng = np.random.default_rng(7)
    hu = ndimage.gaussian_filter(hu, 0.4) + rng.normal(0.0, noise, shape)
    return Body(Volume(hu.round().astype(np.int16), space, "body"), Volume(liver, space, "liver"))


@pytest.fixture(scope="session")
def make_body() -> Callable[..., Body]:
    return _build


@pytest.fixture(scope="session")
def body() -> Body:
    return _build()


@pytest.fixture(scope="session")
def dice() -> Callable[[NDArray[np.generic], NDArray[np.generic]], float]:
    def measure(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
        first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
        return float(2.0 * (first & second).sum() / max(1, first.sum() + second.sum()))

    return measure
