"""The tracer of the seed system: Rivulet2 back-tracking below the voxel, with confidence control, erasing and clean-up.

What is as published: the order of steps and all constants (speed to the 4th power over a floor of 1e-10, Runge-Kutta of 4th
order with steps of a voxel, the cube of 60 % foreground as radius, the rules that stop a branch, erasing by cubes of 1.5 radii
between the travel times of the two ends, coverage of 98 %, joining, the largest piece, leaves of 4 mean radii). What is not
ported are its defects: the length of a gap was reset at every step, so that the gap rule never fired (``gap_rule`` turns the
corrected rule on), the valley flag was never cleared, and every branch cost passes over the whole volume. Background farther
than ``_REACH`` voxels from the foreground is left out; only a path over a gap twice that long could tell.

References
----------
Zhang et al., "Liver vessel graph reconstruction with graph attention", arXiv 2003.07999 (2020); Liu et al., IEEE Trans. Med.
Imaging 37 (2018).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from vesselgraph.graph import VesselGraph
from vesselgraph.resampling import isotropic_grid, resample
from vesselgraph.space import Space
from vesselgraph.topology import component_labels
from vesselgraph.tracing.foreground import Foreground, find_foreground, first_at, voxel_at
from vesselgraph.tracing.links import RIVULET
from vesselgraph.tracing.marching import march
from vesselgraph.tracing.rivulet import COVERAGE, ERASE, POWER, erase_cube
from vesselgraph.tracing.topology import OFFSETS
from vesselgraph.volume import Heatmap

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FLOOR = 1e-10
_REACH = 8
_FULL = 0.6
_GAP_RADII = 8.0
_ROOT_RADII = 3.0
_LEAF_RADII = 4.0
_N_STUCK, _N_AFTER_TOUCH, _N_STEPS = 15, 200, 20000
_LOW, _VALLEY, _SHORT_MEAN, _LONG_MEAN = 0.2, 0.5, 4, 10
# How a walk ended.
_LOST, _AT_ROOT, _JOINED, _DROPPED = 0, 1, 2, 3


@njit(cache=True, nogil=True)
def _cube_radius(row_start, voxels, shape, solid, z, y, x):  # type: ignore[no-untyped-def]
    """Return the half-width at which a growing cube around a voxel is less than 60 % foreground, at least 1."""
    half = 1
    while half < 64:
        n = 0
        for k in range(max(z - half, 0), min(z + half + 1, shape[0])):
            for j in range(max(y - half, 0), min(y + half + 1, shape[1])):
                v, stop = first_at(row_start, voxels, shape[1], k, j, x - half)
                while v < stop and voxels[v, 2] <= x + half:
                    n += solid[v]
                    v += 1
        if n < _FULL * (2 * half + 1) ** 3:
            return half
        half += 1
    return half


@njit(cache=True, nogil=True)
def _slopes(neighbours, time, slope):  # type: ignore[no-untyped-def]
    """Fill the unit direction to the earliest of the 26 neighbours of each voxel; 0 where none is earlier."""
    for v in range(time.size):
        best, direction = time[v], -1
        for k in range(26):
            u = neighbours[v, k]
            if u >= 0 and time[u] < best:
                best, direction = time[u], k
        slope[v] = 0.0
        if direction >= 0:
            length = np.sqrt(float((OFFSETS[direction] ** 2).sum()))
            for a in range(3):
                slope[v, a] = OFFSETS[direction, a] / length


@njit(cache=True, nogil=True)
def _slope_at(row_start, voxels, shape, slope, p, out):  # type: ignore[no-untyped-def]
    """Fill the trilinear slope at a position, missing voxels left out; return whether any was there."""
    low = np.floor(p)
    out[:] = 0.0
    total = 0.0
    for c in range(8):
        weight = 1.0
        z, y, x = int(low[0]) + (c >> 2), int(low[1]) + (c >> 1 & 1), int(low[2]) + (c & 1)
        weight *= abs(1.0 - (c >> 2) - (p[0] - low[0]))
        weight *= abs(1.0 - (c >> 1 & 1) - (p[1] - low[1]))
        weight *= abs(1.0 - (c & 1) - (p[2] - low[2]))
        v = voxel_at(row_start, voxels, shape[0], shape[1], shape[2], z, y, x)
        if weight > 0.0 and v >= 0:
            out += weight * slope[v]
            total += weight
    return total > 0.0


@njit(cache=True, nogil=True)
def _step(row_start, voxels, shape, slope, p, out):  # type: ignore[no-untyped-def]
    """Fill one Runge-Kutta step of a voxel; return whether there was a slope to follow."""
    k1, k2, k3, k4 = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    if not _slope_at(row_start, voxels, shape, slope, p, k1):
        return False
    _slope_at(row_start, voxels, shape, slope, p + 0.5 * k1, k2)
    _slope_at(row_start, voxels, shape, slope, p + 0.5 * k2, k3)
    _slope_at(row_start, voxels, shape, slope, p + k3, k4)
    out[:] = p + (k1 + 2.0 * k2 + 2.0 * k3 + k4) / 6.0
    return True


@njit(cache=True, nogil=True)
def _near_node(row_start, voxels, shape, node_at, nodes, radii, p, radius, widest):  # type: ignore[no-untyped-def]
    """Return the node nearest to ``p`` of those within its own radius or within ``radius``; -1 if there is none."""
    reach = int(np.ceil(max(radius, widest)))
    best, found = np.inf, -1
    for z in range(max(int(p[0]) - reach, 0), min(int(p[0]) + reach + 2, shape[0])):
        for y in range(max(int(p[1]) - reach, 0), min(int(p[1]) + reach + 2, shape[1])):
            v, stop = first_at(row_start, voxels, shape[1], z, y, int(p[2]) - reach)
            while v < stop and voxels[v, 2] <= int(p[2]) + reach + 1:
                node = node_at[v]
                if node >= 0:
                    apart = np.sqrt(((nodes[node] - p) ** 2).sum())
                    if apart < max(radius, radii[node]) and apart < best:
                        best, found = apart, node
                v += 1
    return found


@njit(cache=True, nogil=True)
def _is_valley(confidence, n):  # type: ignore[no-untyped-def]
    """Return whether the confidence of ``n`` points has sunk and recovered: its short mean was below its long one while low."""
    sunk = False
    for i in range(_LONG_MEAN, n):
        short = confidence[i - _SHORT_MEAN + 1 : i + 1].mean()
        long = confidence[i - _LONG_MEAN + 1 : i + 1].mean()
        if short < long and confidence[i] < _VALLEY:
            sunk = True
        elif sunk and short > long:
            return True
    return False


@njit(cache=True, nogil=True)
def _walk(grid, slope, solid, near, mark, tree, start, root, root_radius, rules, path, radii):  # type: ignore[no-untyped-def]
    """Fill the path from ``start`` down; return number of points, how it ended, and the node it joins (-1: none)."""
    row_start, voxels, shape = grid
    nodes, node_radii, node_at, widest = tree
    confidence = np.empty(_N_STEPS)
    p, q = start.copy(), np.empty(3)
    n, n_inside, gap, n_touched, total = 0, 0, 0.0, -1, 0.0
    while n < _N_STEPS:
        z, y, x = int(p[0] + 0.5), int(p[1] + 0.5), int(p[2] + 0.5)
        v = voxel_at(row_start, voxels, shape[0], shape[1], shape[2], z, y, x)
        if v < 0:
            return n, _LOST, -1
        path[n], radii[n] = p, _cube_radius(row_start, voxels, shape, solid, z, y, x)
        total += radii[n]
        n_inside += near[v]
        confidence[n] = n_inside / (n + 1.0)
        gap = 0.0 if solid[v] else gap + 1.0
        n += 1
        stuck = n > _N_STUCK and np.sqrt(((path[n - 1] - path[n - 1 - _N_STUCK]) ** 2).sum()) < 1.0
        if stuck or (rules[0] and gap > _GAP_RADII * total / n):
            return n, _LOST, -1
        if rules[1] and (confidence[n - 1] <= _LOW or (n % _SHORT_MEAN == 0 and _is_valley(confidence, n))):
            return n, _DROPPED, -1
        if np.sqrt(((p - root) ** 2).sum()) < root_radius:
            return n, _AT_ROOT if n > _ROOT_RADII * root_radius else _DROPPED, -1
        if mark[v] == 1 or n_touched >= 0:
            node = _near_node(row_start, voxels, shape, node_at, nodes, node_radii, p, radii[n - 1], widest)
            if node >= 0:
                return n, _JOINED, node
            n_touched += 1
            if n_touched > _N_AFTER_TOUCH:
                return n, _LOST, -1
        if not _step(row_start, voxels, shape, slope, p, q):
            return n, _LOST, -1
        p[:] = q
    return n, _LOST, -1


@njit(cache=True, nogil=True)
def _explain(grid, slope, solid, near, time, order, root, root_radius, rules, nodes, node_radii, parent):  # type: ignore[no-untyped-def]
    """Fill the nodes of all branches, the root as node 0; return how many. A parent of -2 is a loose end."""
    row_start, voxels, shape = grid
    mark = np.where(solid, 0, 3).astype(np.uint8)
    node_at = np.full(time.size, -1, np.int64)
    path, radii = np.empty((_N_STEPS, 3)), np.empty(_N_STEPS)
    nodes[0], node_radii[0], parent[0] = root, root_radius, -1
    n_nodes, widest = 1, root_radius
    node_at[voxel_at(row_start, voxels, shape[0], shape[1], shape[2], int(root[0]), int(root[1]), int(root[2]))] = 0
    left = solid.sum() * (1.0 - COVERAGE)
    n_open = solid.sum()
    for start in order:
        if n_open <= left or n_nodes + _N_STEPS > parent.size:
            break
        if mark[start] != 0:
            continue
        tree = (nodes[:n_nodes], node_radii[:n_nodes], node_at, widest)
        first = voxels[start].astype(np.float64)
        n, ending, joined = _walk(grid, slope, solid, near, mark, tree, first, root, root_radius, rules, path, radii)
        value = 2 if ending == _DROPPED else 1
        earliest = np.inf
        for i in range(n):
            c = int(path[i, 0] + 0.5), int(path[i, 1] + 0.5), int(path[i, 2] + 0.5)
            earliest = min(earliest, time[voxel_at(row_start, voxels, shape[0], shape[1], shape[2], c[0], c[1], c[2])])
        for i in range(n):
            c = int(path[i, 0] + 0.5), int(path[i, 1] + 0.5), int(path[i, 2] + 0.5)
            half = int(np.ceil(ERASE * radii[i]))
            n_open -= erase_cube(row_start, voxels, shape, c, half, time, earliest, time[start], mark, value)
        if mark[start] == 0:
            mark[start] = value
            n_open -= 1
        if value == 2 or n < 2:
            continue
        for i in range(n):
            nodes[n_nodes + i], node_radii[n_nodes + i], parent[n_nodes + i] = path[i], radii[i], n_nodes + i + 1
            c = int(path[i, 0] + 0.5), int(path[i, 1] + 0.5), int(path[i, 2] + 0.5)
            node_at[voxel_at(row_start, voxels, shape[0], shape[1], shape[2], c[0], c[1], c[2])] = n_nodes + i
            widest = max(widest, radii[i])
        n_nodes += n
        parent[n_nodes - 1] = joined if ending == _JOINED else (0 if ending == _AT_ROOT else -2)
    return n_nodes


def trace_zhang2020(
    heatmap: Heatmap, *, threshold: float = 0.1, gap_rule: bool = False, non_stop: bool = False, clean_up: bool = True
) -> VesselGraph:
    """Return the graph the seed system's tracer makes of a heatmap, as a baseline.

    Parameters
    ----------
    heatmap : Heatmap
        On an isotropic grid, as the seed traces; others are resampled to the finest of their spacings.
    threshold : float
        Foreground is hotter than this.
    gap_rule : bool
        Stop a branch that runs outside of the foreground for more than 8 mean radii. The published code never does.
    non_stop : bool
        Leave out the rules of confidence and gaps ("for confident positives").
    clean_up : bool
        Join loose ends, keep the largest piece and drop leaves shorter than 4 mean radii.

    Returns
    -------
    graph : VesselGraph
        World mm; node column ``root`` (one), edge column ``generator`` 8. Empty where nothing exceeds the threshold.
    """
    heat = heatmap.heat
    if not heat.space.is_isotropic:
        space, shape = isotropic_grid(heat, float(heat.space.spacing.min()))
        heat = resample(heat, space, shape, fill=0.0)
    values = np.ascontiguousarray(heat.array, dtype=np.float32)
    solid_box = values > threshold
    if not solid_box.any():
        none = np.zeros(0, np.int64)
        return VesselGraph.empty(heat.space).with_columns(node={"root": none.astype(np.bool_)}, edge={"generator": none})
    domain = find_foreground((ndimage.distance_transform_edt(~solid_box) <= _REACH).astype(np.float32), 0.5)
    place = tuple(domain.voxels.T)
    depth = ndimage.distance_transform_edt(solid_box)[place]
    near = ndimage.binary_dilation(solid_box)[place]
    nodes, radii, parent = _run(domain, values[place], solid_box[place], near, depth, (gap_rule and not non_stop, not non_stop))
    if clean_up:
        nodes, radii, parent = _clean(nodes, radii, parent)
    return _as_graph(nodes, radii, parent, heat.space)


def _run(
    domain: Foreground,
    heat: NDArray[np.float32],
    solid: NDArray[np.bool_],
    near: NDArray[np.bool_],
    depth: FloatArray,
    rules: tuple[bool, bool],
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return nodes (n, 3) in voxels, their radii and parents of all branches."""
    root = int(np.argmax(depth))
    speed = np.maximum((heat / heat.max()).astype(np.float64) ** POWER, _FLOOR)
    time = march(domain, speed, np.array([root]), np.ones(3)).time
    slope = np.empty((len(domain), 3))
    _slopes(domain.neighbours, time, slope)
    order = np.flatnonzero(solid & np.isfinite(time))
    order = order[np.argsort(-time[order], kind="stable")]
    room = 4 * int(solid.sum()) + 2 * _N_STEPS
    nodes, radii, parent = np.empty((room, 3)), np.empty(room), np.empty(room, np.int64)
    grid = (domain.row_start, domain.voxels, domain.shape)
    n = _explain(
        grid, slope, solid, near, time, order, domain.voxels[root].astype(np.float64), float(depth[root]), rules,
        nodes, radii, parent,
    )  # fmt: skip
    return nodes[:n], radii[:n], parent[:n]


