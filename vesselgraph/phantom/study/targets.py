"""What a network learns: distance to the nearest centerline, its radius, tree and visibility, on the grid of 1 mm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.phantom.study.make import Study
from vesselgraph.resampling import resample
from vesselgraph.space import FloatArray, Space
from vesselgraph.volume import Volume

REACH = 6.0
"""Distances to the centerline are known up to this far, mm."""


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """A study ready for training: phases and truth on one isotropic grid. Patches of it have the same form.

    Parameters
    ----------
    phases : dict of name to (planes, rows, columns) int16
        HU; the reference first.
    distance : float16
        To the nearest centerline, mm; at most ``REACH``.
    radius : float16
        Of the vessel at the nearest centerline point, mm; 0 farther than ``REACH`` from any.
    identity : uint8
        Tree of the nearest centerline: 1 portal, 2 hepatic, 3 artery; 0 other or none near.
    near : uint8
        Bit t is set where a centerline of tree t is nearer than its radius (or than 1 mm, if wider).
    visibility : float16
        Of the branch of the nearest centerline, see the graph's column; 0 where none is near.
    organ : bool
        The liver.
    space : Space
    """

    phases: dict[str, NDArray[np.int16]]
    distance: NDArray[np.float16]
    radius: NDArray[np.float16]
    identity: NDArray[np.uint8]
    near: NDArray[np.uint8]
    visibility: NDArray[np.float16]
    organ: NDArray[np.bool_]
    space: Space

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of planes, rows and columns."""
        return self.distance.shape

    def heat(self, sigma: float, *, least_visibility: float = 0.0) -> NDArray[np.float32]:
        """Return exp(-d^2 / 2 sigma^2), float32; branches that are less visible than asked give none."""
        distance = self.distance.astype(np.float32)
        heat = np.exp(-(distance**2) / np.float32(2.0 * sigma**2))
        heat[distance >= REACH] = 0.0
        if least_visibility > 0.0:
            heat[self.visibility.astype(np.float32) < least_visibility] = 0.0
        return np.asarray(heat)

    def crop(self, first: tuple[int, int, int], shape: tuple[int, int, int]) -> TrainingVolume:
        """Return the box of ``shape`` voxels from ``first`` on, as copies."""
        box = tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))
        return replace(
            self,
            phases={name: np.array(array[box]) for name, array in self.phases.items()},
            space=self.space.shifted(first),
            **{name: np.array(getattr(self, name)[box]) for name in ARRAYS},
        )


ARRAYS = ("distance", "radius", "identity", "near", "visibility", "organ")
"""Arrays of a training volume beside its phases."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw(
    start: FloatArray,
    end: FloatArray,
    r0: FloatArray,
    r1: FloatArray,
    tree: NDArray[np.int64],
    seen: FloatArray,
    spacing: FloatArray,
    reach: float,
    squared: NDArray[np.float32],
    out: tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]],
) -> None:
    """Update each voxel near a segment (ends in grid-axis mm) if that segment is the nearest so far."""
    radius, identity, near, visibility = out
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for s in range(len(start)):
        a, b = start[s], end[s]
        w0, w1, w2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        length2 = max(w0 * w0 + w1 * w1 + w2 * w2, 1e-12)
        far = max(reach, r0[s], r1[s])
        for k in range(3):
            low[k] = max(0, int(np.ceil((min(a[k], b[k]) - far) / spacing[k])))
            high[k] = min(squared.shape[k] - 1, int(np.floor((max(a[k], b[k]) + far) / spacing[k])))
        for i in range(low[0], high[0] + 1):
            for j in range(low[1], high[1] + 1):
                for k in range(low[2], high[2] + 1):
                    p0, p1, p2 = i * spacing[0] - a[0], j * spacing[1] - a[1], k * spacing[2] - a[2]
                    t = min(max((p0 * w0 + p1 * w1 + p2 * w2) / length2, 0.0), 1.0)
                    gap = (p0 - t * w0) ** 2 + (p1 - t * w1) ** 2 + (p2 - t * w2) ** 2
                    wide = r0[s] + t * (r1[s] - r0[s])
                    if gap <= max(wide, 1.0) ** 2:
                        near[i, j, k] |= np.uint8(1 << tree[s])
                    if gap < squared[i, j, k] and gap <= reach * reach:
                        squared[i, j, k] = gap
                        radius[i, j, k], identity[i, j, k], visibility[i, j, k] = wide, tree[s], seen[s]


def training_volume(study: Study, step: float = 1.0) -> TrainingVolume:
    """Return phases and targets of a study on an isotropic grid of ``step`` mm."""
    reference = study.phases.reference
    space, shape = reference.space, reference.shape
    if not np.allclose(space.spacing, step):
        extent = np.array(shape) * space.spacing
        planes, rows, columns = (int(n) for n in np.maximum(1, np.floor(extent / step + 1e-6)))
        shape = (planes, rows, columns)
        space = space.rescaled((step, step, step))
    phases = {name: _on_grid(volume, space, shape) for name, volume in study.phases.items()}
    organ = _on_grid(study.organ_mask.with_array(study.organ_mask.array.astype(np.float32)), space, shape) > 0.5
    squared = np.full(shape, np.float32(REACH**2))
    radius, visibility = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    identity, near = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    segments = _segments(study.graph, space)
    _draw(*segments, space.spacing.copy(), REACH, squared, (radius, identity, near, visibility))
    return TrainingVolume(
        {name: np.asarray(np.rint(array), dtype=np.int16) for name, array in phases.items()},
        np.sqrt(squared).astype(np.float16),
        radius.astype(np.float16),
        identity,
        near,
        visibility.astype(np.float16),
        organ,
        space,
    )


def _on_grid(volume: Volume, space: Space, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if volume.shape == shape and volume.space.is_close(space):
        return volume.array.astype(np.float32)
    return np.asarray(resample(volume, space, (shape[0], shape[1], shape[2])).array, dtype=np.float32)


def _segments(
    graph: VesselGraph, space: Space
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, NDArray[np.int64], FloatArray]:
    """Return start and end in grid-axis mm, both radii, tree and visibility of every step of every path."""
    position = np.ascontiguousarray(space.to_index(graph.path_position) * space.spacing)
    first = np.flatnonzero(np.diff(graph.edge_of_point) == 0) if graph.n_points else np.zeros(0, np.int64)
    edge = graph.edge_of_point[first]
    radius = graph.path_radius
    seen = np.asarray(graph.edge_data["visibility"], dtype=np.float64)
    return position[first], position[first + 1], radius[first], radius[first + 1], graph.edge_data["tree"][edge], seen[edge]
