"""Noise, slices and drawn vessels against what can be computed by hand."""

import numpy as np
import pytest

from vesselgraph.config import StudyConfig
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom.raster import clean_mask
from vesselgraph.phantom.study.scanner import scan_noise, slice_weights, streaks
from vesselgraph.phantom.study.trees import DrawnTree
from vesselgraph.phantom.study.vessels import share_table, vessel_mask, vessel_share
from vesselgraph.space import Space

CONFIG = StudyConfig(shape=(24, 96, 96))


def neighbours(noise: np.ndarray, axis: int) -> float:
    low, high = np.take(noise, range(noise.shape[axis] - 1), axis), np.take(noise, range(1, noise.shape[axis]), axis)
    return float((low * high).mean() / noise.var())


def test_noise_has_the_asked_strength_and_length() -> None:
    noise = scan_noise(CONFIG.shape, CONFIG, 20.0, np.random.default_rng(0))
    assert noise.std() == pytest.approx(20.0, rel=0.06)
    smooth = scan_noise(CONFIG.shape, CONFIG.model_copy(update={"noise_length": 1.5}), 20.0, np.random.default_rng(0))
    assert neighbours(smooth, 2) > neighbours(noise, 2) + 0.15
    sideways = scan_noise(CONFIG.shape, CONFIG.model_copy(update={"noise_aspect": 1.4}), 20.0, np.random.default_rng(0))
    assert neighbours(sideways, 2) > neighbours(sideways, 1) + 0.1


def test_overlapping_slices_share_noise() -> None:
    thick = CONFIG.model_copy(update={"slice_thickness": 3.0})
    apart, shared = (scan_noise(CONFIG.shape, config, 10.0, np.random.default_rng(0)) for config in (CONFIG, thick))
    assert neighbours(shared, 0) > 0.5
    assert neighbours(apart, 0) < 0.3


def test_slice_profile_is_as_wide_as_the_slice() -> None:
    config = CONFIG.model_copy(update={"slice_thickness": 5.0, "spacing": (4.0, 1.0, 1.0)})
    weights = slice_weights(config, 8)
    assert weights.sum() == pytest.approx(1.0)
    z = 0.5 * (np.arange(len(weights)) - len(weights) // 2)
    assert float((weights * z).sum()) == pytest.approx(0.0, abs=1e-5)
    assert 0.5 * (weights > 0.5 * weights.max()).sum() == pytest.approx(5.0, abs=0.6)


def test_streaks_have_the_asked_strength() -> None:
    made = streaks(CONFIG.shape, CONFIG.model_copy(update={"streaks": 7.0}), np.random.default_rng(1))
    assert made.std() == pytest.approx(7.0, rel=1e-3)


def straight(radius: float, y: float = 10.3, z: float = 9.6) -> DrawnTree:
    path = np.array([[x, y, z] for x in np.arange(-4.0, 25.0)])
    ends = np.array([path[0], path[-1]])
    return DrawnTree(ends, np.array([-1, 0]), np.array([0, 0, len(path)]), path, np.full(len(path), radius))


@pytest.mark.parametrize("radius", [0.4, 0.8, 2.0, 4.0])
def test_drawn_share_is_the_volume_of_the_cylinder(radius: float) -> None:
    space, shape = Space.axial(), (20, 20, 20)
    full = 0.85 + 0.15 * min(radius / 2.0, 1.0)
    for y in (9.5, 9.75, 10.0):
        drawn = vessel_share(straight(radius, y), space, shape)
        assert drawn.sum() / (20.0 * full) == pytest.approx(np.pi * radius**2, rel=0.08)
    drawn = vessel_share(straight(radius), space, shape)
    tree = straight(radius)
    exact = clean_mask(VesselGraph.from_paths([tree.path], [tree.radius]), space, shape, fractional=True)
    assert np.abs(drawn / full - exact).mean() < 0.02
    assert np.array_equal(vessel_mask(tree, space, shape)[:, :, 10], clean_mask(
        VesselGraph.from_paths([tree.path], [tree.radius]), space, shape)[:, :, 10])  # fmt: skip


def test_share_table_rises_with_radius_and_falls_with_distance() -> None:
    table = share_table()
    assert (np.diff(table, axis=0) >= -1e-4).all()
    assert (np.diff(table, axis=1) <= 1e-4).all()
    assert table[0].max() == 0.0
