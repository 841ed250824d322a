"""Growth on arrays: distances against brute force, radii by Murray, everything inside the organ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesselgraph.config import StudyConfig
from vesselgraph.phantom.study.body import Body, make_body
from vesselgraph.phantom.study.field import Field, distances, field_at
from vesselgraph.phantom.study.gaps import point_gap, segments_meet
from vesselgraph.phantom.study.trees import DrawnTree, Vessels, _top_down, branches, make_vessels

CONFIG = StudyConfig(seed=4, n_portal_tips=120, n_hepatic_tips=100, tip_radius=0.8)


@pytest.fixture(scope="module")
def body() -> Body:
    return make_body(CONFIG, np.random.default_rng(4))


@pytest.fixture(scope="module")
def vessels(body: Body) -> Vessels:
    return make_vessels(CONFIG, body, np.random.default_rng(5))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 3.0))
def test_segments_meet_as_sampled_ones_do(seed: int, reach: float) -> None:
    p, q, a, b = np.random.default_rng(seed).uniform(-2.0, 2.0, (4, 3))
    s = np.linspace(0.0, 1.0, 201)[:, None]
    gap = np.linalg.norm((p + s * (q - p))[:, None] - (a + s * (b - a))[None], axis=2).min()
    if abs(gap - reach) > 0.03:
        assert segments_meet(p, q, a, b, reach) == (gap < reach)


def test_distance_of_a_point_beyond_the_end_and_beside() -> None:
    ends = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    assert point_gap(np.array([7.0, 4.0, 0.0]), ends, 0, ends, 1) == pytest.approx(25.0)
    assert point_gap(np.array([1.0, 0.0, 3.0]), ends, 0, ends, 1) == pytest.approx(9.0)


def test_field_is_trilinear_and_constant_outside() -> None:
    z, y, x = np.meshgrid(*(np.arange(4.0),) * 3, indexing="ij")
    field = Field((100 * x + 10 * y + z).astype(np.float32), np.array([1.0, 2.0, 3.0]), 2.0)
    assert field_at(field, 1.0 + 2.0 * 1.5, 2.0 + 2.0 * 0.5, 3.0 + 2.0 * 2.25) == pytest.approx(150 + 5 + 2.25)
    assert field_at(field, -50.0, 2.0, 3.0) == pytest.approx(0.0)


def test_trees_are_rooted_and_reach_their_size(vessels: Vessels) -> None:
    for tree, wanted in ((vessels.portal, CONFIG.n_portal_tips), (vessels.hepatic, CONFIG.n_hepatic_tips)):
        order = _top_down(tree.parent)
        place = np.empty(len(order), int)
        place[order] = np.arange(len(order))
        assert (place[tree.parent[1:]] < place[1:]).all()
        tips = len(tree.parent) - len(set(tree.parent[1:].tolist()))
        assert tips >= 0.9 * wanted


def below_the_hilum(tree: DrawnTree) -> np.ndarray:
    """Return which nodes hang on the node nearest to the gate of the liver, itself not."""
    hilum = int(np.linalg.norm(tree.position - np.array([-30.0, -15.0, -25.0]), axis=1).argmin())
    below = np.zeros(len(tree.parent), bool)
    for node in _top_down(tree.parent)[1:]:
        below[node] = tree.parent[node] == hilum or below[tree.parent[node]]
    return below


def test_grown_vessels_stay_in_the_liver_and_out_of_lesions(body: Body, vessels: Vessels) -> None:
    tree = vessels.portal
    grown = np.repeat(below_the_hilum(tree), np.diff(tree.offset)) & (tree.radius < 1.5 * CONFIG.tip_radius)
    assert grown.sum() > 1000
    assert (distances(body.organ, tree.path[grown]) < 0.0).mean() > 0.97


def test_murray_at_every_grown_junction(vessels: Vessels) -> None:
    paths, radii = branches(vessels.portal)
    ends = {tuple(path[-1]): radius[-1] for path, radius in zip(paths, radii, strict=True)}
    daughters: dict[tuple[float, ...], list[float]] = {}
    for path, radius in zip(paths, radii, strict=True):
        daughters.setdefault(tuple(path[0]), []).append(radius[0])
    grown = {tuple(position) for position in vessels.portal.position[below_the_hilum(vessels.portal)]}
    checked = 0
    for node, radius in ends.items():
        if node in grown and len(daughters.get(node, [])) == 2:
            total = sum(r**CONFIG.murray_exponent for r in daughters[node])
            assert radius == pytest.approx(total ** (1.0 / CONFIG.murray_exponent), rel=1e-6)
            checked += 1
    assert checked > 50


def test_the_artery_runs_beside_the_portal_vein_not_in_it(vessels: Vessels) -> None:
    inside = 0
    artery = vessels.artery.path[vessels.artery.radius < 1.0]
    for point in artery[::7]:
        gap = np.linalg.norm(vessels.portal.path - point, axis=1)
        inside += gap.min() < 0.8 * vessels.portal.radius[int(gap.argmin())]
    assert inside < 0.12 * len(artery[::7])
