"""Pieces of a graph as a network of neighbours: a value smoothed along it, and the best two labels by a minimum cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from scipy.sparse.linalg import splu

from vesselgraph.graph import IntArray
from vesselgraph.pruning.ways import Ways
from vesselgraph.space import FloatArray

# Capacities of the cut are whole numbers of so many to one mm.
_FINE = 1000.0
_SHORTEST = 0.5


@dataclass(frozen=True, eq=False)
class Links:
    """Pairs of pieces that share a node.

    Attributes
    ----------
    first, second : (K,)
        Pieces; a pair that shares two nodes is there twice.
    cosine : (K,)
        1 where one goes straight on as the other, -1 where they run side by side.
    is_fork : (K,) bool
        Whether more than these two meet there.
    """

    first: IntArray
    second: IntArray
    cosine: FloatArray
    is_fork: NDArray[np.bool_]

    @classmethod
    def of(cls, ways: Ways) -> Links:
        """Return the links of pieces that can be walked."""
        pairs, is_fork = [], []
        for halves in ways.leaving:
            here = [(a, b) for n, a in enumerate(halves) for b in halves[:n] if a >> 1 != b >> 1]
            pairs += here
            is_fork += [len(halves) > 2] * len(here)
        half = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        cosine = -np.einsum("ij,ij->i", ways.direction[half[:, 0]], ways.direction[half[:, 1]])
        return cls(half[:, 0] >> 1, half[:, 1] >> 1, cosine, np.array(is_fork, dtype=np.bool_))


def smoothed(values: FloatArray, length: FloatArray, links: Links, reach: float) -> FloatArray:
    """Return a value of every piece evened out along the graph, (P,): neighbours within about ``reach`` mm count.

    The minimum of squared differences from the values, by length, and of squared slopes between linked pieces times
    ``reach`` squared; a constant stays as it is.
    """
    n = len(values)
    if n == 0:
        return values
    apart = np.maximum(0.5 * (length[links.first] + length[links.second]), _SHORTEST)
    weight = coo_array((reach**2 / apart, (links.first, links.second)), shape=(n, n)).tocsr()
    weight = weight + weight.T
    degree = np.asarray(weight.sum(axis=1)).ravel()
    return np.asarray(splu((diags_array(degree + length) - weight).tocsc()).solve(values * length))


def best_labels(gain: FloatArray, links: Links, cost: FloatArray) -> NDArray[np.bool_]:
    """Return the pieces with the second of two labels, (P,) bool: the exact optimum by a minimum cut.

    Parameters
    ----------
    gain : (P,)
        What a piece earns with the second label instead of the first.
    links : Links
    cost : (K,)
        What a link costs, at least 0, whose pieces have different labels.

    Examples
    --------
    >>> line = Links(np.array([0, 1]), np.array([1, 2]), np.ones(2), np.zeros(2, bool))
    >>> best_labels(np.array([2.0, -0.5, 3.0]), line, np.ones(2)).tolist()
    [True, True, True]
    >>> best_labels(np.array([2.0, -2.5, 3.0]), line, np.ones(2)).tolist()
    [True, False, True]
    """
    n = len(gain)
    if n == 0:
        return np.zeros(0, np.bool_)
    source, sink, pieces = np.full(n, n), np.full(n, n + 1), np.arange(n)
    start = np.concatenate([links.first, links.second, source, pieces])
    end = np.concatenate([links.second, links.first, pieces, sink])
    capacity = np.rint(_FINE * np.concatenate([cost, cost, np.maximum(gain, 0.0), np.maximum(-gain, 0.0)]))
    network = csr_array((capacity.astype(np.int32), (start, end)), shape=(n + 2, n + 2))
    left = network - maximum_flow(network, n, n + 1).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = np.zeros(n + 2, np.bool_)
    reached[breadth_first_order(left, n, return_predecessors=False)] = True
    return reached[:n]
