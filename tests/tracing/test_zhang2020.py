"""The seed's tracer: it finds what it should on drawn heat, and each rule does what it says."""

import numpy as np
import pytest

from vesselgraph import Heatmap, Space, VesselGraph, Volume, judge, prune, trace
from vesselgraph.config import PipelineConfig, TraceConfig
from vesselgraph.errors import ConfigError
from vesselgraph.metrics import compare_graphs
from vesselgraph.phantom.heat import make_heatmap
from vesselgraph.tracing.zhang2020 import trace_zhang2020

Y_SHAPE = [
    [[32.0, 32.0, 4.0], [32.0, 32.0, 30.0]],
    [[32.0, 32.0, 30.0], [18.0, 32.0, 56.0]],
    [[32.0, 32.0, 30.0], [46.0, 32.0, 56.0]],
]


def heat_of(paths, spacing=1.0, n=64, **settings):
    lines = [np.linspace(*line, 60) for line in paths]
    graph = VesselGraph.from_paths(lines, space=Space.axial((spacing,) * 3))
    shape = (int(n / spacing),) * 3
    return graph, make_heatmap(graph, shape, noise=0.0, false_density=0.0, **settings).heatmap


@pytest.mark.parametrize("spacing", [1.0, 0.8])
def test_a_fork_is_one_rooted_tree(spacing):
    truth, heatmap = heat_of(Y_SHAPE, spacing)
    graph = trace_zhang2020(heatmap)
    score = compare_graphs(graph, truth)
    assert score.centerline[2.0].precision > 0.95
    assert score.nearest[2.0].recall > 0.75
    assert score.betti_predicted == (1, 0)
    assert graph.node_data["root"].sum() == 1
    assert set(graph.edge_data["generator"]) == {8}
    assert sorted(graph.degree[graph.degree > 2].tolist()) == [3]


def gapped(length, voxel_gap):
    heat = np.zeros((24, 24, 90), np.float32)
    z, y = np.mgrid[:24, :24]
    ridge = np.exp(-((z - 12.0) ** 2 + (y - 12.0) ** 2) / 0.5).astype(np.float32)
    heat[:, :, 4:length] = ridge[:, :, None]
    heat[:, :, 40 : 40 + voxel_gap] = 0.0
    return Heatmap(Volume(heat, Space.axial()), source="drawn")


def largest_hole(graph):
    """Length of the longest stretch between columns 30 and 70 that no path point lies in."""
    along = np.sort(graph.path_position[:, 0])
    return float(np.diff(along[(along > 30) & (along < 70)]).max())


def test_gaps_are_crossed_unless_the_corrected_rule_forbids_it():
    heatmap = gapped(85, 14)
    assert largest_hole(trace_zhang2020(heatmap, clean_up=False)) < 1.5
    assert largest_hole(trace_zhang2020(heatmap, clean_up=False, gap_rule=True)) > 3.0
    # Eight mean radii are more than six voxels.
    assert largest_hole(trace_zhang2020(gapped(85, 6), clean_up=False, gap_rule=True)) < 1.5


def test_clean_up_keeps_one_piece_and_no_short_leaf():
    truth, heatmap = heat_of([*Y_SHAPE, [[6.0, 8.0, 8.0], [6.0, 8.0, 30.0]]])
    loose = trace_zhang2020(heatmap, clean_up=False)
    clean = trace_zhang2020(heatmap)
    assert truth.n_edges == 4
    assert loose.n_edges >= clean.n_edges
    assert compare_graphs(clean, truth).betti_predicted[0] == 1
    free = (clean.degree[clean.edge_nodes] == 1).any(axis=1)
    assert clean.edge_length[free].min() > 4.0


def test_nothing_hot_gives_nothing_and_bytes_repeat():
    cold = Heatmap(Volume(np.full((8, 8, 8), 0.05, np.float32), Space.axial()), source="drawn")
    assert trace_zhang2020(cold).n_edges == 0
    _, heatmap = heat_of(Y_SHAPE)
    one, two = (trace_zhang2020(heatmap) for _ in range(2))
    assert one.path_position.tobytes() == two.path_position.tobytes()


def test_thick_slices_are_resampled():
    truth, heatmap = heat_of(Y_SHAPE)
    thick = Heatmap(Volume(np.ascontiguousarray(heatmap.heat.array[::2]), Space.axial((2.0, 1.0, 1.0))), source="drawn")
    graph = trace_zhang2020(thick)
    assert compare_graphs(graph, truth).nearest[2.0].recall > 0.7


def test_one_setting_makes_it_the_stage():
    _, heatmap = heat_of(Y_SHAPE)
    assert TraceConfig().method == "overcomplete"
    graph = trace(heatmap, TraceConfig(method="zhang2020"))
    assert graph.path_position.tobytes() == trace_zhang2020(heatmap).path_position.tobytes()
    assert set(graph.edge_data) == set(trace(heatmap).edge_data)
    assert graph.history[-1].stage == "trace"
    kept = prune(judge(graph))
    assert kept.n_edges == 3
    assert kept.node_data["root"].sum() == 1


def test_each_flag_reaches_the_tracer():
    heatmap = gapped(85, 14)
    settings = {"method": "zhang2020", "clean_up": False}
    assert largest_hole(trace(heatmap, TraceConfig(**settings))) < 1.5
    assert largest_hole(trace(heatmap, TraceConfig(**settings, gap_rule=True))) > 3.0
    _, heatmap = heat_of([*Y_SHAPE, [[6.0, 8.0, 8.0], [6.0, 8.0, 30.0]]])
    for flags in ({"clean_up": False}, {"clean_up": False, "non_stop": True}, {"non_stop": True}):
        ours = trace(heatmap, TraceConfig(method="zhang2020", **flags))
        assert ours.path_position.tobytes() == trace_zhang2020(heatmap, **flags).path_position.tobytes()


def test_a_recipe_chooses_it(tmp_path):
    recipe = tmp_path / "seed.toml"
    recipe.write_text('[trace]\nmethod = "zhang2020"\ngap_rule = true\n')
    config = PipelineConfig.from_toml(recipe).trace
    assert (config.method, config.gap_rule, config.threshold) == ("zhang2020", True, 0.1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gap_rule": True}, "zhang2020. only"),
        ({"clean_up": False}, "zhang2020. only"),
        ({"method": "zhang2020", "backend": "cuda"}, "backend = .numba. with method"),
        ({"method": "zhang2020", "gap_rule": True, "non_stop": True}, "choose one"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        TraceConfig.build(values)


def test_only_the_region_is_traced_and_nothing_gives_nothing():
    _, heatmap = heat_of([*Y_SHAPE, [[6.0, 8.0, 8.0], [6.0, 8.0, 30.0]]])
    near = np.zeros(heatmap.heat.shape, bool)
    near[:40, :20, :20] = True
    graph = trace(heatmap, TraceConfig(method="zhang2020"), region=heatmap.heat.with_array(near))
    assert graph.n_edges == 1
    assert graph.node_position[:, 0].max() < 12
    cold = Heatmap(Volume(np.full((8, 8, 8), 0.05, np.float32), Space.axial()), source="drawn")
    nothing = trace(cold, TraceConfig(method="zhang2020"))
    assert nothing.n_edges == 0
    assert set(nothing.edge_data) == set(graph.edge_data)
