"""Which method "auto" takes, and that it says why."""

import numpy as np
import pytest

from vesselgraph import PhaseSet, Space, Volume
from vesselgraph.config import HeatmapConfig
from vesselgraph.heatmap import choose_method, predict_heatmap

SHAPE = (8, 8, 8)


def image(mean: float, deviation: float = 0.0, name: str = "portal") -> Volume:
    values = np.random.default_rng(0).normal(mean, deviation, SHAPE)
    return Volume(values.astype(np.float32), Space.axial(), name)


def organ() -> Volume:
    inside = np.zeros(SHAPE, np.bool_)
    inside[2:6, 2:6, 2:6] = True
    return Volume(inside, Space.axial())


@pytest.mark.parametrize(
    ("mean", "deviation", "method"),
    [(110, 20, "network"), (55, 20, "network"), (-700, 100, "ridge"), (350, 20, "ridge"), (110, 90, "ridge")],
)
def test_auto_takes_the_network_in_what_looks_like_a_liver(mean, deviation, method):
    found, why = choose_method(HeatmapConfig(), image(mean, deviation), organ())
    assert found == method
    assert "HU" in why


def test_auto_looks_at_the_organ_alone():
    bright_around = np.where(organ().array, 110, 900).astype(np.float32)
    assert choose_method(HeatmapConfig(), Volume(bright_around, Space.axial()), organ())[0] == "network"


def test_auto_looks_at_the_reference_phase():
    phases = PhaseSet({"portal": image(110), "arterial": image(600)})
    assert choose_method(HeatmapConfig(), phases, organ())[0] == "network"


@pytest.mark.parametrize("settings", [{"polarity": "dark"}, {"step": 0.8}])
def test_auto_keeps_to_the_filter_for_what_the_network_does_not_follow(settings):
    assert choose_method(HeatmapConfig(**settings), image(110), organ())[0] == "ridge"


def test_auto_takes_the_filter_without_an_organ():
    assert choose_method(HeatmapConfig(), image(110), None)[0] == "ridge"
    empty = Volume(np.zeros(SHAPE, np.bool_), Space.axial())
    method, why = choose_method(HeatmapConfig(), image(110), empty)
    assert (method, why) == ("ridge", "The organ is empty on the image's grid.")


@pytest.mark.parametrize("method", ["ridge", "network"])
def test_a_method_asked_for_is_taken(method):
    assert choose_method(HeatmapConfig(method=method), image(-700), None) == (method, "As asked for.")


def test_heat_is_by_the_method_chosen():
    array = image(110, 15).array.copy()
    array[4, 4, :] = 250
    ct = Volume(array, Space.axial())
    whole = ct.with_array(np.ones(SHAPE, np.bool_))
    assert predict_heatmap(ct, region=whole, organ=whole).source == "network"
    assert predict_heatmap(ct, region=whole).source == "ridge"
