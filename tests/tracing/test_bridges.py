"""Candidate bridges: which gaps are crossed, and by which path."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import set_num_threads
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from vesselgraph.tracing import bridges as module
from vesselgraph.tracing.bridges import propose_bridges
from vesselgraph.tracing.skeleton import extract_chains
from vesselgraph.tracing.topology import OFFSETS


def proposed(volume, *, heat=None, foreground=None, max_gap=6.0, max_turn_deg=60.0, n_candidates=3):
    """Bridges of a drawn skeleton: paths as lists of voxels, each with the lower end first."""
    voxels = np.argwhere(volume)
    thick = volume if foreground is None else foreground
    heat = np.where(volume, 1.0, 0.6 * thick).astype(np.float32) if heat is None else heat
    np.testing.assert_array_equal(heat > 0.5, thick)
    chains = extract_chains(voxels, volume.shape)
    tip, foot, offset, path = propose_bridges(heat, 0.5, voxels, chains, max_gap, max_turn_deg, n_candidates)
    lines = [path[a:b] for a, b in pairwise(offset)]
    for line, start, stop in zip(lines, tip, foot, strict=True):
        assert line[0].tolist() == voxels[start].tolist()
        assert line[-1].tolist() == voxels[stop].tolist()
        assert np.abs(np.diff(line, axis=0)).max() == 1
    return [min(line.tolist(), line[::-1].tolist()) for line in lines]


def two_segments(distance):
    """Two collinear rows of voxels; ``distance`` from the last voxel of one to the first of the other."""
    volume = np.zeros((15, 15, 40), bool)
    volume[7, 7, 2:13] = True
    volume[7, 7, 12 + distance : 12 + distance + 11] = True
    return volume


@pytest.mark.parametrize("max_gap", [3.0, 5.0, 8.0])
@pytest.mark.parametrize("distance", range(2, 11))
def test_a_gap_is_bridged_if_it_is_short_enough(distance, max_gap):
    found = proposed(two_segments(distance), max_gap=max_gap)
    # Both ends find the other one, over the same straight voxels.
    expected = [[[7, 7, x] for x in range(12, 13 + distance)]] * 2
    assert found == (expected if distance <= 1.15 * max_gap else [])


def test_touching_segments_need_no_bridge():
    assert proposed(two_segments(1)) == []


@pytest.mark.parametrize(("limit_deg", "expected"), [(30.0, 0), (44.0, 0), (46.0, 1), (90.0, 1)])
def test_a_bridge_does_not_turn_further_than_allowed(limit_deg, expected):
    volume = np.zeros((15, 25, 25), bool)
    volume[7, 7, 2:11] = True
    # A row across: its end and the other one see each other from 45 degrees on.
    volume[7, 11:22, 14] = True
    assert len({str(line) for line in proposed(volume, max_turn_deg=limit_deg)}) == expected


def test_the_own_branch_is_no_target():
    volume = np.zeros((15, 20, 30), bool)
    volume[7, 7, 2:15] = True
    volume[7, 8:14, 15] = True
    volume[7, 14, 2:15] = True
    assert proposed(volume, max_gap=8.0) == []


def test_nothing_is_bridged_inside_one_blob():
    volume = two_segments(5)
    blob = np.zeros_like(volume)
    blob[5:10, 5:10] = True
    assert proposed(volume, foreground=blob) == []
    blob[:, :, 14] = False
    assert len(proposed(volume, foreground=blob)) == 2


def test_the_border_of_the_volume_is_no_obstacle():
    volume = np.zeros((1, 1, 24), bool)
    volume[0, 0, :10] = True
    volume[0, 0, 14:] = True
    assert proposed(volume)[0] == [[0, 0, x] for x in range(9, 15)]


def test_without_ends_there_is_nothing():
    ring = np.zeros((3, 9, 9), bool)
    ring[1, 1:8, 1:8] = True
    ring[1, 2:7, 2:7] = False
    assert proposed(ring) == []
    assert proposed(np.zeros((3, 3, 3), bool)) == []
    assert proposed(two_segments(4), n_candidates=0) == []


def test_several_vessels_ahead_give_several_candidates_the_cheapest_first():
    volume = np.zeros((15, 31, 40), bool)
    volume[7, 15, 2:15] = True
    for row, column in ((11, 20), (15, 21), (19, 22)):
        volume[7, row, column : column + 12] = True
    heat = volume.astype(np.float32)
    tip, feet = [7, 15, 14], [[7, 11, 20], [7, 15, 21], [7, 19, 22]]
    one = proposed(volume, heat=heat, n_candidates=1, max_gap=10.0)
    many = proposed(volume, heat=heat, n_candidates=3, max_gap=10.0)
    assert all(tip in line for line in many)
    assert {str(foot) for foot in feet} == {str(end) for line in many for end in (line[0], line[-1])} - {str(tip)}
    # The first tip in the list is the one in the middle, and it finds the one straight ahead.
    assert one[1] == [[7, 15, x] for x in range(14, 22)]


def test_a_flat_end_with_spurs_is_bridged_forward():
    thick = np.zeros((15, 15, 50), bool)
    thick[4:11, 4:11, :20] = True
    thick[4:11, 4:11, 25:] = True
    skeleton = np.zeros_like(thick)
    skeleton[7, 7, 2:17] = True
    skeleton[7, 7, 28:48] = True
    for step in (1, 2, 3):
        skeleton[7, 7 + step, 16 + step] = skeleton[7, 7 - step, 16 + step] = True
        skeleton[7, 7 + step, 28 - step] = skeleton[7, 7 - step, 28 - step] = True
    found = proposed(skeleton, foreground=thick)
    assert any(line[0][2] == 19 and line[-1][2] == 25 for line in found)


def test_a_warm_detour_beats_a_cold_short_cut():
    volume = two_segments(5)
    heat = volume.astype(np.float32)
    heat[7, 8, 13:17] = 0.5
    assert proposed(volume, heat=heat)[0] == [[7, 7, 12], *([7, 8, x] for x in range(13, 17)), [7, 7, 17]]


def capsule_costs(heat, start, stop):
    """Costs of the forward steps between neighbouring voxels near the straight line, as a sparse matrix."""
    places = np.moveaxis(np.indices(heat.shape), 0, -1).astype(float)
    way = (stop - start).astype(float)
    t = np.clip((places - start) @ way / (way @ way), 0.0, 1.0)
    near = np.linalg.norm(places - start - t[..., None] * way, axis=-1) <= module._CAPSULE
    number = np.arange(heat.size).reshape(heat.shape)
    rows, columns, costs = [], [], []
    for place in np.argwhere(near):
        for offset in OFFSETS:
            there = place + offset
            if offset @ way > 0 and (there >= 0).all() and (there < heat.shape).all() and near[tuple(there)]:
                rows.append(number[tuple(place)])
                columns.append(number[tuple(there)])
                costs.append(np.linalg.norm(offset) / (heat[tuple(there)] + 1.0 / module._COLD_COST))
    return sparse.csr_matrix((costs, (rows, columns)), shape=(heat.size, heat.size)), number


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_the_path_is_the_cheapest_forward_one_in_the_capsule(seed):
    rng = np.random.default_rng(seed)
    volume = two_segments(6)[3:12, 3:12]
    heat = np.where(volume, 0.9, 0.5 * rng.random(volume.shape) ** 3).astype(np.float32)
    costs, number = capsule_costs(heat, np.array([4, 4, 12]), np.array([4, 4, 18]))
    found = [line for line in proposed(volume, heat=heat, max_gap=12.0) if line[0] == [4, 4, 12]]
    assert found
    places = number[tuple(np.array(found[0]).T)]
    walked = sum(costs[a, b] for a, b in pairwise(places))
    # Of all voxels of the other segment between tip and foot; here that is the foot.
    others = number[4, 4, 18:19]
    assert walked == pytest.approx(dijkstra(costs, indices=places[0])[others].min(), rel=1e-5)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("flip", [(), (0,), (0, 1, 2)])
def test_flips_and_the_order_of_the_axes_change_no_bridge(axes, flip):
    rng = np.random.default_rng(5)
    volume = np.zeros((15, 15, 40), bool)
    volume[7, 7, 2:13] = True
    volume[9, 10, 18:30] = True
    heat = np.where(volume, 1.0, 0.5 * rng.random(volume.shape) ** 3).astype(np.float32)
    turned = [np.flip(array.transpose(axes), flip) for array in (volume, heat)]
    number = np.flip(np.arange(volume.size).reshape(volume.shape).transpose(axes), flip)
    found = {frozenset(number[tuple(np.array(line).T)].tolist()) for line in proposed(turned[0], heat=turned[1], max_gap=9.0)}
    places = np.arange(volume.size).reshape(volume.shape)
    assert found
    assert found == {frozenset(places[tuple(np.array(line).T)].tolist()) for line in proposed(volume, heat=heat, max_gap=9.0)}


def test_any_number_of_threads_gives_the_same_bytes():
    rng = np.random.default_rng(3)
    volume = np.zeros((30, 30, 60), bool)
    for z, y in rng.integers(3, 27, (25, 2)):
        start = rng.integers(2, 35)
        volume[z, y, start : start + rng.integers(6, 20)] = True
    before = proposed(volume)
    set_num_threads(2)
    try:
        assert proposed(volume) == before
    finally:
        set_num_threads(1)
    assert before
