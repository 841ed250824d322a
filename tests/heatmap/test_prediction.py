"""Prediction: windows that overlap give one answer, only in the region, in the right place, from checked weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from vesselgraph import PhaseSet, Space, Volume, predict_heatmap
from vesselgraph.cli.frame import exit_code
from vesselgraph.config import HeatmapConfig
from vesselgraph.errors import BackendUnavailableError, CheckpointError, ShapeError, SpaceMismatchError
from vesselgraph.heatmap.network import HeatmapNetwork, Output
from vesselgraph.heatmap.prediction import predict_maps
from vesselgraph.heatmap.weights import SHIPPED, Card, load_network, save_weights
from vesselgraph.volume import Heatmap, oriented


class Pointwise(HeatmapNetwork):
    """Answers each voxel from its own value, so that windows cannot matter."""

    def __init__(self) -> None:
        super().__init__((4, 8), n_groups=2)

    def forward(self, phases: Mapping[str, Tensor]) -> Output:
        value = next(iter(phases.values()))
        return Output(value, 0.5 * value, torch.cat([value, -value, 2 * value], 1), torch.cat([value] * 4, 1))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(HeatmapNetwork((4, 8), 2), Card(widths=(4, 8), n_groups=2, step=1.0, sigma=1.5, n_steps=7), path)
    return path


@pytest.mark.parametrize("window", [8, 13, 64])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_windows_leave_no_seams(window: int, overlap: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0.0, 300.0, (21, 17, 30)).astype(np.float32)
    inside = rng.random(image.shape) < 0.7
    maps = predict_maps(Pointwise(), {"portal": image}, inside, window=window, overlap_fraction=overlap)
    logit = (image - 100.0) / 100.0
    heat = 1.0 / (1.0 + np.exp(-logit))
    np.testing.assert_allclose(maps.heat, np.where(inside, heat, 0.0), atol=1e-5)
    np.testing.assert_allclose(maps.radius, np.where(inside, np.exp(0.5 * logit), 0.0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps.identity[1], np.where(inside, 1.0 - heat, 0.0), atol=1e-3)
    np.testing.assert_allclose(maps.features[3], np.where(inside, logit, 0.0), atol=2e-3)


def test_only_windows_that_touch_the_region_are_asked() -> None:
    class Counting(Pointwise):
        n = 0

        def forward(self, phases: Mapping[str, Tensor]) -> Output:
            Counting.n += len(next(iter(phases.values())))
            return super().forward(phases)

    inside = np.zeros((32, 32, 32), np.bool_)
    inside[2:5, 2:5, 26:30] = True
    seen: list[float] = []
    maps = predict_maps(
        Counting(),
        {"portal": np.full(inside.shape, 200.0, np.float32)},
        inside,
        window=16,
        overlap_fraction=0.0,
        progress=lambda _step, fraction: seen.append(fraction),
    )
    assert Counting.n == 1
    assert np.array_equal(maps.heat > 0, inside)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_box_that_only_its_margin_would_serve_is_not_predicted() -> None:
    class Counting(Pointwise):
        n = 0

        def forward(self, phases: Mapping[str, Tensor]) -> Output:
            Counting.n += len(next(iter(phases.values())))
            return super().forward(phases)

    # Along the columns boxes lie at 0 to 15 and 12 to 27: the first is nearer up to column 13, though the second sees 12 too.
    inside = np.zeros((16, 16, 28), np.bool_)
    inside[4:6, 4:6, 10:14] = True
    image = {"portal": np.full(inside.shape, 200.0, np.float32)}
    for last, n_boxes in ((14, 1), (15, 2)):
        Counting.n = 0
        inside[4:6, 4:6, 10:last] = True
        maps = predict_maps(Counting(), image, inside, window=16, overlap_fraction=0.25)
        assert Counting.n == n_boxes
        assert np.array_equal(maps.heat > 0, inside)


def test_overlapping_windows_of_a_real_network_agree_away_from_borders() -> None:
    torch.manual_seed(3)
    network = HeatmapNetwork((4, 8), n_groups=2).eval()
    image = np.random.default_rng(1).uniform(50, 200, (16, 16, 40)).astype(np.float32)
    inside = np.ones(image.shape, np.bool_)
    whole, parts = (predict_maps(network, {"portal": image}, inside, window=w, overlap_fraction=0.5) for w in (40, 16))
    assert np.abs(whole.heat - parts.heat).mean() < 0.02


def test_the_heatmap_lies_where_the_image_lies(weights) -> None:
    space = Space((2.0, 0.8, 0.8), (5.0, -7.0, 11.0), np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]]))
    image = Volume(np.random.default_rng(0).normal(100, 20, (12, 30, 30)).astype(np.float32), space, "ct")
    region = image.with_array(np.zeros(image.shape, np.bool_))
    array = region.array.copy()
    array[4:8, 10:20, 10:20] = True
    region = region.with_array(array)
    heatmap = predict_heatmap(image, HeatmapConfig(method="network", weights=str(weights)), region=region)
    assert heatmap.source == "network"
    assert np.allclose(heatmap.heat.space.spacing, 1.0)
    assert heatmap.features is not None
    assert heatmap.identity is not None
    assert heatmap.features.shape == (4, *heatmap.heat.shape)
    assert heatmap.features.dtype == heatmap.identity.dtype == np.float16
    hot = heatmap.heat.space.to_world(np.argwhere(heatmap.heat.array > 0))
    wanted = space.to_world(np.argwhere(array))
    assert (hot.min(axis=0) > wanted.min(axis=0) - 1.5).all()
    assert (hot.max(axis=0) < wanted.max(axis=0) + 1.5).all()
    assert np.array_equal(heatmap.heat.array > 0, heatmap.radius.array > 0)


@pytest.mark.parametrize("code", ["IAR", "LSP", "PRS"])
def test_the_order_a_file_keeps_its_voxels_in_changes_nothing(weights, code) -> None:
    image = Volume(np.random.default_rng(0).normal(100, 20, (12, 18, 24)).astype(np.float32), Space.axial(), "ct")
    config = HeatmapConfig(method="network", weights=str(weights))
    one, other = predict_heatmap(image, config), predict_heatmap(oriented(image, code), config)
    assert np.array_equal(one.heat.array, other.heat.array)
    assert one.heat.space.is_close(other.heat.space)


def test_phases_are_told_by_name_in_any_order(weights) -> None:
    rng = np.random.default_rng(0)
    images = {
        name: Volume(rng.normal(100, 20, (16, 16, 16)).astype(np.float32), Space.axial()) for name in ("portal", "arterial")
    }
    config = HeatmapConfig(method="network", weights=str(weights))
    one = predict_heatmap(PhaseSet(images), config).heat.array
    other = predict_heatmap(PhaseSet(dict(reversed(images.items()))), config).heat.array
    alone = predict_heatmap(images["portal"], config).heat.array
    assert np.array_equal(one, other)
    assert not np.allclose(one, alone)


def test_a_region_on_another_grid_is_refused(weights) -> None:
    image = Volume(np.zeros((16, 16, 16), np.float32), Space.axial())
    region = Volume(np.ones((16, 16, 15), np.bool_), Space.axial())
    with pytest.raises(SpaceMismatchError, match="the region"):
        predict_heatmap(image, HeatmapConfig(method="network", weights=str(weights)), region=region)


def test_the_rim_counts_less_and_what_outshines_the_organ_not_at_all(weights) -> None:
    values = np.random.default_rng(0).normal(110.0, 8.0, (24, 24, 24)).astype(np.float32)
    values[:, 20:, 4:8] = 700.0
    image = Volume(values, Space.axial())
    region, organ = np.zeros((2, 24, 24, 24), np.bool_)
    region[:, 2:22], organ[:, 2:14] = True, True
    config = HeatmapConfig(method="network", weights=str(weights), rim_weight=0.25, rim_radius=20.0, ridge_power=0.0)
    plain = predict_heatmap(image, config, region=image.with_array(region))
    rimmed = predict_heatmap(image, config, region=image.with_array(region), organ=image.with_array(organ))
    assert rimmed.heat.space == plain.heat.space
    index = np.rint(plain.heat.space.to_index(image.space.to_world(np.argwhere(organ)))).astype(int)
    within = tuple(index.T)
    np.testing.assert_array_equal(rimmed.heat.array[within], plain.heat.array[within])
    places = np.array([[12.0, 16, 18], [12, 20, 6], [12, 21, 5]])
    first = np.rint(plain.heat.space.to_index(image.space.to_world(places))).astype(int)
    tissue, bright, core = (tuple(voxel) for voxel in first)
    assert plain.heat.array[tissue] > 0
    assert rimmed.heat.array[tissue] == pytest.approx(0.25 * plain.heat.array[tissue])
    assert rimmed.heat.array[bright] == rimmed.heat.array[core] == 0.0


def test_the_ridge_filter_is_a_second_witness(weights) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(110.0, 5.0, (24, 24, 24)).astype(np.float32)
    values[:, 11:14, 11:14] += 80.0
    image = Volume(values, Space.axial())
    alone, both, squared = (
        predict_heatmap(image, HeatmapConfig(method="network", weights=str(weights), ridge_power=power)).heat.array
        for power in (0.0, 1.0, 2.0)
    )
    ridge = predict_heatmap(image, HeatmapConfig(step=1.0)).heat.array
    np.testing.assert_allclose(both, alone * ridge, atol=1e-6)
    np.testing.assert_allclose(squared, alone * ridge**2, atol=1e-6)
    assert both[12, 12, 12] > 0.8 * alone[12, 12, 12]
    assert both[12, 4:8, 4:8].mean() < 0.5 * alone[12, 4:8, 4:8].mean()


def test_weights_come_back_as_they_were(weights) -> None:
    network, card = load_network(weights)
    torch.manual_seed(0)
    fresh = HeatmapNetwork((4, 8), 2)
    assert card.n_steps == 7
    assert len(card.sha256) == 64
    assert not network.training
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in network.state_dict().items())


def copied(weights, folder):
    for path in (weights, weights.with_suffix(".json")):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / weights.name


def test_damaged_weights_are_refused(weights, tmp_path) -> None:
    path = copied(weights, tmp_path)
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_network(path)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [('"kind": "heatmap"', '"kind": "pruner"', "got pruner weights"), ('"step"', '"stop"', "card"), ("{", "", "card")],
)
def test_a_wrong_card_is_refused(weights, tmp_path, before: str, after: str, words: str) -> None:
    path = copied(weights, tmp_path)
    card = path.with_suffix(".json")
    card.write_text(card.read_text(encoding="utf-8").replace(before, after, 1), encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        load_network(path)


def test_a_card_of_another_network_is_refused(weights, tmp_path) -> None:
    path = copied(weights, tmp_path)
    card = Card.model_validate_json(path.with_suffix(".json").read_text(encoding="utf-8"))
    path.with_suffix(".json").write_text(card.model_copy(update={"widths": (8, 8)}).model_dump_json(), encoding="utf-8")
    with pytest.raises(CheckpointError, match="the card describes"):
        load_network(path)


def test_the_shipped_weights_are_whole_and_small() -> None:
    network, card = load_network()
    assert SHIPPED.stat().st_size < 20e6
    assert card.n_steps == card.recipe["n_steps"]
    assert card.not_trained_on == "any real image"
    assert sum(parameter.numel() for parameter in network.parameters()) < 2e6


def test_the_shipped_network_sees_a_vessel_and_no_ball() -> None:
    """A bright tube of radius 2 mm in noise against a ball of radius 8 mm."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices((64, 64, 64))
    values = 110.0 + 8.0 * rng.standard_normal((64, 64, 64))
    values[np.hypot(y - 16, x - 20) <= 2.0] += 70.0
    values[np.sqrt((z - 32) ** 2 + (y - 44) ** 2 + (x - 40) ** 2) <= 8.0] += 70.0
    heat = predict_heatmap(Volume(values.astype(np.float32), Space.axial()), HeatmapConfig(method="network")).heat.array
    assert heat[16:48, 15:18, 19:22].max(axis=(1, 2)).mean() > 0.4
    assert heat[16:48, 30:60, 20:60].mean() < 0.05


