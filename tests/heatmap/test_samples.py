"""Training patches: the truth stays on the vessels whatever is done to the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.heatmap.tiny import tube_case
from vesselgraph.config import AugmentConfig, TrainHeatmapConfig
from vesselgraph.heatmap.cases import load_case, save_case
from vesselgraph.heatmap.samples import (
    Placement,
    change_intensity,
    draw_phases,
    draw_placement,
    draw_sample,
    target_at,
)
from vesselgraph.heatmap.targets import Segments

PLAIN = AugmentConfig(
    flip_fraction=0, permute_fraction=0, affine_fraction=0, gain=0, gamma=0, shift=0, noise=0, blur=0, thick_fraction=0
)
CONFIG = TrainHeatmapConfig(patch=16, widths=(4, 8), n_groups=2, augment=PLAIN)
TURNED = PLAIN.model_copy(
    update={"flip_fraction": 0.5, "permute_fraction": 0.5, "affine_fraction": 1.0, "max_turn_deg": 40, "max_scale": 0.3}
)


def test_without_changes_a_patch_is_the_image_itself() -> None:
    case = tube_case(1)
    sample = draw_sample(case, {"portal": "portal"}, CONFIG, np.random.default_rng(4))
    place = draw_placement(case, CONFIG, np.random.default_rng(4))
    first = np.rint(place.centre - 7.5).astype(int)
    inside = [slice(max(f, 0), min(f + 16, 24)) for f in first]
    patch = tuple(slice(part.start - f, part.stop - f) for part, f in zip(inside, first, strict=True))
    np.testing.assert_allclose(sample.phases["portal"][patch], case.phases["portal"][tuple(inside)], atol=1e-3)
    assert sample.counts[patch].all()
    assert sample.counts.sum() == np.prod([part.stop - part.start for part in patch])


@pytest.mark.parametrize("patch", [8, 16, 24, 32])
def test_patches_stay_in_the_case_where_they_fit(patch: int) -> None:
    case, config = tube_case(1), CONFIG.model_copy(update={"patch": patch})
    for seed in range(8):
        place = draw_placement(case, config, np.random.default_rng(seed))
        low, high = place.centre - (patch - 1) / 2, place.centre + (patch - 1) / 2
        assert np.array_equal(low, np.rint(low))
        if patch <= 24:
            assert (low >= 0).all()
            assert (high <= 23).all()
        else:
            assert (low < 0).all()
            assert (high > 23).all()


def test_the_same_state_gives_the_same_patch_and_another_another() -> None:
    case, config = tube_case(1), CONFIG.model_copy(update={"augment": AugmentConfig(affine_fraction=1.0, thick_fraction=1.0)})
    one, two, other = (draw_sample(case, {"portal": "portal"}, config, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert one.phases["portal"].tobytes() == two.phases["portal"].tobytes()
    assert one.target.distance.tobytes() == two.target.distance.tobytes()
    assert one.phases["portal"].tobytes() != other.phases["portal"].tobytes()


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_vessels_are_bright_where_the_truth_has_them(seed: int) -> None:
    """Turned, scaled, mirrored: the image moves with the centerlines."""
    case = tube_case(3)
    config = CONFIG.model_copy(update={"patch": 24, "augment": TURNED})
    sample = draw_sample(case, {"portal": "portal"}, config, np.random.default_rng(seed))
    seen = np.stack([sample.target.tree_distance[1], sample.target.tree_distance[2]]).min(axis=0)
    core = (seen < 0.7) & sample.counts
    far = (sample.target.distance > 5.5) & sample.counts
    if core.sum() < 5 or far.sum() < 5:
        return
    assert sample.phases["portal"][core].mean() - sample.phases["portal"][far].mean() > 35.0


def test_a_larger_patient_has_wider_vessels_and_equally_wide_heat() -> None:
    case = tube_case(3)
    centre = 0.5 * (case.segments.start + case.segments.end)[0]
    same, double = (target_at(case, Placement(np.eye(3) * scale, centre), ["portal"], CONFIG) for scale in (1.0, 0.5))
    middle = (8, 8, 8)
    assert double.radius[middle] == pytest.approx(2.0 * same.radius[middle])
    # The centerline runs through the middle of both; one voxel is 1 mm in both.
    assert abs(float(double.distance[middle]) - float(same.distance[middle])) < 0.9


def test_clarity_is_that_of_the_best_phase_shown() -> None:
    case = replace(
        tube_case(2, ("portal", "arterial")),
        visibility={"portal": np.array([3.0, 0.1, -2.0], np.float32), "arterial": np.array([0.2, 0.3, 4.0], np.float32)},
    )
    # Radii 2, 2.5 and 1.5 mm.
    ramps = CONFIG.model_copy(update={"clear_radius": (0.5, 2.5), "clear_visibility": (1.0, 5.0)})
    for shown, expected in (
        (["portal"], [0.75, 0.0, 0.25]),
        (["arterial"], [0.0, 0.0, 0.5]),
        (["portal", "arterial"], [0.75, 0.0, 0.5]),
        # What a phase of unknown visibility shows is taken as clear.
        (["portal", "native"], [1.0, 1.0, 1.0]),
    ):
        assert case.segments_seen(shown, ramps).clarity.tolist() == pytest.approx(expected)


def test_a_phase_of_another_breath_is_learned_where_it_shows_the_vessels() -> None:
    case = tube_case(2, ("portal", "arterial", "delayed"))
    ends = np.stack([case.segments.start, case.segments.end])
    case = replace(case, places={"arterial": ends + 3.0, "delayed": ends - 2.0})
    for shown, moved in (
        (["portal"], 0.0),
        (["arterial"], 3.0),
        (["delayed", "arterial"], -2.0),
        # The reference is where the truth is, whatever else is shown.
        (["arterial", "portal"], 0.0),
    ):
        assert np.array_equal(case.segments_seen(shown, CONFIG).start, case.segments.start + moved)
        assert np.array_equal(case.segments_seen(shown, CONFIG).end, case.segments.end + moved)


def test_phases_that_are_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_phases(["arterial", "native", "portal"], CONFIG, rng) for _ in range(600)]
    assert all(shown and set(shown.values()) <= {"arterial", "native", "portal"} for shown in drawn)
    assert all(told in (phase, "unknown") for shown in drawn for told, phase in shown.items())
    single = [shown for shown in drawn if len(shown) == 1]
    assert any("unknown" in shown for shown in single)
    assert {len(shown) for shown in drawn} == {1, 2, 3}
    portal = sum("portal" in shown.values() for shown in single) / len(single)
    assert 0.5 < portal < 0.8
    assert set(draw_phases(["delayed"], CONFIG.model_copy(update={"unknown_fraction": 0.0}), rng)) == {"delayed"}


def test_thick_slices_keep_the_mean_and_lose_planes() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(100.0, 20.0, (16, 4, 4)).astype(np.float32)
    thick = change_intensity(values, 4, PLAIN, 1.0, rng)
    assert thick[1:3].mean() == pytest.approx(values[:4].mean(), abs=6.0)
    assert np.abs(np.diff(thick, axis=0)).max() < np.abs(np.diff(values, axis=0)).max() / 2
    np.testing.assert_allclose(change_intensity(values, 1, PLAIN, 1.0, rng), values, atol=1e-3)


def test_a_case_survives_the_disk(tmp_path) -> None:
    case = replace(
        tube_case(5, ("portal", "arterial")),
        visibility={"portal": np.ones(3, np.float32)},
        places={"arterial": np.arange(18.0).reshape(2, 3, 3)},
    )
    save_case(case, tmp_path / "case.npz")
    again = load_case(tmp_path / "case.npz")
    assert again.name == case.name
    assert again.space == case.space
    assert again.named
    assert {name: array.tolist() for name, array in again.phases.items()} == {
        name: array.tolist() for name, array in case.phases.items()
    }
    assert again.visibility["portal"].tolist() == [1.0, 1.0, 1.0]
    assert np.array_equal(again.places["arterial"], case.places["arterial"])
    for name in ("start", "end", "start_radius", "end_radius", "tree"):
        assert np.array_equal(getattr(again.segments, name), getattr(case.segments, name))
    assert np.array_equal(again.counts, case.counts)


def test_a_case_without_segments_gives_background() -> None:
    case = tube_case(1)
    nothing = np.zeros((0, 3))
    empty = replace(
        case, segments=Segments(nothing, nothing, np.zeros(0), np.zeros(0), np.zeros(0, np.uint8), np.zeros(0, np.float32))
    )
    sample = draw_sample(empty, {"portal": "portal"}, CONFIG, np.random.default_rng(0))
    assert sample.target.heat.max() == 0.0
