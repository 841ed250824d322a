"""The surface stage: shapes with known volume and topology, awkward graphs, the error bound, point data."""

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vesselgraph.config import SurfaceConfig
from vesselgraph.errors import BudgetError
from vesselgraph.graph import VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.progress import silent
from vesselgraph.surface import build_surface, check_surface
from vesselgraph.surface.build import without_specks
from vesselgraph.surface.cases import MIDDLE, _share_face, marching_cases
from vesselgraph.surface.cones import cone_table, drawn_radii, make_field
from vesselgraph.surface.field import RADIUS_FRACTION, Bound
from vesselgraph.surface.marching import march
from vesselgraph.surface.rays import cone_volume, union_volume
from vesselgraph.surface.refine import edges_of, measure, on_surface, refine

FORK = [[[0, 0, 0], [15, 0, 0]], [[15, 0, 0], [25, 8, 0]], [[15, 0, 0], [25, -8, 2]]]
FORK_RADII = [[2.0, 2.0], [1.6, 1.2], [1.5, 0.8]]


def ring(radius: float = 8.0, n: int = 40) -> VesselGraph:
    """Return a self-loop along a circle."""
    angle = np.linspace(0, 2 * np.pi, n + 1)
    path = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=1)
    path[-1] = path[0]
    return VesselGraph.from_paths([path], [np.full(n + 1, 1.5)])


def rotation(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


def random_graph(seed: int, n: int) -> VesselGraph:
    """Return branches between a few shared nodes and stray ones, some radii thin, some wide."""
    rng = np.random.default_rng(seed)
    nodes = rng.uniform(-10, 10, (max(2, n), 3))
    paths, radii = [], []
    for k in range(n):
        a, b = nodes[k % len(nodes)], nodes[rng.integers(len(nodes))] if k % 3 else rng.uniform(-10, 10, 3)
        middle = (a + b) / 2 + rng.normal(size=3)
        paths.append([a, middle, b])
        radii.append(rng.uniform(0.7, 2.5, 3))
    return VesselGraph.from_paths(paths, radii)


def test_tube_volume_is_closed_form() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [20, 0, 0]]], [[2.0, 1.0]])
    mesh = build_surface(graph)
    check = check_surface(mesh, graph)
    assert check.is_sound
    assert check.n_components == 1
    assert check.n_loops == 0
    assert check.analytic_volume == pytest.approx(cone_volume(20, 2, 1))
    assert check.analytic_error == 0
    assert abs(check.volume_error_fraction) < 0.005
    assert trimesh.Trimesh(mesh.points, mesh.faces, process=False).is_watertight


def test_balance_keeps_thin_vessels_from_losing_volume() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [0, 0, 12]]], [[0.5, 0.5]])
    assert abs(check_surface(build_surface(graph), graph).volume_error_fraction) < 0.01
    raw = check_surface(build_surface(graph, SurfaceConfig(max_error=0)), graph)
    assert raw.volume_error_fraction < -0.02
    assert raw.max_distance > 0.05


def test_thin_vessel_stays_connected_and_closed() -> None:
    direction = rotation(3)[0]
    graph = VesselGraph.from_paths([[[0, 0, 0], 25 * direction]], [[0.5, 0.5]])
    check = check_surface(build_surface(graph), graph)
    assert check.is_sound
    assert check.n_components == 1


def test_fork_is_one_closed_piece_and_the_blend_adds_little() -> None:
    graph = VesselGraph.from_paths(FORK, FORK_RADII)
    plain = check_surface(build_surface(graph, SurfaceConfig(blend_fraction=0)), graph)
    blended = check_surface(build_surface(graph), graph)
    wide = check_surface(build_surface(graph, SurfaceConfig(blend_fraction=1)), graph)
    for check in (plain, blended, wide):
        assert check.is_sound
        assert (check.n_components, check.n_loops) == (1, 0)
    assert abs(plain.volume_error_fraction) < 0.005
    assert -0.001 < blended.volume / plain.volume - 1 < 0.01
    assert wide.volume > blended.volume


def test_one_branch_in_two_is_not_inflated() -> None:
    whole = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0], [20, 0, 0]]], [[2.0, 2.0, 2.0]])
    halves = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0]], [[10, 0, 0], [20, 0, 0]]], [[2.0, 2.0], [2.0, 2.0]])
    config = SurfaceConfig(blend_fraction=1)
    assert build_surface(halves, config).volume == pytest.approx(build_surface(whole, config).volume, rel=1e-3)


