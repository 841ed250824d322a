"""Everything but the vessels: the liver with its lesions, and the abdomen around it, in Hounsfield units.

The structures are painted one over the other, each as a share of the voxel that falls off linearly over one voxel at its
surface (partial volume).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.phantom.anatomy import CAVA, HILUM, LiverShape, Organ, ellipsoid, liver
from vesselgraph.space import FloatArray, Space

Image = NDArray[np.float32]

AIR, FAT, MUSCLE, LUNG = -1000.0, -100.0, 55.0, -850.0
_RIB_PERIOD = 26.0
_SLAB = 8


class Ellipsoids(NamedTuple):
    """Centre and axes (n, 2, 3) mm, and HU (n,), in painting order."""

    shapes: FloatArray
    values: FloatArray


def surroundings(half: FloatArray, portal: float, hepatic: float, rng: np.random.Generator) -> Ellipsoids:
    """Return, in painting order, organs, bones and great vessels near the liver.

    Parameters
    ----------
    portal, hepatic : float, HU
        Blood in the portal vein and in the cava.
    """
    parts: list[tuple[list[float], list[float], float]] = [
        ([0.34, 1.00, 0.0], [0.62, 0.30, 9.0], 60.0),  # back muscle
        ([0.38, 0.94, 0.0], [0.25, 0.21, 9.0], 420.0),  # vertebra, cortical bone
        ([0.38, 0.94, 0.0], [0.22, 0.18, 9.0], 190.0),  # vertebra, marrow
        ([0.38, 1.22, 0.0], [0.10, 0.09, 9.0], 30.0),  # spinal canal
        ([0.52, 0.66, 0.0], [0.11, 0.11, 9.0], 170.0),  # aorta
        ([-0.28, 0.84, -0.76], [0.25, 0.21, 0.40], 195.0),  # right kidney, cortex
        ([-0.26, 0.84, -0.76], [0.15, 0.12, 0.28], 140.0),  # and medulla
        ([0.86, -0.20, 0.30], [0.30, 0.42, 0.50], 35.0),  # stomach
        ([0.88, -0.46, 0.36], [0.16, 0.14, 0.30], -650.0),  # gas in it
        ([0.62, 0.24, -0.30], [0.34, 0.13, 0.14], 95.0),  # pancreas
        ([0.10, -0.12, -0.72], [0.16, 0.22, 0.22], 12.0),  # gall bladder
        ([*CAVA[0]], [*CAVA[1]], hepatic),
    ]
    for _ in range(7):
        centre = [rng.uniform(-0.1, 0.95), rng.uniform(-0.75, 0.3), rng.uniform(-1.05, -0.7)]
        axes = rng.uniform(0.10, 0.2, 3)
        wall, lumen = float(rng.uniform(60.0, 95.0)), float(rng.choice([-300.0, 20.0, 40.0]))
        parts += [(centre, [*axes], wall), (centre, [*(0.75 * axes)], lumen)]
    shapes = np.array([[centre, axes] for centre, axes, _ in parts]) * half
    values = np.array([value for *_, value in parts])
    trunk = np.array([[HILUM + share * np.array([0.22, 0.1, -0.45]), [0.085] * 3] for share in np.linspace(0.0, 1.0, 9)])
    return Ellipsoids(np.concatenate([shapes, trunk * half]), np.concatenate([values, np.full(9, portal)]))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _share(distance: float, voxel: float) -> float:
    """Return how much of a voxel lies inside a surface at this signed distance of its centre."""
    return min(max(0.5 - distance / voxel, 0.0), 1.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cylinder(x: float, y: float, half: FloatArray) -> float:
    """Return about the signed distance to the skin: an elliptic cylinder that leaves the field of view on the left."""
    u, v = (x / half[0] - 0.42) / 1.40, (y / half[1] - 0.17) / 1.14
    one = np.sqrt(u * u + v * v) + 1e-9
    two = np.sqrt((u / (1.40 * half[0])) ** 2 + (v / (1.14 * half[1])) ** 2) + 1e-12
    return one * (one - 1.0) / two


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _body(x: float, y: float, z: float, half: FloatArray, voxel: float) -> float:
    """Return the HU of skin, fat, wall, ribs, belly fat and lung at one point."""
    size = min(half[0], half[1], half[2])
    skin = _cylinder(x, y, half)
    fat, wall = 0.05 * size, 0.085 * size
    value = AIR + _share(skin, voxel) * (FAT - AIR)
    value += _share(skin + fat, voxel) * (MUSCLE - value)
    inner = skin + fat + wall
    value += _share(inner, voxel) * (FAT - value)
    # The diaphragm: a dome; what lies above it inside the chest is lung.
    u, v, w = (x / half[0] - 0.05) / 1.0, (y / half[1] - 0.05) / 0.98, (z / half[2] + 0.5) / 1.38
    dome = (np.sqrt(u * u + v * v + w * w) - 1.0) * size
    if z > -0.5 * half[2]:
        value += _share(max(inner, -dome), voxel) * (LUNG - value)
    # Ribs slope down to the front and sit in the wall.
    phase = (z + 0.45 * y) / _RIB_PERIOD
    off = (phase - np.floor(phase + 0.5)) * _RIB_PERIOD
    rib = np.sqrt(((skin + fat + 0.5 * wall) / 3.4) ** 2 + (off / 5.5) ** 2)
    value += _share((rib - 1.0) * 3.4, voxel) * (450.0 - value)
    value += _share((rib - 0.62) * 3.4, voxel) * (180.0 - value)
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _paint_over(value: float, x: float, y: float, z: float, parts: Ellipsoids, voxel: float) -> float:
    """Return the HU of a point after all ellipsoids that reach it."""
    for n in range(len(parts.values)):
        # Most ellipsoids are far away: their boxes tell at once.
        if (
            abs(x - parts.shapes[n, 0, 0]) < parts.shapes[n, 1, 0] + voxel
            and abs(y - parts.shapes[n, 0, 1]) < parts.shapes[n, 1, 1] + voxel
            and abs(z - parts.shapes[n, 0, 2]) < parts.shapes[n, 1, 2] + voxel
        ):
            value += _share(ellipsoid(x, y, z, parts.shapes, n), voxel) * (parts.values[n] - value)
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _outside(
    x: float, y: float, z: float, inside: float, half: FloatArray, around: Ellipsoids, tissue: float, voxel: float
) -> float:
    """Return the HU of a point outside or at the surface of the liver; ``inside`` is its distance to it."""
    value = _paint_over(_body(x, y, z, half, voxel), x, y, z, around, voxel)
    if inside < 2.5:
        # A thin sheet of fat keeps the liver from its neighbours, but not from the lung.
        if value > -500.0:
            value += _share(inside - 1.2, voxel) * (0.6 * FAT - value)
        value += _share(inside, voxel) * (tissue - value)
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _paint(
    image: Image,
    organ_mask: NDArray[np.bool_],
    frame: FloatArray,
    half: FloatArray,
    shape: LiverShape,
    around: Ellipsoids,
    lesions: Ellipsoids,
    tissue: float,
) -> None:
    voxel = abs(np.linalg.det(np.ascontiguousarray(frame[:, :3]))) ** (1.0 / 3.0)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            for k in range(image.shape[2]):
                x = frame[0, 0] * i + frame[0, 1] * j + frame[0, 2] * k + frame[0, 3]
                y = frame[1, 0] * i + frame[1, 1] * j + frame[1, 2] * k + frame[1, 3]
                z = frame[2, 0] * i + frame[2, 1] * j + frame[2, 2] * k + frame[2, 3]
                inside = liver(x, y, z, shape)
                organ_mask[i, j, k] = inside < 0.0
                value = tissue if inside < -voxel else _outside(x, y, z, inside, half, around, tissue, voxel)
                image[i, j, k] = _paint_over(value, x, y, z, lesions, 2.0 * voxel) if inside < 0.0 else value


def paint_tissue(
    space: Space,
    shape: tuple[int, int, int],
    center: FloatArray,
    organ: Organ,
    around: Ellipsoids,
    lesions: Ellipsoids,
    tissue: float,
) -> tuple[Image, NDArray[np.bool_]]:
    """Return HU without vessels, float32, and the liver's mask, on a grid.

    Parameters
    ----------
    center : (3,) mm
        World position of the phantom's frame.
    around, lesions : Ellipsoids
        Painted outside and inside the liver.
    tissue : float, HU
        The liver.
    """
    image, mask = np.empty(shape, np.float32), np.empty(shape, np.bool_)

    def paint_slab(first: int) -> None:
        here = slice(first, first + _SLAB)
        start = space.shifted((first, 0, 0)).origin - center
        frame = np.column_stack([space.direction * space.spacing, start])
        _paint(image[here], mask[here], frame, organ.half, organ.shape, around, lesions, tissue)

    # Every voxel is computed alone, so threads do not change a byte.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(paint_slab, range(0, shape[0], _SLAB)))
    return image, mask


def make_lesions(
    organ: Organ, centerlines: FloatArray, n_lesions: int, n_cysts: int, liver_value: float, rng: np.random.Generator
) -> Ellipsoids:
    """Return dark lesions and cysts in the liver, away from the vessels where possible."""
    shapes, values = [np.zeros((0, 2, 3))], []
    for n in range(n_lesions + n_cysts):
        points = rng.uniform(-1.0, 1.0, (256, 3)) * organ.half
        points = points[organ.distance(points) < -0.08 * organ.size]
        if not len(points):
            continue
        radius = organ.size * rng.uniform(0.04, 0.12)
        gap = np.linalg.norm(points[:12, None] - centerlines[None, ::8], axis=2).min(axis=1)
        shapes.append(np.array([[points[int(gap.argmax())], radius * rng.uniform(0.8, 1.25, 3)]]))
        values.append(liver_value - rng.uniform(25.0, 50.0) if n < n_lesions else rng.uniform(0.0, 15.0))
    return Ellipsoids(np.concatenate(shapes), np.array(values, dtype=np.float64))
