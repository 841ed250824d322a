"""Running a kernel that releases the interpreter lock over parts of an array."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

from numba import get_num_threads

from vesselgraph.progress import Progress, silent

Result = TypeVar("Result")

# Parts a thread gets if their size is left open: some end sooner than others.
_PARTS_A_THREAD = 8


def run_parts(
    kernel: Callable[[int, int], Result], n: int, part: int | None = None, progress: Progress = silent, step: str = ""
) -> list[Result]:
    """Return ``kernel(start, stop)`` for the parts of ``range(n)``, in order; as many at a time as numba is set to.

    Plain threads, not numba's: its default layer may not be entered from two threads of a program at once, and its idle threads
    keep a processor busy.

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
    with ThreadPoolExecutor(threads) if threads > 1 and len(spans) > 1 else nullcontext() as pool:
        for result in (map if pool is None else pool.map)(lambda span: kernel(*span), spans):
            results.append(result)
            progress(step, len(results) / len(spans))
    return results