def test_ring_has_one_loop() -> None:
    graph = ring()
    check = check_surface(build_surface(graph), graph)
    assert check.is_sound
    assert check.n_loops == 1
    assert check.volume == pytest.approx(2 * np.pi**2 * 8 * 1.5**2, rel=0.01)


@pytest.mark.parametrize(("gap", "n_components"), [(0.0, 1), (3.9, 1), (6.0, 2)])
def test_two_trees_that_cross_touch_or_pass(gap: float, n_components: int) -> None:
    paths = [[[-10, 0, 0], [10, 0, 0]], [[0, -10, gap], [0, 10, gap]]]
    graph = VesselGraph.from_paths(paths, [[2, 2], [2, 2]], edge_data={"tree_id": np.array([1, 2])})
    check = check_surface(build_surface(graph), graph)
    assert check.is_sound
    assert check.n_components == n_components
    assert abs(check.volume_error_fraction) < 0.01


def test_point_data_names_the_nearest_branch() -> None:
    columns = {"tree_id": np.array([1, 1, 2]), "score": np.array([0.9, 0.5, 0.1])}
    graph = VesselGraph.from_paths([[[0, 0, 0], [20, 0, 0]], [[20, 0, 0], [30, 9, 0]], [[0, 30, 0], [20, 30, 0]]],
                                   [[3.0, 1.0], [1.0, 1.0], [2.0, 2.0]], edge_data=columns)  # fmt: skip
    mesh = build_surface(graph)
    far = mesh.points[:, 1] > 20
    assert set(mesh.point_data) == {"radius", "branch_id", "tree_id", "score"}
    assert (mesh.point_data["branch_id"][far] == 2).all()
    assert (mesh.point_data["tree_id"][far] == 2).all()
    assert (mesh.point_data["score"][far] == 0.1).all()
    first = (mesh.point_data["branch_id"] == 0) & (mesh.points[:, 0] > 1) & (mesh.points[:, 0] < 18)
    assert mesh.point_data["radius"][first] == pytest.approx(3 - 0.1 * mesh.points[first, 0], abs=0.05)
    assert set(mesh.point_data["branch_id"]) == {0, 1, 2}


def test_decimation_keeps_the_bound() -> None:
    graph = VesselGraph.from_paths(FORK, FORK_RADII)
    sizes = []
    for max_error in (0.02, 0.1):
        config = SurfaceConfig(max_error=max_error)
        mesh = build_surface(graph, config)
        field, origin = make_field(graph, drawn_radii(graph, config).radius, config)
        points, bound = mesh.points - origin, Bound(max_error, RADIUS_FRACTION)
        for place in (points, points[mesh.faces].mean(axis=1), points[edges_of(mesh.faces)[0]].mean(axis=1)):
            assert measure(field, place, bound)[1].max() < 1 + 1e-6
        sizes.append(mesh.n_faces)
    assert sizes[0] > 1.3 * sizes[1]
    assert build_surface(graph, SurfaceConfig(max_error=0)).n_faces > sizes[1]


def test_refinement_ends_after_the_round_that_makes_enough_triangles() -> None:
    graph = VesselGraph.from_paths(FORK, FORK_RADII)
    asked = SurfaceConfig(max_error=0.01)
    field, _ = make_field(graph, drawn_radii(graph, asked).radius, asked)
    points, faces = march(field, silent)
    points, _ = on_surface(field, points, silent)
    bound = Bound(asked.max_error, RADIUS_FRACTION)

    def n_faces(enough: int) -> int:
        return len(refine(field, points, faces, bound, asked.model_copy(update={"enough_triangles": enough}), silent)[1])

    one_round = n_faces(1)
    # A round splits a triangle into four at the most.
    assert len(faces) < one_round <= 4 * len(faces)
    assert n_faces(one_round) == one_round
    assert one_round < n_faces(one_round + 1) <= n_faces(0)


@pytest.mark.parametrize("enough", [1, 4000])
def test_a_surface_with_enough_triangles_is_coarser_but_sound(enough: int) -> None:
    graph = VesselGraph.from_paths(FORK, FORK_RADII)
    fine, coarse = (SurfaceConfig(max_error=0.01, enough_triangles=n) for n in (0, enough))
    first, second = build_surface(graph, fine), build_surface(graph, coarse)
    assert second.n_faces < first.n_faces
    check = check_surface(second, graph, coarse)
    assert check.is_sound
    assert abs(check.volume_error_fraction) < 0.02
    assert check.max_distance >= check_surface(first, graph, fine).max_distance


