import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from vesselgraph.encoders.cache import FeatureCache, feature_key
from vesselgraph.encoders.encoded import Encoded, FeatureMap
from vesselgraph.errors import InputError, RangeError
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def features(seed=0, side=4):
    data = torch.randn(1, 2, side, side, side, generator=torch.Generator().manual_seed(seed))
    tokens = torch.ones(1, 3, 5)
    maps = (FeatureMap(data, (1.0, 2.5, 2.5), (0.0, 0.75, 0.75), "layer 3"), FeatureMap(data.half(), (1, 1, 1), (0, 0, 0), "b"))
    space = Space.axial((2.0, 0.7, 0.7), (-3.0, 4.0, 5.0))
    return Encoded(maps, (space,), (4, 10, 10), tokens, torch.ones(1, 3, dtype=torch.bool), tokens.mean(1))


def test_what_is_written_is_read_back(tmp_path):
    cache, wanted = FeatureCache(tmp_path / "new", 1.0), features()
    assert cache.read("a") is None
    cache.write("a", wanted)
    got = cache.read("a")
    for one, other in zip(got.maps, wanted.maps, strict=True):
        assert torch.equal(one.data, other.data)
        assert (one.stride, one.offset, one.name) == (other.stride, other.offset, other.name)
    assert got.spaces == wanted.spaces
    assert got.shape == wanted.shape
    assert torch.equal(got.tokens, wanted.tokens)
    assert torch.equal(got.token_mask, wanted.token_mask)
    assert got.attention is None


def test_the_bound_holds_and_what_was_used_last_stays(tmp_path):
    FeatureCache(tmp_path / "one", 1.0).write("x", features())
    size = (tmp_path / "one" / "x.safetensors").stat().st_size
    folder = tmp_path / "many"
    cache = FeatureCache(folder, 3.5 * size / 1e9)
    for number, name in enumerate("abc"):
        cache.write(name, features(number))
        os.utime(folder / f"{name}.safetensors", ns=(number, number))
    assert cache.read("a") is not None
    cache.write("d", features())
    # "b" was used least recently, as "a" was read just now.
    assert {path.stem for path in folder.iterdir()} == {"a", "c", "d"}
    cache.write("e", features())
    assert {path.stem for path in folder.iterdir()} == {"a", "d", "e"}


def test_what_a_killed_writer_left_is_removed_after_an_hour(tmp_path):
    cache = FeatureCache(tmp_path, 1.0)
    for name in (".writing-old.safetensors", ".writing-new.safetensors"):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / ".writing-old.safetensors", (0, 0))
    cache.write("a", features())
    assert {path.name for path in tmp_path.iterdir()} == {".writing-new.safetensors", "a.safetensors"}


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path):
    cache = FeatureCache(tmp_path, 1e-7)
    cache.write("a", features())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"rubbish that is no safetensors file"])
def test_a_damaged_file_counts_as_none(tmp_path, content):
    cache = FeatureCache(tmp_path, 1.0)
    (tmp_path / "a.safetensors").write_bytes(content)
    assert cache.read("a") is None
    assert list(tmp_path.iterdir()) == []


def test_keys_tell_values_places_encoders_weights_and_settings_apart():
    base = Volume(np.arange(8.0).reshape(2, 2, 2), Space.axial())
    keys = {
        feature_key(base, "e", "w", "c"),
        feature_key(base.with_array(base.array + 1), "e", "w", "c"),
        feature_key(base.with_array(base.array.astype(np.float32)), "e", "w", "c"),
        feature_key(Volume(base.array, Space.axial((2, 1, 1))), "e", "w", "c"),
        feature_key(Volume(base.array.reshape(1, 4, 2), Space.axial()), "e", "w", "c"),
        feature_key(base, "f", "w", "c"),
        feature_key(base, "e", "x", "c"),
        feature_key(base, "e", "w", "d"),
    }
    assert len(keys) == 8
    # Stored in another memory order, it is the same image.
    assert feature_key(Volume(np.asfortranarray(base.array), base.space), "e", "w", "c") in keys


def test_bad_caches_raise(tmp_path):
    with pytest.raises(RangeError, match="a bound > 0 GB"):
        FeatureCache(tmp_path, 0.0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="which is a file"):
        FeatureCache(tmp_path / "file", 1.0)


_WRITER = """
import sys, torch
from vesselgraph.encoders.cache import FeatureCache
from vesselgraph.encoders.encoded import Encoded, FeatureMap
from vesselgraph.space import Space
cache = FeatureCache(sys.argv[1], 1.0)
print("ready", flush=True)
while True:
    for value in (1.0, 2.0):
        data = torch.full((1, 4, 32, 32, 32), value)
        cache.write("a", Encoded((FeatureMap(data, (1, 1, 1), (0, 0, 0)),), (Space.axial(),), (32, 32, 32)))
"""


def test_a_second_process_and_a_kill_never_leave_half_a_file(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "ready\n"
        cache, n_read = FeatureCache(tmp_path, 1.0), 0
        end = time.monotonic() + 60.0
        while n_read < 20 and time.monotonic() < end:
            got = cache.read("a")
            if got is not None:
                n_read += 1
                assert got.maps[0].data.unique().numel() == 1
        assert n_read == 20
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    assert cache.read("a").maps[0].data.unique().numel() == 1
