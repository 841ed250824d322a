"""Pieces of branches and how they lie to each other, on graphs small enough to draw."""

import numpy as np
import pytest

from vesselgraph.errors import InputError
from vesselgraph.graph import VesselGraph
from vesselgraph.pruning.branch_graph import KINDS, RELATIONS, build_branch_graph, mean_width
from vesselgraph.pruning.features import GROUPS, piece_features
from vesselgraph.pruning.labels import label_pieces
from vesselgraph.pruning.surroundings import Surroundings, measure_surroundings
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def drawn_truth(start, end, radius=1.0, clarity=1.0):
    """Return one true vessel."""
    graph = VesselGraph.from_paths([[start, end]], radii=[[radius, radius]])
    return graph.with_columns(edge={"clarity": np.array([clarity])})


def traced(paths, radii=None, heat=0.5, **columns):
    """Return a graph with the columns the tracer writes."""
    lines = [np.linspace(a, b, 1 + round(float(np.linalg.norm(np.subtract(b, a))))) for a, b in paths]
    radii = [np.full(len(line), 1.0 if radii is None else radii[i]) for i, line in enumerate(lines)]
    graph = VesselGraph.from_paths(lines, radii=radii)
    n = graph.n_edges
    base = {
        "generator": np.ones(n, np.int64),
        "gap_length": np.zeros(n),
        "min_heat": np.full(n, heat),
        "mean_heat": np.full(n, heat),
        "path_cost": graph.edge_length / heat**2,
        "protrusion": np.full(n, np.inf),
    }
    path = {"heat": np.full(graph.n_points, heat), "curvature": np.zeros(graph.n_points)}
    return graph.with_columns(edge={**base, **columns}, path=path)


@pytest.fixture
def fork():
    """A wide parent along x that forks into two daughters, 12 mm each."""
    return traced([([0, 0, 0], [12, 0, 0]), ([12, 0, 0], [12, 12, 0]), ([12, 0, 0], [24, 0, 0])], radii=[3.0, 1.0, 2.0])


def relation(graph, sender, receiver):
    """Return the relations of one link as a dict."""
    k = np.flatnonzero((graph.link[0] == sender) & (graph.link[1] == receiver))
    assert len(k) == 1, (sender, receiver)
    return dict(zip(RELATIONS, graph.relation[k[0]].tolist(), strict=True))


def kind(graph, sender, receiver):
    """Return the one kind of a link."""
    values = relation(graph, sender, receiver)
    return [name for name in KINDS if values[name]]


def test_a_fork_has_a_parent_two_children_and_siblings(fork):
    graph = build_branch_graph(fork, 20.0)
    assert graph.link.shape == (2, 6)
    assert kind(graph, 0, 1) == kind(graph, 0, 2) == ["parent"]
    assert kind(graph, 1, 0) == kind(graph, 2, 0) == ["child"]
    assert kind(graph, 1, 2) == kind(graph, 2, 1) == ["sibling"]
    assert relation(graph, 0, 2)["cosine"] == pytest.approx(-1.0)
    assert relation(graph, 0, 1)["cosine"] == pytest.approx(0.0, abs=1e-6)
    assert relation(graph, 0, 1)["radius_ratio"] == pytest.approx(np.log(3.0))
    assert graph.parent_node.tolist() == fork.edge_nodes[:, 0].tolist()


def test_links_do_not_depend_on_the_direction_of_the_branches(fork):
    turned = traced([([12, 0, 0], [0, 0, 0]), ([12, 12, 0], [12, 0, 0]), ([12, 0, 0], [24, 0, 0])], radii=[3.0, 1.0, 2.0])
    a, b = build_branch_graph(fork, 20.0), build_branch_graph(turned, 20.0)
    np.testing.assert_array_equal(a.link, b.link)
    np.testing.assert_allclose(a.relation, b.relation, atol=1e-6)


def test_a_long_branch_is_cut_and_its_pieces_know_each_other():
    graph = build_branch_graph(traced([([0, 0, 0], [30, 0, 0])]), 10.0)
    assert graph.pieces.n_edges == 3
    assert graph.branch.tolist() == [0, 0, 0]
    assert relation(graph, 0, 1)["same_branch"] == 1.0
    assert relation(graph, 0, 1)["cosine"] == pytest.approx(-1.0)
    assert not ((graph.link[0] == 0) & (graph.link[1] == 2)).any()


def test_pieces_that_pass_closely_are_near_and_far_ones_are_not():
    graph = build_branch_graph(traced([([0, 0, 0], [10, 0, 0]), ([0, 3, 0], [10, 3, 0]), ([0, 30, 0], [10, 30, 0])]), 20.0)
    assert kind(graph, 0, 1) == kind(graph, 1, 0) == ["near"]
    assert relation(graph, 0, 1)["distance"] == pytest.approx(0.75)
    assert relation(graph, 0, 1)["cosine"] == pytest.approx(1.0)
    assert graph.link.shape == (2, 2)


