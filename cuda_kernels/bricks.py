"""Bricks of 4 x 4 x 4 voxels around a foreground: how the eikonal solver keeps a sparse object in dense tiles.

Only bricks that hold a voxel of the foreground exist. A table of the size of the box over 64 says which one is where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda

from cuda_kernels.device import launch
from cuda_kernels.foreground import DeviceForeground, running_sum
from cuda_kernels.ridge_filter import fill
from cuda_kernels.thinning import filled_int

SIDE = 4
CELLS = SIDE**3


@dataclass(frozen=True, eq=False)
class Bricks:
    """The bricks of a foreground in device memory.

    Attributes
    ----------
    around : (b, 27) int32 device array
        The bricks around each one in raster order, itself in the middle; -1 where there is none.
    place : (n,) int32 device array
        Brick times 64 plus cell of each voxel of the foreground.
    """

    around: Any
    place: Any

    def __len__(self) -> int:
        """Return the number of bricks."""
        return int(self.around.shape[0])


@cuda.jit
def mark_bricks(voxels, n_across, n_along, is_used):  # type: ignore[no-untyped-def]
    """Mark the bricks that hold a voxel, in a table with ``n_across`` rows and ``n_along`` columns; one thread a voxel."""
    for i in range(cuda.grid(1), voxels.shape[0], cuda.gridsize(1)):
        is_used[((voxels[i, 0] >> 2) * n_across + (voxels[i, 1] >> 2)) * n_along + (voxels[i, 2] >> 2)] = 1


@cuda.jit
def join_bricks(is_used, number, n_deep, n_across, n_along, around):  # type: ignore[no-untyped-def]
    """Fill the table of the 27 bricks around each brick; one thread a place in the box."""
    for here in range(cuda.grid(1), is_used.size, cuda.gridsize(1)):
        if not is_used[here]:
            continue
        z, y, x = here // (n_across * n_along), (here // n_along) % n_across, here % n_along
        for k in range(27):
            z1, y1, x1 = z + k // 9 - 1, y + (k // 3) % 3 - 1, x + k % 3 - 1
            other = -1
            if 0 <= z1 < n_deep and 0 <= y1 < n_across and 0 <= x1 < n_along:
                there = (z1 * n_across + y1) * n_along + x1
                if is_used[there]:
                    other = number[there]
            around[number[here], k] = other


@cuda.jit
def place_voxels(voxels, number, n_across, n_along, place):  # type: ignore[no-untyped-def]
    """Fill brick times 64 plus cell of each voxel; one thread a voxel."""
    for i in range(cuda.grid(1), voxels.shape[0], cuda.gridsize(1)):
        z, y, x = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        brick = number[((z >> 2) * n_across + (y >> 2)) * n_along + (x >> 2)]
        place[i] = brick * 64 + (z & 3) * 16 + (y & 3) * 4 + (x & 3)


@cuda.jit
def scatter(values, place, target):  # type: ignore[no-untyped-def]
    """Write a value per voxel into the bricks; one thread a voxel."""
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        target[place[i]] = values[i]


@cuda.jit
def gather(source, place, values):  # type: ignore[no-untyped-def]
    """Read a value per voxel out of the bricks; one thread a voxel."""
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        values[i] = source[place[i]]


def make_bricks(foreground: DeviceForeground) -> Bricks:
    """Return the bricks of a foreground that is not empty. One number, how many there are, crosses to the host."""
    deep, across, along = (-(-size // SIDE) for size in foreground.shape)
    is_used = filled_int(deep * across * along, 0)
    launch(mark_bricks, len(foreground), foreground.voxels, across, along, is_used)
    number = running_sum(is_used)
    n_bricks = int(number[-1:].copy_to_host()[0])
    around, place = cuda.device_array((n_bricks, 27), np.int32), cuda.device_array(len(foreground), np.int32)
    launch(join_bricks, is_used.size, is_used, number, deep, across, along, around)
    launch(place_voxels, len(foreground), foreground.voxels, number, across, along, place)
    return Bricks(around, place)


def in_bricks(bricks: Bricks, values: Any) -> Any:
    """Return a value per voxel (n,) laid out in bricks, (64 b,) float32 device array; infinite elsewhere."""
    target = cuda.device_array(CELLS * len(bricks), np.float32)
    launch(fill, target.size, target, np.float32(np.inf))
    launch(scatter, values.size, values, bricks.place, target)
    return target
