"""Travel times over the foreground: fast marching and Dijkstra on the voxel list, with an indexed heap or in parallel blocks.

Strategy. Only voxels of the foreground exist; a voxel finds its neighbours in the table of the list. Three schemes:

- ``first``: Godunov's upwind scheme on the six face neighbours (Sethian 1996).
- ``multistencil``: all 26 neighbours. The front is taken as plane over each of the 48 triangles of one face, one edge and one
  corner neighbour, which tile the sphere; all their angles are acute for any spacing, so marching stays causal (Sethian &
  Vladimirsky 2000).
- ``graph``: Dijkstra's shortest paths over the 26-neighbour graph; a step costs its length times the mean of both slownesses.

The parallel version cuts the list into blocks of consecutive voxels. In each round every block that has something new solves
itself with a heap of its own, reading the other blocks as they were after the round before, so the answer does not depend on
the number of threads; times that fell at its rim wake the blocks around it. It ends at the same fixed point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.errors import InputError, RangeError
from vesselgraph.threads import run_parts
from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.heap import heap_pop, heap_push
from vesselgraph.tracing.topology import OFFSETS
from vesselgraph.tracing.upwind import FACES, IS_FACE, arrival

March = Callable[[Foreground, NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]], "Arrival"]
"""What :func:`march` is called as with its default scheme: foreground, speed, sources, spacing."""

Scheme = Literal["first", "multistencil", "graph"]

_SCHEMES: dict[str, int] = {"first": 0, "multistencil": 1, "graph": 2}
# A time counts as lower only if it is so by more than rounding.
_LOWER = 1.0 - 1e-12
_NO_FLAGS = np.zeros(1, np.bool_)


@dataclass(frozen=True, eq=False)
class Arrival:
    """When a front from the sources reaches each voxel of a foreground of n voxels.

    Attributes
    ----------
    time : (n,) float64
        Length over speed; 0 at the sources, infinite where the front did not come.
    source : (n,) int32
        Place in the list of sources of the one the front came from, -1 where it did not come.
    previous : (n,) int32
        The neighbour the front came from: steepest descent of time among the 26 (``graph``: the shortest path). -1 at
        sources and where the front did not come.
    """

    time: NDArray[np.float64]
    source: NDArray[np.int32]
    previous: NDArray[np.int32]


@njit(cache=True, nogil=True)
def _solve(scheme, now, before, low, high, neighbours, slowness, spacing, stop_time, wanted, n_wanted, heap, size):  # type: ignore[no-untyped-def]
    """Run the heap empty within the block ``low:high``, or until ``n_wanted`` of the ``wanted`` voxels are reached.

    Voxels left in the heap keep a time that is too late; they are still in ``place``. Heap places count from ``low``.
    """
    keys, items, place = heap
    n_steps = 6 if scheme == 0 else 26
    while size > 0:
        if keys[0] > stop_time:
            break
        u, size = heap_pop(keys, items, place, size)
        u += low
        if n_wanted > 0 and wanted[u]:
            n_wanted -= 1
            if n_wanted == 0:
                break
        for step in range(n_steps):
            k = FACES[step >> 1, step & 1] if scheme == 0 else step
            v = neighbours[u, k]
            if v < low or v >= high or now[v] <= now[u]:
                continue
            later = arrival(scheme, now, before, low, high, neighbours, slowness, v, 25 - k, spacing)
            if later < now[v] * _LOWER or (now[v] == np.inf and later < np.inf):
                now[v] = later
                size = heap_push(keys, items, place, size, later, v - low)
    return size


@njit(cache=True, nogil=True)
def _march(scheme, neighbours, slowness, sources, spacing, stop_time, wanted, n_wanted):  # type: ignore[no-untyped-def]
    """Return the time of every voxel, solved by one heap."""
    n = slowness.size
    time = np.full(n, np.inf)
    heap = (np.empty(n), np.empty(n, np.int32), np.full(n, -1, np.int32))
    size = 0
    for source in sources:
        time[source] = 0.0
        size = heap_push(heap[0], heap[1], heap[2], size, 0.0, source)
    size = _solve(scheme, time, time, 0, n, neighbours, slowness, spacing, stop_time, wanted, n_wanted, heap, size)
    for i in range(size):
        time[heap[1][i]] = np.inf
    return time


@njit(cache=True, nogil=True)
def _rim(neighbours, low, high, rim):  # type: ignore[no-untyped-def]
    """List the voxels of a block with a neighbour outside; return their number and the range of ids they touch."""
    n, first, last = 0, low, high - 1
    for v in range(low, high):
        outside = False
        for k in range(26):
            u = neighbours[v, k]
            if u >= 0 and (u < low or u >= high):
                outside = True
                first, last = min(first, u), max(last, u)
        if outside:
            rim[low + n] = v
            n += 1
    return n, first, last


@njit(cache=True, nogil=True)
def _solve_block(scheme, now, before, low, high, neighbours, slowness, spacing, stop_time, rim, sources):  # type: ignore[no-untyped-def]
    """Bring a block up to date with its surroundings; return whether a time at its rim fell."""
    heap = (np.empty(high - low), np.empty(high - low, np.int32), np.full(high - low, -1, np.int32))
    keys, items, place = heap
    size = 0
    for v in sources:
        if low <= v < high:
            now[v] = 0.0
            size = heap_push(keys, items, place, size, 0.0, v - low)
    for v in rim:
        for k in range(26):
            u = neighbours[v, k]
            if u < 0 or low <= u < high or before[u] >= now[v] or (scheme == 0 and not IS_FACE[k]):
                continue
            later = arrival(scheme, now, before, low, high, neighbours, slowness, v, k, spacing)
            if later < now[v] * _LOWER or (now[v] == np.inf and later < np.inf):
                now[v] = later
                size = heap_push(keys, items, place, size, later, v - low)
    if size:
        _solve(scheme, now, before, low, high, neighbours, slowness, spacing, stop_time, _NO_FLAGS, 0, heap, size)
    fell = False
    for v in rim:
        fell |= now[v] < before[v]
    return fell


@njit(cache=True, nogil=True)
def _find_rims(begin, end, neighbours, n_in_block, rim, touched):  # type: ignore[no-untyped-def]
    """Fill for some blocks their rims and ``touched``: length of the rim, lowest and highest block it touches."""
    n = len(neighbours)
    for b in range(begin, end):
        n_rim, first, last = _rim(neighbours, b * n_in_block, min((b + 1) * n_in_block, n), rim)
        touched[b, 0], touched[b, 1], touched[b, 2] = n_rim, first // n_in_block, last // n_in_block


@njit(cache=True, nogil=True)
def _solve_blocks(begin, end, awake, fell, n_in_block, rim, touched, scheme, now, before, table, stop_time, sources):  # type: ignore[no-untyped-def]
    """Bring some of the blocks that are awake up to date; ``fell`` says at whose rim a time fell."""
    neighbours, slowness, spacing = table
    for i in range(begin, end):
        low, high = awake[i] * n_in_block, min((awake[i] + 1) * n_in_block, slowness.size)
        own = rim[low : low + touched[awake[i], 0]]
        fell[awake[i]] = _solve_block(scheme, now, before, low, high, neighbours, slowness, spacing, stop_time, own, sources)


def _solve_some(fixed: tuple[Any, ...], begin: int, end: int) -> None:
    _solve_blocks(begin, end, *fixed)


def _march_blocks(
    scheme: int,
    neighbours: NDArray[np.int32],
    slowness: NDArray[np.float64],
    sources: NDArray[np.int64],
    spacing: NDArray[np.float64],
    stop_time: float,
    n_in_block: int,
) -> NDArray[np.float64]:
    """Return the time of every voxel, solved in rounds over blocks of the list."""
    n = len(slowness)
    n_blocks = -(-n // n_in_block)
    before, now = np.full(n, np.inf), np.full(n, np.inf)
    rim, touched = np.empty(n, np.int32), np.empty((n_blocks, 3), np.int64)
    run_parts(lambda begin, end: _find_rims(begin, end, neighbours, n_in_block, rim, touched), n_blocks)
    awake, table = np.arange(n_blocks), (neighbours, slowness, spacing)
    while len(awake):
        fell = np.zeros(n_blocks, np.bool_)
        fixed = (awake, fell, n_in_block, rim, touched, scheme, now, before, table, stop_time, sources)
        run_parts(partial(_solve_some, fixed), len(awake), 1)
        for b in awake:
            before[b * n_in_block : (b + 1) * n_in_block] = now[b * n_in_block : (b + 1) * n_in_block]
        count = np.concatenate([[0], np.cumsum(fell)])
        others = count[touched[:, 2] + 1] - count[touched[:, 1]] - fell
        awake = np.flatnonzero((others > 0) & (touched[:, 0] > 0))
        sources = sources[:0]
    now[now > stop_time] = np.inf
    return now


@njit(cache=True, nogil=True)
def descend(begin, end, scheme, time, neighbours, slowness, length, previous):  # type: ignore[no-untyped-def]
    """Fill ``previous`` of some voxels: the neighbour of steepest descent, or the one the shortest path comes from."""
    for v in range(begin, end):
        previous[v] = -1
        if not 0.0 < time[v] < np.inf:
            continue
        best = 0.0
        for k in range(26):
            u = neighbours[v, k]
            if u < 0 or not time[u] < time[v]:
                continue
            if scheme == 2:
                if time[u] + length[k] * 0.5 * (slowness[u] + slowness[v]) == time[v]:
                    previous[v] = u
                    break
            elif (time[v] - time[u]) / length[k] > best:
                best = (time[v] - time[u]) / length[k]
                previous[v] = u


@njit(cache=True, nogil=True)
def _label(previous, source):  # type: ignore[no-untyped-def]
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


@njit(cache=True, nogil=True)
def _follow(previous, start, path):  # type: ignore[no-untyped-def]
    n = 0
    v = start
    while v >= 0:
        path[n] = v
        n += 1
        v = previous[v]
    return n


def march(
    foreground: Foreground,
    speed: NDArray[np.float64],
    sources: NDArray[np.int64],
    spacing: NDArray[np.float64],
    *,
    scheme: Scheme = "first",
    stop_time: float = np.inf,
    targets: NDArray[np.int64] | None = None,
) -> Arrival:
    """Return when a front that starts at the sources at time 0 reaches each voxel of the foreground.

    Parameters
    ----------
    foreground : Foreground
        n voxels; the front does not leave them.
    speed : (n,)
        Length a unit of time, > 0.
    sources : (k,)
        Ids of the voxels it starts from, each once.
    spacing : (3,)
        Size of a voxel along planes, rows, columns, > 0.
    scheme : "first", "multistencil" or "graph"
        First-order upwind; 26 neighbours with triangles; Dijkstra over the 26-neighbour graph.
    stop_time : float
        Voxels reached later keep an infinite time.
    targets : (t,), optional
        Stop as soon as all of these are reached; what lies beyond the last keeps an infinite time.

    Returns
    -------
    arrival : Arrival
        Times, sources and links to walk back along.

    Raises
    ------
    InputError
        Ids that are none of the foreground, a speed of the wrong length, an unknown scheme.
    RangeError
        A speed or spacing that is not positive and finite.

    References
    ----------
    Sethian, PNAS 93 (1996); Sethian & Vladimirsky, PNAS 97 (2000); Dijkstra, Numerische Mathematik 1 (1959).

    Examples
    --------
    >>> from vesselgraph.tracing.foreground import find_foreground
    >>> line = find_foreground(np.ones((1, 1, 4), np.float32), 0.5)
    >>> arrival = march(line, np.array([1.0, 1.0, 0.5, 1.0]), np.array([0]), np.array([1.0, 1.0, 2.0]))
    >>> arrival.time.tolist(), arrival.previous.tolist()
    ([0.0, 2.0, 6.0, 8.0], [-1, 0, 1, 2])
    """
    slowness, sources, spacing = _checked(foreground, speed, sources, spacing, scheme)
    wanted = np.zeros(1, np.bool_)
    n_wanted = 0
    if targets is not None:
        wanted = np.zeros(len(foreground), np.bool_)
        wanted[_ids(foreground, targets, "targets")] = True
        n_wanted = int(wanted.sum())
    number = _SCHEMES[scheme]
    time = _march(number, foreground.neighbours, slowness, sources, spacing, float(stop_time), wanted, n_wanted)
    return _arrival_of(number, foreground, time, slowness, sources, spacing)


def march_parallel(
    foreground: Foreground,
    speed: NDArray[np.float64],
    sources: NDArray[np.int64],
    spacing: NDArray[np.float64],
    *,
    scheme: Scheme = "first",
    stop_time: float = np.inf,
    n_in_block: int = 32768,
) -> Arrival:
    """Return what :func:`march` returns, solved on all threads: times agree to a relative 1e-9.

    The answer is the same to the last bit for any number of threads. ``n_in_block`` is the number of voxels in a block;
    the other parameters and errors are those of :func:`march`.

    Notes
    -----
    Many sources give all blocks work at once; from a single source the blocks wake one after the other.
    """
    slowness, sources, spacing = _checked(foreground, speed, sources, spacing, scheme)
    if n_in_block < 1:
        raise RangeError("at least one voxel in a block", f"{n_in_block}", "leave n_in_block as it is")
    number = _SCHEMES[scheme]
    time = _march_blocks(number, foreground.neighbours, slowness, sources, spacing, float(stop_time), n_in_block)
    return _arrival_of(number, foreground, time, slowness, sources, spacing)


def step_lengths(spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lengths of the steps to the 26 neighbours, in the order of ``OFFSETS``."""
    return np.asarray(np.sqrt(((OFFSETS * spacing) ** 2).sum(axis=1)))


