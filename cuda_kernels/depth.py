"""The exact distance of each foreground voxel to the background: the twin of ``vesselgraph.tracing.depth``.

The CPU's functions take a range of lines or voxels; here each thread calls them for a range of one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda, float32

from cuda_kernels.device import launch
from cuda_kernels.foreground import DeviceForeground
from cuda_kernels.single import on_device
from vesselgraph.tracing.depth import along_axis, along_columns
from vesselgraph.tracing.topology import slot_of

_along_columns = on_device(along_columns)
_along_axis = on_device(along_axis)


@cuda.jit
def look_along_columns(voxels, row_start, n_columns, limit, squared):  # type: ignore[no-untyped-def]
    """Fill the squared distance to the end of each voxel's run of columns; one thread a line."""
    for line in range(cuda.grid(1), row_start.size - 1, cuda.gridsize(1)):
        _along_columns(line, line + 1, voxels, row_start, n_columns, limit, squared)


@cuda.jit
def look_along_lines(voxels, neighbours, axis, n_along, down, up, before, after):  # type: ignore[no-untyped-def]
    """Fill the squared distances that also look along ``axis``; one thread a voxel."""
    for i in range(cuda.grid(1), before.size, cuda.gridsize(1)):
        _along_axis(i, i + 1, voxels, neighbours, axis, n_along, down, up, before, after)


@cuda.jit
def take_roots(squared, depth):  # type: ignore[no-untyped-def]
    """Fill the distances; one thread a voxel."""
    for i in range(cuda.grid(1), depth.size, cuda.gridsize(1)):
        depth[i] = math.sqrt(float32(squared[i]))


def depth_of(foreground: DeviceForeground, limit: int | None = None) -> Any:
    """Return the distance in voxels to the background's nearest voxel centre, (n,) float32 device array, at most ``limit``."""
    n = len(foreground)
    planes, rows, columns = foreground.shape
    largest = max(foreground.shape) if limit is None else limit
    first, second = cuda.device_array(n, np.int32), cuda.device_array(n, np.int32)
    depth = cuda.device_array(n, np.float32)
    voxels, neighbours = foreground.voxels, foreground.neighbours
    if n > 0:
        launch(look_along_columns, planes * rows, voxels, foreground.row_start, columns, largest, first)
        for axis, size, source, target in ((1, rows, first, second), (0, planes, second, first)):
            step = (1 - axis, axis, 0)
            down, up = slot_of(*(-s for s in step)), slot_of(*step)
            launch(look_along_lines, n, voxels, neighbours, axis, size, down, up, source, target)
        launch(take_roots, n, first, depth)
    return depth
