"""Moving points a little outward so that flat triangles neither lose nor gain volume against the round surface."""

from __future__ import annotations

import numpy as np

from vesselgraph.graph import IntArray
from vesselgraph.space import FloatArray
from vesselgraph.surface.field import Bound, Field
from vesselgraph.surface.refine import edges_of, measure

_ROUNDS = 3
_BACK_OFF_ROUNDS = 6


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
    for turn in range(_BACK_OFF_ROUNDS):
        bad = _points_out_of_bound(field, points + move[:, None] * normals, faces, ends, bound)
        if not bad.any():
            break
        move[bad] *= 0.0 if turn >= _BACK_OFF_ROUNDS // 2 else 0.5
    return points + move[:, None] * normals


def _points_out_of_bound(field: Field, points: FloatArray, faces: IntArray, ends: IntArray, bound: Bound) -> np.ndarray:
    bad = measure(field, points, bound)[1] > 1.0
    bad[ends[measure(field, points[ends].mean(axis=1), bound)[1] > 1.0]] = True
    bad[faces[measure(field, points[faces].mean(axis=1), bound)[1] > 1.0]] = True
    return bad
