"""The implicit function of a vessel surface: a union of round cones, softly blended where branches share a junction.

Plain words. Every step of a branch's polyline is a round cone: the hull of two spheres. The distance of a point to a branch
is the smallest distance to its cones. The value of the field is the smallest distance to any branch; it is negative inside.
Where two branches share a junction and both are about equally near, the crease between them is filled by a smooth minimum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.graph import IntArray
from vesselgraph.space import FloatArray

OUTSIDE = 1e6
"""Value of the field, mm, where no cone is near."""

RADIUS_FRACTION = 0.08
"""A triangle lies no farther from the surface than this share of the local radius."""

_MOST_STEPS = 20
_FULL_BLEND_RADII = 3.0
_NO_BLEND_RADII = 6.0


class Field(NamedTuple):
    """Round cones, sorted into the cells of a sparse grid. Letters: S cones, E branches, N nodes, B blocks.

    Attributes
    ----------
    cone : (S, 10)
        Start (3), unit axis (3), length, start radius, sine of the half angle, its tangent. Millimetres.
    cone_branch : (S,)
        The branch of each cone; never falls.
    branch_nodes : (E, 2)
        The nodes a branch may be blended at.
    node_position : (N, 3) mm
        Where the nodes lie.
    node_radius : (N,) mm
        Radius of the widest branch at a junction, 0 where nothing is blended.
    blend : float
        Width of the blend as a share of the local radius.
    step : float, mm
        Grid step; a block has 8 steps a side.
    dims : (3,)
        Number of blocks along x, y, z; the first block starts at (0, 0, 0).
    key : (B,)
        Number of each block, ascending.
    corner : (B, 3)
        Number of each block along x, y, z.
    first, member : (8 B + 1,), (pairs,)
        Cell ``c = 8 b + e``, eighth ``e`` of block ``b`` (bit 0 of e: the upper half along x), is near the cones
        ``member[first[c]:first[c + 1]]``, ascending.
    distance : (pairs,) mm
        From the middle of the cell to that cone.
    lowest : (8 B,) mm
        Smallest of these distances.
    reach : (8 B,) mm
        Widest blend of a cone near the cell.
    n_near : int
        Largest number of branches near one cell.
    """

    cone: FloatArray
    cone_branch: IntArray
    branch_nodes: IntArray
    node_position: FloatArray
    node_radius: FloatArray
    blend: float
    step: float
    dims: IntArray
    key: IntArray
    corner: IntArray
    first: IntArray
    member: NDArray[np.int32]
    distance: NDArray[np.float32]
    lowest: FloatArray
    reach: FloatArray
    n_near: int


class Bound(NamedTuple):
    """How far a triangle may lie from the surface: the smaller of two lengths.

    Attributes
    ----------
    error : float, mm
        The same everywhere.
    radius_fraction : float
        Times the radius of the nearest branch: a thin vessel stays round.
    """

    error: float
    radius_fraction: float


@njit(cache=True, nogil=True)
def cone_distance(cone: FloatArray, s: int, x: float, y: float, z: float) -> tuple[float, float]:
    """Return the signed distance of a point to round cone ``s`` and where along its axis the nearest sphere sits.

    The cone is the union of spheres of radius ``ra - sine * t``. The distance to that family is convex in ``t``, so the
    unconstrained minimum, moved into [0, length], gives the exact distance.
    """
    px, py, pz = x - cone[s, 0], y - cone[s, 1], z - cone[s, 2]
    along = px * cone[s, 3] + py * cone[s, 4] + pz * cone[s, 5]
    across = max(px * px + py * py + pz * pz - along * along, 0.0)
    t = min(max(along - np.sqrt(across) * cone[s, 9], 0.0), cone[s, 6])
    return np.sqrt(across + (along - t) * (along - t)) - (cone[s, 7] - cone[s, 8] * t), t


@njit(cache=True, nogil=True)
def _direction(cone: FloatArray, s: int, t: float, x: float, y: float, z: float) -> tuple[float, float, float]:
    dx = x - cone[s, 0] - t * cone[s, 3]
    dy = y - cone[s, 1] - t * cone[s, 4]
    dz = z - cone[s, 2] - t * cone[s, 5]
    size = max(np.sqrt(dx * dx + dy * dy + dz * dz), 1e-12)
    return dx / size, dy / size, dz / size


@njit(cache=True, nogil=True)
def find_cell(field: Field, x: float, y: float, z: float) -> int:
    """Return the cell that holds a point, or -1 where no cone's surface is near."""
    half = 4.0 * field.step
    i, j, k = int(np.floor(x / half)), int(np.floor(y / half)), int(np.floor(z / half))
    eighth = (i & 1) + 2 * (j & 1) + 4 * (k & 1)
    i, j, k = i >> 1, j >> 1, k >> 1
    if min(i, j, k) < 0 or i >= field.dims[0] or j >= field.dims[1] or k >= field.dims[2]:
        return -1
    key = (i * field.dims[1] + j) * field.dims[2] + k
    found = np.searchsorted(field.key, key)
    if found < len(field.key) and field.key[found] == key:
        cell = 8 * int(found) + eighth
        if field.first[cell] < field.first[cell + 1]:
            return cell
    return -1


