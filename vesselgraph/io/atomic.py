"""Writing that is all or nothing: a result is written beside its place and renamed there once it is complete."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vesselgraph.errors import OutputError

_MAX_SUFFIXES = 2


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file name beside ``path``; on success it becomes ``path``, on failure it is gone.

    The temporary name ends with the same suffix (``.nii.gz`` too), so that writers which look at the suffix work. The body
    must create the file. An older file at ``path`` stays untouched until the new one is complete.

    Raises
    ------
    OutputError
        The folder is missing, the place is taken by something that is not a file, the disk is full or not writable (any
        ``OSError`` of the body), or the body wrote nothing.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     sorted(p.name for p in Path(folder).iterdir())
    ['a.txt']
    """
    target = Path(path)
    # A rename would silently replace a device such as /dev/null.
    if target.exists() and not target.is_file():
        raise OutputError("a file name to write to", f"{target}, which is not a regular file", "choose another name")
    temporary = _beside(target)
    try:
        try:
            yield temporary
            if not temporary.exists():
                raise OutputError(f"{target} to be written", "no file from the writer", "check the folder and free space")
            _flush(temporary)
            temporary.replace(target)
        except OSError as error:
            raise _output_error(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``; on success it becomes ``path``, on failure it is gone.

    Raises
    ------
    OutputError
        ``path`` is a file or a folder that already holds something, or writing failed as in :func:`atomic_path`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_folder(Path(folder) / "series") as temporary:
    ...         _ = (temporary / "1.dcm").write_text("slice")
    ...     sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*.dcm"))
    ['series/1.dcm']
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise OutputError("a folder to write to", f"{target}, which is a file", "choose another name")
    if target.is_dir() and any(target.iterdir()):
        raise OutputError("a new or empty folder", f"{target}, which already holds files", "choose another folder or empty it")
    temporary = _beside(target)
    try:
        try:
            temporary.mkdir()
            yield temporary
            if target.is_dir():
                target.rmdir()
            temporary.rename(target)
        except OSError as error:
            raise _output_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(target: Path) -> Path:
    parent = target.parent
    if not parent.is_dir():
        raise OutputError(f"an existing folder for {target.name}", f"no folder {parent}", "create it first")
    suffix = "".join(target.suffixes[-_MAX_SUFFIXES:])
    return parent / f".writing-{uuid.uuid4().hex[:12]}{suffix}"


def _flush(path: Path) -> None:
    # The disk may report "full" only here, and a rename must not overtake the data.
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _output_error(target: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"to write {target}", reason, "check that the folder exists, is writable and has free space")
