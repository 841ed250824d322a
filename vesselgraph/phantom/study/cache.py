"""Training volumes on disk: found again by the digest of their configuration, written whole or not at all, bounded in size."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path

import numpy as np

from vesselgraph.config import StudyConfig
from vesselgraph.errors import OutputError
from vesselgraph.phantom.study.targets import ARRAYS, TrainingVolume
from vesselgraph.space import Space

GENERATOR = 5
"""Raised when the generator gives other bytes for the same configuration, so that old entries are not found."""

_PARTIAL = "partial-"
_RECORD = "volume.json"


class StudyCache:
    """A folder of training volumes, one folder of memory-mappable arrays each.

    Several processes may share it: an entry appears by one rename. The oldest used entries go when it grows too large.

    Parameters
    ----------
    folder : Path
        Made if missing.
    max_gb : float
        Entries are removed beyond this size; the newest one always stays.

    Raises
    ------
    OutputError
        The folder cannot be made.
    """

    def __init__(self, folder: str | Path, max_gb: float = 10.0) -> None:
        self.folder, self.max_gb = Path(folder), max_gb
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"to make the cache {folder}", str(error), "choose another folder") from error

    def get(self, config: StudyConfig) -> TrainingVolume | None:
        """Return the volume of a configuration with its arrays mapped read-only; None if it is not there."""
        entry = self._entry(config)
        try:
            record = json.loads((entry / _RECORD).read_text(encoding="utf-8"))
            arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
            phases = {name: np.load(entry / f"phase-{name}.npy", mmap_mode="r") for name in record["phases"]}
            os.utime(entry)
        except FileNotFoundError:
            return None
        return TrainingVolume(phases=phases, space=Space.from_dict(record["space"]), **arrays)

    def put(self, config: StudyConfig, volume: TrainingVolume) -> None:
        """Keep a volume, and drop the ones not used for the longest time if the cache is too large.

        Raises
        ------
        OutputError
            The disk refuses.
        """
        partial = self.folder / f"{_PARTIAL}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            partial.mkdir()
            for name in ARRAYS:
                np.save(partial / f"{name}.npy", getattr(volume, name))
            for name, array in volume.phases.items():
                np.save(partial / f"phase-{name}.npy", array)
            record = {"phases": list(volume.phases), "space": volume.space.to_dict(), "config": config.model_dump(mode="json")}
            (partial / _RECORD).write_text(json.dumps(record), encoding="utf-8")
            if self._entry(config).exists():
                shutil.rmtree(partial)
            else:
                partial.rename(self._entry(config))
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not self._entry(config).exists():
                raise OutputError(
                    f"to write into the cache {self.folder}", str(error), "free space or choose a folder"
                ) from error
        self._shrink(keep=self._entry(config))

    def _entry(self, config: StudyConfig) -> Path:
        return self.folder / f"{config.digest()}-{GENERATOR}"

    def _shrink(self, keep: Path) -> None:
        """Remove the entries used longest ago until the size fits."""
        entries = []
        for entry in self.folder.iterdir():
            try:
                size = sum(file.stat().st_size for file in entry.iterdir())
                entries.append((entry.stat().st_mtime, size, entry))
            except (FileNotFoundError, NotADirectoryError):
                continue
        total = sum(size for _, size, _ in entries)
        for _, size, entry in sorted(entries):
            if total <= self.max_gb * 1e9:
                return
            if entry != keep and not entry.name.startswith(_PARTIAL):
                shutil.rmtree(entry, ignore_errors=True)
                total -= size
