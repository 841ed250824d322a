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


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of a predicted and a true point within some distance, the nearest first; K of them.

    Parameters
    ----------
    n_predicted, n_truth : int
        Sizes of the two point sets.
    predicted, truth : (K,) int64
        Point ids.
    distance : (K,) mm
        Rising.
    """

    n_predicted: int
    n_truth: int
    predicted: IntArray
    truth: IntArray
    distance: FloatArray

    def within(self, tolerance: float) -> Pairs:
        """Return the pairs no farther apart than the tolerance."""
        n = int(np.searchsorted(self.distance, tolerance, side="right"))
        return Pairs(self.n_predicted, self.n_truth, self.predicted[:n], self.truth[:n], self.distance[:n])

    def subset(self, keep: NDArray[np.bool_]) -> Pairs:
        """Return the pairs of a bool mask, (K,)."""
        return Pairs(self.n_predicted, self.n_truth, self.predicted[keep], self.truth[keep], self.distance[keep])


def pairs_within(predicted: FloatArray, truth: FloatArray, tolerance: float) -> Pairs:
    """Return all pairs of points, (P, 3) and (T, 3) mm, within the tolerance; either set may be empty."""
    if not len(predicted) or not len(truth):
        none = np.zeros(0, np.int64)
        return Pairs(len(predicted), len(truth), none, none, np.zeros(0))
    near = cKDTree(predicted).sparse_distance_matrix(cKDTree(truth), tolerance, output_type="ndarray")
    order = np.lexsort((near["j"], near["i"], near["v"]))
    i, j = near["i"][order].astype(np.int64), near["j"][order].astype(np.int64)
    return Pairs(len(predicted), len(truth), i, j, near["v"][order])


def pairs_within_each(predicted: FloatArray, truth: FloatArray, tolerance: FloatArray) -> Pairs:
    """Return all pairs of points, (P, 3) and (T, 3) mm, within the tolerance, (T,) mm, of the true point."""
    # One search for each doubling of the tolerance: a search for all at the largest would find far too many.
    scale = np.ceil(np.log2(np.maximum(tolerance, np.finfo(np.float64).tiny)))
    parts = []
    for level in np.unique(scale):
        ids = np.flatnonzero(scale == level)
        found = pairs_within(predicted, truth[ids], float(tolerance[ids].max()))
        near = found.distance <= tolerance[ids][found.truth]
        parts.append((found.predicted[near], ids[found.truth[near]], found.distance[near]))
    if not parts:
        return pairs_within(predicted, truth, 0.0)
    i, j, distance = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((j, i, distance)) if len(parts) > 1 else np.arange(len(i))
    return Pairs(len(predicted), len(truth), i[order], j[order], distance[order])


def match_nearest_first(pairs: Pairs) -> IntArray:
    """Return the partner of every predicted point, or -1, (P,): pairs are taken by rising distance while both are free.

    So every point is compared with what lies next to it; right for measuring differences, such as that of radii.
    """
    return _take_free(pairs.predicted, pairs.truth, pairs.n_predicted, pairs.n_truth)


def match_one_to_one(pairs: Pairs) -> IntArray:
    """Return the partner of every predicted point, or -1, (P,), in a largest possible one-to-one matching.

    Each truth point is used at most once, so a vessel predicted twice is right only once. The matching begins with the
    nearest pairs and is then enlarged until no larger one exists: its size depends neither on the order of the points nor
    on where along a branch the points fall. Which of several largest matchings is returned is not promised: count pairs,
    and measure distances with :func:`match_nearest_first`.

    Notes
    -----
    Hopcroft-Karp: at most O(sqrt(P + T)) rounds over all pairs; 30,000 points a side take about a second.

    References
    ----------
    Hopcroft and Karp, SIAM J. Comput. 2(4), 1973.

    Examples
    --------
    Nearest first pairs 1 with 0.9 and leaves 2 and 0 alone; the largest matching pairs all.

    >>> predicted, truth = np.array([[1.0, 0, 0], [1.9, 0, 0]]), np.array([[0.0, 0, 0], [1.1, 0, 0]])
    >>> pairs = pairs_within(predicted, truth, 1.0)
    >>> match_nearest_first(pairs).tolist(), match_one_to_one(pairs).tolist()
    ([1, -1], [0, 1])
    """
    partner = match_nearest_first(pairs)
    # By predicted point, its nearest candidates first: a stable sort keeps the rising distance.
    order = np.argsort(pairs.predicted, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(pairs.predicted, minlength=pairs.n_predicted))])
    _enlarge(first, pairs.truth[order], partner, pairs.n_truth)
    return partner


@njit(cache=True, nogil=True)
def _take_free(i: IntArray, j: IntArray, n_i: int, n_j: int) -> IntArray:
    partner = np.full(n_i, -1, dtype=np.int64)
    free = np.ones(n_j, dtype=np.bool_)
    for k in range(len(i)):
        if partner[i[k]] < 0 and free[j[k]]:
            partner[i[k]] = j[k]
            free[j[k]] = False
    return partner


@njit(cache=True, nogil=True)
def _enlarge(first: IntArray, candidate: IntArray, partner: IntArray, n_truth: int) -> None:
    """Enlarge a matching in place until it is a largest one.

    Rounds of two steps: layer the predicted points by how many swaps they are away from a free one, then, from each free
    one, walk down the layers to a free truth point and swap along the walk.
    """
    n = len(partner)
    back = np.full(n_truth, -1, dtype=np.int64)
    for i in range(n):
        if partner[i] >= 0:
            back[partner[i]] = i
    layer, queue, at, walk = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    while _layers(first, candidate, partner, back, layer, queue):
        at[:] = first[:-1]
        for start in range(n):
            if partner[start] >= 0:
                continue
            depth = 0
            walk[0] = start
            while depth >= 0:
                i = walk[depth]
                if at[i] == first[i + 1]:
                    layer[i] = -1
                    depth -= 1
                    if depth >= 0:
                        at[walk[depth]] += 1
                    continue
                j = candidate[at[i]]
                if back[j] < 0:
                    for d in range(depth + 1):
                        partner[walk[d]] = candidate[at[walk[d]]]
                        back[partner[walk[d]]] = walk[d]
                        layer[walk[d]] = -1
                    break
                if layer[back[j]] == layer[i] + 1:
                    depth += 1
                    walk[depth] = back[j]
                else:
                    at[i] += 1


@njit(cache=True, nogil=True)
def _layers(first: IntArray, candidate: IntArray, partner: IntArray, back: IntArray, layer: IntArray, queue: IntArray) -> bool:
    """Fill ``layer`` (-1: out of reach) breadth first up to the first free truth point; return whether there is one."""
    n_queued = 0
    for i in range(len(partner)):
        layer[i] = -1
        if partner[i] < 0:
            layer[i] = 0
            queue[n_queued] = i
            n_queued += 1
    last = -1
    head = 0
    while head < n_queued:
        i = queue[head]
        head += 1
        if last >= 0 and layer[i] >= last + 1:
            break
        for k in range(first[i], first[i + 1]):
            j = candidate[k]
            if back[j] < 0:
                last = layer[i]
            elif layer[back[j]] < 0 and last < 0:
                layer[back[j]] = layer[i] + 1
                queue[n_queued] = back[j]
                n_queued += 1
    return last >= 0


def score_one_to_one(pairs: Pairs) -> Score:
    """Return the score under one-to-one matching; see :func:`match_one_to_one`."""
    n_matched = int((match_one_to_one(pairs) >= 0).sum())
    return Score(pairs.n_predicted, pairs.n_truth, n_matched, n_matched)


def score_nearest(pairs: Pairs) -> Score:
    """Return the plain nearest-distance score: a point counts if any point of the other side is near enough.

    Duplicates cost nothing here, so dense output is flattered; it is given beside :func:`score_one_to_one` because much
    published work uses it.
    """
    right, found = np.zeros(pairs.n_predicted, dtype=bool), np.zeros(pairs.n_truth, dtype=bool)
    right[pairs.predicted] = True
    found[pairs.truth] = True
    return Score(pairs.n_predicted, pairs.n_truth, int(right.sum()), int(found.sum()))


def plain_value(value: float) -> float | None:
    """Return a number for JSON: None if it is NaN or infinite."""
    return float(value) if np.isfinite(value) else None
