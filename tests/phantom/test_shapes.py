"""Analytic shapes: lengths and topology by formula."""

import numpy as np
import pytest

from vesselgraph.errors import RangeError
from vesselgraph.phantom import tube_graph, tube_phantom

EXPECTED = {
    "straight": (40.0, [1, 1]),
    "cone": (40.0, [1, 1]),
    "arc": (40.0, [1, 1]),
    "helix": (np.hypot(3 * np.pi * 10.0, 40.0), [1, 1]),
    "ring": (40.0 * np.pi, [2]),
    "y": (60.0, [1, 1, 1, 3]),
    "cross": (80.0 * np.sqrt(2.0), [1, 1, 1, 1, 4]),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_length_and_degrees(kind: str) -> None:
    graph = tube_graph(kind, length=40.0, step=0.1)
    length, degree = EXPECTED[kind]
    assert graph.length == pytest.approx(length, rel=1e-4)
    assert sorted(graph.degree.tolist()) == degree
    assert graph.node_data["root"].sum() == 1


def test_daughters_of_the_y_follow_murray() -> None:
    graph = tube_graph("y", radius=2.0)
    trunk, left, right = (graph.radius_along(e)[0] for e in range(3))
    assert left**3 + right**3 == pytest.approx(trunk**3)


def test_the_cone_narrows_to_half() -> None:
    graph = tube_graph("cone", radius=2.0, length=10.0)
    middle = np.argmin(np.abs(graph.path_position[:, 2]))
    assert graph.path_radius[[0, middle, -1]].tolist() == pytest.approx([2.0, 1.5, 1.0])


def test_the_ring_has_a_hole() -> None:
    _, mask = tube_phantom("ring", length=20.0, radius=2.0)
    middle = mask.array[mask.shape[0] // 2]
    assert not middle[middle.shape[0] // 2, middle.shape[1] // 2]


def test_the_grid_covers_the_vessel() -> None:
    _, mask = tube_phantom("helix", margin=3.0)
    for axis in range(3):
        rim = np.moveaxis(mask.array, axis, 0)
        assert not rim[:2].any()
        assert not rim[-2:].any()


def test_bad_sizes_and_kinds_are_refused() -> None:
    with pytest.raises(RangeError, match="> 0 mm"):
        tube_graph(radius=-1.0)
    with pytest.raises(RangeError, match="choose a shape"):
        tube_graph("spiral")  # type: ignore[arg-type]
