"""Simple points and ordered thinning against topology that is counted another way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import euler_number

from vesselgraph.tracing.foreground import find_foreground
from vesselgraph.tracing.thinning import thin
from vesselgraph.tracing.topology import OFFSETS, is_simple, slot_of

EVERY = np.ones((3, 3, 3), bool)
FACES = ndimage.generate_binary_structure(3, 1)
NEAR = ndimage.generate_binary_structure(3, 2)


def bits_of(box):
    """Neighbour bits of the centre of a 3x3x3 box, in raster order without the centre."""
    around = np.delete(box.ravel(), 13)
    return np.uint32(sum(1 << i for i in np.flatnonzero(around).tolist()))


def simple_by_labels(box):
    """Bertrand & Malandain 1994: one 26-component around, one 6-component of background at the faces within the 18."""
    around = box.copy()
    around[1, 1, 1] = False
    _, n_object = ndimage.label(around, EVERY)
    background = ~around & NEAR
    background[1, 1, 1] = False
    label, _ = ndimage.label(background, FACES)
    at_faces = FACES.copy()
    at_faces[1, 1, 1] = False
    return n_object == 1 and len(set(label[at_faces].tolist()) - {0}) == 1


def betti(volume):
    """Components, tunnels and cavities of a 26-connected object."""
    padded = np.pad(volume, 1)
    pieces = ndimage.label(padded, EVERY)[1]
    cavities = ndimage.label(~padded, FACES)[1] - 1
    return pieces, pieces + cavities - int(euler_number(padded, connectivity=3)), cavities


def skeleton(volume, order=None):
    """Voxels that thinning leaves; the order belongs to the true voxels in raster order."""
    foreground = find_foreground(volume, 0)
    order = np.zeros(len(foreground)) if order is None else order
    return foreground.voxels[thin(foreground, order)]


def thinned(volume, order=None):
    result = np.zeros_like(volume)
    result[tuple(skeleton(volume, order).T)] = True
    return result


def ball(radius):
    reach = np.arange(-radius - 1, radius + 2)
    z, y, x = np.meshgrid(reach, reach, reach, indexing="ij")
    return z**2 + y**2 + x**2 <= radius**2


def torus(bow, thickness):
    reach = np.arange(-bow - thickness - 1, bow + thickness + 2)
    z, y, x = np.meshgrid(np.arange(-thickness - 1, thickness + 2), reach, reach, indexing="ij")
    return (np.hypot(y, x) - bow) ** 2 + z**2 <= thickness**2


def touching_tubes():
    volume = np.zeros((7, 12, 20), bool)
    volume[2:5, 2:5, :] = True
    volume[3:6, 5:8, :] = True
    return volume


def hollow_shell():
    return ball(6) & ~np.pad(ball(3), 3)


SHAPES = {
    "ball": (ball(5), (1, 0, 0)),
    "torus": (torus(7, 2), (1, 1, 0)),
    "hollow shell": (hollow_shell(), (1, 0, 1)),
    "touching tubes": (touching_tubes(), (1, 0, 0)),
    "plane": (np.pad(np.ones((1, 9, 9), bool), 1), (1, 0, 0)),
    "two balls": (np.concatenate([ball(3), ball(3)]), (2, 0, 0)),
}


def test_simple_points_match_their_definition_on_random_neighbourhoods():
    rng = np.random.default_rng(0)
    seen = {True: 0, False: 0}
    for _ in range(4000):
        box = rng.random((3, 3, 3)) < rng.choice([0.1, 0.25, 0.5, 0.75, 0.9])
        expected = simple_by_labels(box)
        assert bool(is_simple(bits_of(box))) == expected, box.astype(int)
        seen[expected] += 1
    assert min(seen.values()) > 500


def test_removing_a_simple_point_keeps_the_betti_numbers():
    rng = np.random.default_rng(1)
    n_simple = 0
    for _ in range(1500):
        box = rng.random((3, 3, 3)) < rng.choice([0.2, 0.5, 0.8])
        box[1, 1, 1] = True
        if is_simple(bits_of(box)):
            without = box.copy()
            without[1, 1, 1] = False
            assert betti(box) == betti(without)
            n_simple += 1
    assert n_simple > 200


@pytest.mark.parametrize(
    ("neighbours", "expected"),
    [
        ([], False),  # a piece of its own
        ([(1, 1, 0)], True),  # the end of a curve is simple; thinning has its own rule for it
        ([(1, 1, 0), (1, 1, 2)], False),  # inside a curve
        ([(1, 1, 0), (1, 0, 0)], True),  # a corner of a small square
        ([(z, y, x) for z in range(3) for y in range(3) for x in range(3)], False),  # deep inside
        ([(z, y, x) for z in range(2) for y in range(3) for x in range(3)], True),  # on a flat wall
        ([(1, y, x) for y in range(3) for x in range(3)], False),  # inside a sheet
        ([(0, 0, 0), (2, 2, 2)], False),  # two corners
    ],
)
def test_simple_points_by_hand(neighbours, expected):
    box = np.zeros((3, 3, 3), bool)
    for place in neighbours:
        box[place] = True
    assert bool(is_simple(bits_of(box))) == expected


def test_slots_of_steps():
    assert [slot_of(*step) for step in OFFSETS.tolist()] == list(range(26))
    assert all(np.array_equal(OFFSETS[25 - k], -OFFSETS[k]) for k in range(26))


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_keep_their_topology_whatever_the_order(name):
    volume, expected = SHAPES[name]
    assert betti(volume) == expected
    for seed in range(4):
        order = np.random.default_rng(seed).random(int(volume.sum()))
        assert betti(thinned(volume, order)) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_random_volumes_keep_their_topology(seed, density):
    rng = np.random.default_rng(seed)
    volume = rng.random((7, 8, 9)) < density
    assert betti(thinned(volume, rng.random(int(volume.sum())))) == betti(volume)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nothing_more_can_go_but_curve_ends(seed):
    rng = np.random.default_rng(seed)
    volume = ndimage.gaussian_filter(rng.random((10, 10, 10)), 1.0) > 0.5
    padded = np.pad(thinned(volume, rng.random(int(volume.sum()))), 1)
    for z, y, x in np.argwhere(padded):
        box = padded[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2]
        assert box.sum() <= 2 or not simple_by_labels(box)


def test_the_skeleton_runs_where_voxels_are_asked_last():
    volume = np.zeros((9, 9, 20), bool)
    volume[1:8, 1:8, 1:19] = True
    away = np.abs(np.argwhere(volume)[:, :2] - [5, 3]).max(axis=1)
    assert np.array_equal(skeleton(volume, -away.astype(float)), [[5, 3, x] for x in range(1, 19)])


def test_voxels_come_in_raster_order_and_repeat():
    volume, _ = SHAPES["torus"]
    order = np.random.default_rng(3).random(int(volume.sum()))
    voxels = skeleton(volume, order)
    assert np.array_equal(voxels, voxels[np.lexsort(voxels.T[::-1])])
    assert np.array_equal(voxels, skeleton(volume, order))
    # Only the order of the values counts, up to the fineness of the queue.
    assert np.array_equal(voxels, skeleton(volume, 7.0 * order - 100.0))


def test_volumes_wider_than_a_word_of_bits():
    rng = np.random.default_rng(5)
    volume = ndimage.gaussian_filter(rng.random((9, 8, 150)), 1.2) > 0.5
    order = rng.random(int(volume.sum()))
    thin_ones = thinned(volume, order)
    assert betti(thin_ones) == betti(volume)
    # The same with the columns cut elsewhere.
    moved = np.pad(volume, ((0, 0), (0, 0), (37, 5)))
    assert np.array_equal(thinned(moved, order)[:, :, 37:-5], thin_ones)


def test_small_and_full_volumes():
    assert skeleton(np.zeros((3, 4, 5), bool)).shape == (0, 3)
    single = np.zeros((3, 4, 5), bool)
    single[2, 3, 4] = True
    assert skeleton(single).tolist() == [[2, 3, 4]]
    assert betti(thinned(np.ones((5, 6, 7), bool))) == (1, 0, 0)
    assert thinned(np.ones((5, 6, 7), bool)).sum() <= 7