def _clean(nodes: FloatArray, radii: FloatArray, parent: IntArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return the nodes after joining loose ends, keeping the largest piece and dropping short leaves."""
    parent = parent.copy()
    piece = _pieces(parent)
    tree = cKDTree(nodes)
    for end in np.flatnonzero(parent == -2):
        close = [k for k in tree.query_ball_point(nodes[end], radii[end]) if piece[k] != piece[end]]
        if close:
            nearest = min(close, key=lambda k: (float(((nodes[k] - nodes[end]) ** 2).sum()), k))
            parent[end] = nearest
            piece[piece == piece[end]] = piece[nearest]
    piece = _pieces(parent)
    keep = piece == np.argmax(np.bincount(piece))
    children = np.bincount(parent[parent >= 0], minlength=len(parent))
    shortest = _LEAF_RADII * radii[keep].mean()
    for tip in np.flatnonzero((children == 0) & keep):
        walk = [int(tip)]
        while parent[walk[-1]] >= 0 and children[parent[walk[-1]]] == 1:
            walk.append(int(parent[walk[-1]]))
        line = nodes[walk]
        if parent[walk[-1]] >= 0 and np.linalg.norm(np.diff(line, axis=0), axis=1).sum() < shortest:
            keep[walk] = False
    number = np.cumsum(keep) - 1
    kept = parent[keep]
    return nodes[keep], radii[keep], np.where(kept >= 0, number[kept], kept)


def _pieces(parent: IntArray) -> IntArray:
    child = np.flatnonzero(parent >= 0)
    return component_labels(np.stack([child, parent[child]], axis=1), len(parent))


def _as_graph(nodes: FloatArray, radii: FloatArray, parent: IntArray, space: Space) -> VesselGraph:
    """Return the graph of the branches between tips, forks and roots."""
    children = np.bincount(parent[parent >= 0], minlength=len(parent))
    is_stop = (children != 1) | (parent < 0)
    world = space.to_world(nodes)
    voxel = float(space.spacing.min())
    paths, widths = [], []
    for start in np.flatnonzero(is_stop & (parent >= 0)):
        walk = [int(start), int(parent[start])]
        while not is_stop[walk[-1]]:
            walk.append(int(parent[walk[-1]]))
        if np.ptp(world[walk], axis=0).max() > 0:
            paths.append(world[walk][::-1])
            widths.append(radii[walk][::-1] * voxel)
    graph = VesselGraph.from_paths(paths, widths, edge_data={"generator": np.full(len(paths), RIVULET)}, space=space)
    root = world[parent == -1]
    return graph.with_columns(node={"root": (graph.node_position[:, None] == root[None]).all(axis=2).any(axis=1)})
