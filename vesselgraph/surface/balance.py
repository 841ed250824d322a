"""Moving points a little outward so that flat triangles neither lose nor gain volume against the round surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import IntArray
from vesselgraph.space import FloatArray
from vesselgraph.surface.field import Bound, Field
from vesselgraph.surface.refine import edges_of, measure

_ROUNDS = 2
_BACK_OFF_ROUNDS = 4


def balance(field: Field, points: FloatArray, normals: FloatArray, faces: IntArray, bound: Bound) -> FloatArray:
    """Return the moved points, (P, 3) mm.

    Triangles with corners on a round vessel cut into it: with eight of them around, a tenth of its volume is lost. Points
    move along their normals until the mean signed distance over the triangles around each is 0. Where a point, an edge
    midpoint or a centroid would then leave the bound, the move is halved, and at last taken back.
    """
    ends, edge = edges_of(faces)
    a, b, c = (points[faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    total = np.bincount(faces.ravel(), np.repeat(area, 3), len(points))
    move = np.zeros(len(points))
    for _ in range(_ROUNDS):
        moved = points + move[:, None] * normals
        # The mean over a triangle of a quadratic function is the mean of its edge midpoints.
        value = measure(field, moved[ends].mean(axis=1), bound)[0]
        mean = value[edge].mean(axis=1) * area
        move -= np.bincount(faces.ravel(), np.repeat(mean, 3), len(points)) / total
    touched = np.ones(len(points), dtype=bool)
    for turn in range(_BACK_OFF_ROUNDS):
        bad = _points_out_of_bound(field, points + move[:, None] * normals, faces, ends, touched, bound)
        touched = bad & (move != 0.0)
        if not touched.any():
            break
        move[touched] *= 0.5 if turn < _BACK_OFF_ROUNDS - 2 else 0.0
    return points + move[:, None] * normals


def _points_out_of_bound(
    field: Field,
    points: FloatArray,
    faces: IntArray,
    ends: IntArray,
    touched: NDArray[np.bool_],
    bound: Bound,
) -> NDArray[np.bool_]:
    """Return the points that are, or are on an edge or face with a touched point that is, farther off than allowed."""
    bad = np.zeros(len(points), dtype=bool)
    for group in (np.flatnonzero(touched)[:, None], ends[touched[ends].any(axis=1)], faces[touched[faces].any(axis=1)]):
        bad[group[measure(field, points[group].mean(axis=1), bound)[1] > 1.0]] = True
    return bad
