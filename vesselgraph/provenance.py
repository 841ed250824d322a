"""What ran, on what, for how long: the facts that make a result repeatable."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil

from vesselgraph import __version__
from vesselgraph.errors import FormatError
from vesselgraph.volume import Volume

LIBRARIES = ("numpy", "scipy", "numba", "scikit-image", "SimpleITK", "networkx", "vtk", "torch", "torch-geometric", "pydantic")

_SAMPLE_SECONDS = 0.05
_CHUNK = 1 << 22
_GB = 1e9


def versions() -> dict[str, str | None]:
    """Return the version of this package, of Python and of every main library (None if missing); nothing is imported for it."""
    found: dict[str, str | None] = {"vesselgraph": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, str | int | float]:
    """Return what the run sees of the machine: system, processor count and memory; no host or user name."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "n_processors": psutil.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / _GB, 1),
    }


def digest_volume(volume: Volume) -> str:
    """Return the SHA-256 (64 hex digits) of a volume's type, shape, grid and values.

    Examples
    --------
    >>> from vesselgraph.space import Space
    >>> one = Volume(np.zeros((2, 2, 2)), Space.axial())
    >>> two = Volume(np.zeros((2, 2, 2)), Space.axial(spacing=(2.0, 1.0, 1.0)))
    >>> digest_volume(one) == digest_volume(one), digest_volume(one) == digest_volume(two)
    (True, False)
    """
    head = {"dtype": volume.array.dtype.str, "shape": volume.shape, "space": volume.space.to_dict()}
    result = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for plane in volume.array:
        result.update(np.ascontiguousarray(plane).data)
    return result.hexdigest()


def digest_path(path: str | Path) -> str:
    """Return the SHA-256 (64 hex digits) of a file's bytes, or of the names and bytes of all files below a folder.

    Raises
    ------
    FormatError
        The path does not exist or cannot be read.
    """
    place = Path(path)
    try:
        if not place.is_dir():
            return _digest_file(place)
        result = hashlib.sha256()
        for file in sorted(p for p in place.rglob("*") if p.is_file()):
            result.update(f"{file.relative_to(place).as_posix()}\0{_digest_file(file)}\n".encode())
        return result.hexdigest()
    except OSError as error:
        raise FormatError("a readable file or folder", f"{place}: {error.strerror}", "check the path") from error


def _digest_file(path: Path) -> str:
    result = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            result.update(chunk)
    return result.hexdigest()


@dataclass(frozen=True)
class StageRecord:
    """What one stage cost.

    Parameters
    ----------
    stage : str
        Its name.
    seconds, cpu_seconds : float
        Wall time, and processor time of all threads of this process.
    peak_memory_gb : float
        Largest resident memory of the process while it ran, 1e9 bytes.
    """

    stage: str
    seconds: float
    cpu_seconds: float
    peak_memory_gb: float


@dataclass
class RunLog:
    """Collects the costs, the choices and the warnings of one run, in order."""

    stages: list[StageRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    choices: dict[str, dict[str, str]] = field(default_factory=dict)

    def choose(self, stage: str, method: str, why: str) -> None:
        """Keep which method a stage took, and why."""
        self.choices[stage] = {"method": method, "why": why}

    def warn(self, text: str) -> None:
        """Keep a sentence the user must read."""
        if text not in self.warnings:
            self.warnings.append(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the body of a ``with`` block as the stage ``name``; nothing is recorded if it raises."""
        wall, cpu = time.perf_counter(), time.process_time()
        with _MemoryWatch() as memory:
            yield
        self.stages.append(
            StageRecord(
                name,
                round(time.perf_counter() - wall, 3),
                round(time.process_time() - cpu, 3),
                round(memory.peak_bytes / _GB, 3),
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: each cost by stage, with its total or largest value, the choices and the warnings."""
        wall = {record.stage: record.seconds for record in self.stages}
        cpu = {record.stage: record.cpu_seconds for record in self.stages}
        memory = {record.stage: record.peak_memory_gb for record in self.stages}
        return {
            "timings": {**wall, "total": round(sum(wall.values()), 3)},
            "cpu_seconds": {**cpu, "total": round(sum(cpu.values()), 3)},
            "peak_memory_gb": {**memory, "largest": max(memory.values(), default=0.0)},
            "choices": {stage: dict(choice) for stage, choice in self.choices.items()},
            "warnings": list(self.warnings),
        }


class _MemoryWatch:
    """Samples the resident memory of this process; the system's own high-water mark catches what falls between samples."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._process = psutil.Process()
        self._mark_before = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="memory-watch")

    def __enter__(self) -> Self:
        self._mark_before = _high_water_mark()
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        self._sample()
        mark = _high_water_mark()
        if mark > self._mark_before:
            self.peak_bytes = max(self.peak_bytes, mark)

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, int(self._process.memory_info().rss))


def _high_water_mark() -> int:
    """Return the largest resident size this process ever had, bytes; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
