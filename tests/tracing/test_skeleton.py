"""Branches of hand-drawn and thinned voxel skeletons."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from vesselgraph.tracing.foreground import find_foreground
from vesselgraph.tracing.skeleton import extract_chains, neighbour_pairs
from vesselgraph.tracing.thinning import thin

# name: drawing, number of nodes, sorted (inner voxels of a branch, whether it ends where it starts).
DRAWINGS = {
    "line": (["#####"], 2, [(3, False)]),
    "two voxels": (["##"], 2, [(0, False)]),
    "bent line": (["##...", "..#..", "...##"], 2, [(3, False)]),
    "Y": (["#...#", ".#.#.", "..#..", "..#..", "..#.."], 4, [(1, False)] * 3),
    "X": (["#...#", ".#.#.", "..#..", ".#.#.", "#...#"], 5, [(1, False)] * 4),
    "T": (["#######", "...#...", "...#...", "...#..."], 4, [(1, False)] * 3),
    "ring": ([".##.", "#..#", "#..#", ".##."], 1, [(7, True)]),
    "ring with a tail": ([".##....", "#..####", ".##...."], 2, [(2, False), (5, True)]),
    "two junctions side by side": (["#....#", ".#..#.", "..##..", ".#..#.", "#....#"], 5, [(1, False)] * 4),
    "two junctions apart": (["#.....#", ".#...#.", "..###..", ".#...#.", "#.....#"], 6, [(1, False)] * 5),
    "theta": (["..####..", ".#....#.", "########", ".#....#.", "..####.."], 2, [(2, False), (4, False), (4, False)]),
    "isolated voxel": (["#"], 0, []),
    "line and isolated voxel": (["###..#"], 2, [(1, False)]),
    "nothing": (["...."], 0, []),
}


def drawn(lines):
    plane = np.array([[letter == "#" for letter in line] for line in lines])
    return np.argwhere(np.pad(plane[None], 1)), tuple(np.array((1, *plane.shape)) + 2)


def branches_of(chains):
    runs = [chains.members[a:b] for a, b in zip(chains.offset[:-1], chains.offset[1:], strict=True)]
    return [run.tolist() for run in runs]


def edges_of(voxels):
    """Neighbouring pairs by brute force."""
    apart = np.abs(voxels[:, None] - voxels[None]).max(axis=2) if len(voxels) else np.zeros((0, 0))
    return {(int(a), int(b)) for a, b in np.argwhere(apart == 1) if a < b}


def check_every_edge_lies_on_one_branch(voxels, chains):
    node = chains.node_of_voxel
    walked = Counter()
    for run, ends in zip(branches_of(chains), chains.ends, strict=True):
        assert [node[run[0]], node[run[-1]]] == ends.tolist()
        assert all(node[run[1:-1]] == -1)
        walked.update((min(pair), max(pair)) for pair in pairwise(run))
    expected = {(a, b) for a, b in edges_of(voxels) if node[a] < 0 or node[a] != node[b]}
    assert set(walked) == expected
    assert not expected or max(walked.values()) == 1


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_drawings(name, axes):
    lines, n_nodes, expected = DRAWINGS[name]
    voxels, shape = drawn(lines)
    voxels = voxels[:, axes]
    voxels = voxels[np.lexsort(voxels.T[::-1])]
    chains = extract_chains(voxels, tuple(shape[a] for a in axes))
    found = [(len(run) - 2, a == b) for run, (a, b) in zip(branches_of(chains), chains.ends.tolist(), strict=True)]
    assert (chains.n_nodes, sorted(found)) == (n_nodes, expected)
    check_every_edge_lies_on_one_branch(voxels, chains)


def test_forced_voxels_are_nodes():
    voxels, shape = drawn(["#######"])
    forced = np.array([False, False, False, True, False, False, False])
    chains = extract_chains(voxels, shape, forced)
    assert chains.n_nodes == 3
    assert sorted(branches_of(chains)) == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_a_forced_voxel_beside_another_node_is_a_node_of_its_own():
    voxels, shape = drawn(["#######"])
    chains = extract_chains(voxels, shape, np.arange(7) == 1)
    assert sorted(branches_of(chains)) == [[0, 1], [1, 2, 3, 4, 5, 6]]


def test_a_ring_may_be_cut_twice():
    voxels, shape = drawn(DRAWINGS["ring"][0])
    forced = np.zeros(len(voxels), bool)
    forced[[0, len(voxels) - 1]] = True
    chains = extract_chains(voxels, shape, forced)
    assert (chains.n_nodes, len(chains.ends)) == (2, 2)
    check_every_edge_lies_on_one_branch(voxels, chains)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_every_edge_of_any_skeleton_lies_on_one_branch(seed, with_forced):
    rng = np.random.default_rng(seed)
    volume = ndimage.gaussian_filter(rng.random((9, 9, 9)), 0.7) > rng.uniform(0.45, 0.6)
    found = find_foreground(volume, 0)
    voxels = found.voxels[thin(found, rng.random(len(found)))].astype(np.int64)
    forced = rng.random(len(voxels)) < 0.1 if with_forced else None
    chains = extract_chains(voxels, volume.shape, forced)
    check_every_edge_lies_on_one_branch(voxels, chains)
    if forced is not None:
        assert (chains.node_of_voxel[forced] >= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.6))
def test_neighbours_match_brute_force(seed, density):
    volume = np.random.default_rng(seed).random((4, 5, 6)) < density
    voxels = np.argwhere(volume)
    start, neighbour = neighbour_pairs(voxels, volume.shape)
    row = np.repeat(np.arange(len(voxels)), np.diff(start))
    pairs = set(zip(row.tolist(), neighbour.tolist(), strict=True))
    assert pairs == {pair for a, b in edges_of(voxels) for pair in ((a, b), (b, a))}
    assert len(pairs) == len(neighbour)
    for i in range(len(voxels)):
        assert (np.diff(neighbour[start[i] : start[i + 1]]) > 0).all()
