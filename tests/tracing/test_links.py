"""Links of all generators: keypoints, corridor, Rivulet branches, and duplicates merged into one."""

from itertools import pairwise

import numpy as np
import pytest

from vesselgraph.config import TraceConfig
from vesselgraph.tracing.corridor import corridor, leave_corridor
from vesselgraph.tracing.foreground import find_foreground
from vesselgraph.tracing.keypoints import find_keypoints, find_saddles, propose_keypoint_paths
from vesselgraph.tracing.links import BRIDGE, KEYPOINT, Links, chain_generators, merge_links, no_links, propose_links
from vesselgraph.tracing.rivulet import back_track, propose_rivulet_paths
from vesselgraph.tracing.skeleton import extract_chains


def ridges(*lines, shape=(16, 30, 50), sigma=1.5):
    """Heat of straight ridges along the columns, each (plane, row, first, last column)."""
    z, y, x = np.indices(shape).astype(float)
    heat = np.zeros(shape)
    for plane, row, first, last in lines:
        past = np.maximum(np.maximum(first - x, x - last), 0.0)
        heat = np.maximum(heat, np.exp(-((z - plane) ** 2 + (y - row) ** 2 + past**2) / (2 * sigma**2)))
    return heat.astype(np.float32)


def listed(heat, threshold=0.1):
    found = find_foreground(heat, threshold)
    return found, heat[tuple(found.voxels.T)]


def ids_of(found, voxels):
    where = {tuple(v): i for i, v in enumerate(found.voxels.tolist())}
    return np.array([where[tuple(v)] for v in voxels], dtype=np.int64)


def test_keypoints_lie_on_the_ridge_apart_and_leave_no_part_out():
    found, values = listed(ridges((8, 15, 5, 44)))
    keypoints = found.voxels[find_keypoints(found, values)]
    assert (np.abs(keypoints[:, :2] - [8, 15]).max(axis=1) == 0).all()
    along = np.sort(keypoints[:, 2])
    assert np.diff(along).min() >= 4
    assert np.diff(along).max() <= 8
    assert along[0] - 5 <= 4
    assert 44 - along[-1] <= 4


def test_saddles_join_neighbours_along_the_ridge_only():
    found, values = listed(ridges((8, 15, 5, 44)))
    keypoints = find_keypoints(found, values)
    saddles, _ = find_saddles(found, values, keypoints)
    order = np.argsort(np.argsort(found.voxels[keypoints][:, 2]))
    steps = np.abs(np.diff(order[saddles.pair], axis=1))
    assert (steps == 1).all()
    assert len(saddles.cost) == len(keypoints) - 1


def test_a_ridge_the_skeleton_lacks_becomes_one_link():
    heat = ridges((8, 10, 4, 45), (8, 20, 4, 45))
    # Both ridges run together at the two ends.
    heat = np.maximum(heat, ridges((8, 10, 4, 4)))
    for column in (4, 45):
        for row in range(10, 21):
            heat = np.maximum(heat, ridges((8, row, column, column)))
    found, values = listed(heat)
    skeleton = ids_of(found, [[8, 10, x] for x in range(4, 46)])
    order = np.sort(skeleton)
    tip, foot, offset, path, support = propose_keypoint_paths(found, values, order)
    lines = [path[a:b] for a, b in pairwise(offset)]
    assert any((line[:, 1] == 20).sum() > 30 for line in lines)
    for start, stop, line in zip(tip, foot, lines, strict=True):
        assert line[0].tolist() == found.voxels[order[start]].tolist()
        assert line[-1].tolist() == found.voxels[order[stop]].tolist()
        assert np.abs(np.diff(line, axis=0)).max() <= 2
        assert line[:, 1].max() > 12
    assert support.mean() > 0.9


def test_what_stays_in_the_corridor_is_no_link():
    found, values = listed(ridges((8, 15, 5, 44)))
    skeleton = np.sort(ids_of(found, [[8, 15, x] for x in range(5, 45)]))
    for propose in (propose_keypoint_paths, propose_rivulet_paths):
        tip, _, offset, path, support = propose(found, values, skeleton)
        assert (len(tip), offset.tolist(), path.shape) == (0, [0], (0, 3))
        assert support.mean() > 0.8
    nearest = corridor(found, skeleton)
    assert nearest[skeleton].tolist() == list(range(len(skeleton)))
    off = np.linalg.norm(found.voxels[:, :2] - [8, 15], axis=1)
    inner = (found.voxels[:, 2] >= 5) & (found.voxels[:, 2] <= 44)
    assert ((nearest >= 0)[inner] == (np.abs(found.voxels[:, :2] - [8, 15]).max(axis=1) <= 1)[inner]).all()
    assert off.max() > 2


