"""``vesselgraph trace`` and what ``reconstruct --keep-intermediate`` adds."""

import numpy as np
import pytest
from typer.testing import CliRunner

import vesselgraph as vg
from tests.strategies import assert_same_graph
from tests.test_results import reconstruction
from vesselgraph.cli.app import app
from vesselgraph.errors import InputError, OutputError
from vesselgraph.results import RESULT_FILES, write_results


@pytest.fixture
def heat_file(tmp_path):
    heat = np.zeros((12, 12, 40), np.float32)
    heat[5:8, 5:8, 2:18] = heat[5:8, 5:8, 22:38] = 0.6
    heat[6, 6, 2:18] = heat[6, 6, 22:38] = 0.9
    path = tmp_path / "heat.nii.gz"
    vg.write_image(vg.Volume(heat, vg.Space.axial()), path)
    return path


def test_trace_writes_one_polyline_a_candidate_with_its_evidence(heat_file, tmp_path):
    said = CliRunner().invoke(app, ["trace", str(heat_file), "--out", str(tmp_path / "new" / "out")], catch_exceptions=False)
    assert said.exit_code == 0
    graph = vg.read_graph(tmp_path / "new" / "out" / "overcomplete.vtp")
    assert f"{graph.n_edges} candidate branches" in said.stdout
    assert_same_graph(graph, vg.trace(vg.read_heatmap(heat_file)))
    assert {"generator", "mean_heat", "min_heat", "gap_length"} <= set(graph.edge_data)
    generator = graph.edge_data["generator"]
    assert (generator & 1).any()
    assert (generator == 2).any()


def test_trace_names_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nothing at .*none\.nii\.gz"):
        CliRunner().invoke(app, ["trace", "none.nii.gz", "--out", str(tmp_path)], catch_exceptions=False)


def test_trace_says_if_the_folder_cannot_be_made(heat_file):
    with pytest.raises(OutputError, match="a folder at"):
        CliRunner().invoke(app, ["trace", str(heat_file), "--out", str(heat_file)], catch_exceptions=False)


def test_the_over_complete_graph_is_kept_if_asked_for_and_does_not_outlive_its_run(tmp_path):
    result = reconstruction()
    written = write_results(result, tmp_path, keep_intermediate=True)
    assert [path.name for path in written] == [*RESULT_FILES, "overcomplete.vtp"]
    assert_same_graph(vg.read_graph(tmp_path / "overcomplete.vtp"), result.overcomplete)
    write_results(result, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(RESULT_FILES)


def test_a_foreign_file_of_that_name_is_not_touched(tmp_path):
    (tmp_path / "overcomplete.vtp").write_text("mine")
    with pytest.raises(OutputError, match="overcomplete"):
        write_results(reconstruction(), tmp_path, keep_intermediate=True)
    assert (tmp_path / "overcomplete.vtp").read_text() == "mine"
