"""Features of an encoder in the heatmap network: closed gates change nothing, and features are read where the patch lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.heatmap.test_training import CONFIG, rows, train
from tests.heatmap.tiny import NoCases, TinySource, tube_case
from vesselgraph.config import HeatmapConfig, TrainHeatmapConfig
from vesselgraph.encoders.encoded import Encoded, FeatureMap
from vesselgraph.errors import CheckpointError, ConfigError, InputError
from vesselgraph.heatmap.batches import Batches
from vesselgraph.heatmap.foundation import Context, foundation_for, foundation_of
from vesselgraph.heatmap.gates import GateCard
from vesselgraph.heatmap.network import HeatmapNetwork
from vesselgraph.heatmap.prediction import predict_with_network
from vesselgraph.heatmap.training import WEIGHTS
from vesselgraph.heatmap.weights import load_network
from vesselgraph.space import Space
from vesselgraph.training_config import FeaturesConfig
from vesselgraph.volume import Volume

MAPS = (GateCard(name="fine", channels=3, level=0), GateCard(name="coarse", channels=5, level=1))
FEATURES = FeaturesConfig(use="both", random_weights=True, maps=("block 2", "block 4"))


def features(side: int = 16) -> tuple[torch.Tensor, ...]:
    seen = np.random.default_rng(3)
    sizes = ((2, 3, side, side, side), (2, 5, *(side // 2,) * 3))
    return tuple(torch.tensor(seen.normal(size=size), dtype=torch.float32) for size in sizes)


def pair(use: str = "both") -> tuple[HeatmapNetwork, HeatmapNetwork]:
    found = []
    for settings in ((), (use, MAPS)):
        torch.manual_seed(5)
        found.append(HeatmapNetwork((4, 8), 2, *settings))
    return found[0], found[1]


def image() -> dict[str, torch.Tensor]:
    return {"portal": torch.tensor(np.random.default_rng(0).normal(size=(2, 1, 16, 16, 16)), dtype=torch.float32)}


def test_with_closed_gates_the_network_is_the_plain_one_bit_for_bit() -> None:
    plain, gated = pair()
    for one, other in zip(plain(image()), gated(image(), features()), strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        gated.gates[1].gate[2] = 0.1
    assert not torch.equal(plain(image()).heat, gated(image(), features()).heat)


def test_a_closed_gate_learns_to_open() -> None:
    _, gated = pair()
    gated(image(), features()).heat.square().mean().backward()
    assert all(float(gate.gate.grad.abs().min()) > 0 for gate in gated.gates)


def test_features_alone_do_not_see_the_image() -> None:
    _, alone = pair("foundation")
    one, other = alone(image(), features()).heat, alone({"portal": torch.zeros(2, 1, 16, 16, 16)}, features()).heat
    assert torch.equal(one, other)
    assert float(one.detach().std()) > 0


def test_a_network_wants_as_many_maps_as_it_has_gates() -> None:
    plain, gated = pair()
    with pytest.raises(InputError, match="0 maps of an encoder"):
        plain(image(), features())
    with pytest.raises(InputError, match="2 maps of an encoder"):
        gated(image())
    with pytest.raises(InputError, match="none for the use cnn"):
        HeatmapNetwork((4, 8), 2, "cnn", MAPS)
    with pytest.raises(InputError, match=r"levels \[2\] of 2"):
        HeatmapNetwork((4, 8), 2, "both", (GateCard(name="deep", channels=1, level=2),))


def linear_context() -> Context:
    """A map of 2-voxel cells whose three channels are the world position of their centres."""
    space = Space(np.array([1.0, 0.8, 1.3]), np.array([5.0, -20.0, 7.0]), np.eye(3)[:, ::-1])
    index = np.stack(np.meshgrid(*(2.0 * np.arange(16) + 0.5,) * 3, indexing="ij"), -1)
    data = torch.tensor(np.moveaxis(space.to_world(index.reshape(-1, 3)).reshape(16, 16, 16, 3), -1, 0)[None])
    one = Encoded((FeatureMap(data, (2.0,) * 3, (0.5,) * 3),), (space,), (32, 32, 32))
    return Context((one,), space, (GateCard(name="place", channels=3, level=1),))


def test_features_are_read_where_the_patch_lies() -> None:
    context = linear_context()
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.1]])
    (read,) = context.patch(turn, np.array([20.0, 4.0, 3.0]), (8, 8, 8))
    assert read.shape == (1, 3, 4, 4, 4)
    # Cell (1, 2, 3) of level 1 is voxel (2, 4, 6) of the patch.
    expected = context.space.to_world(turn @ [2.0, 4.0, 6.0] + [20.0, 4.0, 3.0])
    np.testing.assert_allclose(read[0, :, 1, 2, 3], expected, atol=1e-4)


def test_a_box_of_a_shifted_grid_reads_the_same_place() -> None:
    context = linear_context()
    (whole,) = context.box((4, 6, 8), (8, 8, 8))
    (same,) = context.shifted((4, 6, 8)).box((0, 0, 0), (8, 8, 8))
    torch.testing.assert_close(whole, same)
    two = context.boxes([(4, 6, 8), (0, 2, 4)], (8, 8, 8))[0]
    assert torch.equal(two[:1], whole)


def test_maps_join_the_level_with_cells_of_their_size(tmp_path) -> None:
    found = foundation_for(FeaturesConfig(use="both", random_weights=True), 1.0, 4, tmp_path)
    assert [(one.name, one.level) for one in found.card.maps] == [("block 2", 2), ("block 4", 3), ("block 10", 3), ("head", 3)]
    assert foundation_for(FeaturesConfig(), 1.0, 4, tmp_path) is None
    with pytest.raises(ConfigError, match="block 3"):
        foundation_for(FEATURES.model_copy(update={"maps": ("block 3",)}), 1.0, 4, tmp_path)


def test_the_encoder_of_the_card_is_asked_for_by_its_digest(tmp_path) -> None:
    card = foundation_for(FEATURES, 1.0, 2, tmp_path).card
    assert foundation_of(card).card == card
    with pytest.raises(CheckpointError, match="use the version of vesselgraph"):
        foundation_of(card.model_copy(update={"card_digest": "0" * 12}))


def test_random_weights_are_those_of_their_seed(tmp_path) -> None:
    asked = [FEATURES.model_copy(update={"random_seed": seed}) for seed in (0, 3, 3)]
    cards = [foundation_for(one, 1.0, 2, tmp_path).card for one in asked]
    assert [card.weights_digest for card in cards] == ["random, seed 0", "random, seed 3", "random, seed 3"]
    zero, three, same = (next(foundation_of(card).source.encoder.network.parameters()) for card in cards)
    assert torch.equal(three, same)
    assert not torch.equal(zero, three)


def test_features_are_encoded_once_and_follow_the_patch(tmp_path) -> None:
    foundation = foundation_for(FEATURES, 1.0, 2, tmp_path)
    batches = Batches(CONFIG, TinySource(), NoCases(), 0, foundation)
    context = batches[0].context
    assert [tuple(one.shape) for one in context] == [(2, 24, 8, 8, 8), (2, 40, 8, 8, 8)]
    assert torch.equal(batches[0].truth.heat, Batches(CONFIG, TinySource(), NoCases())[0].truth.heat)
    # A second reader finds everything on disk.
    again = Batches(CONFIG, TinySource(), NoCases(), 0, foundation)
    foundation.source = replace(foundation.source, encoder=None)
    assert all(torch.equal(one, other) for one, other in zip(context, again[0].context, strict=True))


def test_training_goes_on_after_a_kill_and_the_weights_predict(tmp_path) -> None:
    config = CONFIG.model_copy(update={"features": FEATURES, "n_steps": 12, "validate_every": 6})
    train(tmp_path / "whole", config)
    train(tmp_path / "parts", config, stop_at=5)
    train(tmp_path / "parts", config)
    weights = tmp_path / "whole" / WEIGHTS
    assert weights.read_bytes() == (tmp_path / "parts" / WEIGHTS).read_bytes()
    network, card = load_network(weights)
    assert card.foundation.weights_digest == "random, seed 0"
    assert float(network.gates[0].gate.detach().abs().max()) > 0
    assert float(network.gates[0].deviation.std()) > 0
    case = tube_case(3)
    heat = predict_with_network(
        Volume(case.phases["portal"], case.space), HeatmapConfig(weights=str(weights), ridge_power=0.0, window=16)
    )
    assert 0 < float(heat.heat.array.max()) <= 1


def test_a_trained_plain_network_can_be_given_features(tmp_path) -> None:
    train(tmp_path / "plain", CONFIG, stop_at=20)
    start = CONFIG.model_copy(update={"start_from": str(tmp_path / "plain" / WEIGHTS), "rate": 1e-9})
    gated = start.model_copy(update={"features": FEATURES})
    for name, config in (("one", start), ("other", gated)):
        train(tmp_path / name, config, stop_at=20)
    first, second = (rows(tmp_path / name / "train.csv")[0] for name in ("one", "other"))
    assert first == second
    other = gated.model_copy(update={"start_from": str(tmp_path / "other" / WEIGHTS), "features": FeaturesConfig()})
    with pytest.raises(ConfigError, match="efficientnet-lite0"):
        train(tmp_path / "again", other)
    assert TrainHeatmapConfig.from_toml(tmp_path / "other" / "recipe.toml") == gated
