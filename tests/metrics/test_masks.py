"""Dice, clDice and Betti numbers of masks with known answers."""

import json

import numpy as np
import pytest

from vesselgraph import Space, Volume
from vesselgraph.errors import InputError, SpaceMismatchError
from vesselgraph.metrics import betti_of_mask, mask_cldice, mask_scores


def bar(length, shape=(7, 7, 30), first=2, **space):
    array = np.zeros(shape, dtype=bool)
    array[3, 3, first : first + length] = True
    return Volume(array, Space.axial(**space))


def test_half_of_a_thin_line():
    scores = mask_scores(bar(10), bar(20))
    assert scores.dice == pytest.approx(2 * 10 / 30)
    # A line one voxel wide is its own skeleton.
    assert (scores.cldice.precision, scores.cldice.recall) == (1.0, 0.5)
    assert (scores.volume_predicted, scores.volume_truth) == (10.0, 20.0)
    json.dumps(scores.to_dict(), allow_nan=False)


def test_cldice_forgives_width_but_not_gaps():
    wide = np.zeros((9, 9, 30), dtype=bool)
    wide[3:6, 3:6, 2:28] = True
    thin = np.zeros_like(wide)
    thin[4, 4, 3:27] = True
    both = [Volume(array, Space.axial()) for array in (thin, wide)]
    assert mask_scores(*both).dice < 0.25
    assert mask_cldice(*both) == 1.0
    broken = thin.copy()
    broken[4, 4, 10:20] = False
    scores = mask_scores(both[0].with_array(broken), both[1])
    assert scores.cldice.recall < 0.7
    assert scores.betti_error == (1, 0, 0)


@pytest.mark.parametrize(
    ("build", "betti"),
    [
        (lambda a: a.fill(False), (0, 0, 0)),
        (lambda a: a.__setitem__((slice(2, 7), slice(2, 7), slice(2, 7)), True), (1, 0, 0)),
        (lambda a: (a.__setitem__((slice(2, 7),) * 3, True), a.__setitem__((4, 4, 4), False)), (1, 0, 1)),
        (lambda a: (a.__setitem__((slice(2, 7),) * 3, True), a.__setitem__((slice(None), 4, 4), False)), (1, 1, 0)),
        (lambda a: (a.__setitem__((1, 1, 1), True), a.__setitem__((2, 2, 2), True)), (1, 0, 0)),
        (lambda a: (a.__setitem__((1, 1, 1), True), a.__setitem__((3, 3, 3), True)), (2, 0, 0)),
        (lambda a: a.__setitem__(slice(None), True), (1, 0, 0)),
    ],
    ids=["nothing", "cube", "hollow cube", "cube with a tunnel", "corner to corner", "two voxels", "everything"],
)
def test_betti_numbers(build, betti):
    array = np.zeros((9, 9, 9), dtype=bool)
    build(array)
    assert betti_of_mask(array) == betti


def test_empty_masks():
    empty, some = bar(0), bar(5)
    assert (mask_scores(empty, empty).dice, mask_cldice(empty, empty)) == (1.0, 1.0)
    assert (mask_scores(empty, some).dice, mask_cldice(empty, some), mask_cldice(some, empty)) == (0.0, 0.0, 0.0)


def test_other_grids_and_nan_are_refused():
    with pytest.raises(SpaceMismatchError, match="the predicted mask on the grid"):
        mask_scores(bar(5), bar(5, spacing=(2, 1, 1)))
    nan = bar(5).with_array(np.full((7, 7, 30), np.nan))
    with pytest.raises(InputError, match="NaN voxels"):
        mask_scores(nan, bar(5))
