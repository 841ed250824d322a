"""What the network is to say at each voxel, measured exactly from the centerlines of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.space import FloatArray

Float32 = NDArray[np.float32]

UNSEEN = 4
"""Tree label of a vessel that is there but that the images do not show; it is neither to be found nor to be left out."""

_TREE_IDS = {"portal": 1, "hepatic": 2, "artery": 3}


@dataclass(frozen=True, eq=False)
class Segments:
    """Straight pieces of centerline with a radius at both ends and the tree they belong to.

    Parameters
    ----------
    start, end : (n, 3)
        World mm, or voxels of a patch.
    start_radius, end_radius : (n,) mm
    tree : (n,) uint8
        0 other or unknown, 1 portal, 2 hepatic, 3 artery, 4 :data:`UNSEEN`.
    """

    start: FloatArray
    end: FloatArray
    start_radius: FloatArray
    end_radius: FloatArray
    tree: NDArray[np.uint8]

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self.tree)

    def taken(self, which: NDArray[np.bool_]) -> Segments:
        """Return the chosen pieces."""
        return Segments(self.start[which], self.end[which], self.start_radius[which], self.end_radius[which], self.tree[which])


def segments_of(graph: VesselGraph, tree: str | int | None = None) -> Segments:
    """Return the pieces of all branches of a graph, in world mm.

    Parameters
    ----------
    graph : VesselGraph
        Its edge column ``tree`` (names or ids 1, 2, 3) says which tree a branch belongs to. A radius that is unknown counts as
        1 mm.
    tree : str or int, optional
        The tree of all branches, if there is no column.
    """
    inner = np.ones(max(graph.path_position.shape[0], 1), np.bool_)[: len(graph.path_position)]
    if len(inner):
        inner[graph.path_offset[1:] - 1] = False
    first = np.flatnonzero(inner)
    branch = np.repeat(np.arange(graph.n_edges), np.diff(graph.path_offset))[first]
    column = graph.edge_data.get("tree")
    if tree is not None or column is None:
        ids = np.full(graph.n_edges, tree_id(tree), np.uint8)
    else:
        ids = np.array([tree_id(value) for value in column.tolist()], np.uint8)
    radius = np.where(np.isfinite(graph.path_radius), graph.path_radius, 1.0)
    return Segments(
        np.asarray(graph.path_position[first]),
        np.asarray(graph.path_position[first + 1]),
        radius[first],
        radius[first + 1],
        ids[branch],
    )


def joined(parts: list[Segments]) -> Segments:
    """Return all pieces of several lists; there must be one list at least."""
    names = ("start", "end", "start_radius", "end_radius", "tree")
    return Segments(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def tree_id(name: str | int | None) -> int:
    """Return the id of a tree: 1 portal, 2 hepatic, 3 artery, 0 for all others.

    Examples
    --------
    >>> tree_id("hepatic"), tree_id(3), tree_id("bile"), tree_id(None)
    (2, 3, 0, 0)
    """
    if isinstance(name, str):
        return _TREE_IDS.get(name, 0)
    return int(name) if name is not None and name in _TREE_IDS.values() else 0


@dataclass(frozen=True, eq=False)
class Target:
    """The truth of one patch.

    Parameters
    ----------
    distance : (planes, rows, columns) float32 mm
        To the nearest centerline that can be seen; ``reach`` where it is farther.
    radius : same shape, float32 mm
        Of the vessel at that nearest point; 0 beyond ``reach``.
    tree_distance : (4, planes, rows, columns) float32 mm
        To the nearest centerline of each label 0 to 3.
    unseen : (planes, rows, columns) float32 mm
        To the nearest centerline that cannot be seen.
    """

    distance: Float32
    radius: Float32
    tree_distance: Float32
    unseen: Float32

    def is_clear(self, sigma: float) -> NDArray[np.bool_]:
        """Return where the truth can be told: not within two sigmas of an unseen vessel unless a seen one is nearer."""
        return (self.unseen >= self.distance) | (self.unseen >= 2.0 * sigma)

    def heat(self, sigma: float) -> Float32:
        """Return exp(-distance^2 / (2 sigma^2)), and 0 beyond the reach."""
        heat = np.exp(-0.5 * (self.distance / np.float32(sigma)) ** 2)
        return np.where(self.radius > 0, heat, np.float32(0.0)).astype(np.float32)


def measure_target(segments: Segments, shape: tuple[int, int, int], step: float, reach: float) -> Target:
    """Return distances, radii and trees on an isotropic grid.

    Parameters
    ----------
    segments : Segments
        Ends in voxels of the grid (voxel centres at whole numbers), radii in mm.
    shape : (3,)
        Of the grid.
    step : mm
        Size of a voxel.
    reach : mm
        How far from a centerline anything is measured.

    Notes
    -----
    Exact: the distance to the piece itself and not to points on it. Work is proportional to the length of the centerlines times
    ``reach`` squared.

    Examples
    --------
    >>> line = Segments(np.array([[2.0, 2, 0]]), np.array([[2.0, 2, 4]]), np.ones(1), np.full(1, 3.0), np.ones(1, np.uint8))
    >>> target = measure_target(line, (5, 5, 5), step=2.0, reach=6.0)
    >>> float(target.distance[2, 3, 1]), float(target.radius[2, 3, 1]), float(target.tree_distance[2, 2, 2, 2])
    (2.0, 1.5, 6.0)
    """
    low = np.minimum(segments.start, segments.end) - reach / step
    high = np.maximum(segments.start, segments.end) + reach / step
    near = segments.taken(np.asarray(((high >= 0) & (low <= np.array(shape) - 1.0)).all(axis=1)))
    squared = np.full((UNSEEN + 1, *shape), np.float32((reach / step) ** 2), np.float32)
    radius = np.zeros((UNSEEN + 1, *shape), np.float32)
    _draw(near.start, near.end, near.start_radius, near.end_radius, near.tree, reach / step, squared, radius)
    nearest = squared[:UNSEEN].argmin(axis=0)[None]
    distance = np.sqrt(squared) * np.float32(step)
    return Target(
        np.take_along_axis(distance, nearest, 0)[0],
        np.take_along_axis(radius, nearest, 0)[0],
        distance[:UNSEEN],
        distance[UNSEEN],
    )


@njit(cache=True, nogil=True)
def _draw(start, end, start_radius, end_radius, tree, far, squared, radius):  # type: ignore[no-untyped-def]
    """Write the squared distance, voxels^2, and the radius of each piece where it is the nearest of its tree, in place."""
    _, n_planes, n_rows, n_columns = squared.shape
    for i in range(len(tree)):
        label = tree[i]
        az, ay, ax = start[i, 0], start[i, 1], start[i, 2]
        dz, dy, dx = end[i, 0] - az, end[i, 1] - ay, end[i, 2] - ax
        length2 = dz * dz + dy * dy + dx * dx
        for z in range(max(0, int(np.ceil(min(az, az + dz) - far))), min(n_planes, int(max(az, az + dz) + far) + 1)):
            for y in range(max(0, int(np.ceil(min(ay, ay + dy) - far))), min(n_rows, int(max(ay, ay + dy) + far) + 1)):
                for x in range(max(0, int(np.ceil(min(ax, ax + dx) - far))), min(n_columns, int(max(ax, ax + dx) + far) + 1)):
                    along = (z - az) * dz + (y - ay) * dy + (x - ax) * dx
                    share = min(max(along / length2, 0.0), 1.0) if length2 > 0 else 0.0
                    oz, oy, ox = z - az - share * dz, y - ay - share * dy, x - ax - share * dx
                    d2 = oz * oz + oy * oy + ox * ox
                    if d2 < squared[label, z, y, x]:
                        squared[label, z, y, x] = d2
                        radius[label, z, y, x] = start_radius[i] + share * (end_radius[i] - start_radius[i])
