"""The graph of a drawn mask: the truth to compare with where experts drew masks and no graph exists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from vesselgraph.errors import InputError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.metrics.thinning import thin_mask
from vesselgraph.resampling import isotropic_grid, resample
from vesselgraph.space import FloatArray
from vesselgraph.volume import Volume

_MARGIN_VOX = 2
_SMOOTHING_PASSES = 2.0
_MOST_PASSES = 64
_FINEST_STEP, _COARSEST_STEP = 0.5, 1.0


@dataclass
class _Branch:
    """A run of skeleton voxels between two nodes; its ends are node numbers."""

    ends: tuple[int, int]
    points: FloatArray

    @property
    def length(self) -> float:
        """Length in voxels."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())


def skeleton_graph(mask: Volume, *, step: float | None = None, spur_factor: float = 1.0) -> VesselGraph:
    """Return the centerline graph of a vessel mask, with radii from the distance to the mask's surface.

    The mask's signed distance is brought onto an isotropic grid (which rounds the steps between slices), thinned, and cut
    at junctions. Touching junction voxels are one node. Dead ends shorter than ``spur_factor`` times the local radius plus
    the size of a bump (a step of the grid and the mask's coarsest spacing) are bumps of the surface and are left out, the
    shortest first. Paths are smoothed with fixed ends. Pieces whose skeleton is a single voxel have no branch and are left
    out.

    Parameters
    ----------
    mask : Volume
        Bool, or 0 and anything else; any grid. An empty mask gives an empty graph.
    step : mm, optional
        Step of the isotropic grid; the mask's finest spacing within 0.5 to 1 mm if left out.
    spur_factor : float
        0 keeps all dead ends.

    Raises
    ------
    InputError
        The mask holds NaN.

    Notes
    -----
    Thinning: :func:`~vesselgraph.metrics.thinning.thin_mask`. Loops and separate pieces are kept, cavities are filled.

    Examples
    --------
    >>> from vesselgraph import Space
    >>> array = np.zeros((9, 9, 30), dtype=bool)
    >>> array[3:6, 3:6, 2:28] = True
    >>> graph = skeleton_graph(Volume(array, Space.axial()))
    >>> graph.n_edges, graph.length > 20
    (1, True)
    """
    if mask.array.dtype.kind == "f" and np.isnan(mask.array).any():
        raise InputError("a mask", "NaN voxels", "pass a bool array")
    boxes = ndimage.find_objects((mask.array != 0).astype(np.uint8))
    if not boxes:
        return VesselGraph.empty(mask.space)
    if step is None:
        step = float(np.clip(mask.space.spacing.min(), _FINEST_STEP, _COARSEST_STEP))
    distance = _signed_distance(mask, boxes[0], step)
    inside = np.asarray(distance.array, dtype=np.float32) > 0.0
    inside = ndimage.binary_fill_holes(inside)
    thin = thin_mask(inside)
    # A thinned voxel lies up to a voxel off the axis; the largest inscribed ball next to it is the vessel's.
    to_surface = ndimage.maximum_filter(ndimage.distance_transform_edt(inside), size=3)
    points, branches = _branches(thin)
    # A bump is a voxel of the mask, and its tip lies half a voxel to either side.
    bump = 1.0 + max(1.0, float(mask.space.spacing.max()) / step)
    branches = _without_spurs(points, branches, to_surface, spur_factor, bump)
    return _as_graph(points, branches, to_surface, distance, mask)


def _signed_distance(mask: Volume, box: tuple[slice, slice, slice], step: float) -> Volume:
    """Return the distance to the mask's surface, > 0 inside, on an isotropic grid around its box."""
    padded = np.pad(mask.array[box] != 0, _MARGIN_VOX)
    first = np.array([part.start for part in box]) - _MARGIN_VOX
    spacing = mask.space.spacing
    distance = ndimage.distance_transform_edt(padded, sampling=spacing)
    distance -= ndimage.distance_transform_edt(~padded, sampling=spacing)
    native = Volume(distance.astype(np.float32), mask.space.shifted(first))
    if native.space.is_isotropic and np.isclose(spacing[0], step):
        return native
    space, shape = isotropic_grid(native, step)
    return resample(native, space, shape)


