"""Phases of a generated torso with known breathing: targets are hit, parallel vessels stay apart, fitting phases stay put."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.config import RegistrationConfig
from vesselgraph.errors import InputError, RegistrationError
from vesselgraph.registration import Match, match_phase, register_phases
from vesselgraph.space import Space
from vesselgraph.volume import Volume

SHAPE = (52, 60, 76)
SPACE = Space.axial(spacing=(3.0, 3.5, 3.5), origin=(-131.0, -103.0, -76.0))
FAST = RegistrationConfig(step=4.0)
RIGID = FAST.model_copy(update={"max_deformation": 0.0})
PORTAL_X, ARTERY_X = -48.0, -42.0


def positions(space: Space = SPACE, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.float64]:
    return space.to_world(np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1))


def inside(p: NDArray[np.float64], centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
    return (((p - centre) / radii) ** 2).sum(axis=-1) < 1


def breathing(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the displacement of tissue at ``p`` between the phases, mm: 12 mm down with a smooth deformation."""
    d = np.zeros_like(p)
    d[..., 2] = -12.0 + 4.0 * np.sin(p[..., 0] / 50.0)
    d[..., 1] = 2.0 * np.cos(p[..., 2] / 40.0)
    return d


def torso(
    p: NDArray[np.float64],
    *,
    liver: float,
    vessel: NDArray[np.bool_] | None = None,
    vessel_hu: float = 180.0,
    noise: float = 0.0,
    seed: int = 0,
) -> NDArray[np.int16]:
    """Return HU of a torso at material points ``p`` (mm)."""
    hu = np.full(p.shape[:-1], -1000.0)
    hu[inside(p, (0, 0, 0), (120, 90, 400))] = -90.0
    hu[inside(p, (0, 0, 0), (108, 78, 400))] = 45.0
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    bowel = inside(p, (20, -10, 0), (85, 60, 400))
    hu[bowel] = (60.0 * np.sin(x / 13) * np.cos(z / 11 + y / 17) + 10.0)[bowel]
    hu[inside(p, (-45, -10, 10), (52, 50, 45))] = liver
    hu[inside(p, (60, 10, 15), (30, 26, 32))] = liver + 20.0
    hu[inside(p, (20, 20, -40), (28, 22, 20))] = -80.0
    hu[inside(p, (0, 62, 0), (16, 14, 400))] = 350.0
    hu[inside(p, (30, -40, -20), (22, 16, 25))] = 5.0
    if vessel is not None:
        hu[vessel] = vessel_hu
    hu = ndimage.gaussian_filter(hu, 0.6) + np.random.default_rng(seed).normal(0.0, noise, hu.shape)
    return hu.astype(np.int16)


def tube(p: NDArray[np.float64], x: float) -> NDArray[np.bool_]:
    """Return a tube of 5 mm radius along the z-like axis of the liver at x, 6 mm from its neighbour's axis."""
    return (np.hypot(p[..., 0] - x, p[..., 1] + 10.0) < 5.0) & (np.abs(p[..., 2] - 10.0) < 30.0)