def test_a_branch_that_closes_a_loop_is_linked_as_such():
    triangle = traced([([0, 0, 0], [10, 0, 0]), ([10, 0, 0], [10, 10, 0]), ([10, 10, 0], [0, 0, 0]), ([-9, 0, 0], [0, 0, 0])])
    graph = build_branch_graph(triangle, 50.0)
    off_tree = np.flatnonzero(~graph.forest.is_tree_edge)
    assert off_tree.tolist() == [1]
    assert kind(graph, 0, 1) == kind(graph, 1, 2) == ["loop"]


def test_an_empty_graph_has_no_pieces():
    empty = VesselGraph.empty().with_columns(
        edge={"gap_length": np.zeros(0), "min_heat": np.zeros(0)}, path={"heat": np.zeros(0)}
    )
    graph = build_branch_graph(empty, 10.0)
    assert graph.link.shape == (2, 0)
    assert graph.relation.shape == (0, len(RELATIONS))


def test_mean_width_is_one_where_no_radius_is_known():
    graph = VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0]], [[5, 0, 0], [6, 0, 0]]], radii=[[np.nan, np.nan], [2.0, np.nan]])
    assert mean_width(graph).tolist() == [1.0, 2.0]


def test_features_say_what_hangs_on_a_piece(fork):
    graph = build_branch_graph(fork, 20.0)
    values, names = piece_features(graph, Surroundings(), ("heat", "geometry", "position", "evidence"))
    column = dict(zip([name.partition(".")[2] for name in names], values.T, strict=True))
    assert column["mean"].tolist() == [0.5] * 3
    np.testing.assert_allclose(column["below"], np.log1p([24.0, 0.0, 0.0]), rtol=1e-6)
    np.testing.assert_allclose(column["depth"], np.log1p([0.0, 12.0, 12.0]), rtol=1e-6)
    np.testing.assert_allclose(column["radius_share"], np.log([1.0, 1 / 3, 2 / 3]), rtol=1e-5)
    assert column["free_ends"].tolist() == [1.0, 1.0, 1.0]
    assert column["generator_1"].tolist() == [1.0, 1.0, 1.0]


def test_spread_takes_true_quartiles():
    graph = traced([([0, 0, 0], [8, 0, 0])])
    graph = graph.with_columns(path={"heat": np.arange(9) / 10.0})
    values, names = piece_features(build_branch_graph(graph, 20.0), Surroundings(), ("heat",))
    np.testing.assert_allclose(dict(zip(names, values[0], strict=True))["heat.q25"], 0.2, atol=1e-6)
    assert names == ("heat.mean", "heat.min", "heat.q25", "heat.q75", "heat.max", "heat.rank")


@pytest.mark.parametrize(
    ("group", "match"),
    [
        ("contrast", "contrast along the paths"),
        ("region", "organ mask"),
        ("network", "feature maps"),
        ("encoder", "frozen encoder"),
        ("taste", "feature groups"),
    ],
)
def test_a_group_without_its_source_is_refused(fork, group, match):
    with pytest.raises(InputError, match=match):
        piece_features(build_branch_graph(fork, 20.0), Surroundings(), (group,))


def test_depth_and_noise_of_an_organ():
    array = np.zeros((9, 9, 9), bool)
    array[2:7, 2:7, 2:7] = True
    organ = Volume(array, Space((2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3)))
    image = organ.with_array(np.arange(9.0)[None, None, :] * np.ones((9, 9, 1)))
    around = measure_surroundings(image, organ)
    # Columns 2 to 6: the median is 4, half of the voxels lie within 1 of it.
    assert around.noise == pytest.approx(1.4826)
    assert around.depth is not None
    assert around.depth.array[4, 4, 4] == pytest.approx(6.0)
    assert around.depth.array[1, 4, 4] == pytest.approx(-2.0)
    whole = measure_surroundings(image, organ.with_array(np.ones_like(array)))
    assert whole.depth is not None
    assert (whole.depth.array == 50.0).all()
    with pytest.raises(InputError, match="empty mask"):
        measure_surroundings(image, organ.with_array(np.zeros_like(array)))


def test_of_two_lines_along_one_vessel_only_the_nearer_is_real():
    truth = drawn_truth([0, 0, 0], [20, 0, 0], clarity=0.8)
    ours = traced([([0, 0.2, 0], [20, 0.2, 0]), ([0, 1.0, 0], [20, 1.0, 0]), ([0, 9, 0], [20, 9, 0])])
    assert label_pieces(ours, truth).tolist() == pytest.approx([0.8, 0.0, 0.0])


def test_a_piece_half_on_the_truth_is_half_real():
    assert label_pieces(traced([([0, 0, 0], [20, 0, 0])]), drawn_truth([0, 0, 0], [10, 0, 0]))[0] == pytest.approx(
        0.5, abs=0.08
    )


def test_wide_vessels_allow_more():
    def share(radius):
        return label_pieces(traced([([0, 2.5, 0], [20, 2.5, 0])]), drawn_truth([0, 0, 0], [20, 0, 0], radius=radius))[0]

    assert share(1.0) == 0.0
    assert share(6.0) > 0.9


def test_groups_are_named_once():
    assert len(set(GROUPS)) == len(GROUPS)
