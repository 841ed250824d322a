"""The basins of many sources: the twin of ``vesselgraph.tracing.basins``.

Where the CPU walks the list in order, here all voxels ask all their neighbours at once, again and again, until no time falls.
The times are those of Dijkstra's algorithm too, and the rounds are as many as the longest way has steps. A round reads only
what the round before has written, so no answer depends on the order of threads. Of equally short ways the device may go another
than the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda, float32

from cuda_kernels.device import launch
from cuda_kernels.foreground import DeviceForeground
from cuda_kernels.ridge_filter import fill
from cuda_kernels.single import on_device
from cuda_kernels.thinning import fill_int, filled_int
from vesselgraph.tracing.basins import HALF_STEP, way_cost

_way_cost = on_device(way_cost)
# Rounds between two looks of the host; even, so that the newest times lie where they lay before.
_N_ROUNDS = 4


@cuda.jit
def ask_neighbours(neighbours, half_step, slowness, before, after, previous, n_fell):  # type: ignore[no-untyped-def]
    """Fill the least time over any neighbour, and that neighbour where it is less than before; one thread a voxel."""
    for v in range(cuda.grid(1), before.size, cuda.gridsize(1)):
        best, way = before[v], -1
        for k in range(26):
            u = neighbours[v, k]
            if u >= 0:
                time = _way_cost(before[u], half_step[k], slowness[u], slowness[v])
                if time < best:
                    best, way = time, u
        after[v] = best
        if way >= 0:
            previous[v] = way
            cuda.atomic.add(n_fell, 0, 1)


@cuda.jit
def start_ways(sources, times):  # type: ignore[no-untyped-def]
    """Set the time of the sources to 0; one thread a source."""
    for s in range(cuda.grid(1), sources.size, cuda.gridsize(1)):
        times[sources[s]] = float32(0.0)


@cuda.jit
def label_sources(sources, label):  # type: ignore[no-untyped-def]
    """Write the place of each source in their list; one thread a source."""
    for s in range(cuda.grid(1), sources.size, cuda.gridsize(1)):
        label[sources[s]] = s


@cuda.jit
def spread_labels(previous, label, spread):  # type: ignore[no-untyped-def]
    """Fill the label found at the end of the way down from each voxel; one thread a voxel."""
    for start in range(cuda.grid(1), previous.size, cuda.gridsize(1)):
        v = start
        while label[v] < 0 and previous[v] >= 0:
            v = previous[v]
        spread[start] = label[v]


def sources_of(previous: Any, sources: Any) -> Any:
    """Return the place in ``sources`` that the way back from each voxel ends at, (n,) int32 device array; -1 where none."""
    label, spread = filled_int(previous.size, -1), cuda.device_array(previous.size, np.int32)
    launch(label_sources, sources.size, sources, label)
    launch(spread_labels, previous.size, previous, label, spread)
    return spread


def find_basins(foreground: DeviceForeground, slowness: Any, sources: Any) -> tuple[Any, Any, Any]:
    """Return time, place in ``sources`` and the neighbour a way comes from, (n,) device arrays: float32, int32, int32.

    Parameters
    ----------
    foreground : DeviceForeground
        n voxels; ways do not leave them.
    slowness : (n,) float32 device array
        Cost of a voxel's width, > 0.
    sources : (k,) int32 device array
        Ids of voxels, whose time is 0.
    """
    n = len(foreground)
    times, following = cuda.device_array(n, np.float32), cuda.device_array(n, np.float32)
    previous, n_fell = filled_int(n, -1), filled_int(1, 0)
    launch(fill, n, times, np.float32(np.inf))
    launch(start_ways, sources.size, sources, times)
    half_step = cuda.to_device(HALF_STEP)
    while n > 0:
        launch(fill_int, 1, n_fell, 0)
        for _ in range(_N_ROUNDS):
            launch(ask_neighbours, n, foreground.neighbours, half_step, slowness, times, following, previous, n_fell)
            times, following = following, times
        if not int(n_fell.copy_to_host()[0]):
            break
    return times, sources_of(previous, sources), previous