def test_a_short_way_out_of_the_corridor_does_not_count():
    found, _ = listed(np.ones((9, 20, 30), np.float32))
    skeleton = ids_of(found, [[4, 4, x] for x in range(30)])
    nearest = corridor(found, skeleton)

    def detour(height):
        up, down = ([[4, 4 + h, column] for h in range(height)] for column in (8, 10))
        return ids_of(found, [*up, [4, 4 + height, 9], *down[::-1]])

    def leaving(*lines):
        offset = np.cumsum([0, *(len(line) for line in lines)])
        return leave_corridor(offset, np.concatenate(lines), nearest, skeleton, found)

    assert len(leaving(detour(2))[0]) == 0
    # The same way there and back is one.
    tip, foot, _, path = leaving(detour(6), detour(6)[::-1], detour(2))
    assert (tip.tolist(), foot.tolist()) == ([8], [10])
    assert path[:, 1].max() == 10
    assert len(leaving(detour(6), detour(7))[0]) == 2


def test_back_tracking_explains_the_foreground_by_branches_that_hang_together():
    heat = np.maximum(ridges((8, 15, 4, 45)), ridges((8, 15, 4, 20)))
    for step in range(9):
        heat = np.maximum(heat, ridges((8, 15 + step, 24 + step, 24 + step)))
    found, values = listed(heat)
    depth = np.ones(len(found), np.float32) * 2
    offset, path, roots = back_track(found, values, depth)
    assert len(roots) == 1
    seen = set()
    for k in range(len(offset) - 1):
        branch = path[offset[k] : offset[k + 1]].tolist()
        # It ends at the root or where an earlier branch has explained all within 1.5 radii.
        earlier = found.voxels[[*seen, int(roots[0])]]
        assert np.abs(earlier - found.voxels[branch[-1]]).max(axis=1).min() <= 3
        seen.update(branch)
    rows = found.voxels[list(seen)]
    assert rows[:, 2].max() >= 44
    assert rows[:, 1].max() >= 22


def one_link(voxels, tip, foot, generator, n_skeleton=9):
    path = np.array(voxels, dtype=np.int64)
    support = np.full(n_skeleton, generator, np.uint8)
    return Links(np.array([tip]), np.array([foot]), np.array([0, len(path)]), path, np.array([generator]), support)


@pytest.mark.parametrize("turned", [False, True])
def test_duplicates_are_merged_and_flags_kept(turned):
    first = one_link([[0, 0, x] for x in range(10)], 1, 7, BRIDGE)
    line = [[0, 1, x] for x in range(10)]
    second = one_link(line[::-1] if turned else line, 7 if turned else 1, 1 if turned else 7, KEYPOINT)
    other = one_link([[0, 0, 0], *([0, 5, x] for x in range(1, 9)), [0, 0, 9]], 1, 7, KEYPOINT)
    merged = merge_links([first, second, other])
    assert len(merged) == 2
    assert set(merged.generator.tolist()) == {BRIDGE | KEYPOINT, KEYPOINT}
    assert (merged.support == (BRIDGE | KEYPOINT)).all()
    assert (merged.tip < merged.foot).all()


def test_nothing_merges_to_nothing():
    assert len(no_links(4)) == 0
    assert merge_links([no_links(4), no_links(4)]).support.shape == (4,)


def test_chains_carry_the_flags_of_who_went_along():
    voxels = np.array([[0, 0, x] for x in range(20)])
    chains = extract_chains(voxels, (1, 1, 20))
    support = np.zeros(20, np.uint8)
    support[:17] = KEYPOINT
    links = no_links(20)
    assert chain_generators(chains, links).tolist() == [1]
    object.__setattr__(links, "support", support)
    assert chain_generators(chains, links).tolist() == [5]


def test_each_generator_can_be_left_out():
    heat = ridges((8, 15, 4, 20), (8, 15, 30, 45))
    found, _ = listed(heat)
    voxels = np.array([[8, 15, x] for x in [*range(2, 23), *range(28, 48)]])
    chains = extract_chains(voxels, heat.shape)
    full = propose_links(found, heat, voxels, chains, TraceConfig(), 1.0)
    assert full.generator.tolist() == [BRIDGE]
    assert full.voxels_of(0)[:, 2].tolist() == list(range(22, 29))
    assert (full.support & KEYPOINT).any()
    bare = propose_links(found, heat, voxels, chains, TraceConfig(n_bridges=0, keypoint_paths=False), 1.0)
    assert len(bare) == 0
    assert not bare.support.any()
