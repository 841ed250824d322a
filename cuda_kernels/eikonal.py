"""Travel times by a block fast-iterative solve: the twin of ``vesselgraph.tracing.marching`` with the scheme "first".

Strategy. One block of threads takes one brick of 4 x 4 x 4 voxels and a rim of its neighbours into shared memory, updates all
its voxels a few times, and writes them to a second array. When all bricks that had something new are done, the next launch
copies them back and wakes the bricks behind every side that fell. A launch reads only what the launch before has written, so
the answer depends neither on the order of blocks nor on the device, and ends at the fixed point that marching reaches, within
float32. The host counts the bricks that are awake and relaunches; nothing waits across the grid inside a kernel.

References
----------
Jeong & Whitaker, "A fast iterative method for eikonal equations", SIAM J. Scientific Computing 30 (2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import cuda, float32
from numpy.typing import NDArray

from cuda_kernels.basins import sources_of
from cuda_kernels.bricks import CELLS, gather, in_bricks, make_bricks
from cuda_kernels.device import SIMULATED, launch
from cuda_kernels.foreground import DeviceForeground
from cuda_kernels.ridge_filter import fill
from cuda_kernels.single import on_device
from cuda_kernels.thinning import fill_int, filled_int
from vesselgraph.tracing.marching import Arrival, descend, step_lengths
from vesselgraph.tracing.upwind import godunov

_godunov = on_device(godunov)
_descend = on_device(descend)

_TILE, _TILE_CELLS = 6, 216
_N_INNER = 8
# Sides of a brick that fell, and whether it has not settled.
_LOW_Z, _HIGH_Z, _LOW_Y, _HIGH_Y, _LOW_X, _HIGH_X, _UNSETTLED = 1, 2, 4, 8, 16, 32, 64
_BLOCK = 4 if SIMULATED else CELLS
_MOST_BLOCKS = 2 if SIMULATED else 65535
_NEVER = 128
# What wakes each of the 27 bricks around one: the side towards it, for itself that it has not settled.
_NEEDED = np.full(27, _NEVER, np.int32)
_NEEDED[[4, 22, 10, 16, 12, 14, 13]] = _LOW_Z, _HIGH_Z, _LOW_Y, _HIGH_Y, _LOW_X, _HIGH_X, _UNSETTLED


@cuda.jit
def relax_bricks(awake, n_awake, around, slowness, before, after, wz, wy, wx, fell, is_awake):  # type: ignore[no-untyped-def]
    """Update the voxels of each awake brick a few times; a block of 64 threads a brick, a thread a voxel.

    ``fell`` receives which sides of the brick have earlier times than before.
    """
    tile = cuda.shared.array(_TILE_CELLS, float32)
    fresh = cuda.shared.array(CELLS, float32)
    for turn in range(cuda.blockIdx.x, n_awake, cuda.gridDim.x):
        brick = awake[turn]
        if cuda.threadIdx.x == 0:
            fell[brick] = 0
            is_awake[brick] = 0
        for c in range(cuda.threadIdx.x, _TILE_CELLS, cuda.blockDim.x):
            # Coordinates in the tile start one voxel before the brick.
            z, y, x = c // 36 + 3, (c // 6) % 6 + 3, c % 6 + 3
            other = around[brick, (z >> 2) * 9 + (y >> 2) * 3 + (x >> 2)]
            tile[c] = before[other * CELLS + (z & 3) * 16 + (y & 3) * 4 + (x & 3)] if other >= 0 else float32(np.inf)
        cuda.syncthreads()
        moved = 0
        for _ in range(_N_INNER):
            moved = 0
            for c in range(cuda.threadIdx.x, CELLS, cuda.blockDim.x):
                here = ((c >> 4) + 1) * 36 + (((c >> 2) & 3) + 1) * 6 + (c & 3) + 1
                slow = slowness[brick * CELLS + c]
                time = tile[here]
                # Voxels outside of the foreground are infinitely slow.
                if slow < float32(np.inf):
                    a = min(tile[here - 36], tile[here + 36])
                    b = min(tile[here - 6], tile[here + 6])
                    e = min(tile[here - 1], tile[here + 1])
                    if min(a, b, e) < time:
                        time = min(time, _godunov(a, b, e, wz, wy, wx, slow))
                fresh[c] = time
                if time < tile[here]:
                    moved = 1
            moved = cuda.syncthreads_or(moved)
            for c in range(cuda.threadIdx.x, CELLS, cuda.blockDim.x):
                tile[((c >> 4) + 1) * 36 + (((c >> 2) & 3) + 1) * 6 + (c & 3) + 1] = fresh[c]
            cuda.syncthreads()
            if not moved:
                break
        for c in range(cuda.threadIdx.x, CELLS, cuda.blockDim.x):
            after[brick * CELLS + c] = fresh[c]
            sides = _UNSETTLED if moved else 0
            if fresh[c] < before[brick * CELLS + c]:
                z, y, x = c >> 4, (c >> 2) & 3, c & 3
                sides |= _LOW_Z if z == 0 else (_HIGH_Z if z == 3 else 0)
                sides |= _LOW_Y if y == 0 else (_HIGH_Y if y == 3 else 0)
                sides |= _LOW_X if x == 0 else (_HIGH_X if x == 3 else 0)
            if sides:
                cuda.atomic.or_(fell, brick, sides)
        cuda.syncthreads()


@cuda.jit
def wake_bricks(awake, n_awake, around, after, before, fell, is_awake, following, n_following):  # type: ignore[no-untyped-def]
    """Copy the new times back and list the bricks behind every side that fell; 64 threads an awake brick."""
    needed = cuda.const.array_like(_NEEDED)
    for item in range(cuda.grid(1), n_awake * CELLS, cuda.gridsize(1)):
        brick, c = awake[item // CELLS], item % CELLS
        before[brick * CELLS + c] = after[brick * CELLS + c]
        if c < 27:
            other = around[brick, c]
            if other >= 0 and fell[brick] & needed[c] != 0 and cuda.atomic.exch(is_awake, other, 1) == 0:
                following[cuda.atomic.add(n_following, 0, 1)] = other


@cuda.jit
def start_front(sources, place, around, before, is_awake, awake, n_awake):  # type: ignore[no-untyped-def]
    """Set the time of the sources to 0 and list their bricks and those next to them; one thread a source."""
    needed = cuda.const.array_like(_NEEDED)
    for s in range(cuda.grid(1), sources.size, cuda.gridsize(1)):
        brick = place[sources[s]] // CELLS
        before[place[sources[s]]] = float32(0.0)
        for k in range(27):
            other = around[brick, k]
            if other >= 0 and needed[k] != _NEVER and cuda.atomic.exch(is_awake, other, 1) == 0:
                awake[cuda.atomic.add(n_awake, 0, 1)] = other


@cuda.jit
def walk_down(times, neighbours, slowness, length, previous):  # type: ignore[no-untyped-def]
    """Fill the neighbour of steepest descent of each voxel; one thread a voxel."""
    for v in range(cuda.grid(1), times.size, cuda.gridsize(1)):
        _descend(v, v + 1, 0, times, neighbours, slowness, length, previous)


def travel_times(foreground: DeviceForeground, slowness: Any, sources: Any, spacing: Sequence[float]) -> Any:
    """Return when a front from the sources reaches each voxel, (n,) float32 device array; infinite where it does not come.

    Parameters
    ----------
    foreground : DeviceForeground
        Where the front can go.
    slowness : (n,) float32 device array
        Seconds (or anything else) per length; > 0.
    sources : (k,) int32 device array
        Ids of voxels, whose time is 0.
    spacing : (3,)
        Lengths along planes, rows, columns.
    """
    n = len(foreground)
    times = cuda.device_array(n, np.float32)
    if n == 0:
        return times
    bricks = make_bricks(foreground)
    before, after = cuda.device_array(CELLS * len(bricks), np.float32), cuda.device_array(CELLS * len(bricks), np.float32)
    launch(fill, before.size, before, np.float32(np.inf))
    slow = in_bricks(bricks, slowness)
    weights = [np.float32(1.0 / h**2) for h in spacing]
    fell, is_awake = filled_int(len(bricks), 0), filled_int(len(bricks), 0)
    awake, following = ((cuda.device_array(len(bricks), np.int32), filled_int(1, 0)) for _ in range(2))
    launch(start_front, sources.size, sources, bricks.place, bricks.around, before, is_awake, *awake)
    while n_awake := int(awake[1].copy_to_host()[0]):
        relax_bricks[min(n_awake, _MOST_BLOCKS), _BLOCK](
            awake[0], n_awake, bricks.around, slow, before, after, *weights, fell, is_awake
        )
        launch(fill_int, 1, following[1], 0)
        launch(wake_bricks, n_awake * CELLS, awake[0], n_awake, bricks.around, after, before, fell, is_awake, *following)
        awake, following = following, awake
    launch(gather, n, before, bricks.place, times)
    return times


def march(
    found: DeviceForeground, speed: NDArray[np.float64], sources: NDArray[np.int64], spacing: NDArray[np.float64]
) -> Arrival:
    """Return what ``vesselgraph.tracing.marching.march`` does, in single precision, of a foreground on the device."""
    slowness = cuda.to_device((1.0 / speed).astype(np.float32))
    starts = cuda.to_device(sources.astype(np.int32))
    times = travel_times(found, slowness, starts, [float(size) for size in spacing])
    length = cuda.to_device(step_lengths(spacing).astype(np.float32))
    previous = cuda.device_array(len(found), np.int32)
    launch(walk_down, len(found), times, found.neighbours, slowness, length, previous)
    source = sources_of(previous, starts)
    return Arrival(times.copy_to_host().astype(np.float64), source.copy_to_host(), previous.copy_to_host())
