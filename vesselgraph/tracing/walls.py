"""What the wall of a mask says about a traced graph: where vessels part and where they end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.edit import merge_degree_two, subset
from vesselgraph.graph import VesselGraph
from vesselgraph.tracing.evidence import THINNED, protrusion
from vesselgraph.tracing.forks import place_forks
from vesselgraph.tracing.geometry import ray_length
from vesselgraph.tracing.topology import OFFSETS
from vesselgraph.volume import Volume

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# A branch with one free end that sticks out by less than this share of the radius it leaves is a bump of the wall, no vessel.
_BUMP = 0.4
# An end lies this share of its radius before the wall, as in a round cone; less than half of its branch is cut.
_CAP, _LONGEST_CUT = 0.9, 0.45
_N_TIP_POINTS = 8
# A free-ended branch shorter than so many radii of its base does not lead on.
_STUB = 2.0
_DIRECTIONS = OFFSETS / np.linalg.norm(OFFSETS, axis=1, keepdims=True)


def fit_to_wall(graph: VesselGraph, mask: Volume, spacing: FloatArray) -> VesselGraph:
    """Return the graph of a mask with junctions where the vessels part and ends one radius before the wall.

    Parameters
    ----------
    graph : VesselGraph
        Traced from ``mask``, with radii from its cross-sections.
    mask : Volume
        0 and 1 on an isotropic grid.
    spacing : (3,) mm
        Of the grid the mask was drawn on: the coarser its slices, the larger the steps of the wall.

    Returns
    -------
    graph : VesselGraph
        Same nodes and branches. Junctions of bumps of the wall stay where they are. Node column ``fitted`` (bool): placed by
        the wall. Edge columns ``wall_step`` (mm): how much farther apart the mask's slices are than its pixels;
        ``stands_out``: how far a free end reaches out of the vessels it leaves, as a share of what a bump of the wall reaches.
    """
    steps = {"wall_step": np.full(graph.n_edges, float(np.max(spacing) - np.min(spacing)))}
    if graph.n_edges == 0:
        return graph.with_columns(node={"fitted": np.zeros(graph.n_nodes, np.bool_)}, edge=steps)
    volume = np.asarray(mask.array, dtype=np.float32)
    thinned = (graph.edge_data["generator"] & THINNED) > 0
    degree = np.bincount(graph.edge_nodes[thinned].ravel(), minlength=graph.n_nodes)
    # Bridges hold nothing: an end is an end of what the mask shows.
    is_free = (degree[graph.edge_nodes] == 1) & thinned[:, None]
    trimmed = _with_tip_balls(_trim_tips(graph, is_free, volume, mask), np.flatnonzero(degree == 1), volume, mask)
    voxel = float(mask.space.spacing[0])
    base = graph.edge_nodes[np.arange(graph.n_edges), np.argmin(is_free, axis=1)]
    real = thinned & ~(protrusion(trimmed, is_free) < _BUMP * trimmed.node_radius[base])
    rows = trimmed.with_columns(path={"row": np.arange(trimmed.n_points)})
    part, kept = subset(replace(rows, edge_data={}), edges=real)
    part, joined = merge_degree_two(part)
    forks = np.flatnonzero(part.degree >= 3)
    points = np.ascontiguousarray(mask.space.to_index(part.path_position))
    position, size = _placed(part, forks, points, volume, voxel, mask)
    moved = trimmed.path_position.copy()
    moved[part.path_data["row"]] = mask.space.to_world(points)
    node_radius = trimmed.node_radius.copy()
    old = kept.node_old[joined.node_old[forks]]
    node_radius[old] = size * voxel
    fitted = np.zeros(graph.n_nodes, np.bool_)
    fitted[old] = True
    node_position = _nodes_of_rows(trimmed, part.path_data["row"], moved)
    node_position[old] = mask.space.to_world(position)
    moved[trimmed.path_offset[:-1]] = node_position[trimmed.edge_nodes[:, 0]]
    moved[trimmed.path_offset[1:] - 1] = node_position[trimmed.edge_nodes[:, 1]]
    result = replace(trimmed, node_position=node_position, node_radius=node_radius, path_position=moved)
    out = _stands_out(result, is_free, thinned, np.float64(voxel) + steps["wall_step"])
    return result.with_columns(node={"fitted": fitted}, edge={**steps, "stands_out": out})


def _stands_out(graph: VesselGraph, is_free: NDArray[np.bool_], thinned: NDArray[np.bool_], step: FloatArray) -> FloatArray:
    """Return how far the ball at a free end reaches out of those of the vessels its branch leaves, (E,); infinite for others.

    As a share of what a bump reaches: a ``step`` of the wall, (E,) mm, or half of the radius at the base, what is more. The
    vessels are the branches at the base and those next to them, without free-ended ones that are shorter. Where fewer than two
    others lead on, a stub is a corner of a blunt end: 0.
    """
    result = np.full(graph.n_edges, np.inf)
    twigs = np.flatnonzero((is_free[:, 0] != is_free[:, 1]) & thinned)
    side = np.where(is_free[twigs, 1], 1, 0)
    tip, base = graph.edge_nodes[twigs, side], graph.edge_nodes[twigs, 1 - side]
    reach, is_stub = np.full(graph.n_edges, np.inf), np.zeros(graph.n_edges, np.bool_)
    reach[twigs] = graph.edge_length[twigs] + graph.node_radius[tip]
    is_stub[twigs] = graph.edge_length[twigs] < _STUB * graph.node_radius[base]
    leads_on = thinned & ~is_stub
    n_on = np.bincount(graph.edge_nodes[leads_on].ravel(), minlength=graph.n_nodes)[base] - leads_on[twigs]
    slots = np.argsort(graph.edge_nodes.ravel(), kind="stable") // 2
    start = np.concatenate([[0], np.cumsum(graph.degree)])
    paths = (graph.path_position, graph.path_radius, graph.path_offset)
    out = np.empty(len(twigs))
    _reach_out(twigs, graph.node_position[tip], base, *paths, graph.edge_nodes, thinned, reach, start, slots, out)
    bump = np.maximum(step[twigs], 0.5 * graph.node_radius[base])
    result[twigs] = np.where((n_on >= 2) | ~is_stub[twigs], (out + graph.node_radius[tip]) / bump, 0.0)
    return result


@njit(cache=True, nogil=True)
def _reach_out(twigs, tips, bases, points, radius, offset, ends, thinned, reach, start, slots, out):  # type: ignore[no-untyped-def]
    """Fill for each twig how far its tip is from the nearest ball of the vessels around its base, (T,)."""
    for i in range(twigs.size):
        own, base, best = twigs[i], bases[i], np.inf
        for near in range(start[base], start[base + 1]):
            far = ends[slots[near], 0] + ends[slots[near], 1] - base
            for k in range(start[far], start[far + 1]):
                e = slots[k]
                if e == own or not thinned[e] or reach[e] < reach[own]:
                    continue
                for m in range(offset[e], offset[e + 1]):
                    squared = 0.0
                    for c in range(3):
                        squared += (points[m, c] - tips[i, c]) ** 2
                    best = min(best, np.sqrt(squared) - radius[m])
        out[i] = best


def _placed(
    graph: VesselGraph, forks: IntArray, points: FloatArray, volume: NDArray[np.float32], voxel: float, mask: Volume
) -> tuple[FloatArray, FloatArray]:
    """Return place and widest radius of each fork, in voxels; ``points`` are redrawn in place."""
    slots = np.argsort(graph.edge_nodes.ravel(), kind="stable")
    start = np.concatenate([[0], np.cumsum(graph.degree)])
    arms = [slots[start[n] : start[n + 1]] for n in forks]
    first_arm = np.concatenate([[0], np.cumsum(graph.degree[forks])])
    ends = np.concatenate([*arms, np.zeros(0, np.int64)]).astype(np.int64)
    other = graph.edge_nodes[ends // 2, 1 - ends % 2]
    position = np.ascontiguousarray(mask.space.to_index(graph.node_position[forks]).reshape(-1, 3))
    junction = np.maximum(np.nan_to_num(graph.node_radius[forks], nan=voxel) / voxel, 1.0)
    size = np.zeros(len(forks))
    radius = graph.path_radius / voxel
    place_forks(points, radius, graph.path_offset, ends, first_arm, graph.degree[other] == 1, junction, volume, position, size)
    return position, size


def _nodes_of_rows(graph: VesselGraph, rows: IntArray, position: FloatArray) -> FloatArray:
    """Return the node positions, those of moved path ends taken from their ``rows`` of the path points."""
    node = graph.node_position.copy()
    is_moved = np.zeros(graph.n_points, np.bool_)
    is_moved[rows] = True
    for end, row in ((0, graph.path_offset[:-1]), (1, graph.path_offset[1:] - 1)):
        use = is_moved[row]
        node[graph.edge_nodes[use, end]] = position[row[use]]
    return node


def _trim_tips(graph: VesselGraph, is_free: NDArray[np.bool_], volume: NDArray[np.float32], mask: Volume) -> VesselGraph:
    """Return the graph with ``is_free`` (E, 2) ends cut back to :data:`_CAP` radii from the wall ahead."""
    voxel = float(mask.space.spacing[0])
    points = np.ascontiguousarray(mask.space.to_index(graph.path_position))
    radius = graph.path_radius / voxel
    keep = np.ones(graph.n_points, np.bool_)
    _cut_ends(points, radius, graph.path_offset, is_free, volume, keep)
    world = np.where(keep[:, None], mask.space.to_world(points), 0.0)[keep]
    owner = graph.edge_of_point[keep]
    offset = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=graph.n_edges))])
    node, width = graph.node_position.copy(), graph.node_radius.copy()
    path_radius = radius[keep] * voxel
    for end, row in ((0, offset[:-1]), (1, offset[1:] - 1)):
        free = is_free[:, end]
        node[graph.edge_nodes[free, end]] = world[row[free]]
        width[graph.edge_nodes[free, end]] = path_radius[row[free]]
    world[offset[:-1]], world[offset[1:] - 1] = node[graph.edge_nodes[:, 0]], node[graph.edge_nodes[:, 1]]
    return replace(
        graph,
        node_position=node,
        node_radius=width,
        path_offset=offset,
        path_position=world,
        path_radius=path_radius,
        path_data={name: column[keep] for name, column in graph.path_data.items()},
    )


def _with_tip_balls(graph: VesselGraph, tips: IntArray, volume: NDArray[np.float32], mask: Volume) -> VesselGraph:
    """Return the graph with the radius of the ball that fits in at each free end: a bump has no cross-section of its own."""
    points = np.ascontiguousarray(mask.space.to_index(graph.node_position[tips]).reshape(-1, 3))
    depth = np.zeros(len(tips))
    _depths(points, volume, _DIRECTIONS, depth)
    radius = graph.node_radius.copy()
    radius[tips] = np.fmin(radius[tips], np.maximum(depth, 0.5) * mask.space.spacing[0])
    return replace(graph, node_radius=radius)


@njit(cache=True, nogil=True)
def _depths(points, volume, directions, depth):  # type: ignore[no-untyped-def]
    """Fill the shortest way to the wall over many directions."""
    longest = 0.5 * max(volume.shape)
    for i in range(points.shape[0]):
        here = points[i]
        depth[i] = longest
        for way in directions:
            depth[i] = min(depth[i], ray_length(volume, 0.5, here[0], here[1], here[2], way[0], way[1], way[2], longest))


@njit(cache=True, nogil=True)
def _cut_ends(points, radius, offset, is_free, volume, keep):  # type: ignore[no-untyped-def]
    """Cut every free end back: its new last point is moved in ``points``, what lies beyond leaves ``keep``, in place."""
    for e in range(offset.size - 1):
        low, high = offset[e], offset[e + 1]
        total = 0.0
        for i in range(low, high - 1):
            total += _gap(points, i, i + 1)
        for end in range(2):
            if not is_free[e, end]:
                continue
            step = 1 if end == 0 else -1
            tip = low if end == 0 else high - 1
            n_near = min(_N_TIP_POINTS, high - low)
            inner = tip + step * (n_near - 1)
            width = np.median(radius[min(tip, inner) : max(tip, inner) + 1])
            back = tip + step * min(4, high - low - 1)
            way = points[tip] - points[back]
            length = _gap(points, tip, back)
            if length < 1e-9:
                continue
            way /= length
            here = points[tip]
            ahead = ray_length(volume, 0.5, here[0], here[1], here[2], way[0], way[1], way[2], 2.0 * width)
            cut = min(_CAP * width - ahead, _LONGEST_CUT * total)
            i = tip
            while cut > 0.0:
                piece = _gap(points, i, i + step)
                if piece > cut:
                    points[i] += (cut / piece) * (points[i + step] - points[i])
                    break
                keep[i] = False
                cut -= piece
                i += step
            # Cross-sections near the end are cut by the cap.
            for k in range(n_near):
                radius[tip + step * k] = max(radius[tip + step * k], width)


@njit(cache=True, nogil=True)
def _gap(points, i, j):  # type: ignore[no-untyped-def]
    return np.sqrt((points[i, 0] - points[j, 0]) ** 2 + (points[i, 1] - points[j, 1]) ** 2 + (points[i, 2] - points[j, 2]) ** 2)
