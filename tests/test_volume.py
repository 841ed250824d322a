"""Volume, PhaseSet and Heatmap: what they hold and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from vesselgraph.errors import InputError, RangeError, ShapeError, SpaceMismatchError
from vesselgraph.space import Space
from vesselgraph.volume import Heatmap, PhaseSet, Volume, oriented, require_same_grid

SPACE = Space.axial((3.0, 2.0, 1.0), (10.0, 20.0, 30.0))


def volume(dtype: str = "int16") -> Volume:
    return Volume(np.arange(24).reshape(2, 3, 4).astype(dtype), SPACE)


def test_box_and_bounds_by_hand() -> None:
    assert volume().extent.tolist() == [6.0, 6.0, 4.0]
    assert volume().bounds.tolist() == [[9.5, 19.0, 28.5], [13.5, 25.0, 34.5]]


def test_values_are_seen_not_copied_and_read_only() -> None:
    array = np.zeros((2, 2, 2), dtype=np.float32)
    held = Volume(array, SPACE)
    array[0, 0, 0] = 5
    assert held.array[0, 0, 0] == 5
    with pytest.raises(ValueError, match="read-only"):
        held.array[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((2, 3)), r"a 3-D volume; got 2 axes, shape \(2, 3\)"),
        (np.zeros((2, 3, 4, 5)), "got 4 axes"),
        (np.zeros((2, 0, 4)), "at least one voxel"),
        (np.zeros((2, 3, 4), dtype=complex), "dtype complex128"),
        (np.full((1, 1, 1), "x"), "dtype <U1"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        Volume(array, SPACE)


def test_crop_keeps_its_place() -> None:
    part = volume().crop((1, 1, 2), (2, 3, 4))
    assert part.array.tolist() == [[[18, 19], [22, 23]]]
    assert part.space.to_world((0, 0, 0)).tolist() == SPACE.to_world((1, 1, 2)).tolist()
    for box in (((0, 0, 0), (3, 3, 4)), ((1, 1, 1), (1, 2, 2)), ((-1, 0, 0), (1, 1, 1))):
        with pytest.raises(RangeError, match=r"a box inside \(2, 3, 4\)"):
            volume().crop(*box)


def test_with_array_needs_the_same_shape() -> None:
    assert volume().with_array(np.ones((2, 3, 4)), "new").name == "new"
    with pytest.raises(ShapeError, match=r"an array of shape \(2, 3, 4\)"):
        volume().with_array(np.ones((2, 3, 5)))


def test_same_grid() -> None:
    require_same_grid(volume(), volume("float32"), "the mask")
    moved = Volume(volume().array, SPACE.shifted((0, 1, 0)))
    with pytest.raises(SpaceMismatchError, match="the mask"):
        require_same_grid(moved, volume(), "the mask")


@pytest.mark.parametrize("code", ["SPL", "IAR", "LPS", "RSA", "PRI"])
def test_turned_axes_keep_every_value_at_its_place(code: str) -> None:
    turned = oriented(volume(), code)
    index = np.argwhere(np.ones(turned.shape, np.bool_))
    there = np.rint(volume().space.to_index(turned.space.to_world(index))).astype(int)
    assert np.array_equal(turned.array[tuple(index.T)], volume().array[tuple(there.T)])
    grows = [np.abs(axis).argmax() for axis in turned.space.direction.T]
    assert grows == ["LPS".index({"R": "L", "A": "P", "I": "S"}.get(letter, letter)) for letter in code]
    assert [bool(axis.sum() > 0) for axis in turned.space.direction.T] == [letter in "LPS" for letter in code]


def test_turning_needs_one_letter_of_each_pair() -> None:
    with pytest.raises(InputError, match="one each of L/R, P/A and S/I"):
        oriented(volume(), "SPP")


def test_phase_set() -> None:
    phases = PhaseSet({"portal": volume(), "arterial": volume()}, {"arterial": {"body_dice_after": 0.9}}, ("look",))
    assert list(phases) == ["portal", "arterial"]
    assert phases.reference is phases["portal"]
    assert phases.quality["arterial"]["body_dice_after"] == 0.9
    assert phases.warnings == ("look",)
    with pytest.raises(TypeError, match="does not support item assignment"):
        phases.phases["late"] = volume()
    with pytest.raises(InputError, match="at least one phase"):
        PhaseSet({})
    with pytest.raises(SpaceMismatchError, match="phase 'b'"):
        PhaseSet({"a": volume(), "b": volume().crop((0, 0, 0), (1, 3, 4))})


def test_heatmap() -> None:
    heat = volume().with_array((volume().array / 23).astype(np.float32))
    assert not Heatmap(heat).is_mask
    assert Heatmap(heat.with_array(heat.array > 0.5)).is_mask
    for bad in (heat.array * 2, heat.array - 1, heat.array * np.float32("nan")):
        with pytest.raises(RangeError, match=r"within \[0, 1\] without NaN"):
            Heatmap(heat.with_array(bad))
    with pytest.raises(SpaceMismatchError, match="the radius map"):
        Heatmap(heat, volume().crop((0, 0, 0), (1, 3, 4)))
