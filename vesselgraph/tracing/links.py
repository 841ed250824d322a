"""Links: candidate paths between voxels of the thinned skeleton, from all generators but thinning, duplicates merged."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vesselgraph.config import TraceConfig
from vesselgraph.tracing.bridges import propose_bridges
from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.keypoints import propose_keypoint_paths
from vesselgraph.tracing.rivulet import propose_rivulet_paths
from vesselgraph.tracing.skeleton import Chains

IntArray = NDArray[np.int64]

THINNING, BRIDGE, KEYPOINT, RIVULET = 1, 2, 4, 8
"""Bit flags of the generators."""

# Two links are one if their ends, and all voxels of the shorter, are at most so many voxels from the other.
_SAME_END, _SAME_PATH = 3.0, 2.0
_COVERED = 0.8


@dataclass(frozen=True, eq=False)
class Links:
    """Candidate paths between voxels of the skeleton: B links.

    Attributes
    ----------
    tip, foot : (B,)
        Skeleton voxel ids of the two ends.
    offset : (B + 1,)
        Slices into ``path``.
    path : (K, 3)
        Voxels of each link, tip first, foot last.
    generator : (B,)
        Bit flags of the generators that found it: 2 gap bridge, 4 keypoint path, 8 Rivulet.
    support : (S,) uint8
        For each skeleton voxel the flags of the generators with a path over it or next to it, thinning left out.
    """

    tip: IntArray
    foot: IntArray
    offset: IntArray
    path: IntArray
    generator: IntArray
    support: NDArray[np.uint8]

    def __len__(self) -> int:
        """Return the number of links."""
        return len(self.tip)

    def voxels_of(self, link: int) -> IntArray:
        """Return the voxels of one link, (k, 3), tip first."""
        return self.path[self.offset[link] : self.offset[link + 1]]


def no_links(n_skeleton: int) -> Links:
    """Return links without any, for a skeleton of so many voxels."""
    none = np.zeros(0, np.int64)
    return Links(none, none, np.zeros(1, np.int64), np.zeros((0, 3), np.int64), none, np.zeros(n_skeleton, np.uint8))


def chain_generators(chains: Chains, links: Links) -> IntArray:
    """Return the flags of each branch of the skeleton, (E,): thinning, and who else went along at least 80 % of its voxels."""
    flags = np.full(len(chains.ends), THINNING)
    size = np.diff(chains.offset)
    for flag in (KEYPOINT, RIVULET):
        along = np.add.reduceat((links.support[chains.members] & flag) > 0, chains.offset[:-1]) if len(size) else size
        flags |= np.where(along >= _COVERED * size, flag, 0)
    return flags


def propose_links(
    foreground: Foreground,
    heat: NDArray[np.float32],
    voxels: IntArray,
    chains: Chains,
    config: TraceConfig,
    voxel: float,
) -> Links:
    """Return the candidates of all generators besides thinning, each once.

    Parameters
    ----------
    foreground : Foreground
        The thinned voxels.
    heat : (planes, rows, columns) float32
        In [0, 1], on the isotropic tracing grid.
    voxels : (S, 3)
        Skeleton voxels in raster order.
    chains : Chains
        Their branches, before links: ``extract_chains(voxels, shape)``.
    config : TraceConfig
        Gap length, turning limit, number of bridges a tip, which generators run.
    voxel : mm
        Size of a voxel.

    Returns
    -------
    links : Links
        Sorted by tip and foot; a tip may be inside a branch, so both ends have to become nodes. Deterministic.
    """
    none = np.zeros(len(voxels), np.uint8)
    bridges = propose_bridges(foreground, heat, voxels, chains, config.max_gap / voxel, config.max_turn_deg, config.n_bridges)
    parts = [_flagged(BRIDGE, *bridges, none)]
    if (config.keypoint_paths or config.rivulet_paths) and len(voxels):
        ids, values = skeleton_ids(foreground, voxels), heat[tuple(foreground.voxels.T)]
        if config.keypoint_paths:
            parts.append(_flagged(KEYPOINT, *propose_keypoint_paths(foreground, values, ids)))
        if config.rivulet_paths:
            parts.append(_flagged(RIVULET, *propose_rivulet_paths(foreground, values, ids)))
    return merge_links(parts)


def skeleton_ids(foreground: Foreground, voxels: IntArray) -> IntArray:
    """Return the foreground ids of skeleton voxels, (S, 3) in raster order."""
    _, n_rows, n_columns = foreground.shape
    step = np.array([n_rows * n_columns, n_columns, 1])
    return np.searchsorted(foreground.voxels @ step, voxels @ step).astype(np.int64)


def _flagged(
    generator: int, tip: IntArray, foot: IntArray, offset: IntArray, path: IntArray, support: NDArray[np.uint8]
) -> Links:
    return Links(tip, foot, offset, path, np.full(len(tip), generator), support * np.uint8(generator))


def merge_links(parts: list[Links]) -> Links:
    """Return the links of all parts, those in the same corridor once, with the flags of all that found them.

    Two links share a corridor if their ends are at most 3 voxels apart and every voxel of the shorter one lies within 2
    voxels of the longer one. The one of the earlier part stays, or within a part the one with fewer voxels.
    """
    paths = [part.voxels_of(i) for part in parts for i in range(len(part))]
    support = np.bitwise_or.reduce([part.support for part in parts])
    if not paths:
        return replace(no_links(len(support)), support=support)
    ends = np.concatenate([np.stack([part.tip, part.foot], axis=1) for part in parts])
    flags = np.concatenate([part.generator for part in parts])
    part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    keep = np.ones(len(paths), np.bool_)
    rank = np.lexsort((ends[:, 1], ends[:, 0], np.array([len(path) for path in paths]), part_of))
    place = np.argsort(rank)
    pairs = _close_ends(paths)
    first, second = np.minimum(place[pairs[:, 0]], place[pairs[:, 1]]), np.maximum(place[pairs[:, 0]], place[pairs[:, 1]])
    for a, b in sorted(
        set(zip(rank[first].tolist(), rank[second].tolist(), strict=True)), key=lambda p: (place[p[0]], place[p[1]])
    ):
        if keep[a] and keep[b] and _same_corridor(paths[a], paths[b]):
            keep[b] = False
            flags[a] |= flags[b]
    kept = np.flatnonzero(keep)
    turned = ends[kept, 0] > ends[kept, 1]
    ordered = [paths[i][::-1] if turn else paths[i] for i, turn in zip(kept, turned, strict=True)]
    pair = np.sort(ends[kept], axis=1)
    order = np.lexsort((kept, pair[:, 1], pair[:, 0]))
    chosen = [ordered[i] for i in order]
    offset = np.concatenate([[0], np.cumsum([len(path) for path in chosen])]).astype(np.int64)
    return Links(pair[order, 0], pair[order, 1], offset, np.concatenate(chosen), flags[kept][order], support)


def _close_ends(paths: list[IntArray]) -> IntArray:
    """Return pairs of paths whose ends are close, in either direction, (P, 2)."""
    ends = np.array([np.concatenate([path[0], path[-1]]) for path in paths], dtype=np.float64)
    tree, turned = cKDTree(ends), cKDTree(ends[:, [3, 4, 5, 0, 1, 2]])
    near = _SAME_END * np.sqrt(2.0)
    same = tree.query_pairs(near, output_type="ndarray")
    across = tree.sparse_distance_matrix(turned, near, output_type="ndarray")
    crossed = np.stack([across["i"], across["j"]], axis=1)
    return np.concatenate([same, crossed[crossed[:, 0] < crossed[:, 1]]]).astype(np.int64)


def _same_corridor(a: IntArray, b: IntArray) -> bool:
    short, long = (a, b) if len(a) <= len(b) else (b, a)
    apart = np.linalg.norm(short[:, None].astype(np.float64) - long[None], axis=2)
    return bool(apart.min(axis=1).max() <= _SAME_PATH)
