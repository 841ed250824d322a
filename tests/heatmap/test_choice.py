"""Which method "auto" takes, and that it says why."""

import numpy as np
import pytest

from vesselgraph import PhaseSet, Space, Volume
from vesselgraph.config import HeatmapConfig
from vesselgraph.errors import InputError
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
    bright_around = np.where(organ().array, image(110, 5).array, 900).astype(np.float32)
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


def drawn(levels: tuple[float, ...], share: float = 0.05) -> Volume:
    """Return an image of 0 and the levels, those together on a share of its planes."""
    array = np.zeros((40, 6, 6))
    planes = max(round(share * 40), len(levels))
    for plane in range(planes):
        array[plane] = levels[plane % len(levels)]
    return Volume(array, Space.axial())


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (drawn((255.0,)), "mask"),
        (drawn((1.0,), share=0.6), "mask"),
        (drawn((31.0, 63.0, 223.0), share=0.1), "mask"),  # smoothed along its border
        (drawn((31.0, 63.0, 223.0), share=0.2), "ridge"),  # too much of it to be a few vessels
        (drawn(tuple(range(1, 20)), share=0.05), "ridge"),  # too many values for a drawing
        (drawn((0.0,)), "ridge"),  # constant
    ],
)
def test_an_image_of_few_values_is_a_drawing(seen: Volume, expected: str) -> None:
    assert choose_method(HeatmapConfig(), seen, None)[0] == expected
    assert choose_method(HeatmapConfig(method="ridge"), seen, None)[0] == "ridge"


def test_dark_vessels_and_several_phases_are_no_drawing() -> None:
    seen = drawn((255.0,))
    assert choose_method(HeatmapConfig(polarity="dark"), seen, None)[0] == "ridge"
    assert choose_method(HeatmapConfig(), PhaseSet({"portal": seen, "arterial": seen}), None)[0] == "ridge"
    with pytest.raises(InputError, match=r"(?s)expected one mask as the image.*2 phases"):
        predict_heatmap(PhaseSet({"portal": seen, "arterial": seen}), HeatmapConfig(method="mask"))


def test_a_drawing_is_the_heatmap_of_a_mask() -> None:
    seen = drawn((31.0, 223.0))
    heatmap = predict_heatmap(seen)
    assert heatmap.source == "mask"
    assert heatmap.is_mask
    assert heatmap.radius is None
    assert np.array_equal(heatmap.heat.array, seen.array > 0)
    assert heatmap.heat.space == seen.space
    with pytest.raises(InputError, match="a mask with some vessel"):
        predict_heatmap(drawn((0.0,)), HeatmapConfig(method="mask"))
