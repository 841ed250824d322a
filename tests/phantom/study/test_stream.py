"""Targets, cache and stream: exact distances, whole entries, the same patch for the same index."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vesselgraph.config import StudyConfig, StudyRanges
from vesselgraph.errors import ConfigError
from vesselgraph.phantom import PhantomStream, StudyCache, TrainingVolume, make_study, training_volume
from vesselgraph.phantom.study.targets import REACH

RANGES = StudyRanges(shape=(40, 40, 40), n_portal_tips=(60, 80), n_hepatic_tips=(60, 80), tip_radius=(0.8, 0.9))
CONFIG = StudyConfig(shape=(20, 40, 40), spacing=(2.0, 1.0, 1.0), n_portal_tips=80, n_hepatic_tips=80, tip_radius=0.8)


@pytest.fixture(scope="module")
def volume() -> TrainingVolume:
    return training_volume(make_study(CONFIG))


@pytest.fixture(scope="module")
def stream() -> PhantomStream:
    return PhantomStream(RANGES, seed=3, patch_shape=(24, 24, 24), patches_per_study=3, mixed=2)


def same(a: TrainingVolume, b: TrainingVolume) -> bool:
    names = ("distance", "radius", "identity", "near", "visibility", "organ")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names) and all(
        np.array_equal(a.phases[name], b.phases[name]) for name in b.phases
    )


def test_distances_are_those_to_the_centerlines(volume: TrainingVolume) -> None:
    assert volume.shape == (40, 40, 40)
    graph = make_study(CONFIG).graph
    voxels = np.random.default_rng(0).integers(0, 40, (200, 3))
    world = volume.space.to_world(voxels)
    first = np.flatnonzero(np.diff(graph.edge_of_point) == 0)
    a, b = graph.path_position[first], graph.path_position[first + 1]
    for point, voxel in zip(world, voxels, strict=True):
        t = np.clip(((point - a) * (b - a)).sum(1) / ((b - a) ** 2).sum(1), 0.0, 1.0)
        gap = np.linalg.norm(a + t[:, None] * (b - a) - point, axis=1)
        expected = min(float(gap.min()), REACH)
        assert float(volume.distance[tuple(voxel)]) == pytest.approx(expected, abs=0.01)
        if expected < REACH - 0.05 and np.partition(gap, 1)[1] > gap.min() + 1e-3:
            nearest = first[int(gap.argmin())]
            assert volume.identity[tuple(voxel)] == graph.edge_data["tree"][graph.edge_of_point[nearest]]


def test_heat_is_one_on_centerlines_and_none_for_what_is_not_seen(volume: TrainingVolume) -> None:
    heat = volume.heat(1.5)
    assert heat.dtype == np.float32
    assert heat.max() > 0.95
    assert heat[volume.distance >= REACH].max() == 0.0
    assert (volume.heat(1.5, least_visibility=1e9) == 0.0).all()


def test_cache_gives_back_what_was_put(volume: TrainingVolume, tmp_path: Path) -> None:
    cache = StudyCache(tmp_path / "studies")
    assert cache.get(CONFIG) is None
    cache.put(CONFIG, volume)
    cache.put(CONFIG, volume)
    found = cache.get(CONFIG)
    assert found is not None
    assert same(found, volume)
    assert np.allclose(found.space.origin, volume.space.origin)
    assert [path.name.startswith("partial-") for path in (tmp_path / "studies").iterdir()] == [False]


def test_cache_drops_the_entry_used_longest_ago(volume: TrainingVolume, tmp_path: Path) -> None:
    small = StudyCache(tmp_path, max_gb=3.0e-3)
    configs = [CONFIG.model_copy(update={"noise_seed": n}) for n in range(4)]
    for config in configs:
        small.put(config, volume)
    assert small.get(configs[-1]) is not None
    assert small.get(configs[0]) is None


def test_patches_are_the_same_wherever_iteration_starts(stream: PhantomStream, tmp_path: Path) -> None:
    cached = replace(stream, cache=StudyCache(tmp_path))
    patches = iter(cached)
    some = [next(patches) for _ in range(5)]
    assert same(next(iter(replace(cached, start=4))), some[4])
    assert same(next(iter(replace(stream, start=1))), some[1])
    assert some[0].shape == (24, 24, 24)
    assert not same(some[0], some[2])


def test_studies_take_turns_and_shards_do_not_meet(stream: PhantomStream) -> None:
    assert [stream.place_of(i) for i in range(7)] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 0)]
    shards = [replace(stream, shard=(n, 3)) for n in range(3)]
    studies = [{shard.place_of(i)[0] for i in range(30)} for shard in shards]
    assert len(set.union(*studies)) == sum(len(part) for part in studies)


def test_patches_larger_than_the_study_are_refused(stream: PhantomStream) -> None:
    with pytest.raises(ConfigError, match="no larger"):
        next(iter(replace(stream, patch_shape=(60, 24, 24))))
