"""The hot steps of the tracing stage on a CUDA device; arrays stay there from one kernel to the next.

The heat goes to the device once. The foreground list, depths, ridges and thinning follow each other there, and what the host's
steps (chains, links, assembly) need comes back as copies: the list, the depths and the ids of the skeleton.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from cuda_kernels import basins, depth, ridges, sampling, sections
from cuda_kernels.device import launch, require_device, require_memory
from cuda_kernels.foreground import DeviceForeground, find_foreground
from cuda_kernels.ridge_filter import fill
from cuda_kernels.thinning import N_LEVELS, compacted, thin
from vesselgraph.config import TraceConfig
from vesselgraph.errors import RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.tracing.backend import DEPTH_WEIGHT, MASK_CURVATURE, WIDE_MASK_CURVATURE, WIDE_VOX
from vesselgraph.tracing.field import Field
from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.radii import cross_axes
from vesselgraph.volume import Volume

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Volumes of the box that are on the device at a time: the heat, the height and its smoothing.
_N_VOLUMES = 3
# Bytes a voxel of the foreground takes: neighbours, coordinates, and the columns of ridges and thinning.
_PER_VOXEL = 104 + 12 + 48


class CudaKernels:
    """The twin of ``vesselgraph.tracing.backend.NumbaKernels`` for one trace.

    Raises
    ------
    BackendUnavailableError
        There is no driver, no card, or no numba-cuda.
    """

    def __init__(self) -> None:
        require_device()
        self._sent = np.zeros((0, 0, 0), np.float32)
        self._heat: Any = None
        self._foreground: DeviceForeground | None = None
        self._depth: Any = None

    def find(self, heat: Float32, threshold: float, depth_limit: int | None) -> tuple[Foreground, Float32]:
        """Return the voxels hotter than ``threshold`` and the depth of each; both stay on the device too.

        Raises
        ------
        BudgetError
            The device has too little free memory.
        """
        require_memory(_N_VOLUMES * heat.nbytes)
        self._sent, self._heat = heat, cuda.to_device(heat)
        found = self._foreground = find_foreground(self._heat, threshold, _PER_VOXEL)
        self._depth = depth.depth_of(found, depth_limit)
        row_start = found.row_start.copy_to_host().astype(np.int64)
        on_host = Foreground(found.shape, found.voxels.copy_to_host(), row_start, found.neighbours.copy_to_host())
        return on_host, self._depth.copy_to_host()

    def skeleton(self, field: Field, config: TraceConfig) -> NDArray[np.int64]:
        """Return the ids of the voxels that thinning leaves of the foreground found last, rising."""
        found, own_depth = self._foreground, self._depth
        assert found is not None
        volume = cuda.device_array(found.shape, np.float32)
        if field.from_mask:
            launch(fill, volume.size, volume.reshape(volume.size), np.float32(0.0))
            base = ridges.wide_curvature(found, own_depth, WIDE_VOX, float(WIDE_MASK_CURVATURE), float(MASK_CURVATURE))
            lift, share = own_depth, 0.0
        else:
            volume.copy_to_device(self._heat)
            base, share = ridges.constant(len(found), 0.0), config.min_curvature
            lift = ridges.scaled(own_depth, float(DEPTH_WEIGHT))
        value, distance = ridges.find_ridges(volume, found, lift, base, share)
        level = ridges.removal_levels(value, distance, config.ridge_width, N_LEVELS)
        return compacted(thin(found, level)).astype(np.int64)

    def basins(
        self, foreground: Foreground, slowness: Float32, sources: NDArray[np.int64]
    ) -> tuple[Float32, NDArray[np.int32], NDArray[np.int32]]:
        """Return time, source and way back of each voxel of the foreground found last.

        Raises
        ------
        RangeError
            The foreground is not the one found last.
        """
        found = self._foreground
        if found is None or len(found) != len(foreground):
            raise RangeError("the foreground that find returned last", f"one of {len(foreground)} voxels", "call find first")
        answers = basins.find_basins(found, cuda.to_device(slowness), cuda.to_device(sources.astype(np.int32)))
        times, source, previous = (answer.copy_to_host() for answer in answers)
        return times, source, previous

    def section_widths(self, graph: VesselGraph, image: Volume, guess: Float64) -> Float64:
        """Return the radius at which the image falls half-way to the background at each path point, (M,) mm; else NaN."""
        points, edge = image.space.to_index(graph.path_position), graph.edge_of_point
        first, second = (image.space.to_index(graph.path_position + axis) - points for axis in cross_axes(graph))
        low, high = graph.path_offset[:-1][edge], graph.path_offset[1:][edge]
        branch = cuda.to_device(low.astype(np.int32)), cuda.to_device(high.astype(np.int32))
        arrays = (image.array, points, first, second, guess)
        sent = [cuda.to_device(np.ascontiguousarray(array, dtype=np.float32)) for array in arrays]
        width = sections.section_radii(sent[0], sent[1], sent[2], sent[3], sent[4], branch).copy_to_host()
        return np.asarray(width.astype(np.float64))

    def sample_points(self, volume: Float32, points: Float64) -> Float64:
        """Return the trilinear values of a volume at points (M, 3) in voxels, (M,); 0 outside. The heat is there already."""
        is_heat = volume.__array_interface__ == self._sent.__array_interface__
        on_device = self._heat if is_heat else cuda.to_device(np.ascontiguousarray(volume, dtype=np.float32))
        values = cuda.device_array(len(points), np.float32)
        at = cuda.to_device(np.ascontiguousarray(points, dtype=np.float32))
        launch(sampling.sample_points, len(points), on_device, at, values)
        return np.asarray(values.copy_to_host().astype(np.float64))
