"""Space: index to world and back under any frame."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vesselgraph.errors import GeometryError
from vesselgraph.space import Space


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Draw a grid of any orientation and handedness."""
    rotation = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    mirror = np.array(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    spacing = np.array(draw(st.tuples(*[st.floats(0.1, 10)] * 3)))
    origin = np.array(draw(st.tuples(*[st.floats(-2000, 2000)] * 3)))
    return Space(spacing, origin, rotation * mirror)


indices = hnp.arrays(np.float64, (4, 3), elements=st.floats(-600, 600))


def test_by_hand() -> None:
    # Planes go up 5 mm each, rows go back 2 mm, columns go left 1 mm, from x 10, y 20, z 30.
    space = Space.axial((5.0, 2.0, 1.0), (10.0, 20.0, 30.0))
    assert space.to_world((1, 2, 3)).tolist() == [13.0, 24.0, 35.0]
    assert space.to_index((13.0, 24.0, 35.0)).tolist() == [1.0, 2.0, 3.0]
    assert space.vector_to_world((1, 1, 1)).tolist() == [1.0, 2.0, 5.0]
    assert space.voxel_volume == 10.0
    assert not space.is_isotropic
    # Feet first with a turned table: planes go back, rows go down, columns go right.
    turned = Space(np.array([2.0, 3.0, 4.0]), np.zeros(3), np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]))
    assert turned.to_world((1, 1, 1)).tolist() == [-4.0, 2.0, -3.0]


@given(space=spaces(), index=indices)
def test_world_and_back(space: Space, index: NDArray[np.float64]) -> None:
    assert np.abs(space.to_index(space.to_world(index)) - index).max() < 1e-6


@given(space=spaces(), index=indices)
def test_distances_are_millimetres(space: Space, index: NDArray[np.float64]) -> None:
    world = space.to_world(index)
    steps = (index[0] - index[1]) * space.spacing
    assert np.linalg.norm(world[0] - world[1]) == pytest.approx(np.linalg.norm(steps), abs=1e-6)
    assert space.vector_to_world(index[0] - index[1]) == pytest.approx(world[0] - world[1], abs=1e-6)


@given(space=spaces(), first=st.tuples(*[st.integers(-50, 50)] * 3), index=indices)
def test_a_crop_stays_in_place(space: Space, first: tuple[int, int, int], index: NDArray[np.float64]) -> None:
    assert np.abs(space.shifted(first).to_world(index) - space.to_world(index + first)).max() < 1e-6


@given(space=spaces(), new=st.tuples(*[st.floats(0.1, 10)] * 3))
def test_another_spacing_keeps_the_outer_corner(space: Space, new: tuple[float, float, float]) -> None:
    corner = (-0.5, -0.5, -0.5)
    assert np.abs(space.rescaled(new).to_world(corner) - space.to_world(corner)).max() < 1e-6
    assert np.array_equal(space.rescaled(new).direction, space.direction)


@given(space=spaces())
def test_json_and_back(space: Space) -> None:
    back = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert back == space
    assert hash(back) == hash(space)
    assert back.is_close(space)


def test_closeness_is_judged_in_voxels() -> None:
    space = Space.axial((2.0, 1.0, 1.0))
    assert space.is_close(Space.axial((2.0, 1.0, 1.0), (0.009, 0, 0)))
    assert not space.is_close(Space.axial((2.0, 1.0, 1.0), (0.02, 0, 0)))
    assert not space.is_close(Space.axial((2.01, 1.0, 1.0)))
    assert space != Space.axial((2.0, 1.0, 1.0), (0.009, 0, 0))
    assert space != "space"


@pytest.mark.parametrize(
    ("spacing", "origin", "direction", "text"),
    [
        ((1, 0, 1), (0, 0, 0), np.eye(3), "spacing > 0 mm on every axis"),
        ((1, -1, 1), (0, 0, 0), np.eye(3), "spacing > 0 mm on every axis"),
        ((1, np.nan, 1), (0, 0, 0), np.eye(3), "finite spacing"),
        ((1, 1), (0, 0, 0), np.eye(3), r"spacing of shape \(3,\)"),
        ((1, 1, 1), (0, np.inf, 0), np.eye(3), "finite origin"),
        ((1, 1, 1), (0, 0, 0), np.eye(3) * 2, "orthogonal unit axes"),
        ((1, 1, 1), (0, 0, 0), [[1, 0.1, 0], [0, 1, 0], [0, 0, 1]], "orthogonal unit axes"),
        ((1, 1, 1), (0, 0, 0), np.zeros((3, 3)), "orthogonal unit axes"),
    ],
)
def test_impossible_grids_are_refused(spacing: object, origin: object, direction: object, text: str) -> None:
    with pytest.raises(GeometryError, match=text):
        Space(spacing, origin, direction)


def test_another_frame_is_refused() -> None:
    data = Space.axial().to_dict()
    with pytest.raises(GeometryError, match="a space in LPS mm; got RAS"):
        Space.from_dict({**data, "frame": "RAS"})
    with pytest.raises(GeometryError, match="no spacing, origin"):
        Space.from_dict({"direction": data["direction"]})


def test_arrays_cannot_be_changed() -> None:
    spacing = np.array([1.0, 1.0, 1.0])
    space = Space.axial(spacing)
    spacing[0] = 9.0
    assert space.spacing[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        space.spacing[0] = 2.0
