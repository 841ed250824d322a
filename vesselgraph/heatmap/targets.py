"""What the network is to say at each voxel, measured exactly from the centerlines of a graph."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.edit import subset
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom import Study
from vesselgraph.space import FloatArray

Float32 = NDArray[np.float32]

LEARNED_AXES = "SPL"
"""Where planes, rows and columns of what the network sees grow to: head, back and left of the patient."""

REACH_SIGMAS = 4.0
"""Targets are measured this many sigmas from the centerlines; heat is 0 beyond."""

_LEAST_CLARITY = 0.05
_WIDE_FRACTION, _WIDEST = 1 / 3, 2.5

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
        0 other or unknown, 1 portal, 2 hepatic, 3 artery.
    clarity : (n,) float32
        How clearly the images show it, 0 to 1: the heat its centerline is to have.
    """

    start: FloatArray
    end: FloatArray
    start_radius: FloatArray
    end_radius: FloatArray
    tree: NDArray[np.uint8]
    clarity: Float32

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self.tree)

    def taken(self, which: NDArray[np.bool_]) -> Segments:
        """Return the chosen pieces."""
        return Segments(*(getattr(self, field.name)[which] for field in fields(self)))


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
        np.ones(len(first), np.float32),
    )


def joined(parts: list[Segments]) -> Segments:
    """Return all pieces of several lists; there must be one list at least."""
    return Segments(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Segments)))


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


def clarity_of(
    radius: NDArray[np.floating], visibility: NDArray[np.floating], radii: tuple[float, float], visible: tuple[float, float]
) -> Float32:
    """Return how clearly vessels are shown, 0 to 1.

    Two ramps, multiplied: one over the radius, and one over the contrast to noise times the radius in mm (at least 1), since
    the eye adds up what it sees across a vessel.

    Parameters
    ----------
    radius : (n,) mm
    visibility : (n,)
        Contrast over the deviation of the noise in a voxel; its sign does not matter.
    radii, visible : (low, high)
        Where each ramp is 0 and 1.

    Examples
    --------
    >>> clarity_of(np.array([0.5, 1.0, 4.0, 4.0]), np.array([9.0, -9.0, 0.3, 9.0]), (0.6, 1.4), (0.8, 2.4)).round(2).tolist()
    [0.0, 0.5, 0.25, 1.0]
    """

    def ramp(value: NDArray[np.floating], low: float, high: float) -> NDArray[np.floating]:
        return np.clip((value - low) / max(high - low, 1e-6), 0.0, 1.0)

    return np.asarray(ramp(radius, *radii) * ramp(np.abs(visibility) * np.maximum(radius, 1.0), *visible), np.float32)


def clear_graph(study: Study, phase: str, least: float = 0.5) -> VesselGraph:
    """Return the vessels of a generated study that one phase shows at least so clearly, where that phase shows them.

    What a method can be asked to find: a generated liver holds twice as many vessels as its image shows.

    Parameters
    ----------
    study : Study
        With truth.
    phase : str
        One of its phases.
    least : float
        Least :func:`clarity_of` a branch, of its mean radius and with the ramps the network is trained with.
    """
    graph, ramps = study.graph_in(phase), TrainHeatmapConfig()
    radius = np.add.reduceat(graph.path_radius, graph.path_offset[:-1]) / np.diff(graph.path_offset)
    clarity = clarity_of(radius, graph.edge_data[f"visibility_{phase}"], ramps.clear_radius, ramps.clear_visibility)
    return subset(graph, edges=clarity >= least, drop_isolated=True)[0]


@dataclass(frozen=True, eq=False)
class Target:
    """The truth of one patch; all (planes, rows, columns) float32 but for ``tree_distance``.

    Parameters
    ----------
    heat
        clarity * exp(-d^2 / (2 s^2)) of the piece that gives most; 0 beyond the reach.
    distance : mm
        To the centerline of that piece; the reach where there is none.
    radius : mm
        Of the vessel there; 0 beyond the reach.
    clarity
        Of that piece; 0 beyond the reach.
    tree_distance : (4, planes, rows, columns) mm
        To the nearest centerline of each tree 0 to 3.
    """

    heat: Float32
    distance: Float32
    radius: Float32
    clarity: Float32
    tree_distance: Float32


def measure_target(segments: Segments, shape: tuple[int, int, int], step: float, sigma: float) -> Target:
    """Return heat, distances, radii and trees on an isotropic grid.

    Parameters
    ----------
    segments : Segments
        Ends in voxels of the grid (voxel centres at whole numbers), radii in mm. Pieces of hardly any clarity are not there.
    shape : (3,)
        Of the grid.
    step : mm
        Size of a voxel.
    sigma : mm
        Width of the heat. Wide vessels get a third of their radius, 2.5 mm at most: their middle cannot be told more exactly.

    Notes
    -----
    Exact: the distance to the piece itself and not to points on it. Work is proportional to the length of the centerlines times
    the reach (:data:`REACH_SIGMAS`) squared.

    Examples
    --------
    >>> ends, one = (np.array([[2.0, 2, 0]]), np.array([[2.0, 2, 4]])), np.ones(1, np.float32)
    >>> target = measure_target(Segments(*ends, one, 3 * one, np.ones(1, np.uint8), one), (5, 5, 5), step=2.0, sigma=1.5)
    >>> float(target.distance[2, 3, 1]), float(target.radius[2, 3, 1]), float(target.tree_distance[2, 2, 2, 2])
    (2.0, 1.5, 6.0)
    """
    far = REACH_SIGMAS * sigma / step
    low = np.minimum(segments.start, segments.end) - far
    high = np.maximum(segments.start, segments.end) + far
    touches = ((high >= 0) & (low <= np.array(shape) - 1.0)).all(axis=1)
    near = segments.taken(np.asarray(touches & (segments.clarity >= _LEAST_CLARITY)))
    cost = np.full(shape, np.inf, np.float32)
    squared = np.full((1 + len(_TREE_IDS), *shape), np.float32(far**2), np.float32)
    found = np.zeros((3, *shape), np.float32)
    found[0] = far**2
    ends, radii = (near.start, near.end), (near.start_radius, near.end_radius)
    _draw(*ends, *radii, near.tree, near.clarity, far, sigma / step, step, cost, squared, found)
    heat = np.exp(-cost)
    return Target(heat, np.sqrt(found[0]) * np.float32(step), found[1], found[2], np.sqrt(squared) * np.float32(step))


@njit(cache=True, nogil=True)
def _draw(  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917 - a kernel takes plain arrays
    start, end, start_radius, end_radius, tree, clarity, far, sigma, step, cost, squared, found
):
    """Write the squared distance to each tree, and ``cost``, -log heat, with the piece that gives most heat, in place.

    ``found``: its squared distance, radius and clarity. ``far`` and ``sigma`` are in voxels, radii in mm.
    """
    n_planes, n_rows, n_columns = cost.shape
    for i in range(len(tree)):
        label, faint = tree[i], -np.log(clarity[i])
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
                    if d2 >= far * far:
                        continue
                    squared[label, z, y, x] = min(squared[label, z, y, x], d2)
                    radius = start_radius[i] + share * (end_radius[i] - start_radius[i])
                    width = max(sigma, min(_WIDE_FRACTION * radius, _WIDEST) / step)
                    here = faint + 0.5 * d2 / (width * width)
                    if here < cost[z, y, x]:
                        cost[z, y, x] = here
                        found[0, z, y, x], found[1, z, y, x], found[2, z, y, x] = d2, radius, clarity[i]
