"""Candidate bridges: which gaps are crossed, and by which path."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from vesselgraph.tracing import bridges as module
from vesselgraph.tracing.bridges import propose_bridges
from vesselgraph.tracing.topology import OFFSETS

FORWARD = [0.0, 0.0, 1.0]


def proposed(volume, tip, outward=FORWARD, *, own=None, heat=None, foreground=None, reach=6, max_turn_deg=60.0):
    """Bridges of one tip; ``own`` is the mask of the tip's branch (by default the row it lies on, up to it)."""
    voxels = np.argwhere(volume)
    ids = {tuple(voxel): i for i, voxel in enumerate(voxels.tolist())}
    if own is None:
        own = np.zeros_like(volume)
        own[tip[0], tip[1], : tip[2] + 1] = True
    near = np.array([ids[tuple(v)] for v in np.argwhere(own & volume).tolist()], dtype=np.int64)
    return propose_bridges(
        voxels,
        np.array([ids[tuple(tip)]]),
        np.array([outward]),
        [near],
        np.zeros(volume.shape, np.float32) if heat is None else heat,
        volume if foreground is None else foreground,
        reach,
        float(np.cos(np.deg2rad(max_turn_deg))),
    ), voxels


def two_segments(distance):
    """Two collinear rows of voxels; ``distance`` from the last voxel of one to the first of the other."""
    volume = np.zeros((15, 15, 30), bool)
    volume[7, 7, 2:9] = True
    volume[7, 7, 8 + distance :] = True
    return volume


@pytest.mark.parametrize("reach", [1, 3, 6])
@pytest.mark.parametrize("distance", range(2, 9))
def test_a_gap_is_bridged_if_it_is_within_reach(distance, reach):
    result, voxels = proposed(two_segments(distance), (7, 7, 8), reach=reach)
    assert len(result.tip) == (distance <= reach)
    if distance <= reach:
        assert result.path.tolist() == [[7, 7, x] for x in range(8, 9 + distance)]
        assert voxels[result.tip].tolist() == [[7, 7, 8]]
        assert voxels[result.foot].tolist() == [[7, 7, 8 + distance]]


def test_touching_segments_need_no_bridge():
    assert len(proposed(two_segments(1), (7, 7, 8))[0].tip) == 0


def test_two_tips_that_face_each_other_give_one_bridge():
    volume = two_segments(4)
    voxels = np.argwhere(volume)
    row = voxels[:, 2]
    tips = np.flatnonzero((row == 8) | (row == 12))
    near = [np.flatnonzero(row <= 8), np.flatnonzero(row >= 12)]
    outward = np.array([FORWARD, [0.0, 0.0, -1.0]])
    result = propose_bridges(voxels, tips, outward, near, np.zeros(volume.shape, np.float32), volume, 6, 0.5)
    assert result.offset.tolist() == [0, 5]
    assert (result.tip.tolist(), result.foot.tolist()) == ([tips[0]], [tips[1]])


@pytest.mark.parametrize(("limit_deg", "expected"), [(30.0, 0), (44.0, 0), (46.0, 1), (90.0, 1)])
def test_a_bridge_does_not_turn_further_than_allowed(limit_deg, expected):
    volume = two_segments(20)
    volume[7, 11, 12] = True  # 45 degrees off the tip's direction
    result, _ = proposed(volume, (7, 7, 8), max_turn_deg=limit_deg)
    assert len(result.tip) == expected


def test_the_own_branch_is_no_target():
    volume = np.zeros((15, 15, 30), bool)
    volume[7, 7, 2:9] = True
    volume[7, 8:12, 12] = True
    assert len(proposed(volume, (7, 7, 8))[0].tip) == 1
    assert len(proposed(volume, (7, 7, 8), own=volume)[0].tip) == 0


def test_nothing_is_bridged_inside_one_blob():
    volume = two_segments(4)
    blob = np.zeros_like(volume)
    blob[5:10, 5:10] = True
    assert len(proposed(volume, (7, 7, 8))[0].tip) == 1
    assert len(proposed(volume, (7, 7, 8), foreground=blob)[0].tip) == 0
    blob[7, 7, 10] = False
    assert len(proposed(volume, (7, 7, 8), foreground=blob)[0].tip) == 1


def test_the_border_of_the_volume_is_no_obstacle():
    volume = np.zeros((1, 1, 12), bool)
    volume[0, 0, :4] = True
    volume[0, 0, 8:] = True
    assert proposed(volume, (0, 0, 3))[0].path.tolist() == [[0, 0, x] for x in range(3, 9)]


def test_without_tips_there_is_nothing():
    volume = two_segments(4)
    nobody = np.zeros(0, np.int64)
    result = propose_bridges(
        np.argwhere(volume), nobody, np.zeros((0, 3)), [], np.zeros(volume.shape, np.float32), volume, 6, 0.5
    )
    assert (result.tip.shape, result.offset.tolist(), result.path.shape) == ((0,), [0], (0, 3))


def step_costs(heat, tip, reach):
    """Costs of the steps between neighbouring voxels of the ball around the tip, as a sparse matrix."""
    ball = np.linalg.norm(np.moveaxis(np.indices(heat.shape), 0, -1) - tip, axis=-1) <= reach
    number = np.arange(heat.size).reshape(heat.shape)
    rows, columns, costs = [], [], []
    for place in np.argwhere(ball):
        for offset in OFFSETS:
            there = place + offset
            if (there >= 0).all() and (there < heat.shape).all() and ball[tuple(there)]:
                rows.append(number[tuple(place)])
                columns.append(number[tuple(there)])
                costs.append(np.linalg.norm(offset) / (heat[tuple(there)] + 1.0 / module._COLD_COST))
    return sparse.csr_matrix((costs, (rows, columns)), shape=(heat.size, heat.size)), number


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_path_is_the_cheapest_one_to_any_target(seed):
    rng = np.random.default_rng(seed)
    heat = (rng.random((9, 9, 9)) ** 3).astype(np.float32)
    volume = np.zeros(heat.shape, bool)
    tip = (4, 4, 4)
    volume[tip] = True
    volume[tuple(rng.integers(0, 9, (3, 3)).T)] = True
    own = np.zeros_like(volume)
    own[tip] = True
    result, voxels = proposed(volume, tip, own=own, heat=heat, max_turn_deg=180.0, reach=5)
    costs, number = step_costs(heat, tip, 5)
    cost = dijkstra(costs, indices=number[tip])
    best = min((cost[number[tuple(v)]] for v in voxels.tolist() if tuple(v) != tip), default=np.inf)
    path = result.path if len(result.tip) and voxels[result.tip[0]].tolist() == list(tip) else result.path[::-1]
    if len(path):
        places = number[tuple(path.T)]
        walked = sum(costs[a, b] for a, b in pairwise(places))
        assert walked == pytest.approx(best, rel=1e-5)
        assert walked == pytest.approx(cost[places[-1]], rel=1e-5)
    else:
        # No target in the ball, or the cheapest lies beside the tip, where no gap is crossed.
        apart = np.abs(voxels - tip).max(axis=1)
        assert np.isinf(best) or (apart == 1).any()


def test_a_warm_detour_beats_a_cold_short_cut():
    volume = two_segments(5)
    heat = np.zeros(volume.shape, np.float32)
    heat[7, 8, 9:13] = 1.0
    path = proposed(volume, (7, 7, 8), heat=heat)[0].path
    assert path.tolist() == [[7, 7, 8], [7, 8, 9], [7, 8, 10], [7, 8, 11], [7, 8, 12], [7, 7, 13]]