def _branches(thin: NDArray[np.bool_]) -> tuple[FloatArray, list[_Branch]]:
    """Return the nodes, (n, 3) voxels, and the runs between them of a one-voxel-wide skeleton.

    Strategy: voxels with one neighbour are tips, with three or more junctions; touching junction voxels share one node in
    their middle. What remains are runs of voxels with two neighbours, walked from their ends.
    """
    voxel, link = _neighbours(thin)
    degree = np.diff(link.indptr)
    is_junction = degree >= 3
    node_of, position = _nodes(voxel, link, degree, is_junction)
    branches, visited = [], np.zeros(len(voxel), dtype=bool)
    for start in np.flatnonzero(node_of >= 0).tolist():
        for first in link.indices[link.indptr[start] : link.indptr[start + 1]].tolist():
            if node_of[first] >= 0:
                # A tip beside a junction, or two tips: a run without inner voxels, taken once.
                if node_of[first] > node_of[start]:
                    branches.append(_branch(position, node_of, voxel, [start, first]))
            elif not visited[first]:
                run = _walk(link, node_of, start, first)
                visited[run[1:-1]] = True
                branches.append(_branch(position, node_of, voxel, run))
    # A run of fewer than three voxels from a node back to itself is a kink of the skeleton, not a loop.
    branches = [branch for branch in branches if branch.ends[0] != branch.ends[1] or len(branch.points) > 4]
    rings = _rings(link, node_of, visited)
    for ring in rings:
        position = np.concatenate([position, voxel[ring[0]][None].astype(np.float64)])
        closed = voxel[[*ring, ring[0]]].astype(np.float64)
        branches.append(_Branch((len(position) - 1,) * 2, closed))
    return position, branches


def _neighbours(thin: NDArray[np.bool_]) -> tuple[IntArray, sparse.csr_matrix]:
    """Return the skeleton voxels, (V, 3), and which of them touch (26 neighbours) as a sparse matrix."""
    voxel = np.argwhere(thin)
    number = np.full(np.array(thin.shape) + 2, -1, dtype=np.int64)
    number[tuple((voxel + 1).T)] = np.arange(len(voxel))
    rows, columns = [], []
    for offset in np.argwhere(np.ones((3, 3, 3))) - 1:
        if not offset.any():
            continue
        other = number[tuple((voxel + 1 + offset).T)]
        here = np.flatnonzero(other >= 0)
        rows.append(here)
        columns.append(other[here])
    row, column = np.concatenate(rows), np.concatenate(columns)
    return voxel, sparse.csr_matrix((np.ones(len(row), np.int8), (row, column)), shape=(len(voxel),) * 2)


def _nodes(
    voxel: IntArray, link: sparse.csr_matrix, degree: IntArray, is_junction: NDArray[np.bool_]
) -> tuple[IntArray, FloatArray]:
    """Return the node of each voxel (-1 for inner voxels of runs) and the node positions, (n, 3) voxels."""
    node_of = np.full(len(voxel), -1, dtype=np.int64)
    junctions = np.flatnonzero(is_junction)
    count, cluster = csgraph.connected_components(link[junctions][:, junctions], directed=False)
    node_of[junctions] = cluster
    tips = np.flatnonzero(degree == 1)
    node_of[tips] = count + np.arange(len(tips))
    size = np.maximum(np.bincount(cluster, minlength=count), 1)
    middle = np.stack([np.bincount(cluster, weights=voxel[junctions, a], minlength=count) / size for a in range(3)], axis=1)
    return node_of, np.concatenate([middle, voxel[tips].astype(np.float64)])


def _walk(link: sparse.csr_matrix, node_of: IntArray, start: int, first: int) -> list[int]:
    """Return the voxels from a node voxel through a run to the next node voxel."""
    run = [start, first]
    while node_of[run[-1]] < 0:
        a, b = link.indices[link.indptr[run[-1]] : link.indptr[run[-1] + 1]].tolist()
        run.append(b if a == run[-2] else a)
    return run


def _branch(position: FloatArray, node_of: IntArray, voxel: IntArray, run: list[int]) -> _Branch:
    ends = int(node_of[run[0]]), int(node_of[run[-1]])
    return _Branch(ends, np.concatenate([position[ends[0]][None], voxel[run[1:-1]], position[ends[1]][None]]))


