"""Centerline heatmaps as an imperfect detector would give them, drawn straight from a graph: no CT, no filter, any size.

A voxel at distance d from the nearest centerline has heat exp(-d^2 / 2 sigma^2), times a slow noise that dips below any
threshold here and there. False strands and blobs are added, and stretches can be cut out. Only voxels near a line are
computed, so a large field costs little more than its vessels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.config import PhantomConfig
from vesselgraph.errors import RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom.anatomy import make_organ
from vesselgraph.phantom.truth import make_trees, tree_graphs
from vesselgraph.space import FloatArray, Space
from vesselgraph.volume import Heatmap, Volume

Image = NDArray[np.float32]

# Fields wider than this are filled with several livers side by side.
_CELL = 150.0
_TIPS_AT_160 = 120
_REACH = 3.5
_NOISE_PITCH = 2.0
# Mean heat on a centerline.
_LEVEL = 0.75
# Cuts keep this distance from the ends of their branch, mm, and this share of their heat.
_CUT_MARGIN, _CUT_LEVEL = 4.0, 0.03
_FAR = np.float32(1e9)


@dataclass(frozen=True, eq=False)
class NoisyHeat:
    """A generated heatmap and what is true about it.

    Parameters
    ----------
    heatmap : Heatmap
        float32 in [0, 1], no radius map.
    cuts : (C, 2, 3) mm
        World positions where each cut starts and ends on its centerline.
    cut_edge : (C,) int64
        The branch of the graph each cut lies on.
    """

    heatmap: Heatmap
    cuts: FloatArray
    cut_edge: NDArray[np.int64]


def forest_graph(shape: Sequence[int], spacing: Sequence[float] = (1.0, 1.0, 1.0), *, seed: int = 0) -> VesselGraph:
    """Return vessel trees that fill a field of view evenly, so that their length grows with its volume.

    Every 150 mm or so hold their own pair of trees, grown as in :func:`~vesselgraph.phantom.make_phantom`; neighbours do not
    touch.

    Parameters
    ----------
    shape, spacing : (3,), (3,) mm
        The grid, in array order; its first voxel lies at world 0, 0, 0. At least 40 mm along every axis.
    seed : int
        Another seed, another anatomy.

    Raises
    ------
    RangeError
        The field of view is smaller than 40 mm along an axis.

    Examples
    --------
    >>> graph = forest_graph((48, 48, 48))
    >>> bool(graph.length > 100), graph.n_edges > 10
    (True, True)
    """
    space = Space.axial(tuple(spacing))
    extent = np.array(shape) * space.spacing
    if extent.min() < 40.0:
        raise RangeError("a field of at least 40 mm along every axis", f"{extent.round(1).tolist()} mm", "raise the shape")
    count = np.maximum(1, np.round(extent / _CELL)).astype(int)
    cell = extent / count
    size = tuple(int(c) for c in cell[:3])
    n_tips = int(np.clip(_TIPS_AT_160 * (np.prod(cell) ** (1 / 3) / 160.0) ** 2, 4, 400))
    graphs = []
    for number, place in enumerate(np.ndindex(*count)):
        config = PhantomConfig(shape=(size[0], size[1], size[2]), n_tips=n_tips, seed=seed)
        middle = space.to_world((np.array(place) + 0.5) * cell / space.spacing - 0.5)
        organ = make_organ(0.5 * cell[::-1], np.random.default_rng([seed, number, 0]))
        trees = make_trees(config, organ, np.random.default_rng([seed, number, 1]))
        graphs += tree_graphs(trees, middle, space)
    paths = [graph.path(e) for graph in graphs for e in range(graph.n_edges)]
    radii = [graph.radius_along(e) for graph in graphs for e in range(graph.n_edges)]
    tree = np.repeat(np.arange(1, len(graphs) + 1), [graph.n_edges for graph in graphs])
    return VesselGraph.from_paths(paths, radii, edge_data={"tree_id": tree}, space=space)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _squared_distance(z: float, y: float, x: float, a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """Return the squared distance of a point to a segment and how far along it the foot lies, 0 to 1."""
    uz, uy, ux = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vz, vy, vx = z - a[0], y - a[1], x - a[2]
    length2 = uz * uz + uy * uy + ux * ux
    t = 0.0
    if length2 > 0.0:
        t = min(max((vz * uz + vy * uy + vx * ux) / length2, 0.0), 1.0)
    wz, wy, wx = vz - t * uz, vy - t * uy, vx - t * ux
    return wz * wz + wy * wy + wx * wx, t


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _box(a: FloatArray, b: FloatArray, reach: float, spacing: FloatArray, shape: tuple[int, int, int], box):  # type: ignore[no-untyped-def]
    for k in range(3):
        box[k, 0] = max(0, int(np.ceil((min(a[k], b[k]) - reach) / spacing[k])))
        box[k, 1] = min(shape[k] - 1, int(np.floor((max(a[k], b[k]) + reach) / spacing[k])))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _nearest(squared, start, end, is_cut, spacing, reach):  # type: ignore[no-untyped-def]
    """Lower ``squared`` to the squared distance to the nearest segment; it is negative where that segment is cut out."""
    box = np.empty((3, 2), np.int64)
    for s in range(len(start)):
        _box(start[s], end[s], reach, spacing, squared.shape, box)
        for i in range(box[0, 0], box[0, 1] + 1):
            for j in range(box[1, 0], box[1, 1] + 1):
                for k in range(box[2, 0], box[2, 1] + 1):
                    d, _ = _squared_distance(i * spacing[0], j * spacing[1], k * spacing[2], start[s], end[s])
                    if d < reach * reach and d < abs(squared[i, j, k]):
                        # A distance of 0 keeps its sign too.
                        squared[i, j, k] = -(d + 1e-9) if is_cut[s] else d + 1e-9


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _noise_at(lattice, z, y, x):  # type: ignore[no-untyped-def]
    """Return the trilinear value of the noise lattice at a lattice position inside of it."""
    i, j, k = int(z), int(y), int(x)
    c, b, a = z - i, y - j, x - k
    low = (lattice[i, j, k] * (1 - a) + lattice[i, j, k + 1] * a) * (1 - b)
    low += (lattice[i, j + 1, k] * (1 - a) + lattice[i, j + 1, k + 1] * a) * b
    high = (lattice[i + 1, j, k] * (1 - a) + lattice[i + 1, j, k + 1] * a) * (1 - b)
    high += (lattice[i + 1, j + 1, k] * (1 - a) + lattice[i + 1, j + 1, k + 1] * a) * b
    return low * (1 - c) + high * c


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _to_heat(values, sigma, lattice, spacing, amplitude):  # type: ignore[no-untyped-def]
    """Replace signed squared distances by heat."""
    scale = spacing / _NOISE_PITCH
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            for k in range(values.shape[2]):
                d = values[i, j, k]
                if d == _FAR:
                    values[i, j, k] = 0.0
                    continue
                level = _LEVEL + amplitude * _noise_at(lattice, i * scale[0], j * scale[1], k * scale[2])
                level = min(max(level, 0.0), 1.0)
                if d < 0.0:
                    level *= _CUT_LEVEL
                values[i, j, k] = level * np.exp(-0.5 * abs(d) / (sigma * sigma))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_false(heat, start, end, width, level, spacing):  # type: ignore[no-untyped-def]
    """Raise the heat to that of false segments with their own widths (mm) and levels."""
    box = np.empty((3, 2), np.int64)
    for s in range(len(start)):
        reach = _REACH * width[s]
        _box(start[s], end[s], reach, spacing, heat.shape, box)
        for i in range(box[0, 0], box[0, 1] + 1):
            for j in range(box[1, 0], box[1, 1] + 1):
                for k in range(box[2, 0], box[2, 1] + 1):
                    d, _ = _squared_distance(i * spacing[0], j * spacing[1], k * spacing[2], start[s], end[s])
                    heat[i, j, k] = max(heat[i, j, k], level[s] * np.exp(-0.5 * d / width[s] ** 2))


def make_heatmap(
    graph: VesselGraph,
    shape: Sequence[int],
    *,
    sigma: float = 1.5,
    noise: float = 0.2,
    false_density: float = 15.0,
    n_cuts: int = 0,
    cut_length: tuple[float, float] = (3.0, 8.0),
    seed: int = 0,
) -> NoisyHeat:
    """Return a noisy centerline heatmap of a graph on the graph's grid, with false structures and, if wanted, cuts.

    Parameters
    ----------
    graph : VesselGraph
        With a ``space``: the grid, any spacing and direction.
    shape : (3,)
        Planes, rows, columns.
    sigma : mm
        Width of the ridge.
    noise : float
        Standard deviation of the noise in the ridge's level, whose mean is 0.75; it varies over about 4 mm.
    false_density : float
        False strands a litre of the box around the graph; half as many blobs are added. Half of all start near a vessel.
    n_cuts : int
        Stretches to cut out, each on a branch of its own, away from its ends. Fewer where too few branches are long enough.
    cut_length : (shortest, longest) mm
        Lengths of the cuts along the centerline.
    seed : int
        Of noise, false structures and cuts.

    Raises
    ------
    RangeError
        The graph has no grid, or a width or level is not positive or not in its range.

    Notes
    -----
    Time grows with the vessels; memory is one float32 volume. Equal arguments give equal bytes.

    Examples
    --------
    >>> graph = forest_graph((48, 48, 48))
    >>> drawn = make_heatmap(graph, (48, 48, 48), n_cuts=2)
    >>> drawn.heatmap.heat.shape, drawn.cuts.shape
    ((48, 48, 48), (2, 2, 3))
    """
    space = graph.space
    if space is None or sigma <= 0 or noise < 0 or false_density < 0:
        raise RangeError(
            "a graph with a grid, sigma > 0, noise and density >= 0",
            f"grid {space}, sigma {sigma}, noise {noise}, density {false_density}",
            "pass allowed values",
        )
    spacing = space.spacing.copy()
    position = np.ascontiguousarray(space.to_index(graph.path_position) * spacing)
    cut_edge, cut_span = _choose_cuts(graph, n_cuts, cut_length, np.random.default_rng([seed, 0]))
    start, end, is_cut = _segments(graph, position, cut_edge, cut_span)
    values = np.full(tuple(shape), _FAR, np.float32)
    _nearest(values, start, end, is_cut, spacing, _REACH * sigma)
    lattice = _noise_lattice(shape, spacing, np.random.default_rng([seed, 1]))
    _to_heat(values, sigma, lattice, spacing, noise)
    if graph.n_edges:
        _add_false(values, *_false_segments(position, false_density, sigma, np.random.default_rng([seed, 2])), spacing)
    cuts = [[_at_length(graph, e, s) for s in span] for e, span in zip(cut_edge.tolist(), cut_span, strict=True)]
    heat = Volume(values, space, "generated heat")
    return NoisyHeat(Heatmap(heat, source="generated"), np.array(cuts).reshape(-1, 2, 3), cut_edge)


def _choose_cuts(
    graph: VesselGraph, n_cuts: int, lengths: tuple[float, float], rng: np.random.Generator
) -> tuple[NDArray[np.int64], FloatArray]:
    """Return the branches to cut, (C,), and where each cut starts and ends along them, (C, 2) mm."""
    room = graph.edge_length - 2.0 * _CUT_MARGIN - lengths[1]
    fit = np.flatnonzero(room > 0)
    chosen = np.sort(rng.choice(fit, min(n_cuts, len(fit)), replace=False, p=room[fit] / room[fit].sum()) if len(fit) else fit)
    size = rng.uniform(*lengths, len(chosen))
    first = _CUT_MARGIN + rng.uniform(0.0, 1.0, len(chosen)) * (graph.edge_length[chosen] - 2.0 * _CUT_MARGIN - size)
    return chosen, np.stack([first, first + size], axis=1)


def _along(graph: VesselGraph, edge: int) -> FloatArray:
    steps = np.linalg.norm(np.diff(graph.path(edge), axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _at_length(graph: VesselGraph, edge: int, where: float) -> FloatArray:
    """Return the point of a branch at an arc length, (3,) mm."""
    return np.array([np.interp(where, _along(graph, edge), graph.path(edge)[:, k]) for k in range(3)])


def _segments(
    graph: VesselGraph, position: FloatArray, cut_edge: NDArray[np.int64], cut_span: FloatArray
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return start and end (n, 3) of every polyline step, split where a cut starts or ends, and which lie in a cut."""
    starts, ends, cut = [], [], []
    span_of = dict(zip(cut_edge.tolist(), cut_span, strict=True))
    for e in range(graph.n_edges):
        points = position[graph.path_offset[e] : graph.path_offset[e + 1]]
        inside = np.zeros(len(points) - 1, np.bool_)
        if e in span_of:
            along = _along(graph, e)
            fine = np.unique(np.concatenate([along, span_of[e]]))
            points = np.stack([np.interp(fine, along, points[:, k]) for k in range(3)], axis=1)
            middle = 0.5 * (fine[:-1] + fine[1:])
            inside = (middle > span_of[e][0]) & (middle < span_of[e][1])
        starts.append(points[:-1])
        ends.append(points[1:])
        cut.append(inside)
    if not starts:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, np.bool_)
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(cut)


