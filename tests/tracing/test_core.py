"""The list-based core of tracing as a whole: the same bytes whatever compiles or shares the work, and bounded on odd input."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads
from scipy import ndimage

from vesselgraph import Heatmap, Space, Volume, trace
from vesselgraph.config import TraceConfig
from vesselgraph.metrics import betti_of_graph
from vesselgraph.tracing.depth import depth_of
from vesselgraph.tracing.foreground import find_foreground
from vesselgraph.tracing.ridges import find_ridges
from vesselgraph.tracing.thinning import thin

THINNING = TraceConfig(n_bridges=0, keypoint_paths=False)

_CORE = """
import numpy as np
from scipy import ndimage
from vesselgraph.tracing.depth import depth_of
from vesselgraph.tracing.foreground import find_foreground, voxel_at
from vesselgraph.tracing.ridges import find_ridges
from vesselgraph.tracing.thinning import thin
heat = ndimage.gaussian_filter(np.random.default_rng(7).random((6, 7, 12)), 1.0).astype(np.float32)
found = find_foreground(heat, float(np.quantile(heat, 0.6)))
depth = depth_of(found, 5)
value, distance = find_ridges(heat, found, np.float32(0.02) * depth, np.zeros(len(found), np.float32), 0.01)
ids = thin(found, np.where(distance < 0.8, 1 - distance, value / value.max() - 1))
places = ((0, 0, 0), (3, 3, 5), (-1, 2, 2), (5, 6, 12))
here = [int(voxel_at(found.row_start, found.voxels, *found.shape, *place)) for place in places]
print(found.neighbours.sum(), depth.sum(), round(float(value.sum()), 3), np.isfinite(distance).sum(), ids.tolist(), here)
"""


_WHOLE = """
import time; T=time.process_time()
import numpy as np
from scipy import ndimage
from vesselgraph import Heatmap, Space, Volume, trace
from vesselgraph.config import TraceConfig
from vesselgraph.phantom import tube_graph, clean_mask
shape = (7, 9, 22)
noise = ndimage.gaussian_filter(np.random.default_rng(7).random(shape), 1.0)
z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
tube = np.exp(-((z - 3.2) ** 2 + (y - 4.1 - 0.1 * x) ** 2) / 3.0) * np.where((x > 9) & (x < 13), 0.02, 1.0)
heat = np.clip(0.9 * tube + 0.3 * (noise - noise.mean()), 0.0, 1.0).astype(np.float32)
mask = (tube > 0.4).astype(np.float32)
def told(graph):
    keep = {name: np.nan_to_num(column.astype(float), posinf=0.0).sum() for name, column in sorted(graph.edge_data.items())}
    total = [graph.path_position.sum(), np.nansum(graph.path_radius), *keep.values()]
    print(graph.edge_nodes.tolist(), graph.path_offset.tolist(), [f"{value:.4g}" for value in total])
every = TraceConfig(rivulet_paths=True)
for spacing in ((1.0, 1.0, 1.0), (2.0, 1.0, 1.0)):
    space = Space.axial(spacing)
    image = Volume((100 * tube).astype(np.float32), space)
    t=time.process_time(); told(trace(Heatmap(Volume(heat, space)), every, image=image))
    t=time.process_time(); told(trace(Heatmap(Volume(mask, space))))
