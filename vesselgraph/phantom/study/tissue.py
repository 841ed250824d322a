"""Which tissue fills each voxel: two labels and the share of the first (partial volume), the same for all phases."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.phantom.anatomy import ellipsoid, smooth_union
from vesselgraph.phantom.study.body import Body, Wall, skin_distance
from vesselgraph.phantom.study.field import Field, field_at
from vesselgraph.phantom.study.tissues import Shapes, Tissue, Tubes
from vesselgraph.space import FloatArray, Space

_AIR, _LUNG, _FAT, _MUSCLE = int(Tissue.AIR), int(Tissue.LUNG), int(Tissue.FAT), int(Tissue.MUSCLE)
_LIVER, _SKIN = int(Tissue.LIVER), int(Tissue.SKIN)
_GUT_WALL, _GUT_CONTENT, _GAS = int(Tissue.GUT_WALL), int(Tissue.GUT_CONTENT), int(Tissue.GAS)
_BLOCK = 8
_DIAPHRAGM = 3.0


class TissueMap(NamedTuple):
    """Composition of each voxel: ``share`` of ``first``, the rest is ``second``.

    Parameters
    ----------
    first, second : (planes, rows, columns) uint8
        Labels, see :class:`Tissue`.
    share : (planes, rows, columns) float32 in [0, 1]
    liver : (planes, rows, columns) float32, mm
        Signed distance to the surface of the liver, negative inside.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    share: NDArray[np.float32]
    liver: NDArray[np.float32]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add(first: int, second: int, share: float, label: int, part: float) -> tuple[int, int, float]:
    """Return the composition after ``label`` was painted over a share ``part`` of the voxel."""
    if part <= 0.0:
        return first, second, share
    if part >= 1.0:
        return label, label, 1.0
    if label == first:
        return first, second, max(share, part)
    return label, first if share >= 0.5 else second, part


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cover(distance: float, voxel: float) -> float:
    """Return how much of a voxel lies inside a surface at this signed distance of its centre."""
    return min(max(0.5 - distance / voxel, 0.0), 1.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _base(x: float, y: float, z: float, liver: float, wall: Wall, dome: FloatArray, voxel: float) -> tuple[int, int, float]:
    """Return the composition by skin, fat, wall, lung and the fat of the belly."""
    skin = skin_distance(x, y, wall)
    if skin > voxel:
        return _AIR, _AIR, 1.0
    first, second, share = _add(_AIR, _AIR, 1.0, _SKIN, _cover(skin, voxel))
    first, second, share = _add(first, second, share, _FAT, _cover(skin + 1.8, voxel))
    first, second, share = _add(first, second, share, _MUSCLE, _cover(skin + wall.fat, voxel))
    inner = skin + wall.fat + wall.muscle
    first, second, share = _add(first, second, share, _FAT, _cover(inner, voxel))
    content = smooth_union(liver, ellipsoid(x, y, z, dome, 0), 12.0)
    if z > dome[0, 0, 2]:
        first, second, share = _add(first, second, share, _MUSCLE, _cover(max(inner, -content), voxel))
        first, second, share = _add(first, second, share, _LUNG, _cover(max(inner + 1.5, _DIAPHRAGM - content), voxel))
    return first, second, share


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _active(shapes: FloatArray, low: FloatArray, high: FloatArray, margin: float) -> NDArray[np.int64]:
    """Return the ellipsoids whose boxes meet a box."""
    found = np.empty(len(shapes), np.int64)
    count = 0
    for n in range(len(shapes)):
        meets = True
        for k in range(3):
            reach = shapes[n, 1, k] + margin
            meets = meets and shapes[n, 0, k] - reach < high[k] and shapes[n, 0, k] + reach > low[k]
        if meets:
            found[count] = n
            count += 1
    return found[:count]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _paint(
    tissue: TissueMap,
    frame: FloatArray,
    liver: Field,
    warp: tuple[Field, Field, Field],
    wall: Wall,
    shapes: Shapes,
    lesions: Shapes,
) -> None:
    voxel = abs(np.linalg.det(np.ascontiguousarray(frame[:, :3]))) ** (1.0 / 3.0)
    dome = wall.dome.reshape(1, 2, 3)
    planes, rows, columns = tissue.first.shape
    low, high = np.empty(3), np.empty(3)
    for bi in range(0, planes, _BLOCK):
        for bj in range(0, rows, _BLOCK):
            for bk in range(0, columns, _BLOCK):
                middle = frame[:, 3] + frame[:, 0] * (bi + 3.5) + frame[:, 1] * (bj + 3.5) + frame[:, 2] * (bk + 3.5)
                for k in range(3):
                    reach = _BLOCK / 2 * (abs(frame[k, 0]) + abs(frame[k, 1]) + abs(frame[k, 2]))
                    low[k], high[k] = middle[k] - reach, middle[k] + reach
                near = _active(shapes.shapes, low, high, 25.0)
                ill = _active(lesions.shapes, low, high, 2.0)
                for i in range(bi, min(bi + _BLOCK, planes)):
                    for j in range(bj, min(bj + _BLOCK, rows)):
                        for k in range(bk, min(bk + _BLOCK, columns)):
                            x = frame[0, 0] * i + frame[0, 1] * j + frame[0, 2] * k + frame[0, 3]
                            y = frame[1, 0] * i + frame[1, 1] * j + frame[1, 2] * k + frame[1, 3]
                            z = frame[2, 0] * i + frame[2, 1] * j + frame[2, 2] * k + frame[2, 3]
                            inside = field_at(liver, x, y, z)
                            first, second, share = _LIVER, _LIVER, 1.0
                            if inside > -voxel:
                                first, second, share = _base(x, y, z, inside, wall, dome, voxel)
                                u = x + field_at(warp[0], x, y, z)
                                v = y + field_at(warp[1], x, y, z)
                                w = z + field_at(warp[2], x, y, z)
                                for n in near:
                                    part = _cover(ellipsoid(u, v, w, shapes.shapes, n), voxel)
                                    first, second, share = _add(first, second, share, int(shapes.labels[n]), part)
                                first, second, share = _add(first, second, share, _LIVER, _cover(inside, voxel))
                            for n in ill:
                                part = _cover(ellipsoid(x, y, z, lesions.shapes, n), voxel)
                                if inside < 0.0:
                                    first, second, share = _add(first, second, share, int(lesions.labels[n]), part)
                            tissue.first[i, j, k], tissue.second[i, j, k] = first, second
                            tissue.share[i, j, k], tissue.liver[i, j, k] = share, inside


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _paint_tubes(
    tissue: TissueMap, space_start: FloatArray, space_end: FloatArray, tubes: Tubes, spacing: FloatArray, inside: int
) -> None:
    """Paint capsules whose ends are given in grid-axis mm; only over the tissue ``inside`` and over gut, if not -1."""
    voxel = (spacing[0] * spacing[1] * spacing[2]) ** (1.0 / 3.0)
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for s in range(len(tubes.radius)):
        a, b, r = space_start[s], space_end[s], tubes.radius[s]
        length2 = max((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2, 1e-12)
        for k in range(3):
            low[k] = max(0, int(np.floor((min(a[k], b[k]) - r) / spacing[k] - 0.5)))
            high[k] = min(tissue.first.shape[k] - 1, int(np.ceil((max(a[k], b[k]) + r) / spacing[k] + 0.5)))
        for i in range(low[0], high[0] + 1):
            for j in range(low[1], high[1] + 1):
                for k in range(low[2], high[2] + 1):
                    p0, p1, p2 = i * spacing[0] - a[0], j * spacing[1] - a[1], k * spacing[2] - a[2]
                    t = (p0 * (b[0] - a[0]) + p1 * (b[1] - a[1]) + p2 * (b[2] - a[2])) / length2
                    t = min(max(t, 0.0), 1.0)
                    gap = np.sqrt((p0 - t * (b[0] - a[0])) ** 2 + (p1 - t * (b[1] - a[1])) ** 2 + (p2 - t * (b[2] - a[2])) ** 2)
                    part = _cover(gap - r, voxel)
                    here = int(tissue.first[i, j, k])
                    if inside >= 0 and here != inside and here not in (_GUT_WALL, _GUT_CONTENT, _GAS):
                        continue
                    if part > 0.0 and tissue.liver[i, j, k] > 0.0:
                        first, second, share = _add(
                            tissue.first[i, j, k], tissue.second[i, j, k], tissue.share[i, j, k], int(tubes.labels[s]), part
                        )
                        tissue.first[i, j, k], tissue.second[i, j, k] = first, second
                        tissue.share[i, j, k] = share


def paint_tissue(body: Body, space: Space, shape: tuple[int, int, int]) -> TissueMap:
    """Return the composition of every voxel of a grid."""
    tissue = TissueMap(
        np.empty(shape, np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.float32), np.empty(shape, np.float32)
    )
    frame = np.column_stack([space.direction * space.spacing, space.origin])
    _paint(tissue, frame, body.liver, body.warp, body.wall, body.shapes, body.lesions)
    for tubes, inside in ((body.gut, _FAT), (body.bones, -1)):
        start = space.to_index(tubes.start) * space.spacing
        end = space.to_index(tubes.end) * space.spacing
        _paint_tubes(tissue, start, end, tubes, space.spacing.copy(), inside)
    return tissue
