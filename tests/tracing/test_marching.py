"""Travel times: Dijkstra to the bit, the eikonal equation within the error of the scheme, invariances, stop conditions."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import set_num_threads
from scipy import ndimage, sparse
from scipy.sparse.csgraph import dijkstra

from vesselgraph.errors import InputError, RangeError
from vesselgraph.tracing.foreground import find_foreground
from vesselgraph.tracing.marching import march, path_back
from vesselgraph.tracing.topology import OFFSETS
from vesselgraph.tracing.upwind import godunov, over_triangle

SCHEMES = ["first", "multistencil", "graph"]
ONE = np.ones(3)


def random_foreground(seed, shape=(9, 8, 10), share=0.6):
    rng = np.random.default_rng(seed)
    solid = rng.random(shape) < share
    solid[4, 4, 4] = True
    return find_foreground(solid.astype(np.float32), 0.5), solid, rng


def block(n, spacing=ONE):
    """A solid cube, the id of its middle, and the exact distances from there."""
    found = find_foreground(np.ones((n, n, n), np.float32), 0.5)
    middle = n // 2
    return found, np.array([(middle * n + middle) * n + middle]), np.linalg.norm((found.voxels - middle) * spacing, axis=1)


def step_costs(found, speed, spacing):
    row, slot = np.nonzero(found.neighbours >= 0)
    column = found.neighbours[row, slot]
    slow = 1.0 / speed
    length = np.zeros(len(slot))
    for axis in range(3):
        length += (OFFSETS[slot, axis] * spacing[axis]) ** 2
    cost = np.sqrt(length) * 0.5 * (slow[column] + slow[row])
    return sparse.csr_matrix((cost, (row, column)), shape=(len(found), len(found)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_graph_times_equal_scipys_dijkstra_to_the_bit(seed, n_sources):
    found, _, rng = random_foreground(seed)
    spacing = rng.uniform(0.5, 3.0, 3)
    speed = rng.uniform(0.1, 2.0, len(found))
    sources = rng.choice(len(found), n_sources, replace=False)
    expected = dijkstra(step_costs(found, speed, spacing), indices=sources).min(axis=0)
    for solve in (march, partial(march, n_in_block=65536)):
        arrival = solve(found, speed, sources, spacing, scheme="graph")
        assert arrival.time.tolist() == expected.tolist()
        assert (arrival.source >= 0).tolist() == np.isfinite(expected).tolist()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.6)])
def test_free_space_within_the_error_of_the_scheme(scheme, spacing):
    found, source, exact = block(25, np.array(spacing))
    time = march(found, np.ones(len(found)), source, np.array(spacing), scheme=scheme).time
    relative = (time - exact)[exact > 0] / exact[exact > 0]
    # Upwind schemes are late, by most next to the source; the graph by most between its directions.
    allowed = {"first": 0.33, "multistencil": 0.12, "graph": 0.45 if spacing[0] == 2.0 else 0.13}[scheme]
    assert relative.min() > -1e-12
    assert relative.max() < allowed


def test_finer_grids_converge_and_more_stencils_are_better():
    errors = {}
    for scheme in ("first", "multistencil"):
        for n, h in ((11, 2.0), (41, 0.5)):
            found, source, exact = block(n, np.full(3, h))
            errors[scheme, n] = np.abs(
                march(found, np.ones(len(found)), source, np.full(3, h), scheme=scheme).time - exact
            ).mean()
        assert errors[scheme, 41] < 0.6 * errors[scheme, 11]
    assert errors["multistencil", 41] < 0.4 * errors["first", 41]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_plane_waves_are_exact(scheme):
    found = find_foreground(np.ones((6, 5, 12), np.float32), 0.5)
    sources = np.flatnonzero(found.voxels[:, 2] == 0)
    arrival = march(found, np.full(len(found), 0.5), sources, np.array([1.0, 2.0, 1.5]), scheme=scheme)
    np.testing.assert_allclose(arrival.time, found.voxels[:, 2] * 3.0, rtol=1e-14)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SCHEMES), st.integers(3, 200))
def test_parallel_blocks_agree_with_the_heap(seed, scheme, n_in_block):
    found, _, rng = random_foreground(seed)
    speed = rng.uniform(0.01, 2.0, len(found))
    sources = rng.choice(len(found), 3, replace=False)
    exact = march(found, speed, sources, ONE, scheme=scheme)
    blocks = march(found, speed, sources, ONE, scheme=scheme, n_in_block=n_in_block)
    np.testing.assert_allclose(blocks.time, exact.time, rtol=1e-9)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.inf, 4.0]))
def test_fronts_in_different_pieces_do_not_change_each_other(seed, stop_time):
    _, solid, rng = random_foreground(seed)
    # A wall of background parts the box; a piece may hold several sources or none.
    solid = solid & (np.arange(solid.shape[2]) != solid.shape[2] // 2)
    found = find_foreground(solid.astype(np.float32), 0.5)
    speed, sources = rng.uniform(0.2, 2.0, len(found)), rng.choice(len(found), 5, replace=False)
    piece = ndimage.label(solid, np.ones((3, 3, 3)))[0][tuple(found.voxels.T)]
    whole = march(found, speed, sources, ONE, stop_time=stop_time)
    for own in np.unique(piece[sources]):
        mine = np.flatnonzero(piece[sources] == own)
        alone = march(found, speed, sources[mine], ONE, stop_time=stop_time)
        assert alone.time[piece == own].tobytes() == whole.time[piece == own].tobytes()
        reached = np.isfinite(alone.time)
        assert (mine[alone.source[reached]] == whole.source[reached]).all()
    assert not np.isfinite(whole.time[~np.isin(piece, piece[sources])]).any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_number_of_threads_gives_the_same_bytes(scheme):
    found, _, rng = random_foreground(7, (20, 20, 20))
    speed, sources = rng.uniform(0.1, 1.0, len(found)), np.arange(0, len(found), 300)
    one = march(found, speed, sources, ONE, scheme=scheme, n_in_block=500)
    set_num_threads(2)
    try:
        two = march(found, speed, sources, ONE, scheme=scheme, n_in_block=500)
    finally:
        set_num_threads(1)
    for name in ("time", "source", "previous"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SCHEMES), st.permutations([0, 1, 2]), st.integers(0, 7))
def test_flips_axis_orders_and_scale(seed, scheme, order, flips):
    found, solid, rng = random_foreground(seed)
    spacing = rng.uniform(0.5, 2.0, 3)
    speed = np.zeros(solid.shape)
    speed[solid] = rng.uniform(0.2, 1.0, len(found))
    source = int(rng.integers(len(found)))
    time = np.full(solid.shape, np.nan)
    time[solid] = march(found, speed[solid], np.array([source]), spacing, scheme=scheme).time

    def turned(volume):
        return np.ascontiguousarray(np.flip(volume, [a for a in range(3) if flips >> a & 1]).transpose(order))

    start = np.zeros(solid.shape, bool)
    start[tuple(found.voxels[source])] = True
    other = find_foreground(turned(solid).astype(np.float32), 0.5)
    again = march(
        other,
        turned(speed)[turned(solid)],
        np.flatnonzero(turned(start)[turned(solid)]),
        3.0 * spacing[list(order)],
        scheme=scheme,
    )
    np.testing.assert_allclose(again.time, 3.0 * turned(time)[turned(solid)], rtol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ways_back_lead_down_to_the_nearest_source(scheme):
    found, _, rng = random_foreground(11, (14, 14, 14))
    sources = rng.choice(len(found), 5, replace=False)
    arrival = march(found, rng.uniform(0.3, 1.0, len(found)), sources, ONE, scheme=scheme)
    assert arrival.source[sources].tolist() == list(range(5))
    assert (arrival.previous[sources] == -1).all()
    for start in range(0, len(found), 37):
        path = path_back(arrival, start)
        if not np.isfinite(arrival.time[start]):
            assert path.tolist() == [start]
            assert arrival.source[start] == -1
            continue
        assert path[-1] == sources[arrival.source[start]]
        assert (np.diff(arrival.time[path]) < 0).all()
        assert np.abs(np.diff(found.voxels[path], axis=0)).max(initial=1) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_stopping_leaves_exactly_what_is_later_out(scheme):
    found, source, _ = block(13)
    speed = np.random.default_rng(1).uniform(0.5, 1.0, len(found))
    full = march(found, speed, source, ONE, scheme=scheme).time
    for solve in (march, partial(march, n_in_block=65536)):
        part = solve(found, speed, source, ONE, scheme=scheme, stop_time=5.0).time
        np.testing.assert_allclose(part, np.where(full <= 5.0, full, np.inf), rtol=1e-9)
    targets = np.array([3, 700])
    part = march(found, speed, source, ONE, scheme=scheme, targets=targets).time
    np.testing.assert_allclose(part[np.isfinite(part)], full[np.isfinite(part)], rtol=1e-9)
    assert np.isfinite(part[targets]).all()
    assert part[np.isfinite(part)].max() <= full[targets].max() * (1 + 1e-9)
    assert np.isinf(part).any()


def test_small_functions_by_hand():
    inf = np.inf
    assert godunov(inf, 2.0, inf, 1.0, 0.25, 1.0, 3.0) == 8.0
    assert godunov(1.0, 1.0, inf, 1.0, 1.0, 1.0, 1.0) == pytest.approx(1.0 + np.sqrt(0.5))
    assert godunov(0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0) == pytest.approx(np.sqrt(1 / 3))
    assert godunov(0.0, 5.0, 9.0, 1.0, 1.0, 1.0, 1.0) == 1.0
    # A plane front along the diagonal of a face, times by projection.
    half = np.sqrt(0.5)
    assert over_triangle(-half, -2 * half, inf, 1.0, 1.0, 1.0, 1.0) == pytest.approx(0.0, abs=1e-12)
    third = np.sqrt(1 / 3)
    assert over_triangle(-third, -2 * third, -3 * third, 1.0, 1.0, 1.0, 1.0) == pytest.approx(0.0, abs=1e-12)
    assert over_triangle(inf, inf, inf, 1.0, 1.0, 1.0, 1.0) == inf


def test_degenerate_and_refused():
    empty = find_foreground(np.zeros((3, 3, 3), np.float32), 0.5)
    none = np.zeros(0, np.int64)
    for solve in (march, partial(march, n_in_block=65536)):
        assert solve(empty, np.zeros(0), none, ONE).time.shape == (0,)
        lone, _, _ = block(1)
        assert solve(lone, np.ones(1), np.array([0]), ONE).time.tolist() == [0.0]
        cube, _, _ = block(3)
        assert np.isinf(solve(cube, np.ones(27), none, ONE).time).all()
    with pytest.raises(InputError, match="sources within the 27 voxels"):
        march(cube, np.ones(27), np.array([27]), ONE)
    with pytest.raises(InputError, match=r"speed of shape \(27,\)"):
        march(cube, np.ones(26), none, ONE)
    with pytest.raises(InputError, match="a scheme out of first"):
        march(cube, np.ones(27), none, ONE, scheme="second")
    with pytest.raises(RangeError, match="speeds and three spacings > 0"):
        march(cube, np.zeros(27), none, ONE)
    with pytest.raises(RangeError, match="at least one voxel in a block"):
        march(cube, np.ones(27), none, ONE, n_in_block=0)
    with pytest.raises(InputError, match="targets or blocks"):
        march(cube, np.ones(27), none, ONE, n_in_block=9, targets=np.array([1]))