def path_back(arrival: Arrival, start: int) -> NDArray[np.int32]:
    """Return the voxels from ``start`` back to its source, both included; only ``start`` if the front did not come there."""
    path = np.empty(len(arrival.previous), np.int32)
    return path[: _follow(arrival.previous, start, path)].copy()


def _arrival_of(
    scheme: int,
    foreground: Foreground,
    time: NDArray[np.float64],
    slowness: NDArray[np.float64],
    sources: NDArray[np.int64],
    spacing: NDArray[np.float64],
) -> Arrival:
    previous = np.empty(len(time), np.int32)
    fixed = (scheme, time, foreground.neighbours, slowness, step_lengths(spacing), previous)
    run_parts(lambda begin, end: descend(begin, end, *fixed), len(time))
    source = np.full(len(time), -1, np.int32)
    source[sources] = np.arange(len(sources), dtype=np.int32)
    _label(previous, source)
    return Arrival(time, source, previous)


def _ids(foreground: Foreground, ids: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    found = np.asarray(ids, dtype=np.int64).ravel()
    if len(found) and (found.min() < 0 or found.max() >= len(foreground)):
        raise InputError(
            f"{what} within the {len(foreground)} voxels of the foreground",
            f"ids from {found.min()} to {found.max()}",
            "pass ids of its list",
        )
    return found


def _checked(
    foreground: Foreground, speed: NDArray[np.float64], sources: NDArray[np.int64], spacing: NDArray[np.float64], scheme: str
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return slowness, sources and spacing as the kernels want them."""
    if scheme not in _SCHEMES:
        raise InputError(f"a scheme out of {', '.join(_SCHEMES)}", repr(scheme), "choose one of them")
    values = np.ascontiguousarray(speed, dtype=np.float64)
    if values.shape != (len(foreground),):
        raise InputError(f"a speed of shape ({len(foreground)},)", f"shape {values.shape}", "pass one value a voxel")
    sizes = np.ascontiguousarray(spacing, dtype=np.float64)
    if not (np.isfinite(values).all() and (values > 0).all() and sizes.shape == (3,) and (sizes > 0).all()):
        raise RangeError("speeds and three spacings > 0", "others", "raise the speed to a small floor where it is 0")
    return 1.0 / values, _ids(foreground, sources, "sources"), sizes
