"""What two threads gain at best on the machine at hand: three kinds of work, each twice, one after the other and side by side.

Two processors that share the units of one core gain 2 where both wait, and far less where one alone keeps the units or the
memory busy. A parallel step is to be compared with these figures, not with 2.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True)
def _wait(n):  # type: ignore[no-untyped-def]
    """Do sums of which each needs the one before."""
    a = np.uint64(1)
    for _ in range(n):
        a = a * np.uint64(6364136223846793005) + np.uint64(1)
    return a


@njit(nogil=True)
def _reckon(n):  # type: ignore[no-untyped-def]
    """Do sums of which several can be done at once."""
    a, b, c, d, e, f = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(5), np.uint64(7), np.uint64(11)
    for _ in range(n):
        a = a * np.uint64(3) + np.uint64(1)
        b = b * np.uint64(5) ^ a
        c = c + (b >> np.uint64(3))
        d = d ^ (c + a)
        e = e + d * np.uint64(7)
        f = f ^ (e >> np.uint64(1))
    return f


@njit(nogil=True)
def _copy(source, target):  # type: ignore[no-untyped-def]
    for i in range(source.size):
        target[i] = source[i]


def two_threads_of_this_machine(*, small: bool = False) -> list[dict[str, Any]]:
    """Return for each kind of work the seconds of doing it twice on one thread and on two, and the gain; best of nine."""
    share = 50 if small else 1
    arrays = [np.ones(20_000_000 // share, np.float32) for _ in range(4)]
    kinds: dict[str, Callable[[int], object]] = {
        "sums that wait for one another": lambda _: _wait(100_000_000 // share),
        "sums side by side": lambda _: _reckon(30_000_000 // share),
        "copies of 80 MB": lambda job: _copy(arrays[job], arrays[2 + job]),
    }
    rows = []
    with ThreadPoolExecutor(2) as pool:
        for name, work in kinds.items():
            work(0)
            walls = [(_wall(lambda: [work(0), work(1)]), _wall(lambda: list(pool.map(work, (0, 1))))) for _ in range(9)]  # noqa: B023
            one, two = (min(wall[k] for wall in walls) for k in range(2))
            rows.append({"work": name, "1 thread": one, "2 threads": two, "gain": one / two})
    return rows


def _wall(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
