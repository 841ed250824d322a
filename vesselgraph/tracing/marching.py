"""Travel times over the foreground: fast marching and Dijkstra on the voxel list, with an indexed heap or in parallel blocks.

Strategy. Only voxels of the foreground exist; a voxel finds its neighbours in the table of the list. Three schemes:

- ``first``: Godunov's upwind scheme on the six face neighbours (Sethian 1996).
- ``multistencil``: all 26 neighbours. The front is taken as plane over each of the 48 triangles of one face, one edge and one
  corner neighbour, which tile the sphere; all their angles are acute for any spacing, so marching stays causal (Sethian &
  Vladimirsky 2000).
- ``graph``: Dijkstra's shortest paths over the 26-neighbour graph; a step costs its length times the mean of both slownesses.

With blocks, the list is cut into runs of consecutive voxels. In each round every block that has something new solves
itself with a heap of its own, reading the other blocks as they were after the round before, so the answer does not depend on
the number of threads; times that fell at its rim wake the blocks around it. It ends at the same fixed point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.errors import InputError, RangeError
from vesselgraph.threads import run_parts
from vesselgraph.tracing.basins import spread_labels
from vesselgraph.tracing.blocks import march_blocks, solve
from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.heap import heap_pop, heap_push
from vesselgraph.tracing.topology import OFFSETS
from vesselgraph.tracing.upwind import FACES, godunov

Scheme = Literal["first", "multistencil", "graph"]

_SCHEMES: dict[str, int] = {"first": 0, "multistencil": 1, "graph": 2}


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


@njit(cache=True, nogil=True, error_model="numpy")
def _march_first(neighbours, slowness, sources, group, spacing, stop_time, wanted, n_wanted):  # type: ignore[no-untyped-def]
    """Return the first-order time of every voxel; sources of one ``group`` (offsets) after the other.

    All that a voxel needs lies in one cache line: the earliest reached neighbour of each axis, its time, its slowness, and the
    ids of its six neighbours.
    """
    n = slowness.size
    state = np.empty((n, 8))
    faces = state.view(np.int32)
    for v in range(n):
        state[v, :4] = np.inf
        state[v, 4] = slowness[v]
        for side in range(6):
            faces[v, 10 + side] = neighbours[v, FACES[side >> 1, side & 1]]
    weights = 1.0 / spacing**2
    keys, items, place = np.empty(n), np.empty(n, np.int32), np.full(n, -1, np.int32)
    for g in range(group.size - 1):
        size = 0
        for source in sources[group[g] : group[g + 1]]:
            state[source, 3] = 0.0
            size = heap_push(keys, items, place, size, 0.0, source)
        while size > 0 and keys[0] <= stop_time:
            u, size = heap_pop(keys, items, place, size)
            here = state[u, 3]
            if n_wanted > 0 and wanted[u]:
                n_wanted -= 1
                if n_wanted == 0:
                    break
            for side in range(6):
                axis = side >> 1
                v = faces[u, 10 + side]
                if v < 0 or state[v, 3] <= here or state[v, axis] <= here:
                    continue
                state[v, axis] = here
                later = godunov(state[v, 0], state[v, 1], state[v, 2], weights[0], weights[1], weights[2], state[v, 4])
                if later < state[v, 3]:
                    state[v, 3] = later
                    size = heap_push(keys, items, place, size, later, v)
        for i in range(size):
            state[items[i], 3] = np.inf
    return state[:, 3].copy()


@njit(cache=True, nogil=True)
def _first_of_pieces(neighbours):  # type: ignore[no-untyped-def]
    """Return for each voxel the first voxel of the piece of the foreground it hangs together with, (n,)."""
    first = np.arange(neighbours.shape[0], dtype=np.int32)
    for v in range(neighbours.shape[0]):
        own = v
        for k in range(13):
            u = neighbours[v, k]
            if u < 0 or first[u] == own:
                continue
            while first[u] != u:
                first[u] = first[first[u]]
                u = first[u]
            if u < own:
                first[own] = u
                own = u
            elif own < u:
                first[u] = own
    for v in range(first.size):
        first[v] = first[first[v]]
    return first


def _by_piece(foreground: Foreground, sources: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sources piece by piece, and where each piece begins among them.

    Fronts in different pieces never meet. One after the other, each stays in the cache.
    """
    if len(sources) < 2:
        return sources, np.array([0, len(sources)])
    piece = _first_of_pieces(foreground.neighbours)[sources]
    order = np.argsort(piece, kind="stable")
    start = np.flatnonzero(np.diff(piece[order], prepend=-1))
    return sources[order], np.append(start, len(sources))


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
    size = solve(scheme, time, time, 0, n, neighbours, slowness, spacing, stop_time, wanted, n_wanted, heap, size)
    for i in range(size):
        time[heap[1][i]] = np.inf
    return time