def test_lost_shipped_weights_name_the_way_out(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("vesselgraph.heatmap.weights.SHIPPED", tmp_path / "lost.safetensors")
    image = Volume(np.zeros((8, 8, 8), np.float32), Space.axial())
    with pytest.raises(CheckpointError, match=r'install vesselgraph again.*method = "ridge"') as caught:
        predict_heatmap(image, HeatmapConfig(method="network"))
    assert exit_code(caught.value) == 3


def test_missing_weights_say_what_to_do(tmp_path) -> None:
    image = Volume(np.zeros((8, 8, 8), np.float32), Space.axial())
    with pytest.raises(CheckpointError, match="nothing at"):
        predict_heatmap(image, HeatmapConfig(method="network", weights=str(tmp_path / "none.safetensors")))


def test_a_device_that_is_not_there_is_refused(weights) -> None:
    image = Volume(np.zeros((8, 8, 8), np.float32), Space.axial())
    with pytest.raises(BackendUnavailableError, match="cpu"):
        predict_heatmap(image, HeatmapConfig(method="network", weights=str(weights), device="warp"))


def test_features_of_another_shape_are_refused() -> None:
    heat = Volume(np.zeros((4, 4, 4), np.float32), Space.axial())
    with pytest.raises(ShapeError, match="features"):
        Heatmap(heat, features=np.zeros((2, 4, 4, 5), np.float16))


def test_the_ridge_filter_loads_no_network_library() -> None:
    code = (
        "import sys, numpy as np, vesselgraph as vg\n"
        "from vesselgraph.pipeline import reconstruct\n"
        "vg.predict_heatmap(vg.Volume(np.random.default_rng(0).normal(size=(9, 9, 9)), vg.Space.axial()))\n"
        "assert not {'torch', 'monai', 'safetensors'} & set(sys.modules), 'loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
