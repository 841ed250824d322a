"""From a graph to round cones: which radius is drawn where, and the cones sorted into the blocks of a sparse grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.config import SurfaceConfig
from vesselgraph.errors import BudgetError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.space import FloatArray
from vesselgraph.surface.field import Field, cone_distance

BLOCK = 8
"""Grid cells along each side of a block."""

_CELLS_PER_RADIUS = 1.5


@dataclass(frozen=True)
class DrawnRadii:
    """The radii a surface is drawn with.

    Parameters
    ----------
    radius : (M,) mm
        One a path point, finite and at least ``SurfaceConfig.min_radius``.
    known : (M,) bool
        Whether the graph told the radius of the point; else it was filled.
    n_raised : int
        Number of known radii below ``min_radius``, drawn with ``min_radius``.
    """

    radius: FloatArray
    known: NDArray[np.bool_]
    n_raised: int


def drawn_radii(graph: VesselGraph, config: SurfaceConfig) -> DrawnRadii:
    """Return the radius each path point is drawn with.

    Unknown radii (NaN) are interpolated along their branch between known ones; a branch without any takes the radii of
    its nodes, and ``config.min_radius`` where these are unknown too. Radii below ``config.min_radius`` are raised to it.
    """
    radius = np.array(graph.path_radius)
    known = np.isfinite(radius)
    for edge in np.unique(graph.edge_of_point[~known]):
        here = slice(graph.path_offset[edge], graph.path_offset[edge + 1])
        at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(graph.path(edge), axis=0), axis=1))])
        values, places = radius[here], at
        if not known[here].any():
            values, places = graph.node_radius[graph.edge_nodes[edge]], at[[0, -1]]
        told = np.isfinite(values)
        radius[here] = np.interp(at, places[told], values[told]) if told.any() else config.min_radius
    n_raised = int((radius[known] < config.min_radius).sum())
    return DrawnRadii(np.maximum(radius, config.min_radius), known, n_raised)


def cone_table(graph: VesselGraph, radius: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the round cones of all polyline steps, (S, 10), and their branches (S,); see :class:`Field`.

    A cone whose one sphere holds the other is that sphere: length 0.
    """
    branch = graph.edge_of_point
    start = np.flatnonzero(branch[:-1] == branch[1:]) if len(branch) else np.zeros(0, np.int64)
    a, b = graph.path_position[start], graph.path_position[start + 1]
    ra, rb = radius[start], radius[start + 1]
    length = np.linalg.norm(b - a, axis=1)
    swallowed = length <= np.abs(ra - rb) * (1.0 + 1e-9)
    a = np.where((swallowed & (rb > ra))[:, None], b, a)
    ra = np.where(swallowed, np.maximum(ra, rb), ra)
    safe = np.where(swallowed, 1.0, length)
    axis = np.where(
        swallowed[:, None], [1.0, 0.0, 0.0], (graph.path_position[start + 1] - graph.path_position[start]) / safe[:, None]
    )
    sine = np.where(swallowed, 0.0, (ra - rb) / safe)
    tangent = sine / np.sqrt(1.0 - sine**2)
    columns = [a, axis, np.where(swallowed, 0.0, length)[:, None], ra[:, None], sine[:, None], tangent[:, None]]
    return np.concatenate(columns, axis=1), branch[start].astype(np.int64)


def make_field(graph: VesselGraph, radius: FloatArray, config: SurfaceConfig) -> tuple[Field, FloatArray]:
    """Return the field of a graph with at least one branch, in a frame of its own, and the world place of that frame, mm.

    Raises
    ------
    BudgetError
        More than ``config.max_blocks`` blocks would be needed.
    """
    cone, branch = cone_table(graph, radius)
    step = min(config.step, float(radius.min()) / _CELLS_PER_RADIUS)
    end = cone[:, :3] + cone[:, 3:6] * cone[:, 6:7]
    reach = np.maximum(cone[:, 7], cone[:, 7] - cone[:, 8] * cone[:, 6])
    margin = 2.0 * step + config.blend_fraction * reach
    lowest = np.minimum(cone[:, :3], end) - (reach + margin)[:, None]
    highest = np.maximum(cone[:, :3], end) + (reach + margin)[:, None]
    origin = lowest.min(axis=0) - step
    cone[:, :3] -= origin
    lowest, highest = lowest - origin, highest - origin
    side = BLOCK * step
    dims = np.ceil(highest.max(axis=0) / side).astype(np.int64) + 1
    _refuse_above(np.prod((highest - lowest) / side + 1.0, axis=1).sum() / 64.0, step, radius, config)
    key, first, member = _blocks(cone, margin, lowest, highest, side, dims)
    _refuse_above(len(key), step, radius, config)
    corner = np.stack(np.unravel_index(key, tuple(dims)), axis=1).astype(np.int64)
    cells = _cells(cone, branch, margin, corner, first, member, side)
    near = np.repeat(np.arange(8 * len(key)), np.diff(cells.first))
    lowest, widest = np.full(8 * len(key), np.inf), np.zeros(8 * len(key))
    np.minimum.at(lowest, near, cells.distance)
    np.maximum.at(widest, near, config.blend_fraction * reach[cells.member])
    node_radius = np.zeros(graph.n_nodes)
    ends = np.stack([graph.path_offset[:-1], graph.path_offset[1:] - 1], axis=1)
    np.maximum.at(node_radius, graph.edge_nodes, radius[ends])
    node_radius[graph.degree < 3] = 0.0
    field = Field(
        cone, branch, graph.edge_nodes.copy(), graph.node_position - origin, node_radius,
        float(config.blend_fraction), step, dims, key, corner,
        cells.first, cells.member, cells.distance, lowest, widest, cells.n_near,
    )  # fmt: skip
    return field, origin


