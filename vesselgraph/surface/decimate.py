"""Taking points out of a surface while every triangle stays within the allowed distance.

Plain words. An edge is collapsed onto one of its ends, flattest edges first. A collapse is done only if the surface stays
manifold (link condition: Dey, Edelsbrunner, Guha and Nekhayev, Publ. Inst. Math. 66, 1999), no triangle turns over or
becomes a sliver, the new triangles lie within the bound at their edges and centroids, and the point taken out lies within
the bound of the new triangles. Points are never moved: all that remain are on the surface.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.graph import IntArray
from vesselgraph.progress import Progress
from vesselgraph.space import FloatArray
from vesselgraph.surface.field import Bound, Field, misfit

_MOST_PASSES = 30
_LEAST_GAIN = 0.01
_LONGEST_RADII = 4.0
_LEAST_SHAPE = 0.05
_LEAST_COSINE = 0.5


class Sheet(NamedTuple):
    """A surface whose points do not move.

    Attributes
    ----------
    points, normals : (P, 3)
        Place, mm, and unit normal.
    radius : (P,) mm
        Radius of the nearest branch.
    slack : (P,)
        Largest share of the bound used around a point by refinement; above 1 where a gap was bridged.
    """

    points: FloatArray
    normals: FloatArray
    radius: FloatArray
    slack: FloatArray


class Rings(NamedTuple):
    """Faces (F, 3), and the faces around point ``p``: ``member[first[p]:first[p + 1]]``."""

    faces: IntArray
    first: IntArray
    member: IntArray


class Room(NamedTuple):
    """Room to work in, see :func:`~vesselgraph.surface.field.evaluate`."""

    near: FloatArray
    near_cone: IntArray


def decimate(field: Field, sheet: Sheet, faces: IntArray, bound: Bound, progress: Progress) -> tuple[IntArray, IntArray]:
    """Return the remaining faces (F', 3) with new point numbers, and the old number of each remaining point.

    Passes over all edges; in a pass each neighbourhood changes at most once, so that the order of work is fixed and the
    result depends on nothing but the input.
    """
    n_points = len(sheet.points)
    touched = np.ones(n_points, dtype=np.bool_)
    for turn in range(_MOST_PASSES):
        faces = faces.copy()
        rings = Rings(faces, *_faces_around(faces, n_points))
        edges = _edges_in_order(sheet, faces, touched, bound)
        touched = np.zeros(n_points, dtype=np.bool_)
        n = _collapse(field, sheet, rings, edges, touched, bound)
        faces = faces[faces[:, 0] >= 0]
        progress("surface: decimating", (turn + 1) / _MOST_PASSES)
        if n <= _LEAST_GAIN * len(faces) / 2:
            break
    kept = np.unique(faces)
    number = np.full(n_points, -1)
    number[kept] = np.arange(len(kept))
    return number[faces], kept


def _edges_in_order(sheet: Sheet, faces: IntArray, touched: NDArray[np.bool_], bound: Bound) -> IntArray:
    """Return the edges worth trying, flattest first; an edge's sag follows from how its two normals differ."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    wanted = (start < end) & (touched[start] | touched[end])
    start, end = start[wanted], end[wanted]
    along = sheet.points[end] - sheet.points[start]
    sag = np.abs(np.einsum("ij,ij->i", sheet.normals[end] - sheet.normals[start], along)) / 8.0
    length = np.linalg.norm(along, axis=1)
    radius = np.minimum(sheet.radius[start], sheet.radius[end])
    allowed = np.minimum(bound.error, bound.radius_fraction * radius)
    good = np.flatnonzero((sag < allowed) & (length < _LONGEST_RADII * radius))
    order = good[np.argsort((sag / allowed + 0.1 * length / radius)[good], kind="stable")]
    return np.stack([start[order], end[order]], axis=1)


@njit(cache=True, nogil=True)
def _faces_around(faces: IntArray, n_points: int) -> tuple[IntArray, IntArray]:
    first = np.zeros(n_points + 1, np.int64)
    for f in range(len(faces)):
        for c in range(3):
            first[faces[f, c] + 1] += 1
    for p in range(n_points):
        first[p + 1] += first[p]
    member, fill = np.empty(3 * len(faces), np.int64), first[:-1].copy()
    for f in range(len(faces)):
        for c in range(3):
            p = faces[f, c]
            member[fill[p]] = f
            fill[p] += 1
    return first, member


@njit(cache=True, nogil=True)
def _is_allowed_link(rings: Rings, i: int, j: int, mark: IntArray, stamp: int) -> bool:
    """Return whether merging i and j keeps the surface manifold: just two common neighbours, none left with two faces."""
    faces, first, member = rings
    for m in range(first[i], first[i + 1]):
        for c in range(3):
            mark[faces[member[m], c]] = stamp
    common = 0
    for m in range(first[j], first[j + 1]):
        f = member[m]
        for c in range(3):
            p = faces[f, c]
            # Each neighbour of j is once the corner after j in a face of j.
            if p == j:
                q = faces[f, (c + 1) % 3]
                if q != i and mark[q] == stamp:
                    common += 1
                    if first[q + 1] - first[q] < 4:
                        return False
    return common == 2


@njit(cache=True, nogil=True)
def _cross(points: FloatArray, a: int, b: int, c: int) -> tuple[float, float, float]:
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@njit(cache=True, nogil=True)
def _gap(points: FloatArray, a: int, b: int) -> float:
    dx, dy, dz = points[a, 0] - points[b, 0], points[a, 1] - points[b, 1], points[a, 2] - points[b, 2]
    return np.sqrt(dx * dx + dy * dy + dz * dz)


@njit(cache=True, nogil=True)
def _shape(points: FloatArray, a: int, b: int, c: int) -> float:
    """Return twice the area over the squared longest side: 0.87 for the best triangle, 0 for a sliver."""
    nx, ny, nz = _cross(points, a, b, c)
    longest = max(_gap(points, a, b), _gap(points, b, c), _gap(points, c, a))
    return np.sqrt(nx * nx + ny * ny + nz * nz) / max(longest * longest, 1e-30)


@njit(cache=True, nogil=True)
def _distance_to_triangle(points: FloatArray, p: int, a: int, b: int, c: int) -> float:
    """Return the distance of point ``p`` to a triangle: the plane's if the foot is inside, else the nearest side's."""
    nx, ny, nz = _cross(points, a, b, c)
    size = max(nx * nx + ny * ny + nz * nz, 1e-30)
    corner = (a, b, c, a)
    inside, best = True, np.inf
    for k in range(3):
        u, v = corner[k], corner[k + 1]
        ex, ey, ez = points[v, 0] - points[u, 0], points[v, 1] - points[u, 1], points[v, 2] - points[u, 2]
        px, py, pz = points[p, 0] - points[u, 0], points[p, 1] - points[u, 1], points[p, 2] - points[u, 2]
        if (ey * pz - ez * py) * nx + (ez * px - ex * pz) * ny + (ex * py - ey * px) * nz < 0.0:
            inside = False
        t = min(max((ex * px + ey * py + ez * pz) / max(ex * ex + ey * ey + ez * ez, 1e-30), 0.0), 1.0)
        best = min(best, np.sqrt((px - t * ex) ** 2 + (py - t * ey) ** 2 + (pz - t * ez) ** 2))
        if k == 2 and inside:
            return abs(px * nx + py * ny + pz * nz) / np.sqrt(size)
    return best


@njit(cache=True, nogil=True)
def _turned(faces: IntArray, f: int, p: int) -> tuple[int, int, int]:
    """Return the corners of a face, starting at corner ``p``."""
    if faces[f, 0] == p:
        return faces[f, 0], faces[f, 1], faces[f, 2]
    if faces[f, 1] == p:
        return faces[f, 1], faces[f, 2], faces[f, 0]
    return faces[f, 2], faces[f, 0], faces[f, 1]


@njit(cache=True, nogil=True)
def _sag(sheet: Sheet, a: int, b: int) -> float:
    """Return how far the middle of an edge is from a round surface with the normals of its ends, to second order."""
    sag = 0.0
    for k in range(3):
        sag += (sheet.normals[b, k] - sheet.normals[a, k]) * (sheet.points[b, k] - sheet.points[a, k])
    return abs(sag) / 8.0


@njit(cache=True, nogil=True)
def _largest_sag(sheet: Sheet, rings: Rings, gone: int, kept: int) -> float:
    worst = 0.0
    for m in range(rings.first[gone], rings.first[gone + 1]):
        _, b, _ = _turned(rings.faces, rings.member[m], gone)
        worst = max(worst, _sag(sheet, kept, b))
    return worst


@njit(cache=True, nogil=True)
def _is_well_formed(sheet: Sheet, rings: Rings, gone: int, kept: int, bound: Bound) -> bool:
    """Return whether moving ``gone`` onto ``kept`` makes no long edge, sliver or fold and stays near ``gone``."""
    points, nearest = sheet.points, np.inf
    for m in range(rings.first[gone], rings.first[gone + 1]):
        a, b, c = _turned(rings.faces, rings.member[m], gone)
        if kept in (b, c):
            continue
        if _gap(points, kept, b) > _LONGEST_RADII * sheet.radius[kept]:
            return False
        shape = _shape(points, kept, b, c)
        if shape < _LEAST_SHAPE and shape < _shape(points, a, b, c):
            return False
        ox, oy, oz = _cross(points, a, b, c)
        nx, ny, nz = _cross(points, kept, b, c)
        sizes = np.sqrt((nx * nx + ny * ny + nz * nz) * (ox * ox + oy * oy + oz * oz))
        if nx * ox + ny * oy + nz * oz <= _LEAST_COSINE * sizes:
            return False
        nearest = min(nearest, _distance_to_triangle(points, gone, kept, b, c))
    return nearest <= min(bound.error, bound.radius_fraction * sheet.radius[gone])


@njit(cache=True, nogil=True)
def _is_allowed(field: Field, sheet: Sheet, rings: Rings, gone: int, kept: int, bound: Bound, room: Room) -> bool:
    """Return whether ``gone`` may move onto ``kept``; the field, which costs most, is asked last."""
    if not _is_well_formed(sheet, rings, gone, kept, bound):
        return False
    limit = max(1.0, sheet.slack[gone], sheet.slack[kept])
    for m in range(rings.first[gone], rings.first[gone + 1]):
        _, b, c = _turned(rings.faces, rings.member[m], gone)
        if kept not in (b, c) and _triangle_share(field, sheet, (kept, b, c), bound, room) > limit:
            return False
    return True


@njit(cache=True, nogil=True)
def _choose(field: Field, sheet: Sheet, rings: Rings, i: int, j: int, bound: Bound, room: Room) -> tuple[int, int]:
    """Return which of two points goes and which is kept, or -1 twice if neither may go."""
    one, two = _largest_sag(sheet, rings, i, j), _largest_sag(sheet, rings, j, i)
    gone, kept = (i, j) if one <= two else (j, i)
    for sag in (min(one, two), max(one, two)):
        limit = max(1.0, sheet.slack[gone], sheet.slack[kept])
        allowed = limit * min(bound.error, bound.radius_fraction * sheet.radius[gone])
        if sag <= allowed and _is_allowed(field, sheet, rings, gone, kept, bound, room):
            return gone, kept
        gone, kept = kept, gone
    return -1, -1


@njit(cache=True, nogil=True)
def _triangle_share(field: Field, sheet: Sheet, triangle: tuple[int, int, int], bound: Bound, room: Room) -> float:
    """Return the largest share of the bound used at the centroid and on the first side of a triangle.

    Of a new triangle the second side is old, and the third is the first side of the next new triangle.
    """
    a, b, c = triangle
    points = sheet.points
    x = (points[a, 0] + points[b, 0] + points[c, 0]) / 3.0
    y = (points[a, 1] + points[b, 1] + points[c, 1]) / 3.0
    z = (points[a, 2] + points[b, 2] + points[c, 2]) / 3.0
    worst = misfit(field, x, y, z, bound, room.near, room.near_cone)[1]
    n = 1 if _gap(points, a, b) < sheet.radius[a] else 3
    for k in range(1, n + 1):
        t = k / (n + 1)
        x = points[a, 0] + t * (points[b, 0] - points[a, 0])
        y = points[a, 1] + t * (points[b, 1] - points[a, 1])
        z = points[a, 2] + t * (points[b, 2] - points[a, 2])
        worst = max(worst, misfit(field, x, y, z, bound, room.near, room.near_cone)[1])
    return worst


@njit(cache=True, nogil=True)
def _collapse(field: Field, sheet: Sheet, rings: Rings, edges: IntArray, touched: NDArray[np.bool_], bound: Bound) -> int:
    """Collapse what may be collapsed; write -1 into dead faces and the points to look at again into ``touched``."""
    faces, first, member = rings
    room = Room(np.empty((field.n_near, 2)), np.empty(field.n_near, np.int64))
    locked, mark = np.zeros(len(touched), np.bool_), np.full(len(touched), -1, np.int64)
    n = 0
    for e in range(len(edges)):
        i, j = edges[e]
        if locked[i] or locked[j]:
            touched[i] = touched[j] = True
            continue
        if not _is_allowed_link(rings, i, j, mark, e):
            continue
        gone, kept = _choose(field, sheet, rings, i, j, bound, room)
        if gone < 0:
            continue
        n += 1
        locked[gone] = True
        for m in range(first[gone], first[gone + 1]):
            f = member[m]
            _, b, c = _turned(faces, f, gone)
            for p in (b, c, kept):
                locked[p] = touched[p] = True
            faces[f, 0], faces[f, 1], faces[f, 2] = kept, b, c
            if kept in (b, c):
                faces[f, :] = -1
    return n
