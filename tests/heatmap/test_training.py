"""Training: it learns, it can be killed and taken up, and it refuses what it cannot do."""

from __future__ import annotations

import csv
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.heatmap.tiny import NoCases, TinySource, tube_case
from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.errors import BackendUnavailableError, CheckpointError, ConfigError, OutputError
from vesselgraph.heatmap.batches import Batches
from vesselgraph.heatmap.prediction import Maps
from vesselgraph.heatmap.training import WEIGHTS, train_heatmap
from vesselgraph.heatmap.validation import make_box, score_maps
from vesselgraph.heatmap.weights import load_network
from vesselgraph.training import CHECKPOINT

CONFIG = TrainHeatmapConfig(
    widths=(4, 8),
    n_groups=2,
    patch=16,
    batch=2,
    n_steps=40,
    rate=1e-2,
    n_warm_up=5,
    average=0.9,
    validate_every=20,
    validation_side=24,
    n_steps_a_case=7,
    pool=2,
    n_workers=0,
    checkpoint_minutes=1e-6,
)


def train(folder, config=CONFIG, **settings):
    sources = {"generated": TinySource(), "real": NoCases(), "validation": [tube_case(99, ("portal", "arterial"))]}
    return train_heatmap(config, folder, **{**sources, **settings})


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder)


def test_it_learns_and_writes_what_it_promises(whole) -> None:
    folder, result = whole
    losses = [float(row["total"]) for row in rows(folder / "train.csv")]
    assert losses[-1] < 0.9 * losses[0]
    assert [row["step"] for row in rows(folder / "validation.csv")] == ["20", "40"]
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["step-000020.png", "step-000040.png"]
    assert list((folder / "tensorboard").iterdir())
    assert TrainHeatmapConfig.from_toml(folder / "recipe.toml") == CONFIG
    assert result.n_steps == 40
    assert 0.0 < result.scores["one/f1"] <= 1.0
    _, card = load_network(folder / WEIGHTS)
    assert card.n_steps == 40
    assert TrainHeatmapConfig.build(dict(card.recipe)) == CONFIG
    assert "seeds 100000 to 100199" in card.data


class KilledError(Exception):
    """Stands for kill -9: nothing runs after it."""


@pytest.mark.parametrize("at", [7, 23])
def test_a_killed_run_goes_on_as_if_it_had_not_been(whole, tmp_path, at: int) -> None:
    def kill(step: str, fraction: float) -> None:
        if step.startswith(f"step {at} "):
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path, progress=kill)
    assert 0 < torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] < at
    train(tmp_path)
    folder, _ = whole
    for name in (WEIGHTS, "train.csv", "validation.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_run_in_two_parts_with_a_worker_is_the_same_run(whole, tmp_path) -> None:
    first = train(tmp_path, CONFIG.model_copy(update={"n_workers": 1, "checkpoint_minutes": 99.0}), stop_at=15)
    assert first.n_steps == 15
    train(tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == (whole[0] / WEIGHTS).read_bytes()


def test_another_recipe_does_not_go_on_in_the_same_folder(whole) -> None:
    with pytest.raises(ConfigError, match=r"values of rate"):
        train(whole[0], CONFIG.model_copy(update={"rate": 5e-3}))
    # The refused recipe has not replaced the run's.
    assert TrainHeatmapConfig.from_toml(whole[0] / "recipe.toml") == CONFIG


def test_training_can_start_from_weights(whole, tmp_path) -> None:
    start = str(whole[0] / WEIGHTS)
    config = CONFIG.model_copy(update={"start_from": start, "rate": 1e-9})
    train(tmp_path, config, stop_at=20)
    before, after = (float(rows(folder / "train.csv")[0]["total"]) for folder in (whole[0], tmp_path))
    assert after < 0.9 * before
    with pytest.raises(ConfigError, match="start_from"):
        train(tmp_path / "other", config.model_copy(update={"widths": (4, 12)}))
    with pytest.raises(CheckpointError, match="nothing at"):
        train(tmp_path / "none", config.model_copy(update={"start_from": str(tmp_path / "none.safetensors")}))


def test_what_cannot_be_trained_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="at least one case"):
        train(tmp_path / "a", generated=NoCases())
    with pytest.raises(ConfigError, match="multiple of 2"):
        train(tmp_path / "b", CONFIG.model_copy(update={"patch": 17}))
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        train(tmp_path / "file")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(BackendUnavailableError, match="cuda"):
        train(tmp_path, CONFIG.model_copy(update={"device": "cuda"}))


def test_a_batch_depends_on_the_step_alone() -> None:
    one, other = Batches(CONFIG, TinySource(), NoCases()), Batches(CONFIG, TinySource(), NoCases())
    for step in (0, 13, 14):
        one[step]
    phases, truth, context = one[20]
    again, truth_again, _ = other[20]
    assert not context
    assert list(phases) == list(again)
    assert all(torch.equal(phases[name], again[name]) for name in phases)
    assert all(torch.equal(a, b) for a, b in zip(truth, truth_again, strict=True))
    assert not torch.equal(truth.heat, one[21][1].heat)
    assert not torch.equal(truth.heat, Batches(CONFIG, TinySource(), NoCases(), rank=1)[20][1].heat)


def test_the_pool_moves_on_and_every_case_has_its_turn() -> None:
    batches = Batches(CONFIG, TinySource(5), NoCases())
    pools = [batches._pool("generated", step) for step in range(0, 70, 7)]
    assert all(len(set(pool)) == 2 for pool in pools[:4])
    assert all(before[1] == after[0] for before, after in pairwise(pools))
    assert {number for pool in pools[:4] for number in pool} == {0, 1, 2, 3, 4}


def test_cases_with_different_phases_are_shown_as_unknown() -> None:
    class Mixed(TinySource):
        def case(self, index: int):
            return tube_case(index, ("portal",) if index % 2 else ("arterial",))

    batches = Batches(CONFIG.model_copy(update={"batch": 8, "pool": 3}), Mixed(), NoCases())
    phases, _, _ = batches[0]
    assert list(phases) == ["unknown"]
    assert phases["unknown"].shape == (8, 1, 16, 16, 16)


def test_the_truth_itself_scores_full() -> None:
    box = make_box(tube_case(3, ("portal", "arterial")), CONFIG)
    target = box.targets["one"]
    nearest = target.tree_distance[1:].argmin(axis=0)
    maps = Maps(
        target.heat, target.radius, np.eye(3, dtype=np.float16)[:, nearest], np.zeros((4, *box.counts.shape), np.float16)
    )
    scores = score_maps(maps, target, box, CONFIG)
    assert scores["mse"] == 0.0
    assert scores["f1"] == pytest.approx(1.0)
    assert scores["radius"] == pytest.approx(0.0, abs=1e-6)
    assert scores["identity"] == 1.0


def test_a_shifted_truth_scores_less() -> None:
    box = make_box(tube_case(3), CONFIG)
    target = box.targets["one"]
    moved = np.roll(target.heat, 6, axis=0)
    maps = Maps(moved, target.radius, np.zeros((3, *moved.shape), np.float16), np.zeros((4, *moved.shape), np.float16))
    assert score_maps(maps, target, box, CONFIG)["f1"] < 0.6
