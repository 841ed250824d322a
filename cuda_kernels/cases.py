"""Random inputs on which every kernel is compared with the CPU; the parity script and the tests run these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray
from scipy import ndimage

from cuda_kernels import basins, depth, eikonal, foreground, ridge_filter, ridges, sampling, thinning
from cuda_kernels.device import launch
from cuda_kernels.trace import CudaKernels
from vesselgraph.heatmap.kernels import ridge_volume, smooth
from vesselgraph.phantom import clean_mask, tube_graph
from vesselgraph.space import Space
from vesselgraph.tracing.basins import find_basins
from vesselgraph.tracing.depth import depth_of
from vesselgraph.tracing.foreground import Foreground, find_foreground
from vesselgraph.tracing.geometry import sample_points
from vesselgraph.tracing.marching import march
from vesselgraph.tracing.radii import section_widths
from vesselgraph.tracing.ridges import find_ridges
from vesselgraph.volume import Volume

Arrays = tuple[NDArray[Any], ...]

_SIGMAS, _WEIGHTS = (0.7, 1.3, 2.0), (1.0, 0.8, 1.2)
_SPACING = (1.5, 0.7, 1.0)
_MIN_CURVATURE, _RIDGE_WIDTH, _N_LEVELS = 0.01, 0.8, 32


@dataclass(frozen=True)
class Case:
    """One kernel, or a chain of them, on one input.

    Attributes
    ----------
    name : str
        Of the kernel.
    n_items : int
        Voxels or points it works on.
    on_cpu, on_device : function
        Return the arrays to compare, on the host.
    tolerance : float
        Largest difference, relative to the largest finite value of each array; 0 means equal bits.
    share : float
        Of the elements that are within the tolerance. Below 1 only where a yes or no hangs on a float.
    """

    name: str
    n_items: int
    on_cpu: Callable[[], Arrays]
    on_device: Callable[[], Arrays]
    tolerance: float = 0.0
    share: float = 1.0

    def difference(self, reference: Arrays, result: Arrays) -> tuple[float, bool]:
        """Return the largest accepted-scale difference of the results, and whether they agree."""
        worst, agree = 0.0, True
        for first, second in zip(reference, result, strict=True):
            if first.shape != second.shape:
                return np.inf, False
            a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
            finite = np.isfinite(a)
            scale = max(float(np.abs(a[finite]).max(initial=0.0)), 1e-30)
            with np.errstate(invalid="ignore"):
                gap = np.where(a == b, 0.0, np.abs(a - b) / scale)
            gap[np.isnan(a) & np.isnan(b)] = 0.0
            close = gap <= self.tolerance
            agree &= bool(close.mean() >= self.share) if close.size else True
            worst = max(worst, float(gap[close].max(initial=0.0)))
        return worst, agree


def blobs(shape: tuple[int, int, int], seed: int, sigma: float = 1.2) -> NDArray[np.float32]:
    """Return smooth noise with the largest value 1, (planes, rows, columns)."""
    noise = np.random.default_rng(seed).normal(size=shape)
    values = ndimage.gaussian_filter(noise, sigma).astype(np.float32)
    return np.asarray(values / values.max(), dtype=np.float32)


def random_cases(shape: tuple[int, int, int], seed: int, share: float = 1.0) -> Iterator[Case]:
    """Yield a case for every twin on smooth noise of this shape; ``share`` as in :class:`Case`, for ridges only."""
    volume = blobs(shape, seed)
    threshold = float(np.quantile(volume, 0.85))
    found = find_foreground(volume, threshold)
    heat = cuda.to_device(volume)
    on_device = foreground.find_foreground(heat, threshold)
    yield _ridge_filter_case(volume, heat)
    yield _foreground_case(volume, heat, threshold, found)
    yield Case(
        "depth", len(found), lambda: (depth_of(found, 10),), lambda: (depth.depth_of(on_device, 10).copy_to_host(),)
    )  # fmt: skip
    yield from _thinning_cases(volume, heat, found, on_device, share)
    yield _basins_case(found, on_device, seed)
    yield _eikonal_case(found, on_device, seed)
    yield _sampling_case(volume, heat, seed)
    yield section_case(max(shape), seed)


def _ridge_filter_case(volume: NDArray[np.float32], heat: Any) -> Case:
    def on_cpu() -> Arrays:
        best, answer = np.zeros_like(volume), np.zeros_like(volume)
        smoothed, before = volume, 0.0
        for sigma, weight in zip(_SIGMAS, _WEIGHTS, strict=True):
            smoothed = smooth(smoothed, float(np.sqrt(sigma**2 - before**2)))
            before = sigma
            ridge_volume(smoothed, np.float32(sigma**2 * weight), answer)
            np.maximum(best, answer, out=best)
        return (best,)

    def on_device() -> Arrays:
        return (ridge_filter.ridge_filter(heat, _SIGMAS, _WEIGHTS)[0].copy_to_host(),)

    return Case("ridge filter", volume.size, on_cpu, on_device, 1e-5)


def _foreground_case(volume: NDArray[np.float32], heat: Any, threshold: float, found: Foreground) -> Case:
    def on_cpu() -> Arrays:
        again = find_foreground(volume, threshold)
        return again.voxels, again.row_start, again.neighbours

    def on_device() -> Arrays:
        listed = foreground.find_foreground(heat, threshold)
        return listed.voxels.copy_to_host(), listed.row_start.copy_to_host(), listed.neighbours.copy_to_host()

    return Case("foreground", len(found), on_cpu, on_device)


def _thinning_cases(
    volume: NDArray[np.float32], heat: Any, found: Foreground, on_device: foreground.DeviceForeground, share: float
) -> Iterator[Case]:
    n = len(found)
    lift, none = np.float32(0.02) * depth_of(found, 10), np.zeros(n, np.float32)

    def ridges_on_device() -> Arrays:
        height = cuda.device_array(volume.shape, np.float32)
        height.copy_to_device(heat)
        answers = ridges.find_ridges(height, on_device, cuda.to_device(lift), cuda.to_device(none), _MIN_CURVATURE)
        return tuple(answer.copy_to_host() for answer in answers)

    yield Case(
        "ridges", n, lambda: find_ridges(volume, found, lift, none, _MIN_CURVATURE), ridges_on_device, 1e-3, share
    )  # fmt: skip
    value, distance = find_ridges(volume, found, lift, none, _MIN_CURVATURE)
    order = np.where(distance < _RIDGE_WIDTH, 1 - distance, value / value.max(initial=1e-30) - 1)
    low, high = order.min(initial=np.inf), order.max(initial=-np.inf)
    level = ((order - low) * ((_N_LEVELS - 1) / max(high - low, np.float32(1e-30)))).astype(np.int32)
    yield Case(
        "thinning",
        n,
        lambda: (thinning.thin_on_host(found, level, _N_LEVELS),),
        lambda: (thinning.thin(on_device, cuda.to_device(level), _N_LEVELS).copy_to_host(),),
    )


def _basins_case(found: Foreground, on_device: foreground.DeviceForeground, seed: int) -> Case:
    slowness = np.random.default_rng(seed).uniform(0.5, 3.0, len(found)).astype(np.float32)
    sources = np.unique(np.linspace(0, max(len(found) - 1, 0), 5).astype(np.int64))[: len(found)]

    def solve() -> Arrays:
        starts = cuda.to_device(sources.astype(np.int32))
        return tuple(answer.copy_to_host() for answer in basins.find_basins(on_device, cuda.to_device(slowness), starts))

    return Case("basins", len(found), lambda: find_basins(found, slowness, sources), solve, 1e-6, share=0.999)


def _eikonal_case(found: Foreground, on_device: foreground.DeviceForeground, seed: int) -> Case:
    slowness = np.random.default_rng(seed).uniform(0.5, 3.0, len(found)).astype(np.float32)
    sources = np.unique(np.array([0, len(found) // 2]))[: len(found)]
    speed = 1.0 / slowness.astype(np.float64)

    def solve() -> Arrays:
        times = eikonal.travel_times(
            on_device, cuda.to_device(slowness), cuda.to_device(sources.astype(np.int32)), _SPACING
        )  # fmt: skip
        return (times.copy_to_host(),)

    return Case("eikonal", len(found), lambda: (march(found, speed, sources, np.array(_SPACING)).time,), solve, 1e-5)


def _sampling_case(volume: NDArray[np.float32], heat: Any, seed: int) -> Case:
    n = max(64, volume.size // 100)
    points = np.random.default_rng(seed).uniform(-1.0, max(volume.shape), (n, 3)).astype(np.float32)

    def on_cpu() -> Arrays:
        return (sample_points(volume, points.astype(np.float64)),)

    def on_device() -> Arrays:
        values = cuda.device_array(n, np.float32)
        launch(sampling.sample_points, n, heat, cuda.to_device(points), values)
        return (values.copy_to_host(),)

    return Case("sampling", n, on_cpu, on_device, 1e-4)


def section_case(size: float, seed: int) -> Case:
    """Return the case of radii in the noisy image, on an anisotropic grid, of a fork about ``size`` mm long."""
    graph = tube_graph("y", length=0.7 * size, radius=2.0, step=1.0)
    spacing = np.array([1.2, 0.8, 0.9])
    low, high = graph.path_position.min(axis=0) - 4.0, graph.path_position.max(axis=0) + 4.0
    direction = Space.axial().direction
    corners = np.stack([low, high]) @ direction
    space = Space(spacing, direction @ corners.min(axis=0), direction)
    extent = np.ceil(np.ptp(corners, axis=0) / spacing) + 1
    shape = (int(extent[0]), int(extent[1]), int(extent[2]))
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(clean_mask(graph, space, shape).astype(np.float32), 0.7)
    image += rng.normal(0.0, 0.1, shape).astype(np.float32)
    guess = graph.path_radius * rng.uniform(0.5, 1.5, graph.n_points)
    noisy = Volume(image, space)

    def on_device() -> Arrays:
        return (CudaKernels().section_widths(graph, noisy, guess),)

    return Case("sections", graph.n_points, lambda: (section_widths(graph, noisy, guess),), on_device, 1e-4)
