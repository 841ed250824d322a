"""Travel times in blocks of consecutive voxels of the list, each with a heap of its own, round by round on all threads."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.threads import run_parts
from vesselgraph.tracing.heap import heap_pop, heap_push
from vesselgraph.tracing.upwind import FACES, IS_FACE, arrival

# A time counts as lower only if it is so by more than rounding.
_LOWER = 1.0 - 1e-12
_NO_FLAGS = np.zeros(1, np.bool_)


@njit(cache=True, nogil=True)
def solve(scheme, now, before, low, high, neighbours, slowness, spacing, stop_time, wanted, n_wanted, heap, size):  # type: ignore[no-untyped-def]
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
        solve(scheme, now, before, low, high, neighbours, slowness, spacing, stop_time, _NO_FLAGS, 0, heap, size)
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


def march_blocks(
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