def _refuse_above(n_blocks: float, step: float, radius: FloatArray, config: SurfaceConfig) -> None:
    if n_blocks > config.max_blocks:
        raise BudgetError(
            f"a surface of at most {config.max_blocks} grid blocks",
            f"about {n_blocks:.3g} blocks of {BLOCK * step:.3g} mm (step {step:.3g} mm, thinnest radius {radius.min():.3g} mm)",
            "raise surface.min_radius or surface.step, mesh fewer branches at a time, or raise surface.max_blocks",
        )


def _blocks(
    cone: FloatArray, margin: FloatArray, lowest: FloatArray, highest: FloatArray, side: float, dims: IntArray
) -> tuple[IntArray, IntArray, NDArray[np.int32]]:
    count = _sort_into_blocks(cone, margin, lowest, highest, side, dims, np.empty(0, np.int64), np.empty(0, np.int32))
    keys, members = np.empty(count, np.int64), np.empty(count, np.int32)
    _sort_into_blocks(cone, margin, lowest, highest, side, dims, keys, members)
    # A block that lies wholly inside some cone holds no surface: it was marked by -1.
    hollow = np.isin(keys, np.unique(keys[members < 0]), invert=True)
    keys, members = keys[hollow], members[hollow]
    order = np.argsort(keys, kind="stable")
    keys, members = keys[order], members[order]
    key, first = np.unique(keys, return_index=True)
    return key, np.append(first, len(keys)).astype(np.int64), members


class _Cells(NamedTuple):
    """The last columns of :class:`Field`."""

    first: IntArray
    member: NDArray[np.int32]
    distance: NDArray[np.float32]
    n_near: int


def _cells(
    cone: FloatArray,
    branch: IntArray,
    margin: FloatArray,
    corner: IntArray,
    first: IntArray,
    member: NDArray[np.int32],
    side: float,
) -> _Cells:
    cells = _Cells(np.zeros(8 * len(corner) + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), 0)
    count, n_near = _sort_into_cells(cone, branch, margin, corner, (first, member), side, cells)
    cells = _Cells(cells.first, np.empty(count, np.int32), np.empty(count, np.float32), n_near)
    _sort_into_cells(cone, branch, margin, corner, (first, member), side, cells)
    return cells


@njit(cache=True, nogil=True)
def _sort_into_cells(
    cone: FloatArray,
    branch: IntArray,
    margin: FloatArray,
    corner: IntArray,
    in_block: tuple[IntArray, NDArray[np.int32]],
    side: float,
    cells: _Cells,
) -> tuple[int, int]:
    """Write the cones near each eighth of each block; with no room, only count. Return their number and ``n_near``."""
    first, member = in_block
    n, n_near = 0, 0
    quarter_diagonal = 0.25 * np.sqrt(3.0) * side
    for cell in range(8 * len(corner)):
        block = cell // 8
        x = (corner[block, 0] + 0.25 + 0.5 * (cell & 1)) * side
        y = (corner[block, 1] + 0.25 + 0.5 * ((cell >> 1) & 1)) * side
        z = (corner[block, 2] + 0.25 + 0.5 * ((cell >> 2) & 1)) * side
        n_branches, last = 0, -1
        for m in range(first[block], first[block + 1]):
            s = member[m]
            d, _ = cone_distance(cone, s, x, y, z)
            if d <= quarter_diagonal + margin[s]:
                if len(cells.member):
                    cells.member[n], cells.distance[n] = s, d
                n += 1
                n_branches += branch[s] != last
                last = branch[s]
        cells.first[cell + 1] = n
        n_near = max(n_near, n_branches)
    return n, n_near


@njit(cache=True, nogil=True)
def _sort_into_blocks(
    cone: FloatArray,
    margin: FloatArray,
    lowest: FloatArray,
    highest: FloatArray,
    side: float,
    dims: IntArray,
    keys: IntArray,
    members: NDArray[np.int32],
) -> int:
    """Write the (block, cone) pairs that are near each other, cones ascending; with no room, only count them."""
    n = 0
    for s in range(len(cone)):
        for i in range(int(lowest[s, 0] / side), int(highest[s, 0] / side) + 1):
            for j in range(int(lowest[s, 1] / side), int(highest[s, 1] / side) + 1):
                for k in range(int(lowest[s, 2] / side), int(highest[s, 2] / side) + 1):
                    relation = _relation(cone, s, i, j, k, side, margin[s])
                    if relation != 0:
                        if len(keys):
                            keys[n] = (i * dims[1] + j) * dims[2] + k
                            members[n] = s if relation > 0 else -1
                        n += 1
    return n


@njit(cache=True, nogil=True)
def _relation(cone: FloatArray, s: int, i: int, j: int, k: int, side: float, margin: float) -> int:
    """Return 0 if a block is out of reach of a cone, -1 if it lies deep inside it, else 1."""
    half_diagonal = 0.5 * np.sqrt(3.0) * side
    d, _ = cone_distance(cone, s, (i + 0.5) * side, (j + 0.5) * side, (k + 0.5) * side)
    if d > half_diagonal + margin:
        return 0
    if d < -half_diagonal - margin:
        return -1
    # The ball around a block is much larger than the block: ask its eighths.
    for e in range(8):
        x = (i + 0.25 + 0.5 * (e & 1)) * side
        y = (j + 0.25 + 0.5 * ((e >> 1) & 1)) * side
        z = (k + 0.25 + 0.5 * (e >> 2)) * side
        d, _ = cone_distance(cone, s, x, y, z)
        if d <= 0.5 * half_diagonal + margin:
            return 1
    return 0
