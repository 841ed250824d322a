"""What trainings share: checkpoints of one recipe, a journal that forgets what came after, the fall of the rate."""

import csv

import numpy as np
import pytest
import torch

from vesselgraph.errors import CheckpointError, ConfigError, OutputError
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.training import (
    CHECKPOINT,
    TRAIN_TABLE,
    Journal,
    cosine_share,
    make_run_folder,
    read_checkpoint,
    run_epochs,
    write_checkpoint,
)

CONFIG = TrainClassifierConfig(rate=0.01)


def test_a_checkpoint_comes_back_with_its_recipe(tmp_path):
    assert read_checkpoint(CONFIG, tmp_path, ()) is None
    write_checkpoint({"step": 3, "values": torch.arange(4)}, CONFIG, tmp_path)
    state = read_checkpoint(CONFIG, tmp_path, ())
    assert state["step"] == 3
    assert torch.equal(state["values"], torch.arange(4))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_another_recipe_is_refused_unless_the_setting_may_change(tmp_path):
    write_checkpoint({"step": 3}, CONFIG, tmp_path)
    other = CONFIG.model_copy(update={"rate": 0.02, "seed": 1})
    with pytest.raises(ConfigError, match="other values of rate, seed"):
        read_checkpoint(other, tmp_path, ())
    with pytest.raises(ConfigError, match="other values of seed"):
        read_checkpoint(other, tmp_path, {"rate"})
    assert read_checkpoint(other, tmp_path, {"rate", "seed"})["step"] == 3


class Harm:
    def __reduce__(self):
        return (print, ("harm",))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "text", "code"])
def test_a_damaged_or_harmful_checkpoint_is_refused(tmp_path, capsys, content):
    if content is None:
        torch.save({"step": Harm()}, tmp_path / CHECKPOINT)
    else:
        (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(CheckpointError, match="remove it to start anew"):
        read_checkpoint(CONFIG, tmp_path, ())
    assert "harm" not in capsys.readouterr().out


def test_a_kill_while_writing_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    write_checkpoint({"step": 3}, CONFIG, tmp_path)

    def killed(state, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint({"step": 4}, CONFIG, tmp_path)
    assert read_checkpoint(CONFIG, tmp_path, ())["step"] == 3


def test_a_journal_goes_on_where_its_run_does(tmp_path):
    first = Journal(tmp_path, unit="epoch")
    for number in (1, 2, 3):
        first.row("train.csv", number, {"loss": 1.0 / number})
    first.close()
    with (tmp_path / "train.csv").open("a", encoding="utf-8") as file:
        file.write("4,")
    second = Journal(tmp_path, 2, unit="epoch")
    second.row("train.csv", 3, {"loss": 0.5})
    second.close()
    with (tmp_path / "train.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["epoch", "loss"], ["1", "1"], ["2", "0.5"], ["3", "0.5"]]


@pytest.mark.parametrize("left", ["", "epoch,other\n1,2\n"])
def test_a_new_run_keeps_nothing_of_an_older_one(tmp_path, left):
    (tmp_path / "train.csv").write_text(left, encoding="utf-8")
    journal = Journal(tmp_path)
    journal.row("train.csv", 1, {"loss": 1.0})
    journal.close()
    assert (tmp_path / "train.csv").read_text(encoding="utf-8").split() == ["step,loss", "1,1"]


def test_epochs_are_journalled_saved_and_told(tmp_path):
    told, saved = [], []

    def save(n_done, folder):
        saved.append((n_done, folder))

    def progress(what, share):
        told.append((what, share))

    run_epochs(2, 7, lambda epoch: {"rate": 0.5, "loss": 10.0 - epoch}, save, folder=tmp_path, save_every=3, progress=progress)
    assert saved == [(3, tmp_path), (6, tmp_path), (7, tmp_path)]
    assert told[0] == ("epoch 3 of 7, loss 8.0000", pytest.approx(3 / 7))
    assert told[-1] == ("epoch 7 of 7, loss 4.0000", 1.0)
    with (tmp_path / TRAIN_TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["rate"], float(row["loss"])) for row in rows] == [(str(n), "0.5", 11.0 - n) for n in range(3, 8)]


def test_without_a_folder_epochs_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    taken = []
    run_epochs(0, 3, lambda epoch: taken.append(epoch) or {"loss": 1.0}, lambda *_: pytest.fail("saved"), folder=None)
    assert taken == [0, 1, 2]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    make_run_folder(tmp_path / "a" / "b", "pictures")
    assert (tmp_path / "a" / "b" / "pictures").is_dir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        make_run_folder(tmp_path / "file")


def test_the_rate_falls_and_stays():
    shares = [cosine_share(done, 0.1) for done in np.linspace(0, 1, 11)]
    assert shares == sorted(shares, reverse=True)
    assert (shares[0], round(shares[-1], 12), round(cosine_share(3.0, 0.1), 12)) == (1.0, 0.1, 0.1)
