"""The list of voxels above a threshold and everyone's neighbours: the twin of ``vesselgraph.tracing.foreground``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda, int32

from cuda_kernels.device import SIMULATED, launch, require_memory
from cuda_kernels.single import on_device
from vesselgraph.tracing.foreground import voxel_at
from vesselgraph.tracing.topology import OFFSETS

_voxel_at = on_device(voxel_at)
_OFFSETS = OFFSETS.astype(np.int32)
_SCAN_THREADS = 4 if SIMULATED else 256


@dataclass(frozen=True, eq=False)
class DeviceForeground:
    """The foreground in device memory; see ``vesselgraph.tracing.foreground.Foreground``.

    Attributes
    ----------
    shape : (3,)
        Planes, rows, columns of the box.
    voxels : (n, 3) int32 device array
        In raster order.
    row_start : (planes * rows + 1,) int32 device array
        First id of each line.
    neighbours : (n, 26) int32 device array
        Ids or -1, in the order of ``topology.OFFSETS``.
    """

    shape: tuple[int, int, int]
    voxels: Any
    row_start: Any
    neighbours: Any

    def __len__(self) -> int:
        """Return the number of voxels."""
        return int(self.voxels.shape[0])


@cuda.jit
def count_lines(heat, threshold, counts):  # type: ignore[no-untyped-def]
    """Fill the number of voxels above the threshold on each (plane, row) line; one thread a line."""
    n_planes, n_rows, n_columns = heat.shape
    for line in range(cuda.grid(1), n_planes * n_rows, cuda.gridsize(1)):
        z, y = line // n_rows, line % n_rows
        n = 0
        for x in range(n_columns):
            if heat[z, y, x] > threshold:
                n += 1
        counts[line] = n


@cuda.jit
def scan(counts, starts):  # type: ignore[no-untyped-def]
    """Fill the running sum of ``counts``, from 0, one longer than ``counts``; one block, each thread a run of elements."""
    partial = cuda.shared.array(_SCAN_THREADS, int32)
    thread = cuda.threadIdx.x
    run = (counts.size + _SCAN_THREADS - 1) // _SCAN_THREADS
    first = thread * run
    last = min(first + run, counts.size)
    total = int32(0)
    for i in range(first, last):
        total += counts[i]
    partial[thread] = total
    cuda.syncthreads()
    total = int32(0)
    for i in range(thread):
        total += partial[i]
    for i in range(first, last):
        starts[i] = total
        total += counts[i]
    if thread == _SCAN_THREADS - 1:
        starts[counts.size] = total


@cuda.jit
def fill_lines(heat, threshold, row_start, voxels):  # type: ignore[no-untyped-def]
    """Write the voxels of each line in rising columns; one thread a line."""
    n_planes, n_rows, n_columns = heat.shape
    for line in range(cuda.grid(1), n_planes * n_rows, cuda.gridsize(1)):
        z, y = line // n_rows, line % n_rows
        i = row_start[line]
        for x in range(n_columns):
            if heat[z, y, x] > threshold:
                voxels[i, 0], voxels[i, 1], voxels[i, 2] = z, y, x
                i += 1


@cuda.jit
def find_neighbours(row_start, voxels, n_planes, n_rows, n_columns, neighbours):  # type: ignore[no-untyped-def]
    """Fill the ids of the 26 neighbours; one thread a voxel and neighbour, so that stores lie side by side."""
    offsets = cuda.const.array_like(_OFFSETS)
    for item in range(cuda.grid(1), voxels.shape[0] * 26, cuda.gridsize(1)):
        i, k = item // 26, item % 26
        z, y, x = voxels[i, 0] + offsets[k, 0], voxels[i, 1] + offsets[k, 1], voxels[i, 2] + offsets[k, 2]
        neighbours[i, k] = _voxel_at(row_start, voxels, n_planes, n_rows, n_columns, z, y, x)


def running_sum(counts: Any) -> Any:
    """Return the starts of consecutive groups of these sizes, (n + 1,) int32, on the device."""
    starts = cuda.device_array(counts.size + 1, np.int32)
    scan[1, _SCAN_THREADS](counts, starts)
    return starts


def find_foreground(heat: Any, threshold: float, bytes_per_voxel: int = 116) -> DeviceForeground:
    """Return the voxels of a float32 device volume that are hotter than ``threshold``.

    One number, how many there are, crosses to the host. ``bytes_per_voxel``: device memory that the caller will need.

    Raises
    ------
    BudgetError
        The device has too little free memory for them.
    """
    n_planes, n_rows, n_columns = heat.shape
    counts = cuda.device_array(n_planes * n_rows, np.int32)
    limit = np.float32(threshold)
    launch(count_lines, counts.size, heat, limit, counts)
    row_start = running_sum(counts)
    n = int(row_start[-1:].copy_to_host()[0])
    require_memory(n * bytes_per_voxel)
    voxels, neighbours = cuda.device_array((n, 3), np.int32), cuda.device_array((n, 26), np.int32)
    if n > 0:
        launch(fill_lines, counts.size, heat, limit, row_start, voxels)
        launch(find_neighbours, 26 * n, row_start, voxels, n_planes, n_rows, n_columns, neighbours)
    return DeviceForeground((n_planes, n_rows, n_columns), voxels, row_start, neighbours)