def material(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the tissue that is at ``p`` in the second phase was in the first: the inverse of p + breathing(p)."""
    q = p.copy()
    for _ in range(30):
        q = p - breathing(q)
    return q


@pytest.fixture(scope="module")
def breath() -> tuple[Volume, Volume, Match]:
    """Two phases with parallel vessels, each bright in one phase, 12 mm of breathing apart, and their match."""
    p, q = positions(), material(positions())
    portal = Volume(torso(p, liver=110.0, vessel=tube(p, PORTAL_X), noise=10.0, seed=1), SPACE)
    arterial = Volume(torso(q, liver=70.0, vessel=tube(q, ARTERY_X), noise=10.0, seed=2), SPACE)
    return portal, arterial, match_phase(portal, arterial, FAST)


def in_liver(n: int) -> NDArray[np.float64]:
    direction = np.random.default_rng(4).normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    return direction * np.random.default_rng(5).uniform(0, 1, (n, 1)) ** (1 / 3) * (52, 50, 45) + (-45, -10, 10)


def test_breathing_is_undone_within_two_millimetres(breath: tuple[Volume, Volume, Match]) -> None:
    targets = in_liver(200)
    before = np.linalg.norm(breathing(targets), axis=1)
    after = np.linalg.norm(breath[2].to_phase(targets) - targets - breathing(targets), axis=1)
    assert np.median(before) > 10.0
    assert np.median(after) < 2.0
    assert np.quantile(after, 0.95) < 4.0


def test_parallel_vessels_keep_their_distance(breath: tuple[Volume, Volume, Match]) -> None:
    # The artery's axis is moved back by the match; pulled onto the portal vein it would come out at PORTAL_X.
    z = np.linspace(-10.0, 30.0, 9)
    vein = np.stack([np.full_like(z, PORTAL_X), np.full_like(z, -10.0), z], axis=1)
    artery = vein + np.array([ARTERY_X - PORTAL_X, 0.0, 0.0])
    distance = breath[2].to_phase(artery)[:, 0] - breath[2].to_phase(vein)[:, 0]
    assert np.abs(distance - (ARTERY_X - PORTAL_X)).max() < 1.0
    # And the artery in the second phase lies where the match says the first phase's artery is, not where its vein is.
    to_artery = np.linalg.norm(breath[2].to_phase(artery) - artery - breathing(artery), axis=1)
    assert np.median(to_artery) < 2.0


def test_quality_says_what_was_gained(breath: tuple[Volume, Volume, Match]) -> None:
    match = breath[2]
    assert match.after.mutual_information > 1.2 * match.before.mutual_information
    assert match.after.correlation > match.before.correlation
    assert match.after.dice > 0.9
    assert 9.0 < match.displacement.mean() < 15.0
    assert 0.5 < match.min_jacobian <= 1.0


def test_phases_that_fit_stay_put() -> None:
    p = positions()
    portal = Volume(torso(p, liver=110.0, vessel=tube(p, PORTAL_X), noise=10.0, seed=1), SPACE)
    arterial = Volume(torso(p, liver=70.0, vessel=tube(p, ARTERY_X), noise=10.0, seed=2), SPACE)
    result = register_phases({"portal": portal, "arterial": arterial}, FAST)
    assert result.quality["arterial"]["max_displacement"] < 0.5
    assert result.warnings == ()


def test_the_moved_image_is_the_reference_again_and_twice_the_same() -> None:
    p = positions()
    portal = Volume(torso(p, liver=110.0), SPACE)
    late = Volume(torso(material(p), liver=90.0), SPACE)
    first = register_phases({"late": late, "portal": portal}, RIGID)
    assert list(first) == ["portal", "late"]
    assert first["portal"] is portal
    assert first["late"].array.dtype == np.int16
    truth, liver = torso(p, liver=90.0).astype(float), inside(p, (-45, -10, 10), (57, 55, 50))
    assert np.abs(first["late"].array - truth)[liver].mean() < 0.6 * np.abs(late.array - truth)[liver].mean()
    second = register_phases({"late": late, "portal": portal}, RIGID)
    assert np.array_equal(first["late"].array, second["late"].array)
    assert first.quality == second.quality


def test_another_grid_is_resampled_and_reports_what_is_covered() -> None:
    p = positions()
    portal = Volume(torso(p, liver=110.0), SPACE)
    half = Volume(torso(p, liver=70.0), SPACE).crop((0, 0, 0), (26, 60, 76))
    result = register_phases({"portal": portal, "arterial": half}, RIGID)
    assert result["arterial"].is_on_grid_of(portal)
    assert result.quality["arterial"]["covered_fraction"] == pytest.approx(0.5, abs=0.06)
    assert "covers only" in result.warnings[0]


def test_fields_of_view_that_do_not_meet_are_refused() -> None:
    p = positions()
    portal = Volume(torso(p, liver=110.0), SPACE)
    elsewhere = Volume(portal.array, SPACE.shifted((0, 0, 900)))
    with pytest.raises(RegistrationError, match="common field of view of 0%"):
        register_phases({"portal": portal, "arterial": elsewhere}, FAST)


def test_bodies_that_do_not_overlap_are_refused() -> None:
    p = positions()
    portal = Volume(torso(p, liver=110.0), SPACE)
    ball = np.where(inside(p, (100, 70, 50), (25, 25, 25)), 60, -1000).astype(np.int16)
    with pytest.raises(RegistrationError, match="Dice of the bodies"):
        register_phases({"portal": portal, "arterial": Volume(ball, SPACE)}, FAST)


def test_a_phase_whose_tissue_is_the_opposite_is_refused_unless_that_is_asked_for() -> None:
    p = positions()
    portal = Volume(torso(p, liver=110.0), SPACE)
    opposite = np.where(portal.array > -300, 80 - portal.array, portal.array).astype(np.int16)
    still = RIGID.model_copy(update={"min_gain_fraction": 1.0})
    phases = {"portal": portal, "arterial": Volume(opposite, SPACE)}
    with pytest.raises(RegistrationError, match=r"agree in soft tissue.*got -0.*refuse_correlation_below=-1"):
        register_phases(phases, still)
    allowed = register_phases(phases, still.model_copy(update={"refuse_correlation_below": -1.0}))
    assert "soft tissue agrees only to -" in allowed.warnings[0]


def test_a_phase_that_lies_far_away_is_told() -> None:
    p = positions()
    portal = Volume(torso(p, liver=110.0, noise=5.0), SPACE)
    far = Volume(portal.array, SPACE.shifted((0, 0, 5)))
    result = register_phases({"portal": portal, "arterial": far}, RIGID.model_copy(update={"warn_motion_above": 10.0}))
    assert result.quality["arterial"]["mean_displacement"] == pytest.approx(15.0, abs=3.0)
    assert any("further than breathing does" in warning for warning in result.warnings)


def test_reference_is_chosen_by_name() -> None:
    p = positions()
    portal = Volume(torso(p, liver=110.0), SPACE)
    assert list(register_phases({"a": portal}, FAST)) == ["a"]
    with pytest.raises(InputError, match="a phase named 'x'"):
        register_phases({"a": portal}, FAST.model_copy(update={"reference": "x"}))
    with pytest.raises(InputError, match="at least one phase"):
        register_phases({}, FAST)
