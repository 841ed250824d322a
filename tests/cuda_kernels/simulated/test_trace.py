"""The tracing steps as the stage calls them, and the whole stage on the simulated device."""

import numpy as np
import pytest
from numba import cuda
from scipy import ndimage
from scipy.spatial import cKDTree

from cuda_kernels import eikonal
from cuda_kernels.cases import blobs
from cuda_kernels.foreground import find_foreground as find_on_device
from cuda_kernels.trace import CudaKernels
from vesselgraph import Heatmap, Space, Volume, trace
from vesselgraph.config import TraceConfig
from vesselgraph.errors import RangeError
from vesselgraph.phantom import clean_mask, tube_graph
from vesselgraph.tracing.backend import NumbaKernels, kernels_for
from vesselgraph.tracing.field import Field
from vesselgraph.tracing.foreground import find_foreground
from vesselgraph.tracing.marching import march

ALL = np.ones((3, 3, 3))


def field_of(kernels, heat, *, from_mask):
    foreground, depth = kernels.find(heat, 0.3, None if from_mask else 10)
    return Field(Space.axial(), heat, foreground, depth, None, from_mask)


@pytest.mark.parametrize("from_mask", [False, True])
def test_the_device_finds_and_thins_what_the_cpu_does(from_mask):
    heat = blobs((11, 9, 14), 4)
    if from_mask:
        heat = (heat > 0.3).astype(np.float32)
    device, cpu = CudaKernels(), NumbaKernels()
    found, expected = field_of(device, heat, from_mask=from_mask), field_of(cpu, heat, from_mask=from_mask)
    for name in ("shape", "voxels", "row_start", "neighbours"):
        assert np.array_equal(getattr(found.foreground, name), getattr(expected.foreground, name))
        assert np.asarray(getattr(found.foreground, name)).dtype == np.asarray(getattr(expected.foreground, name)).dtype
    assert np.array_equal(found.depth, expected.depth)
    ids, expected_ids = device.skeleton(found, TraceConfig()), cpu.skeleton(expected, TraceConfig())
    assert ids.dtype == np.int64
    assert (np.diff(ids) > 0).all()
    shapes = []
    for kept in (ids, expected_ids):
        mask = np.zeros(heat.shape, bool)
        mask[tuple(found.foreground.voxels[kept].T)] = True
        shapes.append(mask)
    pieces = [ndimage.label(mask, ALL)[1] for mask in (heat > 0.3, *shapes)]
    assert pieces[0] == pieces[1] == pieces[2]
    distance = cKDTree(np.argwhere(shapes[1])).query(np.argwhere(shapes[0]))[0]
    assert np.mean(distance == 0) > 0.8
    assert distance.max() <= 2.0


def test_nothing_hot():
    foreground, depth = CudaKernels().find(np.zeros((4, 5, 6), np.float32), 0.1, 10)
    assert len(foreground) == 0
    assert foreground.neighbours.shape == (0, 26)
    assert depth.shape == (0,)


def small_fork(spacing):
    graph = tube_graph("y", length=9.0, radius=1.5, step=0.5)
    direction = Space.axial().direction
    own = graph.path_position @ direction
    low = own.min(axis=0) - 3.0
    shape = tuple(int(n) for n in np.ceil((np.ptp(own, axis=0) + 6.0) / spacing) + 1)
    space = Space(np.asarray(spacing), direction @ low, direction)
    return graph, Volume(clean_mask(graph, space, shape).astype(np.float32), space)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.3, 1.0, 1.1)], ids=["isotropic", "anisotropic"])
def test_the_whole_stage_gives_the_graph_of_the_cpu(spacing):
    _, mask = small_fork(spacing)
    heat = Heatmap(mask.with_array(0.95 * ndimage.gaussian_filter(mask.array, 0.8)))
    image = mask.with_array(100.0 * mask.array)
    on_device = trace(heat, TraceConfig(backend="cuda"), image=image)
    on_cpu = trace(heat, TraceConfig(backend="numba"), image=image)
    assert isinstance(kernels_for("cuda"), CudaKernels)
    assert (on_device.n_nodes, on_device.n_edges) == (on_cpu.n_nodes, on_cpu.n_edges)
    assert on_device.n_edges >= 3
    near = cKDTree(on_cpu.path_position).query(on_device.path_position)
    assert near[0].max() < 0.8
    assert np.allclose(np.median(on_device.path_radius), np.median(on_cpu.path_radius), atol=0.15)


def test_the_whole_stage_on_an_empty_heatmap():
    heat = Heatmap(Volume(np.zeros((6, 7, 8), np.float32), Space.axial()))
    assert trace(heat, TraceConfig(backend="cuda")).n_edges == 0


def test_the_front_of_the_device_is_that_of_the_cpu():
    heat = blobs((7, 8, 9), 5)
    found = find_foreground(heat, 0.2)
    speed = np.maximum(heat[tuple(found.voxels.T)].astype(np.float64), 1e-3) ** 3
    sources, spacing = np.array([3, len(found) // 2, len(found) - 2]), np.array([1.0, 0.7, 1.6])
    arrival = eikonal.march(find_on_device(cuda.to_device(heat), 0.2), speed, sources, spacing)
    expected = march(found, speed, sources, spacing)
    assert np.allclose(arrival.time, expected.time, rtol=1e-5)
    assert np.mean(arrival.previous == expected.previous) > 0.99
    assert np.mean(arrival.source == expected.source) > 0.99
    assert arrival.previous[sources].tolist() == [-1, -1, -1]
    assert arrival.source[sources].tolist() == [0, 1, 2]


def test_basins_and_their_ways_are_those_of_the_cpu():
    heat = blobs((7, 8, 9), 5)
    kernels = CudaKernels()
    found, _ = kernels.find(heat, 0.2, 10)
    slowness = np.maximum(heat[tuple(found.voxels.T)], np.float32(1e-3)) ** -3
    sources = np.array([3, len(found) // 2, len(found) - 2])
    times, source, previous = kernels.basins(found, slowness, sources)
    expected = NumbaKernels().basins(found, slowness, sources)
    assert np.array_equal(times, expected[0])
    assert np.array_equal(source, expected[1])
    assert np.array_equal(previous, expected[2])
    none = kernels.basins(found, slowness, np.zeros(0, np.int64))
    assert np.isinf(none[0]).all()
    assert (none[1] == -1).all()


def test_ways_lie_in_the_foreground_found_last():
    ones = np.ones(2, np.float32)
    with pytest.raises(RangeError, match="call find first"):
        CudaKernels().basins(find_foreground(np.ones((1, 1, 2), np.float32), 0.5), ones, np.zeros(1, np.int64))


def test_samples_are_taken_of_the_heat_on_the_device_and_of_other_volumes():
    heat = blobs((5, 6, 7), 6)
    kernels = CudaKernels()
    kernels.find(heat, 0.3, 10)
    points = np.random.default_rng(0).uniform(-1.0, 7.0, (20, 3))
    for volume in (heat, heat.view(), heat[::-1], np.ones((2, 2, 2), np.float32)):
        expected = NumbaKernels().sample_points(volume, points)
        assert np.allclose(kernels.sample_points(volume, points), expected, atol=1e-5)
    assert kernels.sample_points(heat, np.zeros((0, 3))).shape == (0,)
