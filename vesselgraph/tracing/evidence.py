"""Evidence: what speaks for or against each branch, as edge and path columns."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.threads import run_parts
from vesselgraph.tracing.geometry import sample_points
from vesselgraph.tracing.radii import ring_contrast
from vesselgraph.volume import Volume

FloatArray = NDArray[np.float64]
Sampler = Callable[[NDArray[np.float32], FloatArray], FloatArray]

THINNED = 1
"""Bit of ``generator`` of the branches that thinning found: all of them lies in the foreground."""

_COST_FLOOR = 0.02


def measure_evidence(
    graph: VesselGraph,
    heat: Volume,
    image: Volume | None = None,
    *,
    threshold: float = 0.1,
    is_mask: bool = False,
    sample: Sampler = sample_points,
) -> VesselGraph:
    """Return the graph with its evidence columns; ``docs/data-model.md`` says what each means.

    Parameters
    ----------
    graph : VesselGraph
        Traced, with the edge column ``generator``.
    heat : Volume
        The heat it was traced from, or the mask.
    image : Volume, optional
        Adds the contrast.
    threshold : float
        Heat at or below which a link between traced branches crosses a gap.
    is_mask : bool
        Every traced point then has heat 1: a vessel of one voxel's width is as much in the mask as a wide one.
    sample : function
        ``geometry.sample_points`` or its twin on another device.

    Returns
    -------
    graph : VesselGraph
        Path columns ``heat``, ``curvature`` and, with an image, ``contrast``. Edge columns ``mean_heat``, ``min_heat``,
        ``low_heat``, ``gap_length``, ``gap_min_heat``, ``path_cost``, ``taper``, ``protrusion`` and, with an image,
        ``contrast``.
    """
    along = sample(np.asarray(heat.array, dtype=np.float32), heat.space.to_index(graph.path_position))
    thinned = (graph.edge_data["generator"] & THINNED) > 0
    if is_mask:
        along[thinned[graph.edge_of_point]] = 1.0
    table = np.zeros((graph.n_edges, 7))
    curvature = np.zeros(graph.n_points)
    paths = (graph.path_position, graph.path_radius, along, graph.path_offset)
    run_parts(lambda a, b: _branch_evidence(a, b, *paths, thinned, threshold, table, curvature), graph.n_edges)
    names = ("mean_heat", "min_heat", "low_heat", "gap_length", "gap_min_heat", "path_cost", "taper")
    columns = {name: table[:, k].copy() for k, name in enumerate(names)}
    columns["protrusion"] = protrusion(graph, graph.degree[graph.edge_nodes] == 1)
    path = {"heat": along, "curvature": curvature}
    if image is not None:
        path["contrast"] = ring_contrast(graph, image)
        columns["contrast"] = _mean_per_branch(path["contrast"], graph.path_offset)
    return graph.with_columns(edge=columns, path=path)


def _mean_per_branch(values: FloatArray, offset: NDArray[np.int64]) -> FloatArray:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((total[offset[1:]] - total[offset[:-1]]) / np.diff(offset))


def protrusion(graph: VesselGraph, is_free: NDArray[np.bool_]) -> FloatArray:
    """Return how far each branch with one free end sticks out of the vessel it leaves, (E,) mm; infinite for others.

    ``is_free`` (E, 2) says which ends of the branches are free.
    """
    result = np.full(graph.n_edges, np.inf)
    twigs = np.flatnonzero(is_free[:, 0] != is_free[:, 1])
    free_side = np.where(is_free[twigs, 1], 1, 0)
    tip_point = np.where(free_side == 1, graph.path_offset[twigs + 1] - 1, graph.path_offset[twigs])
    base = graph.edge_nodes[twigs, 1 - free_side]
    result[twigs] = graph.edge_length[twigs] + graph.path_radius[tip_point] - graph.node_radius[base]
    return result


@njit(cache=True, nogil=True)
def _branch_evidence(begin, end, position, radius, heat, offset, thinned, threshold, table, curvature):  # type: ignore[no-untyped-def]
    """Fill, for some branches, mean, least and lower quartile of heat, gap length and its least heat, path cost and taper."""
    for e in range(begin, end):
        low, high = offset[e], offset[e + 1]
        n = high - low
        total, least, gap, gap_least, cost = 0.0, np.inf, 0.0, np.nan, 0.0
        along = np.zeros(n)
        for i in range(low, high):
            total += heat[i]
            least = min(least, heat[i])
            is_gap = not thinned[e] and heat[i] <= threshold
            if is_gap:
                gap_least = heat[i] if math.isnan(gap_least) else min(gap_least, heat[i])
            if i > low:
                step = math.sqrt(_product(position, i, i - 1, i, i - 1))
                along[i - low] = along[i - low - 1] + step
                cost += 0.5 * step / max(heat[i], _COST_FLOOR) ** 2 + 0.5 * step / max(heat[i - 1], _COST_FLOOR) ** 2
                if not thinned[e]:
                    gap += 0.5 * step * (int(is_gap) + int(heat[i - 1] <= threshold))
        ordered = np.sort(heat[low:high])
        place = 0.25 * (n - 1)
        k = int(place)
        quartile = ordered[k] + (place - k) * (ordered[min(k + 1, n - 1)] - ordered[k])
        table[e, 0], table[e, 1], table[e, 2] = total / n, least, quartile
        table[e, 3], table[e, 4], table[e, 5] = gap, gap_least, cost
        table[e, 6] = abs(_slope(along, radius[low:high]))
        _fill_curvature(position[low:high], curvature[low:high])


@njit(cache=True, nogil=True)
def _slope(x, y):  # type: ignore[no-untyped-def]
    """Return the slope of the line with the least squared distance to ``y`` over ``x``, NaN left out; 0 for one point."""
    n, mean_x, mean_y = 0, 0.0, 0.0
    for i in range(x.size):
        if not math.isnan(y[i]):
            n += 1
            mean_x += x[i]
            mean_y += y[i]
    if n < 2:
        return 0.0
    mean_x /= n
    mean_y /= n
    both, square = 0.0, 0.0
    for i in range(x.size):
        if not math.isnan(y[i]):
            both += (x[i] - mean_x) * (y[i] - mean_y)
            square += (x[i] - mean_x) ** 2
    return both / square if square > 0.0 else 0.0


@njit(cache=True, nogil=True)
def _product(points, a, b, c, d):  # type: ignore[no-untyped-def]
    """Return the scalar product of the ways from point ``b`` to ``a`` and from ``d`` to ``c``."""
    total = 0.0
    for k in range(3):
        total += (points[a, k] - points[b, k]) * (points[c, k] - points[d, k])
    return total


@njit(cache=True, nogil=True)
def _fill_curvature(points, curvature):  # type: ignore[no-untyped-def]
    """Fill 1 over the radius of the circle through each point and those two before and after it."""
    n = points.shape[0]
    for i in range(n):
        middle = min(max(i, 1), n - 2)
        if n < 3:
            curvature[i] = 0.0
            continue
        reach = min(2, middle, n - 1 - middle)
        a, b = middle - reach, middle + reach
        # 4 area / product of the sides; of two sides from the middle, squared twice the area is aa bb - (ab)^2.
        aa, bb = _product(points, a, middle, a, middle), _product(points, b, middle, b, middle)
        ab, cc = _product(points, a, middle, b, middle), _product(points, a, b, a, b)
        product = math.sqrt(aa * bb * cc)
        curvature[i] = 2.0 * math.sqrt(max(0.0, aa * bb - ab * ab)) / product if product > 1e-12 else 0.0
