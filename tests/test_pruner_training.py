"""Training of the pruner, small: from studies to weights the pruning stage takes, the same after an interruption."""

import csv
import json

import numpy as np
import pytest
import torch

from vesselgraph.config import PruneConfig
from vesselgraph.errors import CheckpointError, ConfigError, OutputError
from vesselgraph.phantom import make_study, sample_study_config
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruner_training import LabelledGraph, traced_study, train_pruner
from vesselgraph.pruning.traced_case import TracedCase

CONFIG = TrainPrunerConfig.build(
    overrides=[
        "n_studies=1",
        "n_validation=1",
        "n_epochs=2",
        "width=8",
        "n_layers=1",
        "n_heads=2",
        "studies={shape=[44,44,44], center_x=[-62,-58], center_y=[-12,-8], center_z=[-2,2], n_portal_tips=[300,300], "
        "n_hepatic_tips=[300,300], slice_thickness=[1.0,1.2], noise=[4,5]}",
        "trace={keypoint_paths=false}",
    ]
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    return folder, train_pruner(CONFIG, folder)


def test_a_run_writes_weights_with_a_card_that_says_everything(run):
    folder, made = run
    assert {path.name for path in folder.iterdir()} == {
        "graphs", "recipe.toml", "train.csv", "reliability.png", "pruner.safetensors", "pruner.json"
    }  # fmt: skip
    card = json.loads((folder / "pruner.json").read_text())
    assert TrainPrunerConfig.build(card["recipe"]) == CONFIG == TrainPrunerConfig.from_toml(folder / "recipe.toml")
    assert card["heat"] == "ridge"
    assert "seeds 200000 to 200000" in card["data"]
    assert card["scores"].keys() == made.scores.keys() >= {"f1", "f1_unpruned", "average_precision", "calibration_error"}
    with (folder / "train.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]


def test_a_run_taken_up_gives_the_same_weights_and_makes_no_graph_again(run):
    folder, made = run
    before = made.weights.read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (folder / "graphs").iterdir()}
    assert len(times) == 2
    (folder / "pruner.safetensors").unlink()
    again = train_pruner(CONFIG, folder)
    assert again.weights.read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in (folder / "graphs").iterdir()} == times


def test_a_traced_study_survives_the_disk_and_is_labelled_by_what_can_be_seen(run):
    folder, _ = run
    case = traced_study(200_000, CONFIG, folder / "graphs")
    assert isinstance(case, TracedCase)
    settings = sample_study_config(200_000, CONFIG.studies).model_copy(update={"phases": ("portal",), "reference": "portal"})
    np.testing.assert_array_equal(case.truth.path_position, make_study(settings).graph.path_position)
    assert case.region.array.any()
    wanted = [
        LabelledGraph.of(case, CONFIG.model_copy(update={"sure_visibility": sure, "least_visibility": sure})).wanted
        for sure in (0.5, 2.0, 20.0)
    ]
    assert wanted[0] > wanted[1] >= wanted[2]
    graph = LabelledGraph.of(case, CONFIG)
    real = graph.labels.presence == 1
    assert real.any()
    assert graph.f1(real) > graph.f1(np.ones(len(real), np.bool_))


def test_what_cannot_work_is_refused_before_it_starts(tmp_path):
    with pytest.raises(ConfigError, match="a phase of native"):
        train_pruner(CONFIG.model_copy(update={"phase": "late"}), tmp_path)
    network = CONFIG.heatmap.model_copy(update={"method": "network", "weights": str(tmp_path / "none")})
    with pytest.raises(CheckpointError, match="weights of the heatmap network"):
        train_pruner(CONFIG.model_copy(update={"heatmap": network}), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="to write into"):
        train_pruner(CONFIG, tmp_path / "file" / "run")
    assert PruneConfig().method == "rules"
