"""Free ends that swell, and bulbs."""

import numpy as np
import pytest

from tests.pruning.drawn import CONFIG, drawn
from vesselgraph.pruning import judge, prune
from vesselgraph.pruning.swelling import swollen_points, without_bulbs

HOT = 1.0


def _balloon(tip=4.0):
    """A vessel of 40 mm, radius 1, whose last 3 mm widen to ``tip``."""
    return drawn(([[0, 0, 0], [37, 0, 0], [40, 0, 0]], [1.0, 1.0, tip], HOT))


def test_a_ball_at_a_free_end_goes_with_a_reason_and_the_vessel_stays():
    judged = judge(_balloon(), CONFIG)
    assert judged.edge_data["reason"].tolist() == ["kept", "swollen end"]
    assert judged.edge_data["keep"].tolist() == [True, False]
    graph = prune(judged, CONFIG)
    # Radii are 1, 2, 3, 4 at 37 to 40 mm: from 38 mm on it is swollen.
    assert graph.length == pytest.approx(37.0)
    assert graph.path_radius.max() == pytest.approx(1.0)


@pytest.mark.parametrize("radii", [[1.0, 1.0, 1.3], [1.0, 2.85, 3.0], [3.0, 1.2, 1.0]])
def test_a_vessel_that_hardly_widens_or_tapers_stays_whole(radii):
    graph = drawn(([[0, 0, 0], [37, 0, 0], [40, 0, 0]], radii, HOT))
    assert not swollen_points(graph, np.ones(1, bool)).any()
    assert prune(graph, CONFIG).length == pytest.approx(40.0)


def test_a_wide_end_at_a_junction_is_no_free_end():
    graph = drawn(
        ([[0, 0, 0], [17, 0, 0], [20, 0, 0]], [1.0, 1.0, 4.0], HOT),
        ([[20, 0, 0], [40, 0, 0]], 4.0, HOT),
        ([[20, 0, 0], [20, 20, 0]], 3.0, HOT),
    )
    assert not swollen_points(graph, np.ones(3, bool)).any()
    # Without what follows the same end is free.
    assert swollen_points(graph, np.array([True, False, False])).sum() == 3


def test_a_bulb_gets_the_width_its_vessel_can_feed():
    graph = drawn(
        ([[0, 0, 0], [20, 0, 0]], 1.0, HOT), ([[20, 0, 0], [40, 5, 0]], 1.0, HOT), ([[20, 0, 0], [28, -8, 0]], 5.0, HOT)
    )
    held = without_bulbs(graph)
    assert held.path_radius[held.edge_of_point == 2].max() == pytest.approx(1.26)
    assert held.node_radius.max() == pytest.approx(1.26)
    assert np.array_equal(held.path_position, graph.path_position)


def test_a_bulb_is_no_longer_called_measured():
    graph = drawn(
        ([[0, 0, 0], [20, 0, 0]], 1.0, HOT), ([[20, 0, 0], [40, 5, 0]], 1.0, HOT), ([[20, 0, 0], [28, -8, 0]], 5.0, HOT)
    )
    measured = graph.with_columns(path={"radius_measured": np.ones(graph.n_points, bool)}, edge={"radius_measured": np.ones(3)})
    held = without_bulbs(measured)
    assert held.edge_data["radius_measured"].tolist() == [1.0, 1.0, 0.0]
    assert held.path_data["radius_measured"].tolist() == (graph.edge_of_point != 2).tolist()


def test_a_trunk_above_four_equal_daughters_is_no_bulb():
    daughters = [([[20, 0, 0], [40, y, z]], 1.0, HOT) for y, z in ((9, 0), (-9, 0), (0, 9), (0, -9))]
    graph = drawn(([[0, 0, 0], [20, 0, 0]], 4.0 ** (1.0 / 3.0), HOT), *daughters)
    assert without_bulbs(graph).path_radius.max() == pytest.approx(4.0 ** (1.0 / 3.0))


def test_ends_of_a_mask_are_left_alone():
    graph = _balloon().with_columns(edge={"wall_step": np.zeros(1)})
    assert prune(graph, CONFIG).length == pytest.approx(40.0)