@njit(cache=True, nogil=True)
def descend(begin, end, scheme, time, neighbours, slowness, length, previous):  # type: ignore[no-untyped-def]
    """Fill ``previous`` of some voxels: the neighbour of steepest descent, or the one the shortest path comes from."""
    for v in range(begin, end):
        previous[v] = -1
        if not 0.0 < time[v] < np.inf:
            continue
        if scheme == 2:
            for k in range(26):
                u = neighbours[v, k]
                if u >= 0 and time[u] < time[v] and time[u] + length[k] * 0.5 * (slowness[u] + slowness[v]) == time[v]:
                    previous[v] = u
                    break
            continue
        here, best, steepest = time[v], 0.0, np.int32(-1)
        for k in range(26):
            u = neighbours[v, k]
            # Without a branch: where there is no voxel the voxel itself is read.
            slope = (here - time[np.uint64(v if u < 0 else u)]) / length[k]
            is_steeper = slope > best
            best, steepest = slope if is_steeper else best, u if is_steeper else steepest
        previous[v] = steepest


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
    n_in_block: int | None = None,
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
    n_in_block : int, optional
        Solve in blocks of so many voxels, on all threads (65536 is a good size), and not by one heap. Times agree with those
        of the heap to a relative 1e-9, and are the same to the last bit for any number of threads.

    Returns
    -------
    arrival : Arrival
        Times, sources and links to walk back along.

    Raises
    ------
    InputError
        Ids that are none of the foreground, a speed of the wrong length, an unknown scheme; targets together with blocks.
    RangeError
        A speed or spacing that is not positive and finite; ``n_in_block`` below 1.

    Notes
    -----
    Many sources give all blocks work at once; from a few the blocks wake one after the other. With thousands of sources two
    threads take half of the time of one, about what the heap takes; more threads were not measured.

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
    number = _SCHEMES[scheme]
    if n_in_block is not None:
        if targets is not None:
            raise InputError("targets or blocks", "both", "leave n_in_block out: one heap knows when all targets are reached")
        if n_in_block < 1:
            raise RangeError("at least one voxel in a block", f"{n_in_block}", "take 65536, or leave it out")
        time = march_blocks(number, foreground.neighbours, slowness, sources, spacing, float(stop_time), n_in_block)
        return _arrival_of(number, foreground, time, slowness, sources, spacing)
    wanted = np.zeros(1, np.bool_)
    n_wanted = 0
    if targets is not None:
        wanted = np.zeros(len(foreground), np.bool_)
        wanted[_ids(foreground, targets, "targets")] = True
        n_wanted = int(wanted.sum())
    if number == 0:
        # Targets end all fronts at one time, so these go forward together.
        ordered, group = _by_piece(foreground, sources) if n_wanted == 0 else (sources, np.array([0, len(sources)]))
        time = _march_first(foreground.neighbours, slowness, ordered, group, spacing, float(stop_time), wanted, n_wanted)
    else:
        time = _march(number, foreground.neighbours, slowness, sources, spacing, float(stop_time), wanted, n_wanted)
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
    spread_labels(previous, source)
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
