"""Through paths beside nodes in which vessels are welded."""

import numpy as np
import pytest

from tests.tracing.drawn import grid_around
from tests.tracing.test_trace import heat_of
from vesselgraph import VesselGraph
from vesselgraph.config import TraceConfig
from vesselgraph.edit import merge_degree_two, subset
from vesselgraph.tracing import trace
from vesselgraph.tracing.crossings import THROUGH, with_through_paths


def star(*directions, reach=12.0, generator=1):
    """Straight branches of radius 1.9 from the origin, a point every mm."""
    along = np.linspace(0.0, reach, 13)[:, None]
    ways = [np.array(way) / np.linalg.norm(way) for way in directions]
    graph = VesselGraph.from_paths([along * way for way in ways], [np.full(13, 1.9)] * len(ways))
    return graph.with_columns(
        node={"kind": np.arange(graph.n_nodes)},
        edge={"generator": np.full(graph.n_edges, generator), "heat": np.arange(graph.n_edges) / 10},
        path={"warm": np.ones(graph.n_points)},
    )


CROSS = ((1, 0, 0), (-1, 0.2, 0), (0, 1, 0), (0, -1, 0.2))


def test_two_vessels_that_cross_can_be_taken_apart():
    graph = with_through_paths(star(*CROSS))
    through = graph.edge_data["generator"] == THROUGH
    assert through.sum() == 2
    # Cut at the first point a radius from the node, 2 mm: two pieces of each of the four branches.
    assert graph.n_edges == 4 * 2 + 2
    assert graph.edge_length[through] == pytest.approx([4.0, 4.0], abs=0.05)
    assert (graph.path_radius == 1.9).all()
    outer = np.isclose(graph.edge_length, 10.0)
    inner = ~outer & ~through
    assert graph.edge_length[inner] == pytest.approx([2.0] * 4)
    # The first passes beside the node, the second takes the pieces that lead through it.
    second = inner & (np.abs(graph.node_position[graph.edge_nodes]).max(axis=1)[:, 1] > 1.0)
    first = through & (np.abs(graph.node_position[graph.edge_nodes]).max(axis=1)[:, 0] > 1.0)
    apart = merge_degree_two(subset(graph, edges=outer | first | second, drop_isolated=True)[0])[0]
    assert sorted(apart.degree.tolist()) == [1, 1, 1, 1]
    assert apart.edge_length == pytest.approx([24.0, 24.0], abs=0.1)


def test_a_through_path_leaves_both_branches_along_their_axes():
    graph = with_through_paths(star((1, 0, 0), (-1, 0.5, 0), (0, 0, 1), (0, 0.5, -1)))
    for edge in np.flatnonzero(graph.edge_data["generator"] == THROUGH):
        path = graph.path(int(edge))
        steps = np.diff(path, axis=0) / np.linalg.norm(np.diff(path, axis=0), axis=1)[:, None]
        for point, step in ((path[0], -steps[0]), (path[-1], steps[-1])):
            assert step @ point / np.linalg.norm(point) > 0.95


@pytest.mark.parametrize(
    "graph",
    [
        star((1, 0, 0), (-1, 0, 0), (0, 1, 0)),
        star((1, 0.3, 0), (1, -0.3, 0), (1, 0, 0.3), (1, 0, -0.3)),
        star(*CROSS, generator=2),
        star(*CROSS, reach=0.5),
        star(),
    ],
    ids=["a fork", "nothing goes straight on", "not of thinning", "too short for an axis", "empty"],
)
def test_nothing_is_added(graph):
    assert with_through_paths(graph) is graph


def test_columns_stay_and_the_new_ones_come_last():
    before = star(*CROSS)
    graph = with_through_paths(before)
    assert graph.node_data["kind"][: before.n_nodes].tolist() == list(range(before.n_nodes))
    assert graph.edge_data["generator"].tolist() == [1] * 8 + [THROUGH] * 2
    # From the first and the third branch on.
    assert graph.edge_data["heat"].tolist() == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.0, 0.2])
    assert (graph.path_data["warm"] == 1.0).all()


def test_the_tracer_proposes_them_when_asked():
    line = np.linspace(-18.0, 18.0, 361)[:, None]
    truth = VesselGraph.from_paths([line * (1.0, 0.0, 0.0), line * (0.0, 1.0, 0.0) + (0.0, 0.0, 0.5)], [np.full(361, 1.5)] * 2)
    heatmap = heat_of(truth, *grid_around(truth))
    without, with_them = (trace(heatmap, TraceConfig(through_paths=wanted)) for wanted in (False, True))
    assert not (without.edge_data["generator"] & THROUGH).any()
    through = with_them.edge_data["generator"] == THROUGH
    assert through.sum() == 2
    assert with_them.n_edges == without.n_edges + 4 + 2
    assert (with_them.edge_data["mean_heat"][through] > 0.8).all()
