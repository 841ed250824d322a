"""The box of a region with a margin."""

from __future__ import annotations

import numpy as np

from vesselgraph.volume import Volume


def box_around(mask: Volume, margin: float) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the index box of a mask with a margin in mm, clipped to the volume: first and one past the last voxel."""
    first, last = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        used = np.flatnonzero(mask.array.any(axis=others))
        extra = int(np.ceil(margin / mask.space.spacing[axis]))
        first.append(max(int(used[0]) - extra, 0))
        last.append(min(int(used[-1]) + 1 + extra, mask.shape[axis]))
    return (first[0], first[1], first[2]), (last[0], last[1], last[2])
