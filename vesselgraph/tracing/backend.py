"""The steps of tracing that run on a chosen device: on the CPU here, on a CUDA card in ``cuda_kernels.trace``."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.config import TraceConfig
from vesselgraph.graph import VesselGraph
from vesselgraph.tracing.basins import find_basins
from vesselgraph.tracing.depth import depth_of
from vesselgraph.tracing.field import Field
from vesselgraph.tracing.foreground import Foreground, find_foreground
from vesselgraph.tracing.geometry import sample_points
from vesselgraph.tracing.radii import section_widths
from vesselgraph.tracing.ridges import find_ridges
from vesselgraph.tracing.thinning import thin
from vesselgraph.volume import Volume

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

DEPTH_WEIGHT = np.float32(0.02)
# Least bend of the depth at a ridge, per voxel. The voxel steps of a wide vessel's wall bend it too, less than its axis does.
MASK_CURVATURE, WIDE_MASK_CURVATURE = np.float32(0.15), np.float32(0.45)
WIDE_VOX = 2.0


class Kernels(Protocol):
    """The steps that a device can take over; an object serves one trace and may keep arrays from one step to the next."""

    def find(self, heat: Float32, threshold: float, depth_limit: int | None) -> tuple[Foreground, Float32]:
        """Return the voxels hotter than ``threshold`` and the depth of each in voxels, at most ``depth_limit``."""

    def skeleton(self, field: Field, config: TraceConfig) -> NDArray[np.int64]:
        """Return the ids of the voxels that thinning leaves of the foreground found last, rising."""

    def basins(
        self, foreground: Foreground, slowness: Float32, sources: NDArray[np.int64]
    ) -> tuple[Float32, NDArray[np.int32], NDArray[np.int32]]:
        """Return time, source and way back of each voxel of the foreground found last: see ``basins.find_basins``."""

    def section_widths(self, graph: VesselGraph, image: Volume, guess: Float64) -> Float64:
        """Return the radius that the cross-section of an image gives at each path point, (M,) mm; NaN if not believed."""

    def sample_points(self, volume: Float32, points: Float64) -> Float64:
        """Return the trilinear values of a volume at points (M, 3) in voxels, (M,); 0 outside."""


class NumbaKernels:
    """The steps on the CPU."""

    def find(self, heat: Float32, threshold: float, depth_limit: int | None) -> tuple[Foreground, Float32]:
        """Return the voxels hotter than ``threshold`` and the depth of each in voxels, at most ``depth_limit``."""
        foreground = find_foreground(heat, threshold)
        return foreground, depth_of(foreground, depth_limit)

    def skeleton(self, field: Field, config: TraceConfig) -> NDArray[np.int64]:
        """Return the ids of the voxels that thinning leaves, rising: off the ridge by heat, then the farthest from it first."""
        foreground = field.foreground
        if field.from_mask:
            # Depth has slope 1 everywhere, so its ridges are judged by their bend alone; heat is judged relative to itself.
            value, distance = find_ridges(field.heat, foreground, field.depth, _mask_curvature(field), 0.0, with_heat=False)
        else:
            # A little depth gives saturated probability maps, which are flat inside a vessel, a ridge as well.
            none = np.zeros(len(field.depth), np.float32)
            value, distance = find_ridges(field.heat, foreground, DEPTH_WEIGHT * field.depth, none, config.min_curvature)
        _order(value, distance, np.float32(config.ridge_width), value.max())
        return thin(foreground, distance)

    def basins(
        self, foreground: Foreground, slowness: Float32, sources: NDArray[np.int64]
    ) -> tuple[Float32, NDArray[np.int32], NDArray[np.int32]]:
        """Return time, source and way back of each voxel of the foreground found last: see ``basins.find_basins``."""
        return find_basins(foreground, slowness, sources)

    def section_widths(self, graph: VesselGraph, image: Volume, guess: Float64) -> Float64:
        """Return the radius that the cross-section of an image gives at each path point, (M,) mm; NaN if not believed."""
        return section_widths(graph, image, guess)

    def sample_points(self, volume: Float32, points: Float64) -> Float64:
        """Return the trilinear values of a volume at points (M, 3) in voxels, (M,); 0 outside."""
        return sample_points(volume, points)


@njit(cache=True, nogil=True)
def _order(value, distance, ridge_width, largest):  # type: ignore[no-untyped-def]
    """Fill when each voxel is asked instead of how far the ridge is: off it by height, up to 0, then the farthest first."""
    one = np.float32(1.0)
    for v in range(distance.size):
        distance[v] = one - distance[v] if distance[v] < ridge_width else value[v] / largest - one


def _mask_curvature(field: Field) -> Float32:
    """Return the least bend of a depth ridge at each voxel of a mask, larger in and next to where a wide ball fits."""
    wide = np.append(field.depth >= WIDE_VOX, False)
    near_wide = wide[:-1] | wide[field.foreground.neighbours].any(axis=1)
    return np.where(near_wide, WIDE_MASK_CURVATURE, MASK_CURVATURE)


def kernels_for(backend: str) -> Kernels:
    """Return the kernels of a backend, "numba" or "cuda".

    Raises
    ------
    BackendUnavailableError
        "cuda" without a driver, a card, or numba-cuda.
    """
    if backend == "numba":
        return NumbaKernels()
    # The twins import the kernels of this room, so this room loads them by name and only when they are asked for.
    made: Kernels = import_module("cuda_kernels.trace").CudaKernels()
    return made