@njit(cache=True, nogil=True)
def _distance_to_middle(field: Field, cell: int, x: float, y: float, z: float) -> float:
    half, block = 4.0 * field.step, cell // 8
    dx = x - half * (2 * field.corner[block, 0] + (cell & 1) + 0.5)
    dy = y - half * (2 * field.corner[block, 1] + ((cell >> 1) & 1) + 0.5)
    dz = z - half * (2 * field.corner[block, 2] + ((cell >> 2) & 1) + 0.5)
    return np.sqrt(dx * dx + dy * dy + dz * dz)


@njit(cache=True, nogil=True)
def _nearest_cones(field: Field, cell: int, x: float, y: float, z: float, near: FloatArray, near_cone: IntArray) -> int:
    """Fill ``near`` (distance, axis place) and ``near_cone`` with the nearest cone of each branch; return their number.

    A distance changes by at most 1 mm a mm. Cones that are for that reason farther than the nearest one by more than any
    blend near the cell are not measured; that leaves out only branches that cannot count.
    """
    away = _distance_to_middle(field, cell, x, y, z)
    n, last, best = 0, -1, field.lowest[cell] + away
    spare = away + field.reach[cell] + 1e-3 * field.step
    for m in range(field.first[cell], field.first[cell + 1]):
        if field.distance[m] > best + spare:
            continue
        s = field.member[m]
        d, t = cone_distance(field.cone, s, x, y, z)
        best = min(best, d)
        branch = field.cone_branch[s]
        if branch != last:
            near[n, 0], near[n, 1], near_cone[n] = d, t, s
            last = branch
            n += 1
        elif d < near[n - 1, 0]:
            near[n - 1, 0], near[n - 1, 1], near_cone[n - 1] = d, t, s
    return n


@njit(cache=True, nogil=True)
def _node_weight(field: Field, node: int, x: float, y: float, z: float) -> float:
    radius = field.node_radius[node]
    if radius <= 0.0:
        return 0.0
    dx = x - field.node_position[node, 0]
    dy = y - field.node_position[node, 1]
    dz = z - field.node_position[node, 2]
    share = np.sqrt(dx * dx + dy * dy + dz * dz) / radius
    return min(max((_NO_BLEND_RADII - share) / (_NO_BLEND_RADII - _FULL_BLEND_RADII), 0.0), 1.0)


@njit(cache=True, nogil=True)
def _blend_weight(field: Field, a: int, b: int, x: float, y: float, z: float) -> float:
    """Return how much of the full blend two branches get at a point: 0 unless they share a junction that is near."""
    weight = 0.0
    for i in range(2):
        node = field.branch_nodes[a, i]
        if node == field.branch_nodes[b, 0] or node == field.branch_nodes[b, 1]:
            weight = max(weight, _node_weight(field, node, x, y, z))
    return weight


