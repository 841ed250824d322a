"""How well each branch of the truth can be seen: its contrast to the tissue around it over the noise.

An expert who draws vessels leaves out most that a scan hardly shows, so scores against the truth need this figure.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.config import StudyConfig
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom.study.field import Field, distances
from vesselgraph.space import FloatArray, Space

Image = NDArray[np.float32]

_DIRECTIONS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=np.float64)
_SMALLEST_RING = 1.5


def with_visibility(
    graph: VesselGraph, clean: Mapping[str, Image], places: Mapping[str, FloatArray], config: StudyConfig, liver: Field
) -> VesselGraph:
    """Return the graph with the edge columns ``visibility``, ``visibility_<phase>`` and ``in_organ_fraction``.

    The figure of a phase is the median along the branch of the noise-free image at the centerline minus the median of six
    points two radii away (at least 1.5 mm beyond the wall), over the standard deviation of the noise in a voxel: signed,
    negative where the vessel is darker. ``places`` holds the path points (M, 3) mm where they are seen in phases that
    moved. ``visibility`` is the largest absolute value.
    """
    if graph.space is None or graph.n_edges == 0:
        return graph.with_columns(edge={"visibility": np.zeros(graph.n_edges)})
    columns: dict[str, FloatArray] = {}
    for name, image in clean.items():
        contrast = _contrast(image, places.get(name, graph.path_position), graph.path_radius, graph.space)
        noise = max(getattr(config, name).noise, 1.0)
        columns[f"visibility_{name}"] = _by_branch(contrast / noise, graph)
    columns["visibility"] = np.max([np.abs(column) for column in columns.values()], axis=0)
    inside = distances(liver, graph.path_position) < 0.0
    columns["in_organ_fraction"] = np.add.reduceat(inside.astype(np.float64), graph.path_offset[:-1]) / np.diff(
        graph.path_offset
    )
    return graph.with_columns(edge=columns)


def _contrast(image: Image, position: FloatArray, radius: FloatArray, space: Space) -> FloatArray:
    def sample(points: FloatArray) -> FloatArray:
        return ndimage.map_coordinates(image, space.to_index(points).T, order=1, mode="nearest", output=np.float64)

    reach = np.maximum(2.0 * radius, radius + _SMALLEST_RING)[:, None]
    ring = np.stack([sample(position + reach * way) for way in _DIRECTIONS])
    return np.asarray(sample(position) - np.median(ring, axis=0))


def _by_branch(values: FloatArray, graph: VesselGraph) -> FloatArray:
    """Return the median of path values of each branch."""
    order = np.lexsort((values, graph.edge_of_point))
    middle = (graph.path_offset[:-1] + graph.path_offset[1:] - 1) // 2
    return np.asarray(values[order][middle])
