"""Radii from cross-sections of an image, and what holds where nobody can measure."""

import numpy as np
import pytest

from vesselgraph import Space, VesselGraph, Volume
from vesselgraph.tracing.radii import radii_from_image, ring_contrast, section_widths

SPACE = Space.axial()


def line(y, radius, length=30, x0=5):
    """A path along x with a radius guess."""
    points = np.array([[float(x), y, 20.0] for x in range(x0, x0 + length)])
    return points, np.full(length, float(radius))


def tube_image(radius, y=20.0, shape=(41, 41, 60)):
    """A bright tube along x of a radius, with a soft wall."""
    planes, rows, _ = np.indices(shape).astype(float)
    distance = np.hypot(planes - 20.0, rows - y)
    return Volume((100.0 / (1.0 + np.exp((distance - radius) / 0.3))).astype(np.float32), SPACE)


def graph_of(*lines):
    return VesselGraph.from_paths([p for p, _ in lines], [r for _, r in lines], space=SPACE)


@pytest.mark.parametrize("radius", [2.0, 3.5])
@pytest.mark.parametrize("guess", [0.8, 1.0, 1.4])
def test_a_tube_has_its_radius_whatever_the_guess(radius, guess):
    graph = radii_from_image(graph_of(line(20.0, guess * radius)), tube_image(radius))
    assert np.median(graph.path_radius) == pytest.approx(radius, abs=0.15)
    assert graph.edge_data["radius_measured"][0] == 1.0
    assert graph.path_data["radius_measured"].all()


def test_a_vessel_at_the_rim_of_an_organ_is_bounded_by_the_rays_that_fall():
    # Most of what is around is as bright as the vessel: the median over the circle does not fall.
    image = tube_image(2.0)
    array = image.array.copy()
    array[:, 18:] = 100.0
    image = image.with_array(array)
    graph = graph_of(line(20.0, 8.0, length=6))
    assert np.isnan(section_widths(graph, image, graph.path_radius)).all()
    bounded = radii_from_image(graph, image)
    assert bounded.edge_data["radius_measured"][0] == 0.0
    assert not bounded.path_data["radius_measured"].any()
    assert bounded.path_radius.max() < 3.0


def test_a_radius_nobody_measured_is_little_more_than_that_of_its_neighbours():
    # Half of the image is flat: nothing can be measured there, and no ray falls.
    image = tube_image(2.0)
    array = image.array.copy()
    array[:, :, 30:] = 100.0
    first, second = line(20.0, 2.0, length=20), line(20.0, 8.0, length=20, x0=24)
    second[0][:, 0] = np.linspace(24.0, 50.0, 20)
    graph = radii_from_image(graph_of(first, second), image.with_array(array))
    far = graph.edge_nodes[1, 1]
    assert graph.edge_data["radius_measured"][1] < 0.5
    assert graph.node_radius[far] < 1.3 * 2.3


def test_contrast_is_the_vessel_minus_its_surroundings():
    graph = graph_of(line(20.0, 3.0))
    contrast = ring_contrast(graph, tube_image(3.0))
    np.testing.assert_allclose(contrast, 100.0, atol=3.0)
    np.testing.assert_allclose(ring_contrast(graph, Volume(np.full((41, 41, 60), 7.0, np.float32), SPACE)), 0.0)


def test_an_empty_graph_has_no_radii():
    empty = VesselGraph.empty(SPACE)
    image = tube_image(2.0)
    assert ring_contrast(empty, image).shape == (0,)
    assert radii_from_image(empty, image).edge_data["radius_measured"].shape == (0,)


def test_the_middle_between_vessels_is_not_measured():
    """A ring of bright tissue around a dark middle has a half-width, but it is no vessel's."""
    shape = (60, 31, 31)
    away = np.hypot(*(np.indices(shape)[1:] - 15.0))
    middle = np.indices(shape)[0]
    tube, hollow = away < 3.0, (away > 3.0) & (away < 9.0)
    array = np.where(np.where(middle < 40, tube, hollow), 180.0, 100.0).astype(np.float32)
    image = Volume(array, Space.axial())
    path = image.space.to_world(np.stack([np.arange(2.0, 58.0), np.full(56, 15.0), np.full(56, 15.0)], axis=1))
    graph = VesselGraph.from_paths([path], [np.where(np.arange(2.0, 58.0) < 40, 3.0, 5.0)])
    for signed in (image, image.with_array(-array)):
        result = radii_from_image(graph, signed)
        measured = result.path_data["radius_measured"]
        assert measured[:30].all()
        assert not measured[44:].any()
        np.testing.assert_allclose(result.path_radius, 3.0, atol=0.7)