@njit(cache=True, nogil=True)
def _blend_width(field: Field, near: FloatArray, near_cone: IntArray, i: int, j: int, x: float, y: float, z: float) -> float:
    """Return the width, mm, of the smooth minimum of two branches at a point.

    It falls to 0 where both surfaces face the same way, so that a parent and the child that goes on from it do not bulge
    (the idea of gradient-based blends: Gourmel et al., ACM TOG 32(2), 2013, section 4).
    """
    a, b = near_cone[i], near_cone[j]
    radius = min(field.cone[a, 7] - field.cone[a, 8] * near[i, 1], field.cone[b, 7] - field.cone[b, 8] * near[j, 1])
    width = field.blend * radius
    if abs(near[i, 0] - near[j, 0]) >= width:
        return 0.0
    width *= _blend_weight(field, field.cone_branch[a], field.cone_branch[b], x, y, z)
    if width <= 0.0:
        return 0.0
    ax, ay, az = _direction(field.cone, a, near[i, 1], x, y, z)
    bx, by, bz = _direction(field.cone, b, near[j, 1], x, y, z)
    return width * min(max(1.0 - (ax * bx + ay * by + az * bz), 0.0), 1.0)


@njit(cache=True, nogil=True)
def _may_blend(field: Field, near: FloatArray, near_cone: IntArray, i: int, best: float) -> bool:
    """Return whether a branch is within the widest blend of the nearest one; only then can a blend with it count."""
    s = near_cone[i]
    return near[i, 0] - best < field.blend * (field.cone[s, 7] - field.cone[s, 8] * near[i, 1])


@njit(cache=True, nogil=True)
def evaluate(
    field: Field, cell: int, x: float, y: float, z: float, near: FloatArray, near_cone: IntArray
) -> tuple[float, int, int, float]:
    """Return the field at a point of a cell, the one or two entries of ``near`` it comes from, and the share of the second.

    ``near`` (n_near, 2) and ``near_cone`` (n_near,) are room to work in. The second entry is -1 where nothing is blended.
    """
    n = _nearest_cones(field, cell, x, y, z, near, near_cone)
    best, first, second, share = OUTSIDE, 0, -1, 0.0
    for i in range(n):
        if near[i, 0] < best:
            best, first = near[i, 0], i
    if field.blend <= 0.0:
        return best, first, second, share
    nearest_value = best
    for i in range(n):
        if not _may_blend(field, near, near_cone, i, nearest_value):
            continue
        for j in range(i + 1, n):
            if not _may_blend(field, near, near_cone, j, nearest_value):
                continue
            width = _blend_width(field, near, near_cone, i, j, x, y, z)
            gap = abs(near[i, 0] - near[j, 0])
            if gap < width:
                value = min(near[i, 0], near[j, 0]) - (width - gap) * (width - gap) / (4.0 * width)
                if value < best:
                    best = value
                    first, second = (i, j) if near[i, 0] <= near[j, 0] else (j, i)
                    share = (width - gap) / (2.0 * width)
    return best, first, second, share


@njit(cache=True, nogil=True)
def slope(
    field: Field,
    found: tuple[float, int, int, float],
    x: float,
    y: float,
    z: float,
    near: FloatArray,
    near_cone: IntArray,
) -> tuple[float, float, float]:
    """Return the gradient of the field at a point from what :func:`evaluate` found there (blend width held fixed)."""
    _, i, j, share = found
    gx, gy, gz = _direction(field.cone, near_cone[i], near[i, 1], x, y, z)
    if j >= 0:
        hx, hy, hz = _direction(field.cone, near_cone[j], near[j, 1], x, y, z)
        gx, gy, gz = gx + share * (hx - gx), gy + share * (hy - gy), gz + share * (hz - gz)
    return gx, gy, gz


