import hashlib
import time

import numpy as np
import pytest

from vesselgraph.errors import FormatError
from vesselgraph.provenance import RunLog, digest_path, digest_volume, machine, versions
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def volume(values=0, spacing=(1.0, 1.0, 1.0), dtype=np.int16):
    return Volume(np.full((2, 3, 4), values, dtype=dtype), Space.axial(spacing=spacing))


def test_file_digest_is_sha256_of_its_bytes(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"vessel")
    assert digest_path(tmp_path / "a.bin") == hashlib.sha256(b"vessel").hexdigest()


def test_folder_digest_knows_names_and_bytes(tmp_path):
    one, two, three = (tmp_path / name for name in "123")
    for folder, name, content in ((one, "a", b"x"), (two, "a", b"x"), (three, "b", b"x")):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / name).write_bytes(content)
    assert digest_path(one) == digest_path(two) != digest_path(three)


def test_missing_file_has_no_digest(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        digest_path(tmp_path / "none")


@pytest.mark.parametrize("other", [volume(1), volume(spacing=(2.0, 1.0, 1.0)), volume(dtype=np.int32)])
def test_volume_digest_knows_values_grid_and_type(other):
    assert digest_volume(volume()) == digest_volume(volume()) != digest_volume(other)


def test_volume_digest_ignores_memory_layout():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    assert digest_volume(Volume(array, Space.axial())) == digest_volume(Volume(np.asfortranarray(array), Space.axial()))


def test_versions_name_python_and_the_package():
    found = versions()
    assert found["vesselgraph"]
    assert found["python"].startswith("3.")
    assert found["numpy"] == np.__version__


def test_machine_tells_no_names():
    assert set(machine()) == {"system", "n_processors", "memory_gb"}


def test_log_keeps_order_totals_and_each_warning_once():
    log = RunLog()
    with log.stage("first"):
        time.sleep(0.02)
    with log.stage("second"):
        pass
    log.warn("look")
    log.warn("look")
    record = log.to_dict()
    assert list(record["timings"]) == ["first", "second", "total"]
    assert record["timings"]["total"] >= record["timings"]["first"] >= 0.02
    assert record["warnings"] == ["look"]


def test_log_sees_memory_that_is_gone_at_the_end():
    log = RunLog()
    with log.stage("before"):
        pass
    with log.stage("big"):
        big = np.ones(40_000_000)
        time.sleep(0.15)
        del big
    peak = log.to_dict()["peak_memory_gb"]
    assert peak["big"] > peak["before"] + 0.25
    assert peak["largest"] == peak["big"]


def test_failed_stage_is_not_recorded():
    log = RunLog()
    with pytest.raises(FormatError, match="expected"), log.stage("broken"):
        raise FormatError("a", "b", "c")
    assert log.stages == []
