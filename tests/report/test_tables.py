"""Tables against numbers computed by hand."""

import math

import numpy as np
import pytest

from tests.report.cases import ball, fork
from vesselgraph.graph import VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.report import tables
from vesselgraph.report.named_vessels import names_table
from vesselgraph.report.palette import TREE_COLOURS
from vesselgraph.surface import check_surface


def cells(table: tables.Table) -> list[tuple[str, ...]]:
    return [row.cells for row in table.rows]


def test_trees_hold_counts_lengths_and_roots():
    # Cones: trunk 40 mm at r 4; two arms of 25 mm, r 2 and r 2 to 1.
    volume = math.pi * (40 * 16 + 25 * 4 + 25 / 3 * (4 + 2 + 1)) / 1000
    assert cells(tables.trees_table(fork())) == [
        ("1", "3", "1", "2", "90.0", f"{volume:.2f}", "1.00-4.00", "0.0, 0.0, 0.0"),
        ("2", "1", "0", "1", "30.0", f"{math.pi * 2.25 * 30 / 1000:.2f}", "1.50-1.50", "10.0, 10.0, 0.0"),
    ]


def test_branches_in_no_tree_come_last():
    graph = fork().with_columns(edge={"tree_id": np.array([0, 0, 0, 1])})
    assert [row.key for row in tables.trees_table(graph).rows] == [1, 0]


def test_branches_come_longest_first_and_the_rest_is_counted():
    table = tables.branches_table(fork(), max_rows=2)
    assert table.n_rows_whole == 4
    assert cells(table) == [
        ("0", "1", "40.0", "4.00", "1.00", "0.90", "thinning"),
        ("3", "2", "30.0", "1.50", "1.00", "0.60", "thinning + gap bridge"),
    ]


def test_unknown_radii_and_missing_columns_are_dashes():
    graph = VesselGraph.from_paths([[[0, 0, 0], [3, 0, 0]]])
    assert cells(tables.branches_table(graph)) == [("0", "1", "3.0", "-", "1.00", "-", "-")]
    assert cells(tables.trees_table(graph)) == [("1", "1", "0", "2", "3.0", "-", "-", "-")]


def test_branches_that_were_judged_with_evidence_tell_their_uncertainty():
    graph = fork()
    doubt = np.linspace(0.25, 0.75, graph.n_edges)
    table = tables.branches_table(graph.with_columns(edge={"uncertainty": doubt}))
    place = [column.title for column in table.columns].index("Uncertainty")
    assert [row.cells[place] for row in table.rows] == [f"{doubt[row.key]:.2f}" for row in table.rows]
    assert "Uncertainty" not in [column.title for column in tables.branches_table(graph).columns]


def test_key_figures():
    mesh = ball(40, 10.0)
    figures = {figure.label: figure.value for figure in tables.key_figures(fork(), mesh, check_surface(mesh))}
    mean = (40 * 4 + 25 * 2 + 25 * 1.5 + 30 * 1.5) / 120
    assert figures == {
        "Total length": "120 mm",
        "Branches": "4",
        "Bifurcations": "1",
        "Trees": "2",
        "Mean radius": f"{mean:.2f} mm",
        "Thinnest radius": "1.00 mm",
        "Surface volume": "4.2 ml",
        "Surface closed": "yes",
    }


def test_an_open_surface_has_no_volume():
    whole = ball()
    mesh = Mesh(whole.points, whole.faces[1:])
    figures = {figure.label: figure.value for figure in tables.key_figures(fork(), mesh, check_surface(mesh))}
    assert (figures["Surface volume"], figures["Surface closed"]) == ("-", "no")


def test_key_figures_of_nothing():
    mesh = Mesh.empty()
    figures = {figure.label: figure.value for figure in tables.key_figures(VesselGraph.empty(), mesh, check_surface(mesh))}
    assert figures["Total length"] == "0 mm"
    assert figures["Mean radius"] == "- mm"
    assert figures["Surface closed"] == "no"


def test_dropped_branches_with_their_share_of_all_candidates():
    run = {
        "candidates": {"length": 400.0},
        "dropped": {"score below 0.3": {"n_branches": 7, "length": 100.0}, "short": {"n_branches": 1}},
    }
    table = tables.dropped_table(run)
    assert cells(table) == [("score below 0.3", "7", "100.0", "25 %"), ("short", "1", "-", "-")]
    assert [row.share for row in table.rows] == [0.25, -1.0]


