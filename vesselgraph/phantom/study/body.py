"""The body around and with the liver: where everything lies, different for every seed.

Frame: world LPS in millimetres; x = 0 is the spine, y = 0 the middle of the chest, z = 0 the middle of the liver. Sizes are
those of an adult times ``StudyConfig.body_scale``. Shapes are ellipsoids bent by a smooth warp of space, so that none of them
is an ellipsoid; the liver fills its corner of the abdomen up to the wall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from vesselgraph.config import StudyConfig
from vesselgraph.phantom.anatomy import ellipsoid, smooth_union
from vesselgraph.phantom.study.field import Field, field_at, smooth_field
from vesselgraph.phantom.study.lesions import make_lesions
from vesselgraph.phantom.study.tissues import FIELD_BOX, Shapes, Tissue, Tubes
from vesselgraph.space import FloatArray


class Wall(NamedTuple):
    """Skin and chest: half axes (x, y) of the skin's ellipse, fat and muscle thickness, and the dome under the lungs."""

    half: FloatArray
    fat: float
    muscle: float
    dome: FloatArray


_LOBES = np.array(
    [
        [[-76.0, -2.0, -4.0], [60.0, 76.0, 72.0]],
        [[-32.0, -44.0, 12.0], [58.0, 52.0, 48.0]],
        [[22.0, -60.0, 26.0], [56.0, 34.0, 34.0]],
    ]
)
_HOLLOWS = np.array(
    [
        [[-24.0, 6.0, 0.0], [12.0, 14.0, 900.0]],
        [[-58.0, 62.0, -78.0], [38.0, 36.0, 56.0]],
        [[-26.0, -4.0, -46.0], [26.0, 22.0, 24.0]],
        [[-46.0, -52.0, -62.0], [17.0, 32.0, 24.0]],
        [[4.0, 48.0, 0.0], [36.0, 46.0, 900.0]],
        [[62.0, -12.0, 6.0], [40.0, 40.0, 52.0]],
    ]
)
_FIELD_STEP = 3.0
_WARP_STEP = 8.0
# Between the liver and the muscle of the wall, mm.
_WALL_GAP = 2.5


_COLON = np.array(
    [
        [-96.0, 22.0, -210.0],
        [-98.0, 18.0, -130.0],
        [-88.0, -28.0, -98.0],
        [-40.0, -74.0, -112.0],
        [20.0, -80.0, -104.0],
        [76.0, -62.0, -66.0],
        [104.0, -12.0, -22.0],
        [108.0, 22.0, -60.0],
        [102.0, 28.0, -210.0],
    ]
)


@dataclass(frozen=True, eq=False)
class Body:
    """One patient before any vessel is grown.

    Parameters
    ----------
    scale : float
        Size relative to the adult of the tables.
    organ : Field
        Signed distance to the liver, lesions cut out, so that vessels keep away from them.
    liver : Field
        Signed distance to the liver itself.
    warp : three Field
        Displacement along x, y, z that is applied before shapes are looked up.
    wall : Wall
    shapes, lesions : Shapes
        Organs around the liver, and what lies in it.
    bones, gut : Tubes
        Ribs, and bowel that fills the fat of the belly.
    """

    scale: float
    organ: Field
    liver: Field
    warp: tuple[Field, Field, Field]
    wall: Wall
    shapes: Shapes
    lesions: Shapes
    bones: Tubes
    gut: Tubes


