"""Trilinear values of a volume at path points: the twin of ``vesselgraph.tracing.geometry.sample_points``."""

from __future__ import annotations

from numba import cuda

from cuda_kernels.single import on_device
from vesselgraph.tracing.geometry import sample

sample_on_device = on_device(sample)


@cuda.jit
def sample_points(volume, points, values):  # type: ignore[no-untyped-def]
    """Fill the trilinear value at each point (n, 3); one thread a point."""
    for i in range(cuda.grid(1), points.shape[0], cuda.gridsize(1)):
        values[i] = sample_on_device(volume, points[i, 0], points[i, 1], points[i, 2])