def test_timings_with_share_and_total():
    run = {
        "timings": {"heatmap": 3.0, "trace": 1.0, "total": 4.0},
        "cpu_seconds": {"heatmap": 5.5, "trace": 1.0, "total": 6.5},
        "peak_memory_gb": {"heatmap": 1.25, "trace": 1.5, "largest": 1.5},
    }
    assert cells(tables.timings_table(run)) == [
        ("heatmap", "3.00", "5.50", "1.25", "75 %"),
        ("trace", "1.00", "1.00", "1.50", "25 %"),
        ("total", "4.00", "6.50", "1.50", "100 %"),
    ]


def test_scores_are_rows_and_the_rest_is_listed():
    score = {"precision": 0.75, "recall": 0.5, "f1": 0.6, "n_predicted": 8, "n_truth": 12}
    scores = {"centerline": {"2": score, "0.5": score}, "branch": score, "betti": {"error": [1, 0]}, "cldice": None}
    assert cells(tables.scores_table(scores)) == [
        ("centerline, 2 mm", "0.750", "0.500", "0.600", "8", "12"),
        ("centerline, 0.5 mm", "0.750", "0.500", "0.600", "8", "12"),
        ("branch", "0.750", "0.500", "0.600", "8", "12"),
    ]
    assert cells(tables.other_scores_table(scores)) == [("betti, error", "1, 0"), ("cldice", "-")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (56590.4, "56590"),
        (0.00022224, "0.0002222"),
        (-3.0, "-3"),
        (math.inf, "-"),
        (True, "yes"),
        (None, "-"),
        ([1, 2.5], "1, 2.5"),
    ],
)
def test_values_are_written_to_be_read(value, text):
    assert list(tables.flattened({"a": {"b": value}})) == [("a.b", text)]


def test_inputs_and_versions():
    run = {
        "versions": {"vesselgraph": "1.2", "python": "3.11", "torch": None},
        "machine": {"n_processors": 2},
        "inputs": {"portal": {"shape": [3, 4, 5], "dtype": "int16", "sha256_values": "ab", "path": "ct.nii"}},
    }
    assert cells(tables.versions_table(run)) == [("vesselgraph", "1.2"), ("python", "3.11"), ("n_processors", "2")]
    assert cells(tables.inputs_table(run)) == [("portal", "ct.nii", "3, 4, 5", "int16", "ab", "-")]


@pytest.mark.parametrize("run", [{}, {"timings": None, "dropped": None, "inputs": None}, {"timings": "x", "dropped": 3}])
def test_a_record_that_tells_little_gives_empty_tables(run):
    assert tables.timings_table(run).rows == ()
    assert tables.dropped_table(run).rows == ()
    assert tables.inputs_table(run).rows == ()
    assert tables.scores_table(None).rows == ()
    assert tables.other_scores_table(None).rows == ()


def test_phases_show_how_well_they_fit_before_and_after():
    figures = {"body_dice_before": 0.5, "body_dice_after": 0.9004, "mean_displacement": 6.04, "min_jacobian": 1.0}
    run = {"phases": {"portal": {}, "arterial": figures}}
    assert cells(tables.phases_table(run)) == [
        ("portal (reference)", *["-"] * 6),
        ("arterial", "0.500 → 0.900", "- → -", "- → -", "-", "6.0, at most -", "1.00"),
    ]


@pytest.mark.parametrize("run", [{}, {"phases": {}}, {"phases": {"image": {}}}])
def test_a_single_image_has_no_table_of_phases(run):
    assert tables.phases_table(run).rows == ()


def test_vessels_by_name():
    graph = fork()
    assert names_table(graph).rows == ()
    named = graph.with_columns(
        edge={"tree": np.array([1] * (graph.n_edges - 1) + [0]), "tree_confidence": np.linspace(0.6, 0.9, graph.n_edges)}
    )
    rows = names_table(named).rows
    assert [row.cells[0] for row in rows] == ["portal", "not named"]
    assert [row.colour for row in rows] == [TREE_COLOURS[8], TREE_COLOURS[0]]
    assert float(rows[0].cells[3]) == pytest.approx(named.edge_length[:-1].sum(), abs=0.05)
    assert rows[1].cells[-1] == "0.90"
    assert tables.trees_table(named).rows[0].cells[0].endswith("(portal)")
    assert tables.branches_table(named).rows[0].colour in {TREE_COLOURS[8], TREE_COLOURS[0]}