@njit(cache=True, nogil=True)
def misfit(
    field: Field, x: float, y: float, z: float, bound: Bound, near: FloatArray, near_cone: IntArray
) -> tuple[float, float, float]:
    """Return the signed distance of a point to the surface, mm, its size over the allowed one, and the radius there, mm.

    The distance is the field divided by its slope: exact where nothing is blended, else true to first order. The slope
    counts as at least 0.3, because it vanishes between two branches that face each other.
    """
    cell = find_cell(field, x, y, z)
    if cell < 0:
        return OUTSIDE, OUTSIDE, 0.0
    found = evaluate(field, cell, x, y, z, near, near_cone)
    value = found[0]
    if found[2] >= 0:
        gx, gy, gz = slope(field, found, x, y, z, near, near_cone)
        value /= max(np.sqrt(gx * gx + gy * gy + gz * gz), 0.3)
    s = near_cone[found[1]]
    radius = field.cone[s, 7] - field.cone[s, 8] * near[found[1], 1]
    return value, abs(value) / min(bound.error, bound.radius_fraction * radius), radius


@njit(cache=True, nogil=True)
def misfits(field: Field, points: FloatArray, bound: Bound, out: FloatArray, start: int, stop: int) -> None:
    """Write :func:`misfit` of ``points[start:stop]`` into the columns of ``out`` (3, n)."""
    near, near_cone = np.empty((field.n_near, 2)), np.empty(field.n_near, np.int64)
    for p in range(start, stop):
        out[:, p] = misfit(field, points[p, 0], points[p, 1], points[p, 2], bound, near, near_cone)


@njit(cache=True, nogil=True)
def project(field: Field, points: FloatArray, normals: FloatArray, start: int, stop: int) -> None:
    """Move ``points[start:stop]`` onto the surface by Newton steps along the slope; write the unit normals.

    A step that would lead farther from 0 is halved (between two branches that face each other the slope nearly vanishes).
    """
    near, near_cone = np.empty((field.n_near, 2)), np.empty(field.n_near, np.int64)
    for p in range(start, stop):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        value, scale = np.inf, 1.0
        sx, sy, sz = 0.0, 0.0, 0.0
        for _ in range(_MOST_STEPS):
            cell = find_cell(field, x - scale * sx, y - scale * sy, z - scale * sz)
            if cell >= 0:
                nx, ny, nz = x - scale * sx, y - scale * sy, z - scale * sz
                found = evaluate(field, cell, nx, ny, nz, near, near_cone)
            if cell < 0 or abs(found[0]) >= value:
                scale *= 0.5
                continue
            x, y, z, value, scale = nx, ny, nz, abs(found[0]), 1.0
            gx, gy, gz = slope(field, found, x, y, z, near, near_cone)
            size = max(gx * gx + gy * gy + gz * gz, 1e-12)
            root = np.sqrt(size)
            normals[p, 0], normals[p, 1], normals[p, 2] = gx / root, gy / root, gz / root
            if value < 1e-6 * field.step:
                break
            length = min(value / root, field.step)
            sign = np.sign(found[0])
            sx, sy, sz = sign * length * gx / root, sign * length * gy / root, sign * length * gz / root
        points[p, 0], points[p, 1], points[p, 2] = x, y, z


@njit(cache=True, nogil=True)
def nearest(field: Field, points: FloatArray, cone: IntArray, radius: FloatArray, start: int, stop: int) -> None:
    """Write the cone nearest to each of ``points[start:stop]`` and its radius there, mm; the points lie near the surface."""
    near, near_cone = np.empty((field.n_near, 2)), np.empty(field.n_near, np.int64)
    for p in range(start, stop):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        _, i, _, _ = evaluate(field, find_cell(field, x, y, z), x, y, z, near, near_cone)
        s = near_cone[i]
        cone[p] = s
        radius[p] = field.cone[s, 7] - field.cone[s, 8] * near[i, 1]
