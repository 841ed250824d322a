"""Links: candidate paths between voxels of the thinned skeleton, from all generators but thinning, duplicates merged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from numba import get_num_threads, njit
from numpy.typing import NDArray

from vesselgraph.config import TraceConfig
from vesselgraph.tracing.basins import Basins, find_basins
from vesselgraph.tracing.bridges import propose_bridges, squared_distance
from vesselgraph.tracing.ends import place_skeleton
from vesselgraph.tracing.foreground import Foreground, take_at
from vesselgraph.tracing.keypoints import propose_keypoint_paths
from vesselgraph.tracing.rivulet import propose_rivulet_paths
from vesselgraph.tracing.skeleton import Chains

IntArray = NDArray[np.int64]

THINNING, BRIDGE, KEYPOINT, RIVULET = 1, 2, 4, 8
"""Bit flags of the generators."""

# Two links are one if their ends, and all voxels of the shorter, are at most so many voxels from the other.
_SAME_END, _SAME_PATH = 3, 2
# Ends that are close lie in the same cell of so many voxels, or in cells next to each other.
_CELL = 5
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
    basins: Basins = find_basins,
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
        Threshold of the foreground, gap length, turning limit, number of bridges a tip, which generators run.
    voxel : mm
        Size of a voxel.
    basins : function
        ``basins.find_basins`` or its twin on another device.

    Returns
    -------
    links : Links
        Sorted by tip and foot; a tip may be inside a branch, so both ends have to become nodes. Deterministic.
    """
    none = np.zeros(len(voxels), np.uint8)
    reach = config.max_gap / voxel

    def bridges() -> Links:
        found = propose_bridges(heat, config.threshold, voxels, chains, reach, config.max_turn_deg, config.n_bridges)
        return _flagged(BRIDGE, *found, none)

    # The walks of the keypoint paths go on one thread, so bridges are sought beside them.
    with ThreadPoolExecutor(1) if get_num_threads() > 1 else nullcontext() as beside:
        waiting = None if beside is None else beside.submit(bridges)
        others = []
        if (config.keypoint_paths or config.rivulet_paths) and len(voxels):
            ids, values = place_skeleton(foreground, voxels)[0], take_at(heat, foreground.voxels)
            if config.keypoint_paths:
                others.append(_flagged(KEYPOINT, *propose_keypoint_paths(foreground, values, ids, basins)))
            if config.rivulet_paths:
                others.append(_flagged(RIVULET, *propose_rivulet_paths(foreground, values, ids)))
        return merge_links([bridges() if waiting is None else waiting.result(), *others])


def _flagged(
    generator: int, tip: IntArray, foot: IntArray, offset: IntArray, path: IntArray, support: NDArray[np.uint8]
) -> Links:
    return Links(tip, foot, offset, path, np.full(len(tip), generator), support * np.uint8(generator))


def merge_links(parts: list[Links]) -> Links:
    """Return the links of all parts, those in the same corridor once, with the flags of all that found them.

    Two links share a corridor if their ends are at most 3 voxels apart and every voxel of the shorter one lies within 2
    voxels of the longer one. The one of the earlier part stays, or within a part the one with fewer voxels.
    """
    support = np.bitwise_or.reduce([part.support for part in parts])
    tip, foot, flags = (np.concatenate([getattr(part, k) for part in parts]) for k in ("tip", "foot", "generator"))
    if not len(tip):
        return replace(no_links(len(support)), support=support)
    path = np.concatenate([part.path for part in parts])
    size = np.concatenate([np.diff(part.offset) for part in parts])
    offset = np.concatenate([[0], np.cumsum(size)])
    part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    kept = np.flatnonzero(_merge(path, offset, np.lexsort((foot, tip, size, part_of)), flags))
    low, high = np.minimum(tip, foot)[kept], np.maximum(tip, foot)[kept]
    order = np.lexsort((kept, high, low))
    kept = kept[order]
    # Voxels from the lower end to the higher one.
    turned, size = tip[kept] > foot[kept], size[kept]
    first, step = np.where(turned, offset[kept + 1] - 1, offset[kept]), np.where(turned, -1, 1)
    start = np.concatenate([[0], np.cumsum(size)])
    along = np.arange(start[-1]) - np.repeat(start[:-1], size)
    voxels = path[np.repeat(first, size) + np.repeat(step, size) * along]
    return Links(low[order], high[order], start, voxels, flags[kept], support)


@njit(cache=True, nogil=True)
def _merge(path, offset, rank, flags):  # type: ignore[no-untyped-def]
    """Return which links stay, (B,), taken in the order of ``rank``; their flags receive those of the ones that go."""
    n = rank.size
    place, keep = np.empty(n, np.int64), np.ones(n, np.bool_)
    shape = (path[:, 0].max() // _CELL + 1, path[:, 1].max() // _CELL + 1, path[:, 2].max() // _CELL + 1)
    newest, earlier = np.full(shape, -1, np.int32), np.empty(2 * n, np.int32)
    for i in range(n):
        place[rank[i]] = i
        for side in range(2):
            z, y, x = path[offset[i + side] - side] // _CELL
            earlier[2 * i + side] = newest[z, y, x]
            newest[z, y, x] = 2 * i + side
    for a in rank:
        if not keep[a]:
            continue
        start, stop = path[offset[a]], path[offset[a + 1] - 1]
        c = start // _CELL
        for z in range(max(c[0] - 1, 0), min(c[0] + 2, shape[0])):
            for y in range(max(c[1] - 1, 0), min(c[1] + 2, shape[1])):
                for x in range(max(c[2] - 1, 0), min(c[2] + 2, shape[2])):
                    end = newest[z, y, x]
                    while end >= 0:
                        b, side = end >> 1, end & 1
                        end = earlier[end]
                        if not keep[b] or place[b] <= place[a]:
                            continue
                        near, far = path[offset[b + side] - side], path[offset[b + 1 - side] - 1 + side]
                        if squared_distance(start, near) + squared_distance(stop, far) > 2 * _SAME_END**2:
                            continue
                        if _same_corridor(path[offset[a] : offset[a + 1]], path[offset[b] : offset[b + 1]]):
                            keep[b] = False
                            flags[a] |= flags[b]
    return keep


@njit(cache=True, nogil=True)
def _same_corridor(a, b):  # type: ignore[no-untyped-def]
    """Return whether every voxel of the shorter of two paths lies close to the other."""
    short, long = (a, b) if len(a) <= len(b) else (b, a)
    for i in range(len(short)):
        is_near = False
        for j in range(len(long)):
            if squared_distance(short[i], long[j]) <= _SAME_PATH**2:
                is_near = True
                break
        if not is_near:
            return False
    return True
