"""Many polylines at once: the plain-array kernels behind editing, morphology and files.

Everywhere ``position`` is (M, 3) mm and ``offset`` (E + 1,): polyline ``e`` owns the points ``offset[e]:offset[e + 1]``, at
least two of them.
"""

from __future__ import annotations

import numpy as np

from vesselgraph.graph import IntArray
from vesselgraph.space import FloatArray


def step_length(position: FloatArray, offset: IntArray) -> FloatArray:
    """Return the distance of every point to the one before it on the same polyline, (M,) mm; 0 at the starts.

    Examples
    --------
    >>> step_length(np.array([[0.0, 0, 0], [3, 4, 0], [9, 9, 9], [9, 9, 8]]), np.array([0, 2, 4])).tolist()
    [0.0, 5.0, 0.0, 1.0]
    """
    steps = np.zeros(len(position))
    steps[1:] = np.linalg.norm(np.diff(position, axis=0), axis=1)
    steps[offset[:-1]] = 0.0
    return steps


def arc_length(position: FloatArray, offset: IntArray) -> FloatArray:
    """Return how far every point lies from the start of its polyline, measured along it, (M,) mm."""
    total = np.cumsum(step_length(position, offset))
    return np.asarray(total - np.repeat(total[offset[:-1]], np.diff(offset)))


def sum_along(values: FloatArray, offset: IntArray) -> FloatArray:
    """Return the sum of the point values of each polyline, (E,); each sum depends on its own points alone."""
    if len(offset) == 1:
        return np.zeros(0)
    return np.asarray(np.add.reduceat(values, offset[:-1]))


def chord(position: FloatArray, offset: IntArray) -> FloatArray:
    """Return the straight distance between the two ends of each polyline, (E,) mm."""
    return np.asarray(np.linalg.norm(position[offset[1:] - 1] - position[offset[:-1]], axis=1))


def tortuosity(position: FloatArray, offset: IntArray) -> FloatArray:
    """Return length / chord, (E,), 1 for a straight line; infinite where both ends coincide (a loop)."""
    straight = chord(position, offset)
    length = sum_along(step_length(position, offset), offset)
    ratio = np.full(len(straight), np.inf)
    np.divide(length, straight, out=ratio, where=straight > 0)
    return np.maximum(ratio, 1.0)


def mean_along(values: FloatArray, position: FloatArray, offset: IntArray) -> FloatArray:
    """Return the length-weighted mean of a point value along each polyline, (E,).

    A segment counts with the mean of its two ends, with the known one if the other is NaN, and not at all if both are
    NaN. A polyline that knows no value gives NaN.
    """
    steps = step_length(position, offset)
    before = np.concatenate([values[:1], values[:-1]])
    known_before, known = ~np.isnan(before), ~np.isnan(values)
    n_known = known_before.astype(np.int64) + known
    total = np.where(known_before, before, 0.0) + np.where(known, values, 0.0)
    weight = steps * (n_known > 0)
    weighted = sum_along(weight * total / np.maximum(n_known, 1), offset)
    length = sum_along(weight, offset)
    result = np.full(len(length), np.nan)
    np.divide(weighted, length, out=result, where=length > 0)
    return result


def range_along(values: FloatArray, offset: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the smallest and the largest known point value of each polyline, (E,) each; NaN where none is known."""
    if len(offset) == 1:
        return np.zeros(0), np.zeros(0)
    return np.asarray(np.fmin.reduceat(values, offset[:-1])), np.asarray(np.fmax.reduceat(values, offset[:-1]))
