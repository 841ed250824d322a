"""Running a kernel that releases the interpreter lock over parts of an array."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from numba import get_num_threads

from vesselgraph.progress import Progress

Result = TypeVar("Result")


def run_parts(kernel: Callable[[int, int], Result], n: int, part: int, progress: Progress, step: str) -> list[Result]:
    """Return ``kernel(start, stop)`` for the parts of ``range(n)``, in order; as many at a time as numba is set to.

    Plain threads, not numba's: its default layer may not be entered from two threads of a program at once.
    """
    starts = range(0, n, part)
    results: list[Result] = []
    with ThreadPoolExecutor(get_num_threads()) as pool:
        for result in pool.map(lambda start: kernel(start, min(start + part, n)), starts):
            results.append(result)
            progress(step, len(results) / len(starts))
    return results
