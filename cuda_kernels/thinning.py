"""Heat-ordered homotopic thinning in parallel, by subfields.

Strategy. Voxels whose plane, row and column have the same parities form a subfield: no two of them touch, so the simple ones
among them may all go at once without changing the topology. Voxels wait by level (cold first) and subfield. Within a level
the eight subfields take turns, in rounds: whoever loses a neighbour is asked again in the next round, if its level has been
reached; a level ends with the first round in which nobody has to be asked again. A round is a set for each subfield and a
turn's outcome depends on sets alone, so the result depends neither on the order of threads nor on the device: the host
function :func:`thin_on_host` gives the same voxels.

References
----------
Saha, Borgefors & Sanniti di Baja, "A survey on skeletonization algorithms and their applications", Pattern Recognition Letters
76 (2016), section on subfield-sequential thinning. Ordered as ``vesselgraph.tracing.thinning``, on fewer levels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda, njit, uint32
from numpy.typing import NDArray

from cuda_kernels.device import launch
from cuda_kernels.foreground import DeviceForeground, running_sum
from cuda_kernels.single import on_device
from vesselgraph.tracing.foreground import Foreground
from vesselgraph.tracing.topology import is_simple

N_LEVELS = 64
_N_SUBFIELDS = 8


@njit(cache=True, nogil=True)
def may_go(bits):  # type: ignore[no-untyped-def]
    """Return whether a voxel with these object neighbours is simple and not the end of a curve."""
    if bits == 0 or bits & (bits - np.uint32(1)) == 0:
        return False
    return is_simple(bits)


@njit(cache=True, nogil=True)
def subfield_of(voxels, i):  # type: ignore[no-untyped-def]
    """Return which of the eight subfields a voxel lies in."""
    return (voxels[i, 0] & 1) * 4 + (voxels[i, 1] & 1) * 2 + (voxels[i, 2] & 1)


_may_go = on_device(may_go)
_subfield_of = on_device(subfield_of)


@cuda.jit
def count_groups(level, voxels, counts):  # type: ignore[no-untyped-def]
    """Count the voxels of each level and subfield; one thread a voxel."""
    for i in range(cuda.grid(1), level.size, cuda.gridsize(1)):
        cuda.atomic.add(counts, level[i] * _N_SUBFIELDS + _subfield_of(voxels, i), 1)


@cuda.jit
def fill_groups(level, voxels, cursor, queue):  # type: ignore[no-untyped-def]
    """Write the ids of each level and subfield side by side; their order within a group does not matter."""
    for i in range(cuda.grid(1), level.size, cuda.gridsize(1)):
        queue[cuda.atomic.add(cursor, level[i] * _N_SUBFIELDS + _subfield_of(voxels, i), 1)] = i


@cuda.jit
def neighbour_bits(neighbours, bits):  # type: ignore[no-untyped-def]
    """Fill the object bits (bit k: neighbour k is there) of every voxel; one thread a voxel."""
    for i in range(cuda.grid(1), bits.size, cuda.gridsize(1)):
        own = uint32(0)
        for k in range(26):
            if neighbours[i, k] >= 0:
                own |= uint32(1) << uint32(k)
        bits[i] = own


@cuda.jit
def take_turn(queue, first, n, current, voxels, neighbours, level, bits, present, queued, base, again, n_again):  # type: ignore[no-untyped-def]
    """Delete what may go of the ``n`` voxels of one subfield from ``queue[first]`` on; one thread a voxel.

    Their neighbours whose level has been reached are appended to ``again``, each once, those of subfield ``s`` from
    ``base[s]`` on.
    """
    for item in range(cuda.grid(1), n, cuda.gridsize(1)):
        i = queue[first + item]
        queued[i] = 0
        own = bits[i]
        if not _may_go(own):
            continue
        present[i] = 0
        for k in range(26):
            if (own >> uint32(k)) & uint32(1) == 0:
                continue
            j = neighbours[i, k]
            cuda.atomic.and_(bits, j, uint32(0xFFFFFFFF) ^ (uint32(1) << uint32(25 - k)))
            if level[j] <= current and cuda.atomic.exch(queued, j, 1) == 0:
                subfield = _subfield_of(voxels, j)
                again[base[subfield] + cuda.atomic.add(n_again, subfield, 1)] = j


@cuda.jit
def fill_int(target, value):  # type: ignore[no-untyped-def]
    """Write one value everywhere; one thread an element."""
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        target[i] = value


def filled_int(n: int, value: int) -> Any:
    """Return an int32 device array of ``n`` times ``value``."""
    array = cuda.device_array(n, np.int32)
    launch(fill_int, n, array, value)
    return array


def thin(foreground: DeviceForeground, level: Any, n_levels: int = N_LEVELS) -> Any:
    """Return which voxels of the foreground stay, (n,) int32 device array of 0 and 1.

    Parameters
    ----------
    foreground : DeviceForeground
        The object, 26-connected.
    level : (n,) int32 device array
        When each voxel is first asked, low first; below ``n_levels``.
    n_levels : int
        Each costs at least one launch a subfield that has voxels on it.

    Returns
    -------
    present : (n,) int32 device array
        The skeleton: same components, tunnels and cavities as the foreground.
    """
    n = len(foreground)
    present = filled_int(n, 1)
    if n == 0:
        return present
    counts = filled_int(n_levels * _N_SUBFIELDS, 0)
    launch(count_groups, n, level, foreground.voxels, counts)
    bits = cuda.device_array(n, np.uint32)
    launch(neighbour_bits, n, foreground.neighbours, bits)
    starts = running_sum(counts)
    cursor, queue = running_sum(counts), cuda.device_array(n, np.int32)
    launch(fill_groups, n, level, foreground.voxels, cursor, queue)
    group_start = starts.copy_to_host()
    group_size = np.diff(group_start).reshape(n_levels, _N_SUBFIELDS)
    host_base = np.concatenate([[0], np.cumsum(group_size.sum(axis=0))]).astype(np.int32)
    base, queued = cuda.to_device(host_base), filled_int(n, 1)
    again, following = ((cuda.device_array(n, np.int32), filled_int(_N_SUBFIELDS, 0)) for _ in range(2))
    for current in np.flatnonzero(group_size.any(axis=1)):
        source, first = queue, group_start[current * _N_SUBFIELDS : (current + 1) * _N_SUBFIELDS]
        size = group_size[current]
        while size.any():
            for subfield in np.flatnonzero(size):
                launch(
                    take_turn, int(size[subfield]), source, int(first[subfield]), int(size[subfield]), int(current),
                    foreground.voxels, foreground.neighbours, level, bits, present, queued, base, *again,
                )  # fmt: skip
            source, first, size = again[0], host_base, again[1].copy_to_host()
            again, following = following, again
            launch(fill_int, _N_SUBFIELDS, again[1], 0)
    return present


@cuda.jit
def compact(present, starts, ids):  # type: ignore[no-untyped-def]
    """Write the ids of what is present side by side; one thread a voxel."""
    for i in range(cuda.grid(1), present.size, cuda.gridsize(1)):
        if present[i]:
            ids[starts[i]] = i


def compacted(present: Any) -> NDArray[np.int32]:
    """Return the ids of what is present of a device array (n,) of 0 and 1, rising, on the host."""
    if present.size == 0:
        return np.zeros(0, np.int32)
    starts = running_sum(present)
    ids = cuda.device_array(int(starts[-1:].copy_to_host()[0]), np.int32)
    launch(compact, present.size, present, starts, ids)
    return np.asarray(ids.copy_to_host())


@njit(cache=True, nogil=True)
def _thin_on_host(voxels, neighbours, level, n_levels, present):  # type: ignore[no-untyped-def]
    """Delete voxels in the order of :func:`thin`; ``present`` is changed in place."""
    n_groups = n_levels * _N_SUBFIELDS
    starts = np.zeros(n_groups + 1, np.int64)
    for i in range(level.size):
        starts[level[i] * _N_SUBFIELDS + subfield_of(voxels, i) + 1] += 1
    starts = np.cumsum(starts)
    cursor, queue = starts.copy(), np.empty(level.size, np.int32)
    base = np.zeros(_N_SUBFIELDS + 1, np.int64)
    for i in range(level.size):
        subfield = subfield_of(voxels, i)
        group = level[i] * _N_SUBFIELDS + subfield
        queue[cursor[group]] = i
        cursor[group] += 1
        base[subfield + 1] += 1
    base = np.cumsum(base)
    queued, bits = np.ones(level.size, np.uint8), np.zeros(level.size, np.uint32)
    for i in range(level.size):
        for k in range(26):
            if neighbours[i, k] >= 0:
                bits[i] |= np.uint32(1) << np.uint32(k)
    again = np.empty((2, level.size), np.int32)
    for current in range(n_levels):
        first = starts[current * _N_SUBFIELDS : (current + 1) * _N_SUBFIELDS].copy()
        size = starts[current * _N_SUBFIELDS + 1 : (current + 1) * _N_SUBFIELDS + 1] - first
        source, turn = queue, 0
        while size.any():
            n_again = np.zeros(_N_SUBFIELDS, np.int64)
            for subfield in range(_N_SUBFIELDS):
                for item in range(first[subfield], first[subfield] + size[subfield]):
                    i = source[item]
                    queued[i] = 0
                    own = bits[i]
                    if not may_go(own):
                        continue
                    present[i] = 0
                    for k in range(26):
                        if not (own >> np.uint32(k)) & np.uint32(1):
                            continue
                        j = neighbours[i, k]
                        bits[j] &= ~(np.uint32(1) << np.uint32(25 - k))
                        if level[j] <= current and not queued[j]:
                            queued[j] = 1
                            other = subfield_of(voxels, j)
                            again[turn, base[other] + n_again[other]] = j
                            n_again[other] += 1
            source, first, size = again[turn], base[:_N_SUBFIELDS].copy(), n_again
            turn = 1 - turn


def thin_on_host(foreground: Foreground, level: NDArray[np.int32], n_levels: int = N_LEVELS) -> NDArray[np.int32]:
    """Return what :func:`thin` returns, computed on the CPU one voxel after the other."""
    present = np.ones(len(foreground), np.int32)
    if len(foreground):
        _thin_on_host(foreground.voxels, foreground.neighbours, level, n_levels, present)
    return present
