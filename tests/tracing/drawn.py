"""Masks of analytic vessels on any grid, and how far a graph is from the shape it was traced from."""

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from vesselgraph import Heatmap, Space, Volume
from vesselgraph.phantom import clean_mask, tube_graph

AXIAL = Space.axial().direction
OBLIQUE = Rotation.from_euler("xyz", [25, -35, 50], degrees=True).as_matrix() @ AXIAL


def grid_around(graph, spacing=(1.0, 1.0, 1.0), direction=AXIAL, offset=(0.0, 0.0, 0.0), margin=4.0):
    """Return a grid that covers a graph; ``offset`` moves it by parts of a voxel."""
    size = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
    own = graph.path_position @ direction
    low = np.floor((own - graph.path_radius[:, None]).min(axis=0) - margin) + np.asarray(offset) * size
    high = (own + graph.path_radius[:, None]).max(axis=0) + margin
    shape = tuple(int(n) for n in np.ceil((high - low) / size) + 1)
    return Space(size, direction @ low, direction), shape


def drawn(kind, *, length=40.0, radius=3.0, **grid):
    """Return an analytic vessel with points every 0.05 mm and its mask as a heatmap."""
    truth = tube_graph(kind, length=length, radius=radius, step=0.05)
    space, shape = grid_around(truth, **grid)
    return truth, as_heatmap(Volume(clean_mask(truth, space, shape), space))


def as_heatmap(mask):
    return Heatmap(mask.with_array(mask.array.astype(np.float32)), source="mask")


def errors(graph, truth, skip=0.0):
    """Distances to the true line and radius errors (mm) at the path points that are not within ``skip`` mm of a true node."""
    distance, nearest, inner = _nearest(graph.path_position, truth, skip)
    return distance[inner], (graph.path_radius - truth.path_radius[nearest])[inner]


def inner_length(graph, truth, skip):
    """Length (mm) of the steps of a graph that are not within ``skip`` mm of a true node."""
    steps = np.delete(np.arange(graph.n_points - 1), graph.path_offset[1:-1] - 1)
    start, end = graph.path_position[steps], graph.path_position[steps + 1]
    inner = _nearest(0.5 * (start + end), truth, skip)[2]
    return float(np.linalg.norm(end - start, axis=1)[inner].sum())


def _nearest(points, truth, skip):
    distance, nearest = cKDTree(truth.path_position).query(points)
    return distance, nearest, cKDTree(truth.node_position).query(truth.path_position[nearest])[0] > skip


def covered(graph, truth, tolerance):
    """Share of the true line that has a path point nearby."""
    return float((cKDTree(graph.path_position).query(truth.path_position)[0] < tolerance).mean())
