"""Round cones on grids: volumes by formula, connectivity, any grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from vesselgraph.errors import InputError, RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom import clean_mask, tube_graph, tube_phantom
from vesselgraph.phantom.shapes import KINDS
from vesselgraph.space import Space

CUBE = np.ones((3, 3, 3))


def hull_of_two_balls(length: float, ra: float, rb: float) -> float:
    """Volume of the convex hull of two balls: frustum between the contact circles plus two ball segments."""
    sine = (ra - rb) / length
    cosine = np.sqrt(1 - sine**2)
    frustum = np.pi / 3 * (length - (ra - rb) * sine) * cosine**2 * (ra**2 + ra * rb + rb**2)
    # The ball at the wide end reaches from -ra to +ra * sine along the axis, the other from rb * sine to rb.
    wide, narrow = ra * (1 + sine), rb * (1 - sine)
    return frustum + np.pi * wide**2 * (3 * ra - wide) / 3 + np.pi * narrow**2 * (3 * rb - narrow) / 3


@settings(max_examples=25, deadline=None)
@given(
    ra=st.floats(1.2, 4.0),
    shrink=st.floats(0.3, 1.0),
    length=st.floats(6.0, 15.0),
    turn=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.2, 1)),
)
def test_volume_is_that_of_the_cone(ra: float, shrink: float, length: float, turn: tuple[float, float, float]) -> None:
    way = np.array(turn) / np.linalg.norm(turn)
    graph = VesselGraph.from_paths([[[0, 0, 0], length * way]], radii=[[ra, shrink * ra]])
    space = Space.axial((0.5, 0.5, 0.5), (-20.0, -20.0, -6.0))
    fraction = clean_mask(graph, space, (56, 80, 80), fractional=True)
    assert fraction.sum() * 0.125 == pytest.approx(hull_of_two_balls(length, ra, shrink * ra), rel=0.01)


def test_voxels_are_counted_by_their_centre() -> None:
    graph = VesselGraph.from_paths([[[4, 4, 2], [4, 4, 8]]], radii=[[1.5, 1.5]])
    mask = clean_mask(graph, Space.axial(), (12, 9, 9))
    # In the middle: the centre, 4 at distance 1 and 4 at distance sqrt(2); the cap at z = 1 the same, at z = 0.5 no voxel.
    assert mask[5].sum() == 9
    assert mask[1].sum() == 5
    assert mask[0].sum() == 0


def test_slice_thickness_is_respected() -> None:
    graph = VesselGraph.from_paths([[[10, 10, 0], [10, 10, 40]]], radii=[[3.0, 3.0]])
    thin = clean_mask(graph, Space.axial((0.5, 0.5, 0.5)), (100, 41, 41), fractional=True).sum() * 0.125
    thick = clean_mask(graph, Space.axial((2.5, 0.5, 0.5), (0, 0, 1.0)), (20, 41, 41), fractional=True).sum() * 0.625
    assert thick == pytest.approx(thin, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", [0.3, 2.0])
def test_mask_of_a_connected_graph_is_one_piece_with_its_centerline(kind: str, radius: float) -> None:
    graph, mask = tube_phantom(kind, radius=radius, spacing=(1.5, 0.8, 0.8))
    assert ndimage.label(mask.array, CUBE)[1] == 1
    index = np.rint(mask.space.to_index(graph.path_position)).astype(int)
    assert mask.array[tuple(index.T)].all()


def test_thin_vessels_can_be_left_to_the_grid() -> None:
    graph = VesselGraph.from_paths([[[4.5, 4.5, 1], [4.5, 4.5, 8]]], radii=[[0.5, 0.5]])
    assert not clean_mask(graph, Space.axial(), (10, 10, 10), keep_thin=False).any()
    assert clean_mask(graph, Space.axial(), (10, 10, 10)).any()


def test_turned_grid_holds_the_same_volume() -> None:
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    _, straight = tube_phantom("helix", spacing=(0.7, 0.7, 0.7))
    _, turned = tube_phantom("helix", spacing=(0.7, 0.7, 0.7), direction=turn)
    assert turned.array.sum() == pytest.approx(straight.array.sum(), rel=0.01)


def test_parts_outside_the_grid_are_left_out() -> None:
    graph = tube_graph("straight", length=40.0, radius=2.0)
    mask = clean_mask(graph, Space.axial(origin=(-5, -5, 0)), (5, 11, 11))
    assert mask[:5].any(axis=(1, 2)).all()
    assert not clean_mask(graph, Space.axial(origin=(100, 0, 0)), (5, 5, 5)).any()


def test_an_empty_graph_is_an_empty_mask() -> None:
    assert not clean_mask(VesselGraph.empty(), Space.axial(), (3, 3, 3)).any()


def test_unknown_radii_and_bad_shapes_are_refused() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0]]])
    with pytest.raises(InputError, match="unknown"):
        clean_mask(graph, Space.axial(), (3, 3, 3))
    with pytest.raises(RangeError, match="positive grid shape"):
        clean_mask(tube_graph(), Space.axial(), (3, 0, 3))
