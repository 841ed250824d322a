"""Pairing two point sets within a tolerance, and the scores that follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vesselgraph.graph import IntArray
from vesselgraph.space import FloatArray


@dataclass(frozen=True)
class Score:
    """Precision, recall and F1 with the counts they come from.

    Nothing predicted and nothing to find is a perfect score (1.0 each). Nothing predicted where something is to be found,
    or the other way round, is 0.0 each.

    Parameters
    ----------
    n_predicted, n_truth : int
        How many things were predicted, and how many there are.
    n_right, n_found : int
        How many of the predicted are right, and how many of the true were found; equal under one-to-one matching.

    Examples
    --------
    >>> Score(n_predicted=4, n_truth=2, n_right=2, n_found=2).f1
    0.6666666666666666
    """

    n_predicted: int
    n_truth: int
    n_right: int
    n_found: int

    @property
    def precision(self) -> float:
        """Share of the predicted that is right."""
        return self._share(self.n_right, self.n_predicted)

    @property
    def recall(self) -> float:
        """Share of the true that was found."""
        return self._share(self.n_found, self.n_truth)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total else 0.0

    def _share(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        return 1.0 if self.n_predicted == self.n_truth == 0 else 0.0

    def to_dict(self) -> dict[str, float | int]:
        """Return precision, recall, F1 and the counts for JSON."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "n_predicted": self.n_predicted,
            "n_truth": self.n_truth,
            "n_right": self.n_right,
            "n_found": self.n_found,
        }


def match_one_to_one(predicted: FloatArray, truth: FloatArray, tolerance: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Return one-to-one pairs of points within the tolerance, the nearest pairs first.

    All pairs within the tolerance are gone through by rising distance, and a pair is taken if both its points are still
    free. So a vessel predicted twice is right only once, and every point is compared with what lies next to it: the largest
    possible matching would instead shift whole branches along themselves to make up for a missing end.

    Parameters
    ----------
    predicted, truth : (P, 3), (T, 3) mm
        Either may be empty.
    tolerance : mm
        Largest distance of a pair.

    Returns
    -------
    predicted_ids, truth_ids : (K,) int64
        No point appears twice.
    distance : (K,) mm
        Rising.

    Notes
    -----
    O(n log n) in the number n of pairs within the tolerance. Equal distances are taken in the order of the points.

    Examples
    --------
    >>> twice = np.array([[0.1, 0, 0], [0.0, 0, 0]])
    >>> match_one_to_one(twice, np.array([[0.0, 0, 0]]), 1.0)[0].tolist()
    [1]
    """
    if not len(predicted) or not len(truth):
        none = np.zeros(0, np.int64)
        return none, none, np.zeros(0)
    near = cKDTree(predicted).sparse_distance_matrix(cKDTree(truth), tolerance, output_type="ndarray")
    order = np.lexsort((near["j"], near["i"], near["v"]))
    i, j, distance = near["i"][order], near["j"][order], near["v"][order]
    taken = _take_free(i, j, len(predicted), len(truth))
    return i[taken].astype(np.int64), j[taken].astype(np.int64), distance[taken]


@njit(cache=True, nogil=True)
def _take_free(i: IntArray, j: IntArray, n_i: int, n_j: int) -> NDArray[np.bool_]:
    free_i = np.ones(n_i, dtype=np.bool_)
    free_j = np.ones(n_j, dtype=np.bool_)
    taken = np.zeros(len(i), dtype=np.bool_)
    for k in range(len(i)):
        if free_i[i[k]] and free_j[j[k]]:
            taken[k] = True
            free_i[i[k]] = False
            free_j[j[k]] = False
    return taken


def is_near(points: FloatArray, others: FloatArray, tolerance: float) -> NDArray[np.bool_]:
    """Return which points have any other point within the tolerance, (P,)."""
    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=bool)
    return np.asarray(cKDTree(others).query(points, distance_upper_bound=np.nextafter(tolerance, np.inf))[0] <= tolerance)


def score_one_to_one(predicted: FloatArray, truth: FloatArray, tolerance: float) -> Score:
    """Return the score of predicted against true points under one-to-one matching; see :func:`match_one_to_one`."""
    n_pairs = len(match_one_to_one(predicted, truth, tolerance)[0])
    return Score(len(predicted), len(truth), n_pairs, n_pairs)


def score_nearest(predicted: FloatArray, truth: FloatArray, tolerance: float) -> Score:
    """Return the plain nearest-distance score: a point counts if any point of the other side is near enough.

    Duplicates cost nothing here, so dense output is flattered; it is given beside :func:`score_one_to_one` because much
    published work uses it.
    """
    right = int(is_near(predicted, truth, tolerance).sum())
    found = int(is_near(truth, predicted, tolerance).sum())
    return Score(len(predicted), len(truth), right, found)
