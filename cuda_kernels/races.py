"""What the simulator can show of races, though it runs block after block.

Two checks, both for numba's simulator only. :func:`other_order` runs the blocks of every launch, and starts their threads, in
another order: a result that hangs on the order changes. :func:`no_conflicts` looks at every access to device memory and raises
where one thread writes an element that another one touches in the same launch, which on a card may happen in either order.
Several atomic updates of an element are no conflict, nor is the same value stored by several threads that nobody reads. Kernels
with barriers are judged by blocks: what their own threads do to each other is left to the barriers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from numba.cuda.simulator import kernel as simulated
from numba.cuda.simulator import kernelapi
from numba.cuda.simulator.cudadrv import devicearray

_Accesses = dict[int, dict[Any, tuple[set[str], set[Any]]]]


class ConflictError(AssertionError):
    """Two threads of one launch touch an element of device memory, and at least one of them writes it."""


@contextmanager
def other_order(seed: int) -> Iterator[None]:
    """Run blocks and start threads in a random order while this lasts; a seed of 0 reverses them."""
    rng = np.random.default_rng(seed)

    def ndindex(*shape: int) -> list[tuple[int, ...]]:
        places = list(np.ndindex(*shape))
        return places[::-1] if seed == 0 else [places[i] for i in rng.permutation(len(places))]

    names = {name: getattr(np, name) for name in ("zeros", "all", "any", "count_nonzero", "ndarray", "void", "bool_", "seterr")}
    with mock.patch.object(simulated, "np", SimpleNamespace(**names, ndindex=ndindex)):
        yield


class _Recorder:
    """Who touched which element of device memory in the launch that runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = threading.local()
        self._accesses: _Accesses = {}
        self._by_block = False

    def begin(self, kernel: Any) -> None:
        self._accesses = {}
        self._by_block = any(name.startswith("syncthreads") for name in kernel.fn.__code__.co_names)

    def touch(self, array: Any, index: Any, kind: str, value: Any = None) -> None:
        """Note an access of the thread that runs; slices are taken as their elements when these are accessed."""
        thread = threading.current_thread()
        places = index if isinstance(index, tuple) else (index,)
        if not isinstance(thread, simulated.BlockThread) or len(places) != array.ndim:
            return
        if getattr(self._inside, "atomic", False):
            kind = "atomic"
        who = (tuple(thread.blockIdx), None if self._by_block else tuple(thread.threadIdx))
        address = array.__array_interface__["data"][0] + sum(int(i) * s for i, s in zip(places, array.strides, strict=True))
        with self._lock:
            kinds, values = self._accesses.setdefault(address, {}).setdefault(who, (set(), set()))
            kinds.add(kind)
            values.add(value)

    def judge(self, kernel: Any) -> None:
        """Raise if an element was touched by two, not both by atomics, and written."""
        for by_whom in self._accesses.values():
            kinds = set().union(*(kinds for kinds, _ in by_whom.values()))
            stored = set().union(*(values for _, values in by_whom.values()))
            if len(by_whom) < 2 or kinds in ({"read"}, {"atomic"}) or (kinds == {"write"} and len(stored) == 1):
                continue
            raise ConflictError(f"{kernel.fn.__name__}: {len(by_whom)} threads or blocks {sorted(kinds)} one element")

    def atomically(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return an atomic operation whose accesses count as atomic."""

        def run(*arguments: Any) -> Any:
            self._inside.atomic = True
            try:
                return method(*arguments)
            finally:
                self._inside.atomic = False

        return run


@contextmanager
def no_conflicts() -> Iterator[None]:
    """Raise where threads of one launch touch what another one of them writes, while this lasts.

    Raises
    ------
    ConflictError
        At the end of the launch.
    """
    recorder = _Recorder()
    array, launcher = devicearray.FakeWithinKernelCUDAArray, simulated.FakeCUDAKernel
    get, put, call = array.__getitem__, array.__setitem__, launcher.__call__

    def noted_get(self: Any, index: Any) -> Any:
        recorder.touch(self._item._ary, index, "read")
        return get(self, index)

    def noted_put(self: Any, index: Any, value: Any) -> None:
        recorder.touch(self._item._ary, index, "write", float(value))
        put(self, index, value)

    def noted_call(self: Any, *arguments: Any) -> None:
        if self._device:
            return call(self, *arguments)
        recorder.begin(self)
        call(self, *arguments)
        recorder.judge(self)
        return None

    with ExitStack() as changes:
        changes.enter_context(mock.patch.object(array, "__getitem__", noted_get))
        changes.enter_context(mock.patch.object(array, "__setitem__", noted_put))
        changes.enter_context(mock.patch.object(launcher, "__call__", noted_call))
        atomic = kernelapi.FakeCUDAAtomic
        for name in [name for name in vars(atomic) if not name.startswith("__")]:
            changes.enter_context(mock.patch.object(atomic, name, recorder.atomically(getattr(atomic, name))))
        yield
