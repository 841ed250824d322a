"""OpenVINO runs the network with the same results, for any phases and any number of boxes; without it the error says so."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from vesselgraph import PhaseSet, Space, Volume, predict_heatmap
from vesselgraph.cli.frame import exit_code
from vesselgraph.config import HeatmapConfig
from vesselgraph.errors import BackendUnavailableError, CheckpointError, ConfigError, InputError, OutputError, ShapeError
from vesselgraph.heatmap import require_network
from vesselgraph.heatmap.gates import GateCard
from vesselgraph.heatmap.network import HeatmapNetwork, normalise
from vesselgraph.heatmap.openvino_backend import OpenVinoNetwork, export_openvino
from vesselgraph.heatmap.prediction import predict_maps
from vesselgraph.heatmap.weights import load_network

TOLERANCE = 2e-3
"""Largest difference of logits, log radius and features; heat differs by a quarter of it at most."""


@pytest.fixture(scope="module")
def network() -> HeatmapNetwork:
    pytest.importorskip("openvino")
    return load_network()[0]


@pytest.fixture(scope="module")
def engine(network: HeatmapNetwork) -> OpenVinoNetwork:
    return OpenVinoNetwork(network)


def images(names: tuple[str, ...], sides: tuple[int, ...], n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return {name: normalise(torch.from_numpy(rng.normal(110, 60, (n, 1, *sides)).astype(np.float32))) for name in names}


@pytest.mark.parametrize(
    ("names", "sides", "n"),
    [
        (("portal",), (16, 16, 16), 2),
        (("unknown",), (16, 24, 8), 1),
        (("portal", "arterial"), (16, 16, 16), 3),
        (("delayed", "native", "portal", "arterial"), (16, 16, 16), 1),
    ],
)
def test_the_same_answer_for_any_phases_shape_and_number_of_boxes(network, engine, names, sides, n) -> None:
    given = images(names, sides, n)
    with torch.inference_mode():
        expected, found = network(given), engine(given)
    for name, one, other in zip(expected._fields, expected, found, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), atol=TOLERANCE, err_msg=name)


def test_answers_of_earlier_calls_stay(engine) -> None:
    first = engine(images(("portal",), (16, 16, 16), 1))
    before = first.heat.clone()
    engine(images(("portal",), (16, 16, 16), 1, seed=1))
    assert torch.equal(first.heat, before)


def test_phases_are_told_by_name_not_by_place(engine) -> None:
    given = images(("portal", "arterial"), (16, 16, 16), 1)
    turned = engine({"portal": given["arterial"], "arterial": given["portal"]})
    assert torch.equal(engine(dict(reversed(given.items()))).heat, engine(given).heat)
    assert not torch.allclose(turned.heat, engine(given).heat, atol=0.1)


def test_maps_of_a_whole_image_agree(network, engine) -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(110, 40, (30, 24, 37)).astype(np.float32)
    inside = np.ones(image.shape, np.bool_)
    told = {"window": 16, "overlap_fraction": 0.25}
    plain = predict_maps(network, {"portal": image}, inside, **told)
    other = predict_maps(network, {"portal": image}, inside, engine=engine, **told)
    # Heat below 0.01 is nothing: a voxel may fall on either side of that.
    np.testing.assert_allclose(other.heat, plain.heat, atol=0.0101)
    assert np.mean(np.abs(other.heat - plain.heat) > TOLERANCE / 4) < 1e-3
    np.testing.assert_allclose(other.features.astype(np.float32), plain.features.astype(np.float32), atol=2e-2)


def test_the_configuration_chooses_it(network) -> None:
    rng = np.random.default_rng(3)
    volume = Volume(rng.normal(110, 30, (20, 24, 24)).astype(np.float32), Space.axial())
    phases = PhaseSet({"portal": volume, "delayed": volume.with_array(volume.array + np.float32(5))})
    configs = [HeatmapConfig(method="network", window=16, backend=one) for one in ("torch", "openvino")]
    plain, other = (predict_heatmap(phases, config) for config in configs)
    np.testing.assert_allclose(other.heat.array, plain.heat.array, atol=0.0101)
    assert other.weights == plain.weights


def test_shapes_that_do_not_fit_are_refused(engine) -> None:
    with pytest.raises(ShapeError, match="multiples of 8"):
        engine(images(("portal",), (16, 12, 16), 1))
    with pytest.raises(InputError, match="at least one phase"):
        engine({})


def test_a_network_that_sees_an_encoder_is_refused() -> None:
    pytest.importorskip("openvino")
    gated = HeatmapNetwork((4, 8), 2, "both", [GateCard(name="map", channels=3, level=1)])
    with pytest.raises(ConfigError, match=r"sees no encoder.*set heatmap\.backend = torch"):
        OpenVinoNetwork(gated)


def test_without_the_package_the_error_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    config = HeatmapConfig(method="network", backend="openvino")
    with pytest.raises(BackendUnavailableError, match=r'openvino.*pip install "vesselgraph\[openvino\]"') as raised:
        require_network(config)
    assert exit_code(raised.value) == 3
    with pytest.raises(BackendUnavailableError, match="openvino"):
        predict_heatmap(Volume(np.zeros((16, 16, 16), np.float32), Space.axial()), config)
    require_network(HeatmapConfig(method="ridge", backend="openvino"))


def test_another_device_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match='device = "cpu" with backend = "openvino"; got cuda'):
        HeatmapConfig.build({"backend": "openvino", "device": "cuda"})


def test_an_exported_model_is_the_network(network, tmp_path) -> None:
    openvino = pytest.importorskip("openvino")
    path = export_openvino(tmp_path / "heatmap.xml", phases=("portal", "arterial"), window=16)
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = images(("portal", "arterial"), (16, 16, 16), 1)
    found = model({name: image.numpy() for name, image in given.items()})
    with torch.inference_mode():
        expected = network(given)
    for name, one in zip(expected._fields, expected, strict=True):
        np.testing.assert_allclose(found[name], one.numpy(), atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize(
    ("told", "error", "match"),
    [
        ({"phases": ()}, InputError, "no phase"),
        ({"phases": ("portal", "portal")}, InputError, "different names"),
        ({"window": 20}, InputError, "multiple of 8"),
        ({"weights": "nowhere.safetensors"}, CheckpointError, "nowhere"),
    ],
)
def test_exports_that_cannot_be_are_refused(told, error, match, tmp_path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(error, match=match):
        export_openvino(tmp_path / "heatmap.xml", **told)


def test_a_path_that_cannot_be_written_is_refused(tmp_path) -> None:
    pytest.importorskip("openvino")
    for path in (tmp_path / "heatmap.onnx", tmp_path / "none" / "heatmap.xml"):
        with pytest.raises(OutputError, match=r"ends in \.xml"):
            export_openvino(path)
