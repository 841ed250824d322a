"""All or nothing: a failed write leaves neither a new file nor a damaged old one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from vesselgraph.errors import OutputError
from vesselgraph.io.atomic import atomic_folder, atomic_path


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_complete_file_takes_its_name(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"new")
    assert names(tmp_path) == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == b"new"


def test_a_failure_keeps_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fail()
    assert names(tmp_path) == ["a.txt"]
    assert target.read_text() == "old"


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"expected to write .*a\.txt; got No space left"), atomic_path(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no folder .*missing; create it first"), atomic_path(tmp_path / "missing" / "a.txt"):
        pass


def test_a_writer_that_writes_nothing_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no file from the writer"), atomic_path(tmp_path / "a.txt"):
        pass


def test_devices_and_folders_are_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a regular file"), atomic_path("/dev/null"):
        pass
    with pytest.raises(OutputError, match="not a regular file"), atomic_path(tmp_path):
        pass


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "series"

    def fail() -> None:
        with atomic_folder(target) as temporary:
            (temporary / "1.dcm").write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert names(tmp_path) == []
    target.mkdir()
    with atomic_folder(target) as temporary:
        (temporary / "1.dcm").write_text("whole")
    assert names(tmp_path) == ["series"]
    with pytest.raises(OutputError, match="already holds files"), atomic_folder(target):
        pass
    assert names(target) == ["1.dcm"]


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("file")
    with pytest.raises(OutputError, match="which is a file"), atomic_folder(tmp_path / "a"):
        pass