def _rings(link: sparse.csr_matrix, node_of: IntArray, visited: NDArray[np.bool_]) -> list[list[int]]:
    """Return the runs that no node interrupts, each as its voxels in order."""
    rings = []
    for start in np.flatnonzero(~visited & (node_of < 0) & (np.diff(link.indptr) == 2)).tolist():
        if visited[start]:
            continue
        ring = [start, int(link.indices[link.indptr[start]])]
        while ring[-1] != start:
            a, b = link.indices[link.indptr[ring[-1]] : link.indptr[ring[-1] + 1]].tolist()
            ring.append(b if a == ring[-2] else a)
        visited[ring] = True
        rings.append(ring[:-1])
    return rings


def _without_spurs(
    position: FloatArray, branches: list[_Branch], to_surface: FloatArray, factor: float, bump: float
) -> list[_Branch]:
    """Return the branches without short dead ends, then joined where only two are left at a node."""
    radius = ndimage.map_coordinates(to_surface, position.T, order=1)
    if factor <= 0:
        return _joined(branches, len(position))
    while True:
        branches = _joined(branches, len(position))
        degree = np.bincount(np.array([b.ends for b in branches], dtype=np.int64).ravel(), minlength=len(position))
        short = [
            (branch.length, i)
            for i, branch in enumerate(branches)
            if sorted(degree[list(branch.ends)])[0] == 1
            and degree[list(branch.ends)].max() >= 3
            and branch.length < factor * radius[branch.ends[int(np.argmax(degree[list(branch.ends)]))]] + bump
        ]
        if not short:
            return branches
        # The shortest at each junction only: with it gone the other two may be one vessel's smooth end.
        dropped, used = set(), set()
        for _, i in sorted(short):
            junction = branches[i].ends[int(np.argmax(degree[list(branches[i].ends)]))]
            if junction not in used:
                used.add(junction)
                dropped.add(i)
        branches = [branch for i, branch in enumerate(branches) if i not in dropped]


def _joined(branches: list[_Branch], n_nodes: int) -> list[_Branch]:
    """Return the branches with those that meet alone at a node made one."""
    at: list[list[int]] = [[] for _ in range(n_nodes)]
    pool: dict[int, _Branch] = dict(enumerate(branches))
    for i, branch in pool.items():
        for end in branch.ends:
            at[end].append(i)
    for node in range(n_nodes):
        if len(at[node]) != 2 or at[node][0] == at[node][1]:
            continue
        i, j = at[node]
        a, b = pool.pop(i), pool.pop(j)
        head = a.points if a.ends[1] == node else a.points[::-1]
        tail = b.points if b.ends[0] == node else b.points[::-1]
        ends = (a.ends[0] if a.ends[1] == node else a.ends[1]), (b.ends[1] if b.ends[0] == node else b.ends[0])
        pool[i] = _Branch(ends, np.concatenate([head, tail[1:]]))
        at[node] = []
        at[ends[1]] = [i if k == j else k for k in at[ends[1]]]
    return list(pool.values())


def _as_graph(position: FloatArray, branches: list[_Branch], to_surface: FloatArray, grid: Volume, mask: Volume) -> VesselGraph:
    step = float(grid.space.spacing[0])
    # Stairs are as long as the coarsest spacing of the mask; n passes smooth over sqrt(n / 2) steps.
    n_passes = round(_SMOOTHING_PASSES * max(1.0, float(mask.space.spacing.max()) / step) ** 2)
    paths, radii = [], []
    for branch in branches:
        line = _smooth(branch.points, min(n_passes, _MOST_PASSES))
        if np.linalg.norm(np.diff(line, axis=0), axis=1).sum() == 0:
            continue
        world = grid.space.to_world(line)
        # Equal nodes give equal bytes: both ends are computed from the same node position.
        world[[0, -1]] = grid.space.to_world(position[list(branch.ends)])
        paths.append(world)
        radii.append(np.maximum(ndimage.map_coordinates(to_surface, line.T, order=1), 0.5) * step)
    return VesselGraph.from_paths(paths, radii, space=mask.space)


def _smooth(points: FloatArray, n_passes: int) -> FloatArray:
    """Return a voxel path without its stair steps: repeated 1-2-1 averages with fixed ends."""
    line = points.copy()
    for _ in range(n_passes):
        line[1:-1] = 0.25 * line[:-2] + 0.5 * line[1:-1] + 0.25 * line[2:]
    return line
