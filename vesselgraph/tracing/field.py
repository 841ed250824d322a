"""What the tracing kernels work on: heat on an isotropic grid and the list of its foreground voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.config import TraceConfig
from vesselgraph.errors import SpaceMismatchError
from vesselgraph.resampling import resample_like
from vesselgraph.space import Space
from vesselgraph.threads import run_parts
from vesselgraph.tracing.foreground import Foreground, find_foreground, sample_list
from vesselgraph.tracing.geometry import sample_points
from vesselgraph.tracing.isotropic import isotropic_near
from vesselgraph.volume import Heatmap, Volume

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

MASK_THRESHOLD = 0.5
"""Between the two values of a mask."""
DEPTH_LIMIT_VOX = 10
"""Deeper voxels of heat count as this deep; of a mask the depth is exact."""

# How far beyond half a gap heat is read: a capsule's width, and what a gap may be longer on the grid.
_MARGIN_VOX = 8.0


@dataclass(frozen=True, eq=False)
class Field:
    """One isotropic grid; lengths in voxels unless said otherwise.

    Attributes
    ----------
    space : Space
        Its place in the patient.
    heat : (planes, rows, columns) float32
        Read at single voxels only once the foreground is known.
    foreground : Foreground
        The n voxels above the threshold.
    depth : (n,) float32
        Distance of each to the background.
    radius : (planes, rows, columns) float32 or None
        The heatmap's own radius estimate, mm.
    from_mask : bool
        Whether the heat is a segmentation.
    """

    space: Space
    heat: Float32
    foreground: Foreground
    depth: Float32
    radius: Float32 | None
    from_mask: bool

    @property
    def voxel(self) -> float:
        """Edge of a voxel, mm."""
        return float(self.space.spacing[0])

    def width_at(self, points: Float64) -> Float64:
        """Return the first guess of the radius at points (M, 3), in voxels: the heatmap's, else the distance to the wall."""
        if self.radius is None:
            return sample_list(self.foreground, np.maximum(self.depth - np.float32(0.5), np.float32(0.5)), points)
        return sample_points(self.radius, points) / self.voxel


Find = Callable[[Float32, float, int | None], tuple[Foreground, Float32]]
"""Returns the voxels hotter than a threshold and the depth of each, at most a limit."""


def make_field(heatmap: Heatmap, config: TraceConfig, region: Volume | None, find: Find) -> Field | None:
    """Return the field of a heatmap inside of a region; None if nothing is hotter than the threshold.

    Isotropic heat is used where it lies. Other heat is brought to the finest of its spacings, around its foreground only; a
    mask by its signed distance to the wall.

    Raises
    ------
    SpaceMismatchError
        The region and the heatmap do not overlap.
    """
    from_mask = heatmap.is_mask
    threshold = MASK_THRESHOLD if from_mask else config.threshold
    heat = heatmap.heat if region is None else heat_inside(heatmap.heat, region)
    radius = heatmap.radius
    if not heat.space.is_isotropic:
        voxels = find_foreground(frozen(heat.array), threshold, joined=False).voxels
        if len(voxels) == 0:
            return None
        # A bridge is at most so far from the nearer of the vessels it joins.
        reach = 0.5 * config.max_gap + _MARGIN_VOX * float(heat.space.spacing.min())
        heat, radius = isotropic_near(heat, radius, voxels, reach, from_mask=from_mask)
    values = frozen(heat.array)
    foreground, depth = find(values, threshold, None if from_mask else DEPTH_LIMIT_VOX)
    if len(foreground) == 0:
        return None
    return Field(heat.space, values, foreground, depth, None if radius is None else frozen(radius.array), from_mask)


def frozen(array: NDArray[np.generic]) -> Float32:
    """Return an array as the kernels want it, so that each is compiled once: float32, one block of memory, read-only."""
    values = np.ascontiguousarray(array, dtype=np.float32).view()
    values.setflags(write=False)
    return values


@njit(cache=True, nogil=True)
def _any_outside(begin, end, heat, inside):  # type: ignore[no-untyped-def]
    """Return whether any voxel of some planes has heat but lies outside."""
    for z in range(begin, end):
        for y in range(heat.shape[1]):
            found = 0
            for x in range(heat.shape[2]):
                found += (heat[z, y, x] > 0) & (not inside[z, y, x])
            if found:
                return True
    return False


def heat_inside(heat: Volume, region: Volume) -> Volume:
    """Return the heat with zeros outside of the region; the heat itself if it has none there.

    Raises
    ------
    SpaceMismatchError
        The region and the heat do not overlap.
    """
    inside = resample_like(region, heat, interpolation="nearest")
    if not inside.array.any():
        raise SpaceMismatchError(
            "a region that overlaps the heatmap",
            f"heatmap bounds {heat.bounds.round(1).tolist()}, region bounds {region.bounds.round(1).tolist()} mm",
            "check that both come from the same patient and frame",
        )
    values = frozen(heat.array)
    if not any(run_parts(lambda begin, end: _any_outside(begin, end, values, inside.array), heat.shape[0])):
        return heat
    return heat.with_array(np.where(inside.array, heat.array, np.zeros(1, heat.array.dtype)))