t=time.process_time(); told(trace(Heatmap(Volume(heat, Space.axial())), TraceConfig(method="zhang2020")))
"""


def core_in_a_process(code=_CORE, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=True,
        timeout=200,
    )
    return done.stdout


def test_compiled_checked_and_interpreted_code_agree(tmp_path):
    compiled = core_in_a_process()
    assert core_in_a_process(NUMBA_DISABLE_JIT="1") == compiled
    # Bounds checks are compiled in, so the cache of this run is its own.
    assert core_in_a_process(NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path)) == compiled


def test_the_whole_stage_is_the_same_when_it_is_interpreted():
    # Interpreted, numpy checks every index: all kernels of tracing stay within their arrays.
    compiled = core_in_a_process(_WHOLE)
    assert compiled.count("\n") == 5
    assert core_in_a_process(_WHOLE, NUMBA_DISABLE_JIT="1") == compiled


def noise(shape=(20, 24, 40), seed=3):
    heat = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.5)
    low, high = np.quantile(heat, [0.75, 0.999])
    return np.clip(0.1 + 0.8 * (heat - low) / (high - low), 0.0, 1.0).astype(np.float32)


def skeleton(heat):
    found = find_foreground(heat, 0.1)
    none = np.zeros(len(found), np.float32)
    value, distance = find_ridges(heat, found, np.float32(0.02) * depth_of(found, 10), none, 0.01)
    return found.voxels[thin(found, np.where(distance < 0.8, 1 - distance, value / value.max() - 1))]


def digest(graph):
    arrays = (graph.node_position, graph.path_position, graph.path_radius, *graph.edge_data.values())
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def test_equal_bytes_for_any_number_of_threads():
    heatmap = Heatmap(Volume(noise(), Space.axial()))
    before = get_num_threads()
    try:
        seen = set()
        for threads in (1, before, 1):
            set_num_threads(threads)
            seen.add(digest(trace(heatmap)))
        assert len(seen) == 1
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_flips_and_axes_move_the_skeleton_by_no_more_than_a_voxel(axes, flips):
    heat = noise()
    other = skeleton(np.ascontiguousarray(np.flip(heat.transpose(axes), flips)))
    for axis in flips:
        other[:, axis] = heat.shape[axes[axis]] - 1 - other[:, axis]
    back = np.empty_like(other)
    back[:, list(axes)] = other
    here = skeleton(heat)
    if (axes, flips) == ((0, 1, 2), ()):
        assert np.array_equal(here, back)
    masks = [np.zeros(heat.shape, bool) for _ in range(2)]
    for mask, voxels in zip(masks, (here, back), strict=True):
        mask[tuple(voxels.T)] = True
    apart = [ndimage.distance_transform_edt(~a)[b] for a, b in (masks, masks[::-1])]
    # Ties are asked in raster order, so ends of equal height may differ by a little.
    assert all(np.quantile(d, 0.97) <= np.sqrt(3.0) for d in apart)


def test_a_wider_box_changes_no_voxel():
    heat = noise()
    heat[[0, 1, 2, -3, -2, -1]] = 0
    heat[:, [0, 1, 2, -3, -2, -1]] = 0
    heat[:, :, [0, 1, 2, -3, -2, -1]] = 0
    wider = np.pad(heat, ((5, 2), (1, 9), (30, 70)))
    assert np.array_equal(skeleton(wider) - [5, 1, 30], skeleton(heat))


def test_the_size_of_a_voxel_scales_the_graph():
    heat = noise()
    one = trace(Heatmap(Volume(heat, Space.axial())), THINNING)
    two = trace(Heatmap(Volume(heat, Space.axial((0.5, 0.5, 0.5)))), THINNING)
    assert np.array_equal(one.edge_nodes, two.edge_nodes)
    np.testing.assert_allclose(two.path_position, 0.5 * one.path_position, atol=1e-9)
    np.testing.assert_allclose(two.path_radius, 0.5 * one.path_radius, atol=1e-9)


def ball(radius):
    reach = np.arange(-radius - 2, radius + 3)
    return np.add.outer(np.add.outer(reach**2, reach**2), reach**2) <= radius**2


def torus():
    z, y, x = np.meshgrid(np.arange(-4, 5), np.arange(-12, 13), np.arange(-12, 13), indexing="ij")
    return (np.hypot(y, x) - 8.0) ** 2 + z**2 <= 6.0


def two_touching_tubes():
    mask = np.zeros((9, 14, 40), bool)
    mask[3:6, 3:6, 2:38] = mask[3:6, 6:9, 2:38] = True
    return mask


ODD = {
    "one voxel": (np.pad(np.ones((1, 1, 1), bool), 4), (0, 0)),
    "two voxels": (np.pad(np.ones((1, 1, 2), bool), 4), None),
    "a plane": (np.pad(np.ones((1, 15, 15), bool), 3), None),
    "a solid ball": (ball(6), None),
    "a torus": (torus(), (1, 1)),
    "touching tubes": (two_touching_tubes(), None),
    "the whole box": (np.ones((9, 10, 11), bool), None),
    "a box of one voxel": (np.ones((1, 1, 1), bool), (0, 0)),
    "a thin box": (np.ones((1, 2, 30), bool), None),
}


@pytest.mark.parametrize("as_mask", [True, False], ids=["mask", "heat"])
@pytest.mark.parametrize("name", ODD)
def test_odd_input_gives_a_graph_in_bounded_time(name, as_mask):
    mask, expected = ODD[name]
    heat = mask.astype(np.float32) * np.float32(1.0 if as_mask else 0.7)
    heatmap = Heatmap(Volume(heat, Space.axial()))
    # Links may close loops through flat heat; without them the loops are those of the foreground.
    pieces, loops = betti_of_graph(trace(heatmap, THINNING))
    assert loops == (expected[1] if expected else 0)
    if expected:
        assert pieces == expected[0]
    graph = trace(heatmap)
    assert np.isfinite(graph.path_position).all()
    assert (graph.path_radius > 0).all()


def test_nothing_hot_gives_an_empty_graph_with_its_columns():
    graph = trace(Heatmap(Volume(np.zeros((4, 5, 6), np.float32), Space.axial())))
    assert graph.n_nodes == graph.n_edges == 0
    assert {"generator", "mean_heat"} <= set(graph.edge_data)