@numba.njit(cache=True, nogil=True, error_model="numpy")
def skin_distance(x: float, y: float, wall: Wall) -> float:
    """Return about the signed distance to the skin: a cylinder between an ellipse and a rounded box."""
    u, v = abs(x) / wall.half[0], abs(y) / wall.half[1]
    one = (u**2.4 + v**2.4) ** (1.0 / 2.4)
    if one < 1e-6:
        return -wall.half[1]
    slope = np.sqrt((u**1.4 / wall.half[0]) ** 2 + (v**1.4 / wall.half[1]) ** 2) / one**1.4
    return (one - 1.0) / max(slope, 1e-6)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sample_liver(
    values: FloatArray,
    origin: FloatArray,
    step: float,
    warp: tuple[Field, Field, Field],
    lobes: FloatArray,
    hollows: FloatArray,
    wall: Wall,
) -> None:
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            for k in range(values.shape[2]):
                x, y, z = origin[0] + k * step, origin[1] + j * step, origin[2] + i * step
                u, v, w = x + field_at(warp[0], x, y, z), y + field_at(warp[1], x, y, z), z + field_at(warp[2], x, y, z)
                value = ellipsoid(u, v, w, lobes, 0)
                for n in range(1, len(lobes)):
                    value = smooth_union(value, ellipsoid(u, v, w, lobes, n), 24.0)
                for n in range(len(hollows)):
                    value = -smooth_union(-value, ellipsoid(u, v, w, hollows, n), 9.0)
                inner = skin_distance(x, y, wall) + wall.fat + wall.muscle + _WALL_GAP
                value = -smooth_union(-value, -inner, 10.0)
                values[i, j, k] = value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cut_lesions(values: FloatArray, origin: FloatArray, step: float, lesions: FloatArray) -> None:
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            for k in range(values.shape[2]):
                x, y, z = origin[0] + k * step, origin[1] + j * step, origin[2] + i * step
                for n in range(len(lesions)):
                    values[i, j, k] = max(values[i, j, k], -ellipsoid(x, y, z, lesions, n))


def make_body(config: StudyConfig, rng: np.random.Generator) -> Body:
    """Return a patient; every draw of ``rng`` looks different."""
    scale, wild = config.body_scale, config.shape_variation
    box = scale * np.array([[-210.0, -170.0, -230.0], [210.0, 170.0, 230.0]])
    wx, wy, wz = (smooth_field(box, _WARP_STEP, 5.0 * wild * scale, 110.0 * scale, rng) for _ in range(3))
    warp = (wx, wy, wz)
    lobes, hollows = _jittered(_LOBES, wild, scale, rng), _jittered(_HOLLOWS, 0.6 * wild, scale, rng)
    field_box = scale * FIELD_BOX
    count = np.ceil((field_box[1] - field_box[0]) / _FIELD_STEP).astype(int) + 1
    values = np.empty((count[2], count[1], count[0]), np.float32)
    wall = _wall(config, scale, rng)
    _sample_liver(values, field_box[0], _FIELD_STEP, warp, lobes, hollows, wall)
    liver = Field(values, field_box[0], _FIELD_STEP)
    lesions = make_lesions(config, liver, scale, rng)
    cut = values.copy()
    _cut_lesions(cut, field_box[0], _FIELD_STEP, lesions.shapes)
    organ = Field(cut, field_box[0], _FIELD_STEP)
    organs = _organs(scale, wild, rng)
    return Body(scale, organ, liver, warp, wall, organs, lesions, _ribs(wall, scale, rng), make_gut(scale, rng))


def _jittered(shapes: FloatArray, wild: float, scale: float, rng: np.random.Generator) -> FloatArray:
    moved = shapes * scale
    moved[:, 0] += rng.normal(0.0, 3.0 * wild * scale, moved[:, 0].shape)
    moved[:, 1] *= rng.uniform(1.0 - 0.12 * wild, 1.0 + 0.12 * wild, moved[:, 1].shape)
    return moved


def _wall(config: StudyConfig, scale: float, rng: np.random.Generator) -> Wall:
    inner = scale * np.array([138.0, 104.0]) * rng.uniform(0.96, 1.04, 2)
    half = inner + config.fat + config.wall
    return Wall(half, config.fat, config.wall, scale * np.array([0.0, 0.0, -62.0, 128.0, 96.0, 128.0]))


