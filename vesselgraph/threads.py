"""Running a kernel that releases the interpreter lock over parts of an array."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

from numba import get_num_threads

from vesselgraph.progress import Progress, silent

Result = TypeVar("Result")

# Parts a thread gets if their size is left open: some end sooner than others.
_PARTS_A_THREAD = 8
_worker = threading.local()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads that all calls share: to start some for every call costs as much as tracing a small image."""
    return ThreadPoolExecutor(threads, initializer=lambda: setattr(_worker, "works", True))


if hasattr(os, "register_at_fork"):
    # A child of a fork has none of the threads that its parent started.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run_parts(
    kernel: Callable[[int, int], Result], n: int, part: int | None = None, progress: Progress = silent, step: str = ""
) -> list[Result]:
    """Return ``kernel(start, stop)`` for the parts of ``range(n)``, in order; as many at a time as numba is set to.

    Plain threads, not numba's: its default layer may not be entered from two threads of a program at once, and its idle threads
    keep a processor busy. An error of a part is raised once the parts that had begun are done; those that had not are left out.

    Parameters
    ----------
    kernel : callable
        Releases the interpreter lock, and gives the same whatever the parts are.
    n : int
        How many items there are.
    part : int, optional
        Items a part; if left out, one part for one thread and a few a thread for more.
    progress, step
        Told after each part.
    """
    threads = get_num_threads()
    if part is None:
        part = max(1, n if threads == 1 else -(-n // (threads * _PARTS_A_THREAD)))
    spans = [(start, min(start + part, n)) for start in range(0, n, part)]
    results: list[Result] = []

    def collect(result: Result) -> None:
        results.append(result)
        progress(step, len(results) / len(spans))

    # A part that has parts itself does them in turn: to wait for threads that all wait would take forever.
    if threads == 1 or len(spans) < 2 or getattr(_worker, "works", False):
        for span in spans:
            collect(kernel(*span))
        return results
    parts = [_pool(threads).submit(kernel, *span) for span in spans]
    try:
        for done in parts:
            collect(done.result())
    finally:
        # After an error too nobody may go on writing into the caller's arrays.
        for waiting in parts:
            waiting.cancel()
        wait(parts)
    return results