def _noise_lattice(shape: Sequence[int], spacing: FloatArray, rng: np.random.Generator) -> Image:
    """Return smooth noise of standard deviation 1 on a coarse lattice that covers the grid."""
    size = np.ceil(np.array(shape) * spacing / _NOISE_PITCH).astype(int) + 2
    smooth = ndimage.gaussian_filter(rng.standard_normal(tuple(size), dtype=np.float32), 1.5, truncate=3.0)
    return np.asarray(smooth / max(float(smooth.std()), 1e-9), dtype=np.float32)


def _false_segments(
    position: FloatArray, density: float, sigma: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return start, end, width and level of the segments of false strands and blobs, in grid-axis mm."""
    low, high = position.min(axis=0), position.max(axis=0)
    n_strands = round(density * float(np.prod(high - low)) * 1e-6)
    points, level, width = [], [], []
    for number in range(n_strands + n_strands // 2):
        origin = rng.uniform(low, high)
        if number % 2:
            origin = position[rng.integers(len(position))] + rng.normal(0.0, 5.0, 3)
        is_strand = number < n_strands
        way = rng.normal(size=(2, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        t = np.linspace(0.0, rng.uniform(5.0, 20.0) if is_strand else 0.0, 16)[:, None]
        points.append(origin + t * way[0] + 0.03 * t**2 * way[1])
        level.append(np.full(15, rng.uniform(0.15, 0.6)))
        width.append(np.full(15, sigma * (1.0 if is_strand else rng.uniform(0.7, 1.5))))
    if not points:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0)
    start = np.concatenate([line[:-1] for line in points])
    end = np.concatenate([line[1:] for line in points])
    return start, end, np.concatenate(width), np.concatenate(level)
