"""Basins: from which of many sources each voxel is reached at the least cost, and on which way.

Strategy. Shortest paths over the 26-neighbour graph; a step costs its length times the mean of both slownesses. With sources
everywhere ways are short and turn little, so no heap is needed: the list is walked forwards and backwards a few times, each
voxel asking the neighbours that were walked before it, so memory is read in the order in which it lies. What the last walk
still changed is put into a queue and spread until nothing changes. The times are those of Dijkstra's algorithm.

References
----------
Dijkstra, Numerische Mathematik 1 (1959); the walks are those of Zhao, "A fast sweeping method for eikonal equations",
Mathematics of Computation 74 (2005), on a list.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.topology import OFFSETS

_N_WALKS = 4
_ONE = np.uint64(1)
HALF_STEP = (0.5 * np.sqrt((OFFSETS**2).sum(axis=1))).astype(np.float32)
"""Half of the length of the steps to the 26 neighbours: the other factor of a step's cost is the sum of two slownesses."""

Basins = Callable[
    [Foreground, NDArray[np.float32], NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]
]
"""What :func:`find_basins` and its twin on a device are called as."""


@njit(cache=True, nogil=True)
def way_cost(time, half, slow_there, slow_here):  # type: ignore[no-untyped-def]
    """Return when a voxel is reached over a neighbour reached at ``time``; ``half`` is half of the step between them."""
    return time + half * (slow_there + slow_here)


@njit(cache=True, nogil=True)
def _enter(slowness, sources, state, previous, source):  # type: ignore[no-untyped-def]
    """Fill the states, ways back and labels with which the walks begin."""
    state[0, 0], state[0, 1] = np.inf, 1.0
    for v in range(slowness.size):
        state[v + 1, 0], state[v + 1, 1], previous[v], source[v] = np.inf, slowness[v], -1, -1
    for i in range(sources.size):
        state[sources[i] + 1, 0], source[sources[i]] = 0.0, i


@njit(inline="always")
def _ask(u, half, state, slow, best, before):  # type: ignore[no-untyped-def]
    """Return the time over neighbour ``u`` and that neighbour if this is earlier, else ``best`` and ``before``."""
    # Without a branch: where there is no voxel, the first row of the states is read.
    row = np.uint64(u + np.int32(1))
    time = way_cost(state[row, 0], half, state[row, 1], slow)
    return time if time < best else best, u if time < best else before


@njit(cache=True, nogil=True)
def _walk(neighbours, forwards, state, previous, changed):  # type: ignore[no-untyped-def]
    """Let each voxel ask those walked before it, once; fill those that were ``changed`` and return how many.

    The states of voxel ``v`` are in row ``v + 1``.
    """
    n, n_changed = previous.size, 0
    for i in range(n):
        # Numbers without a sign are looked up as they are, others are first asked whether they count from the end.
        v = np.uint64(i if forwards else n - 1 - i)
        best, slow, before = state[v + _ONE, 0], state[v + _ONE, 1], np.int32(-1)
        # Two loops of fixed length, which a compiler unrolls.
        if forwards:
            for k in range(13):
                best, before = _ask(neighbours[v, k], HALF_STEP[k], state, slow, best, before)
        else:
            for k in range(13, 26):
                best, before = _ask(neighbours[v, k], HALF_STEP[k], state, slow, best, before)
        if before >= 0:
            state[v + _ONE, 0], previous[v] = best, before
            changed[n_changed] = v
            n_changed += 1
    return n_changed


@njit(cache=True, nogil=True)
def _spread(neighbours, state, previous, queue, n_waiting):  # type: ignore[no-untyped-def]
    """Lower the times around the first voxels of the (circular) queue, and around those that fell, until none falls."""
    waits = np.zeros(previous.size, np.bool_)
    for i in range(n_waiting):
        waits[queue[i]] = True
    first = 0
    while n_waiting > 0:
        u = queue[first]
        first = first + 1 if first + 1 < queue.size else 0
        n_waiting -= 1
        waits[u] = False
        for k in range(26):
            v = neighbours[u, k]
            if v < 0:
                continue
            time = way_cost(state[u + 1, 0], HALF_STEP[k], state[u + 1, 1], state[v + 1, 1])
            if time < state[v + 1, 0]:
                state[v + 1, 0], previous[v] = time, u
                if not waits[v]:
                    waits[v] = True
                    queue[(first + n_waiting) % queue.size] = v
                    n_waiting += 1


@njit(cache=True, nogil=True)
def spread_labels(previous, source):  # type: ignore[no-untyped-def]
    """Spread the labels of the sources along ``previous``."""
    for start in range(previous.size):
        v = start
        while source[v] < 0 and previous[v] >= 0:
            v = previous[v]
        label = source[v]
        v = start
        while source[v] < 0 and previous[v] >= 0:
            source[v] = label
            v = previous[v]


def find_basins(
    foreground: Foreground, slowness: NDArray[np.float32], sources: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Return time, place in ``sources`` and the neighbour a way comes from, (n,) each, for all voxels of the foreground.

    Parameters
    ----------
    foreground : Foreground
        n voxels; ways do not leave them.
    slowness : (n,) float32
        Cost of a voxel's width, > 0.
    sources : (k,)
        Ids of voxels, each once; their time is 0.

    Returns
    -------
    time, source, previous : (n,) float32, int32, int32
        Infinite, -1 and -1 where no source leads; ``previous`` is -1 at sources.

    Notes
    -----
    Time grows with the foreground, and with how often ways turn back against the order of the list.

    Examples
    --------
    >>> from vesselgraph.tracing.foreground import find_foreground
    >>> line = find_foreground(np.ones((1, 1, 5), np.float32), 0.5)
    >>> time, source, previous = find_basins(line, np.array([1, 1, 3, 1, 1], np.float32), np.array([0, 4]))
    >>> time.tolist(), source.tolist(), previous.tolist()
    ([0.0, 1.0, 3.0, 1.0, 0.0], [0, 0, 0, 1, 1], [-1, 0, 1, 4, -1])
    """
    n = len(foreground)
    # One row more, infinitely late: that of the neighbour -1.
    state, previous, source = np.empty((n + 1, 2), np.float32), np.empty(n, np.int32), np.empty(n, np.int32)
    _enter(slowness, sources, state, previous, source)
    queue, n_waiting = np.empty(n, np.int32), 0
    for walk in range(_N_WALKS):
        n_waiting = _walk(foreground.neighbours, walk % 2 == 0, state, previous, queue)
    _spread(foreground.neighbours, state, previous, queue, n_waiting)
    spread_labels(previous, source)
    return state[1:, 0], source, previous