def test_unknown_and_thin_radii_are_filled_and_stated() -> None:
    nan = np.nan
    paths = [[[0, 0, 0], [5, 0, 0], [10, 0, 0]], [[0, 10, 0], [10, 10, 0]], [[0, 20, 0], [10, 20, 0]]]
    graph = VesselGraph.from_paths(paths, [[1.0, nan, 2.0], [nan, nan], [0.1, 1.0]])
    config = SurfaceConfig(min_radius=0.5)
    radii = drawn_radii(graph, config)
    assert radii.radius.tolist() == [1.0, 1.5, 2.0, 0.5, 0.5, 0.5, 1.0]
    assert radii.known.tolist() == [True, False, True, False, False, True, True]
    check = check_surface(build_surface(graph, config), graph, config)
    assert check.is_sound
    assert (check.n_unknown_radii, check.n_raised_radii) == (3, 1)
    data = build_surface(graph, config).point_data
    assert (data["radius_known"] == (data["branch_id"] == 2)).all()


def test_no_branches_give_an_empty_sound_mesh() -> None:
    mesh = build_surface(VesselGraph.empty())
    check = check_surface(mesh, VesselGraph.empty())
    assert mesh.n_faces == 0
    assert check.is_sound
    assert (check.volume, check.analytic_volume, check.n_components) == (0, 0, 0)


def test_tiny_wide_and_swallowed_branches() -> None:
    for length, radii in ((1e-4, (0.3, 0.3)), (0.5, (20.0, 3.0)), (30.0, (20.0, 0.3)), (1.0, (0.2, 0.2))):
        graph = VesselGraph.from_paths([[[0, 0, 0], [length, 0, 0]]], [radii])
        config = SurfaceConfig(min_radius=0.2, step=1.0)
        check = check_surface(build_surface(graph, config), graph, config)
        assert check.is_sound
        assert abs(check.volume_error_fraction) < 0.015


def test_far_from_the_origin_and_doubled_branches() -> None:
    near = VesselGraph.from_paths(FORK, FORK_RADII)
    shift = np.array([1e4, -1e4, 1e4])
    doubled = VesselGraph.from_paths([np.add(path, shift) for path in FORK] * 2, FORK_RADII * 2)
    check = check_surface(build_surface(doubled), doubled)
    assert check.is_sound
    assert check.volume == pytest.approx(check_surface(build_surface(near)).volume, rel=2e-3)


def test_budget_is_refused_with_advice() -> None:
    graph = VesselGraph.from_paths([[[0, 0, 0], [300, 0, 0]]], [[5.0, 0.3]])
    with pytest.raises(BudgetError, match=r"raise surface\.min_radius or surface\.step"):
        build_surface(graph, SurfaceConfig(max_blocks=100))
    with pytest.raises(BudgetError, match=r"raise surface\.max_error"):
        build_surface(ring(), SurfaceConfig(max_blocks=600, max_error=0.0005))


def test_result_repeats_and_progress_is_told() -> None:
    graph = random_graph(5, 4)
    steps: list[tuple[str, float]] = []
    one = build_surface(graph, progress=lambda step, fraction: steps.append((step, fraction)))
    two = build_surface(graph)
    assert np.array_equal(one.points, two.points)
    assert np.array_equal(one.faces, two.faces)
    assert all(0 <= fraction <= 1 for _, fraction in steps)
    assert {"surface: sampling", "surface: refining", "surface: decimating"} <= {step for step, _ in steps}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 7))
def test_any_graph_gives_a_sound_surface_of_the_right_volume(seed: int, n: int) -> None:
    graph = random_graph(seed, n)
    check = check_surface(build_surface(graph), graph)
    assert check.is_sound
    assert abs(check.volume_error_fraction) < 0.02
    assert check.analytic_error < 2e-3 * check.analytic_volume


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_volume_does_not_depend_on_the_frame(seed: int) -> None:
    turn, shift = rotation(seed), np.random.default_rng(seed).uniform(-500, 500, 3)
    moved = VesselGraph.from_paths([np.array(path) @ turn.T + shift for path in FORK], FORK_RADII)
    volume = check_surface(build_surface(moved)).volume
    assert volume == pytest.approx(build_surface(VesselGraph.from_paths(FORK, FORK_RADII)).volume, rel=4e-3)


