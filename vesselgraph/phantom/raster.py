"""Graphs drawn on grids: the union of the round cones along the branches."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import InputError, RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.space import FloatArray, Space

# Three sub-samples an axis: the 27 bits of one voxel fit an unsigned 32-bit word.
SUBSAMPLES = 3
_FULL = (1 << SUBSAMPLES**3) - 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cone_distance(p: FloatArray, a: FloatArray, b: FloatArray, ra: float, rb: float) -> float:
    """Return the signed distance of a point to the convex hull of two balls (exact)."""
    ab = b - a
    ap = p - a
    length2 = ab[0] * ab[0] + ab[1] * ab[1] + ab[2] * ab[2]
    length = np.sqrt(length2)
    drop = ra - rb
    squared_a = ap[0] * ap[0] + ap[1] * ap[1] + ap[2] * ap[2]
    distance_a = np.sqrt(squared_a)
    if length <= abs(drop) or length == 0.0:
        bp = p - b
        distance_b = np.sqrt(bp[0] * bp[0] + bp[1] * bp[1] + bp[2] * bp[2])
        return min(distance_a - ra, distance_b - rb)
    along = (ap[0] * ab[0] + ap[1] * ab[1] + ap[2] * ab[2]) / length
    across = np.sqrt(max(squared_a - along * along, 0.0))
    # The slanted side leans by the angle whose sine is drop / length; its normal feet bound the three zones.
    sine = drop / length
    cosine = np.sqrt(1.0 - sine * sine)
    foot = along - across * sine / cosine
    if foot < 0.0:
        return distance_a - ra
    if foot > length:
        bp = p - b
        return np.sqrt(bp[0] * bp[0] + bp[1] * bp[1] + bp[2] * bp[2]) - rb
    return across * cosine + along * sine - ra


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mark_cone(
    bits: NDArray[np.uint32],
    a: FloatArray,
    b: FloatArray,
    ra: float,
    rb: float,
    spacing: FloatArray,
    caliber: NDArray[np.float32],
) -> None:
    """Set the bits of the sub-samples of each voxel that lie inside one cone; positions are in grid-axis mm.

    ``caliber`` (empty: not wanted) takes the largest radius of the cones that reach a voxel.
    """
    wide = np.float32(max(ra, rb))
    low = np.empty(3, np.int64)
    high = np.empty(3, np.int64)
    for k in range(3):
        low[k] = max(0, int(np.floor((min(a[k] - ra, b[k] - rb)) / spacing[k] - 0.5)))
        high[k] = min(bits.shape[k] - 1, int(np.ceil((max(a[k] + ra, b[k] + rb)) / spacing[k] + 0.5)))
    half = 0.5 * np.sqrt(spacing[0] ** 2 + spacing[1] ** 2 + spacing[2] ** 2)
    p = np.empty(3)
    for i in range(low[0], high[0] + 1):
        for j in range(low[1], high[1] + 1):
            for k in range(low[2], high[2] + 1):
                if bits[i, j, k] == _FULL and (caliber.size == 0 or caliber[i, j, k] >= wide):
                    continue
                p[0], p[1], p[2] = i * spacing[0], j * spacing[1], k * spacing[2]
                centre = _cone_distance(p, a, b, ra, rb)
                if centre > half:
                    continue
                if caliber.size:
                    caliber[i, j, k] = max(caliber[i, j, k], wide)
                if centre < -half:
                    bits[i, j, k] = _FULL
                    continue
                word = bits[i, j, k]
                for n in range(SUBSAMPLES**3):
                    p[0] = (i + (n // SUBSAMPLES**2 + 0.5) / SUBSAMPLES - 0.5) * spacing[0]
                    p[1] = (j + (n // SUBSAMPLES % SUBSAMPLES + 0.5) / SUBSAMPLES - 0.5) * spacing[1]
                    p[2] = (k + (n % SUBSAMPLES + 0.5) / SUBSAMPLES - 0.5) * spacing[2]
                    if _cone_distance(p, a, b, ra, rb) <= 0.0:
                        word |= np.uint32(1) << np.uint32(n)
                bits[i, j, k] = word


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mark_cones(
    bits: NDArray[np.uint32],
    start: FloatArray,
    end: FloatArray,
    r0: FloatArray,
    r1: FloatArray,
    spacing: FloatArray,
    caliber: NDArray[np.float32],
) -> None:
    for s in range(len(start)):
        _mark_cone(bits, start[s], end[s], r0[s], r1[s], spacing, caliber)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mark_lines(mask: NDArray[np.bool_], start: FloatArray, end: FloatArray, spacing: FloatArray) -> None:
    """Set every voxel a centerline passes, to a hundredth of a voxel."""
    for s in range(len(start)):
        steps = 1
        for k in range(3):
            steps = max(steps, int(np.ceil(abs(end[s, k] - start[s, k]) / spacing[k] * 8.0)))
        for n in range(steps + 1):
            inside = True
            index = np.empty(3, np.int64)
            for k in range(3):
                position = start[s, k] + (end[s, k] - start[s, k]) * n / steps
                index[k] = int(np.floor(position / spacing[k] + 0.5))
                inside = inside and 0 <= index[k] < mask.shape[k]
            if inside:
                mask[index[0], index[1], index[2]] = True


def _segments(graph: VesselGraph, space: Space) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return start, end (n, 3) in grid-axis mm and both radii (n,) of every polyline step."""
    if not np.isfinite(graph.path_radius).all():
        raise InputError("a radius at every path point", "unknown (NaN) radii", "estimate or set the radii first")
    position = np.ascontiguousarray(space.to_index(graph.path_position) * space.spacing)
    first = np.flatnonzero(np.diff(graph.edge_of_point) == 0) if graph.n_points else np.zeros(0, np.int64)
    radius = graph.path_radius
    return position[first], position[first + 1], radius[first], radius[first + 1]