def _organs(scale: float, wild: float, rng: np.random.Generator) -> Shapes:
    """Return organs, spine and gut around the liver, in painting order."""
    t = Tissue
    parts: list[tuple[tuple[float, float, float], tuple[float, float, float], Tissue]] = [
        ((-40.0, 84.0, 0.0), (38.0, 26.0, 900.0), t.MUSCLE),
        ((40.0, 84.0, 0.0), (38.0, 26.0, 900.0), t.MUSCLE),
        ((-32.0, 46.0, -90.0), (17.0, 20.0, 90.0), t.MUSCLE),
        ((32.0, 46.0, -90.0), (17.0, 20.0, 90.0), t.MUSCLE),
        ((0.0, 86.0, 0.0), (5.0, 22.0, 900.0), t.CORTEX),
        ((0.0, 72.0, 0.0), (30.0, 6.0, 900.0), t.CORTEX),
        ((18.0, -34.0, 112.0), (52.0, 46.0, 44.0), t.HEART),
        ((60.0, 54.0, -46.0), (29.0, 26.0, 56.0), t.FAT),
        ((58.0, 50.0, -46.0), (25.0, 22.0, 50.0), t.KIDNEY_CORTEX),
        ((56.0, 47.0, -46.0), (16.0, 13.0, 36.0), t.KIDNEY_MEDULLA),
        ((52.0, 44.0, -46.0), (11.0, 6.0, 20.0), t.FAT),
        ((-58.0, 52.0, -84.0), (25.0, 22.0, 50.0), t.KIDNEY_CORTEX),
        ((-56.0, 49.0, -84.0), (16.0, 13.0, 36.0), t.KIDNEY_MEDULLA),
        ((-50.0, 46.0, -84.0), (11.0, 6.0, 20.0), t.FAT),
        ((104.0, 42.0, 14.0), (28.0, 42.0, 52.0), t.SPLEEN),
        ((66.0, -22.0, 16.0), (38.0, 42.0, 50.0), t.GUT_WALL),
        ((66.0, -22.0, 16.0), (33.0, 37.0, 45.0), t.GUT_CONTENT),
        ((68.0, -42.0, 22.0), (24.0, 16.0, 32.0), t.GAS),
        ((30.0, -26.0, -54.0), (40.0, 13.0, 12.0), t.PANCREAS),
        ((-16.0, -30.0, -66.0), (17.0, 16.0, 18.0), t.PANCREAS),
        ((-46.0, -52.0, -64.0), (14.0, 26.0, 20.0), t.BILE),
        ((-34.0, -22.0, -80.0), (14.0, 16.0, 26.0), t.GUT_WALL),
        ((-34.0, -22.0, -80.0), (10.0, 12.0, 22.0), t.GUT_CONTENT),
    ]
    shapes = _jittered(np.array([[centre, axes] for centre, axes, _ in parts]), 0.5 * wild, scale, rng)
    labels = [float(label) for *_, label in parts]
    spine, spine_labels = _spine(scale, rng)
    return Shapes(np.concatenate([shapes, spine]), np.array(labels + spine_labels))


def _spine(scale: float, rng: np.random.Generator) -> tuple[FloatArray, list[float]]:
    """Return the vertebrae with discs between them, and the spinal canal."""
    period = 33.0 * scale
    first = -230.0 * scale + rng.uniform(0.0, period)
    shapes, labels = [], []
    for n in range(15):
        z = first + n * period
        for axes, label in (((23.0, 18.0, 17.5), Tissue.CORTEX), ((21.0, 16.0, 15.5), Tissue.MARROW)):
            shapes.append([[0.0, 42.0 * scale, z], list(scale * np.array(axes))])
            labels.append(float(label))
        shapes.append([[0.0, 42.0 * scale, z + 0.5 * period], [20.0 * scale, 15.0 * scale, 4.5 * scale]])
        labels.append(float(Tissue.DISC))
    shapes.append([[0.0, 65.0 * scale, 0.0], [11.0 * scale, 8.0 * scale, 900.0]])
    labels.append(float(Tissue.DISC))
    return np.array(shapes), labels


