"""A weights file and its card belong together, or nothing is loaded."""

import hashlib
from typing import ClassVar

import pytest
import torch

from vesselgraph.errors import CheckpointError, OutputError
from vesselgraph.weights import WeightsCard, read_card, read_weights, write_weights

STATE = {"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.int64)}


class Card(WeightsCard):
    KIND: ClassVar[str] = "toy"
    VERSION: ClassVar[int] = 3

    width: int


class OtherCard(WeightsCard):
    KIND: ClassVar[str] = "other toy"

    height: int


class LaterCard(Card):
    VERSION: ClassVar[int] = 4


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "toy.safetensors"
    write_weights(STATE, Card(width=4), path)
    return path


def test_what_is_written_is_read(written):
    card = read_card(written, Card, "write some")
    assert (card.kind, card.version, card.width) == ("toy", 3, 4)
    assert len(card.sha256) == 64
    state = read_weights(written, card)
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], value) for name, value in STATE.items())


def test_the_same_weights_give_the_same_bytes(written, tmp_path):
    again = tmp_path / "again.safetensors"
    assert write_weights(STATE, Card(width=4), again) == read_card(written, Card, "")
    assert again.read_bytes() == written.read_bytes()


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match=r"weights of a toy.*nothing at.*none.*write some"):
        read_card(tmp_path / "none.safetensors", Card, "write some")


def test_a_missing_card_is_told(written):
    written.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"No such file.*keep the .safetensors and the .json together"):
        read_card(written, Card, "")


@pytest.mark.parametrize(("before", "after"), [('"width": 4', '"width": "wide"'), ('"width"', '"breadth"'), ("{", "")])
def test_an_unreadable_card_is_told(written, before, after):
    beside = written.with_suffix(".json")
    beside.write_text(beside.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    with pytest.raises(CheckpointError, match="expected the card of the weights"):
        read_card(written, Card, "")


def test_a_card_of_another_kind_is_refused(written):
    with pytest.raises(CheckpointError, match=r"other toy weights; got toy weights in .*name a file of other toy weights"):
        read_card(written, OtherCard, "")


def test_a_card_of_another_version_is_refused(written):
    with pytest.raises(CheckpointError, match=r"toy weights of version 4; got version 3.*trained with this version"):
        read_card(written, LaterCard, "")


@pytest.mark.parametrize("text", ["{}", "[1]", '"toy"'])
def test_a_card_that_does_not_say_of_what_it_is_is_refused(written, text):
    written.with_suffix(".json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="nothing that says what the weights are of"):
        read_card(written, Card, "")


def test_weights_of_another_card_are_refused(written, tmp_path):
    other = write_weights({"a": torch.zeros(3)}, Card(width=4), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="SHA-256 of their card"):
        read_weights(written, other)


def test_a_file_that_is_no_safetensors_file_is_refused(written):
    written.write_bytes(b"not weights")
    card = read_card(written, Card, "")
    right = card.model_copy(update={"sha256": hashlib.sha256(b"not weights").hexdigest()})
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        read_weights(written, right)


def test_a_missing_folder_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(OutputError):
        write_weights(STATE, Card(width=4), tmp_path / "none" / "toy.safetensors")
    assert not list(tmp_path.iterdir())