def coverage_bits(
    graph: VesselGraph, space: Space, shape: tuple[int, int, int], caliber: NDArray[np.float32] | None = None
) -> NDArray[np.uint32]:
    """Return, for each voxel, which of its 3 x 3 x 3 sub-samples lie inside the vessels: one bit each.

    ``caliber``, a float32 array of the grid, is raised to the radius (mm) of the widest vessel that reaches each voxel.

    Raises
    ------
    RangeError
        The shape is not three positive numbers.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise RangeError("a positive grid shape of three axes", f"{shape}", "pass (planes, rows, columns)")
    bits = np.zeros(shape, np.uint32)
    start, end, r0, r1 = _segments(graph, space)
    _mark_cones(bits, start, end, r0, r1, space.spacing.copy(), np.zeros((0, 0, 0), np.float32) if caliber is None else caliber)
    return bits


def fraction_of(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the set share of the 27 bits of each word, float32 in [0, 1]."""
    return np.bitwise_count(bits).astype(np.float32) / np.float32(SUBSAMPLES**3)


def mask_of(bits: NDArray[np.uint32], graph: VesselGraph, space: Space, *, keep_thin: bool = True) -> NDArray[np.bool_]:
    """Return the voxels whose centre is inside, plus (``keep_thin``) those the centerline passes."""
    centre = np.uint32(1 << (SUBSAMPLES**3 // 2))
    mask = (bits & centre) != 0
    if keep_thin:
        start, end, _, _ = _segments(graph, space)
        _mark_lines(mask, start, end, space.spacing.copy())
    return mask


def clean_mask(
    graph: VesselGraph,
    space: Space,
    shape: tuple[int, int, int],
    *,
    fractional: bool = False,
    keep_thin: bool = True,
) -> NDArray[np.bool_] | NDArray[np.float32]:
    """Return a graph drawn on a grid as the union of the round cones along its branches.

    Parameters
    ----------
    graph : VesselGraph
        Every path point needs a radius.
    space, shape : Space, (3,)
        The grid: any spacing, origin and direction. Parts of the graph outside of it are left out.
    fractional : bool
        Return float32 shares of each voxel's volume (27 sub-samples a voxel) instead of a mask.
    keep_thin : bool
        A vessel thinner than about 1.7 voxels can pass between voxel centres. True adds the voxels its centerline
        passes, so that the mask of a connected graph is connected (26 neighbours). Not used for ``fractional``.

    Returns
    -------
    (planes, rows, columns) bool or float32
        Voxels whose centre is in a cone, or covered shares.

    Raises
    ------
    InputError
        The graph has unknown (NaN) radii.
    RangeError
        The shape is not positive.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[2, 2, 2], [6, 2, 2]]], radii=[[1.0, 1.0]])
    >>> int(clean_mask(graph, Space.axial(), (5, 5, 9)).sum())
    27
    """
    bits = coverage_bits(graph, space, shape)
    return fraction_of(bits) if fractional else mask_of(bits, graph, space, keep_thin=keep_thin)