def test_rays_agree_with_points() -> None:
    graph = random_graph(11, 5)
    cone, _ = cone_table(graph, graph.path_radius)
    found = union_volume(cone)
    low, high = graph.path_position.min(axis=0) - 3, graph.path_position.max(axis=0) + 3
    points = np.random.default_rng(0).uniform(low, high, (100_000, 3))
    inside = np.zeros(len(points), dtype=bool)
    for a, axis, length, radius, sine in zip(cone[:, :3], cone[:, 3:6], *cone[:, 6:9].T, strict=True):
        # Against a dense row of spheres: no formula in common.
        for t in np.linspace(0, length, 60):
            inside |= ((points - a - t * axis) ** 2).sum(axis=1) < (radius - sine * t) ** 2
    share, box = inside.mean(), np.prod(high - low)
    error = np.sqrt(share * (1 - share) / len(points)) * box
    assert found.value == pytest.approx(share * box, abs=4 * error)


def test_no_cell_has_a_diagonal_its_neighbour_may_draw() -> None:
    cases = marching_cases()
    for case in range(256):
        triangles = cases.triangle[case, : cases.n_triangles[case]]
        sides = {tuple(sorted((t[i], t[(i + 1) % 3]))) for t in triangles for i in range(3)}
        directed = [(t[i], t[(i + 1) % 3]) for t in triangles for i in range(3)]
        assert len(set(directed)) == len(directed)
        inner = [side for side in sides if (side in directed) and (side[::-1] in directed)]
        assert not any(_share_face(*side) for side in inner if max(side) < MIDDLE)


def test_check_finds_what_is_wrong() -> None:
    box = trimesh.creation.box()
    good = Mesh(box.vertices, box.faces)
    assert check_surface(good).is_sound
    hole = check_surface(Mesh(good.points, good.faces[1:]))
    assert not hole.closed
    assert not check_surface(Mesh(good.points, good.faces[:, ::-1])).outward
    flipped = good.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not check_surface(Mesh(good.points, flipped)).outward
    # Two boxes that share one corner point: every edge has two faces, but that point has two fans.
    other = good.faces + 8
    shared = np.flatnonzero((good.points == good.points.max(axis=0)).all(axis=1))[0]
    touching = np.concatenate([good.points, good.points + 1.0])
    first = np.flatnonzero((good.points == good.points.min(axis=0)).all(axis=1))[0]
    other = np.where(other == first + 8, shared, other)
    kissing = check_surface(Mesh(touching, np.concatenate([good.faces, other])))
    assert kissing.closed
    assert not kissing.two_manifold


def test_cavity_is_counted_and_still_outward() -> None:
    outer, inner = trimesh.creation.icosphere(2, 5.0), trimesh.creation.icosphere(2, 2.0)
    points = np.concatenate([outer.vertices, inner.vertices])
    faces = np.concatenate([outer.faces, inner.faces[:, ::-1] + len(outer.vertices)])
    check = check_surface(Mesh(points, faces))
    assert check.outward
    assert (check.n_components, check.n_cavities, check.n_loops) == (2, 1, 0)


def test_specks_are_left_out_and_vessels_stay() -> None:
    corner = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    points = np.concatenate([corner * 10 + 1e3, corner * 0.1, corner * 0.2])
    many = np.concatenate([faces, faces[:, ::-1] + 4, faces + 8])
    kept, left = without_specks(points, many, 0.01)
    assert np.array_equal(kept, points[:4])
    assert np.array_equal(left, faces)
    # What is left then is turned inside out or not: a hollow of nothing goes at any size.
    assert len(without_specks(points, many, 1e-6)[1]) == 8


@pytest.mark.parametrize(("centre", "n_pieces"), [((0, 0, 0), 2), ((12, 0, 0), 1), ((4.5, 0, 0), 1)])
def test_a_hollow_stays_only_if_all_of_it_lies_within(centre: tuple[float, float, float], n_pieces: int) -> None:
    vessel, hollow = trimesh.creation.icosphere(3, 5.0), trimesh.creation.icosphere(2, 1.0)
    points = np.concatenate([vessel.vertices, hollow.vertices + centre])
    faces = np.concatenate([vessel.faces, hollow.faces[:, ::-1] + len(vessel.vertices)])
    kept, left = without_specks(points, faces, 0.01)
    check = check_surface(Mesh(kept, left))
    assert check.is_sound
    assert check.n_components == n_pieces
    assert check_surface(Mesh(points, faces)).outward == (n_pieces == 2)