def _ribs(wall: Wall, scale: float, rng: np.random.Generator) -> Tubes:
    """Return ribs in the muscle of the wall; they slope down to the front."""
    angle = np.linspace(0.08, 0.86, 60) * np.pi
    starts, ends, radii, labels = [], [], [], []
    reach = 1.0 - (wall.fat + 0.55 * wall.muscle) / wall.half
    period = 25.0 * scale
    shift = rng.uniform(0.0, period)
    for n in range(13):
        for side in (-1.0, 1.0):
            x = side * np.sin(angle) * wall.half[0] * reach[0]
            y = np.cos(angle) * wall.half[1] * reach[1]
            z = -130.0 * scale + shift + n * period + 0.42 * (y - wall.half[1] * reach[1]) + 55.0 * scale
            path = np.stack([x, y, z], axis=1)
            for radius, label in ((4.6, Tissue.CORTEX), (3.2, Tissue.MARROW)):
                starts.append(path[:-1])
                ends.append(path[1:])
                radii.append(np.full(len(path) - 1, radius * scale))
                labels.append(np.full(len(path) - 1, float(label)))
    return Tubes(*(np.concatenate(part) for part in (starts, ends, radii, labels)))


def wander(start: FloatArray, way: FloatArray, length: float, turn: float, rng: np.random.Generator) -> FloatArray:
    """Return a random walk of about this length, its points 3 mm apart, that turns by about ``turn`` a step, (n, 3) mm."""
    steps = max(2, int(length / 3.0))
    points = [np.asarray(start, dtype=np.float64)]
    way = way / np.linalg.norm(way)
    for _ in range(steps):
        way = way + rng.normal(0.0, turn, 3)
        way /= np.linalg.norm(way)
        points.append(points[-1] + 3.0 * way)
    return np.array(points)


def make_gut(scale: float, rng: np.random.Generator) -> Tubes:
    """Return colon and small bowel: walls filled with fluid, gas or both, pouched at random."""
    loops = [(_between(_COLON + rng.normal(0.0, 7.0, _COLON.shape), 40), rng.uniform(15.0, 24.0), 2.0)]
    for _ in range(9):
        start = np.array([rng.uniform(-70.0, 85.0), rng.uniform(-75.0, -10.0), rng.uniform(-170.0, -80.0)])
        loops.append((wander(start, rng.normal(0.0, 1.0, 3), 260.0, 0.35, rng), rng.uniform(8.0, 13.0), 2.4))
    starts, ends, radii, labels = [], [], [], []
    for path, radius, thick in loops:
        size = radius * (1.0 + 0.18 * np.sin(np.arange(len(path) - 1) * rng.uniform(0.6, 1.4)))
        content = np.where(np.repeat(rng.random(len(path) // 6 + 1) < 0.3, 6)[: len(path) - 1], Tissue.GAS, Tissue.GUT_CONTENT)
        for part, label in ((size, np.full(len(size), Tissue.GUT_WALL)), (size - thick, content)):
            starts.append(scale * path[:-1])
            ends.append(scale * path[1:])
            radii.append(scale * part)
            labels.append(label.astype(np.float64))
    return Tubes(*(np.concatenate(part) for part in (starts, ends, radii, labels)))


def _between(points: FloatArray, count: int) -> FloatArray:
    """Return points evenly between the given ones, (count * (n - 1) / 4, 3), on straight lines smoothed at the corners."""
    at = np.linspace(0.0, len(points) - 1.0, count * (len(points) - 1) // 4)
    path = np.stack([np.interp(at, np.arange(len(points)), points[:, k]) for k in range(3)], axis=1)
    for _ in range(3):
        path[1:-1] = 0.25 * path[:-2] + 0.5 * path[1:-1] + 0.25 * path[2:]
    return path
