import json
from dataclasses import replace

import numpy as np
import pytest

from vesselgraph import results
from vesselgraph.errors import OutputError
from vesselgraph.graph import VesselGraph
from vesselgraph.io import read_mesh
from vesselgraph.mesh import Mesh
from vesselgraph.pipeline import Reconstruction
from vesselgraph.region import Region
from vesselgraph.results import RESULT_FILES, check_folder, write_results
from vesselgraph.space import Space
from vesselgraph.volume import Heatmap, PhaseSet, Volume


def reconstruction(empty=False):
    rng = np.random.default_rng(0)
    image = Volume(rng.normal(100, 20, (16, 16, 16)).astype(np.float32), Space.axial())
    heat = Volume(np.clip(rng.random((16, 16, 16)), 0, 1).astype(np.float32), Space.axial())
    line = VesselGraph.from_paths([[[2, 8, 8], [8, 8, 8], [14, 8, 8]]], radii=[[2.0, 1.5, 1.0]])
    tetra = Mesh([[2, 2, 2], [9, 2, 2], [2, 9, 2], [2, 2, 9]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    graph, mesh = (VesselGraph.empty(), Mesh.empty()) if empty else (line, tetra)
    whole = image.with_array(np.ones(image.shape, bool))
    region = Region(whole, whole, "whole", 1.0, "Everything.")
    run = {"program": "vesselgraph", "warnings": []}
    return Reconstruction(PhaseSet({"image": image}), region, Heatmap(heat), graph, graph, mesh, run)


@pytest.mark.parametrize("empty", [False, True], ids=["one branch", "nothing found"])
def test_all_files_are_written_and_none_is_empty(tmp_path, empty):
    written = write_results(reconstruction(empty), tmp_path / "a" / "b", scores={"branch": {"f1": 1.0}})
    assert [path.name for path in written] == list(RESULT_FILES)
    assert sorted(path.name for path in (tmp_path / "a/b").iterdir()) == sorted(RESULT_FILES)
    assert all(path.stat().st_size > 0 for path in written)
    assert json.loads(written[-1].read_text())["scores"]["branch"]["f1"] == 1.0


def test_each_named_tree_has_its_surface_and_old_ones_go(tmp_path):
    result = reconstruction()
    written = write_results(replace(result, tree_meshes={"portal": result.mesh, "hepatic": result.mesh}), tmp_path)
    assert [path.name for path in written] == [*RESULT_FILES, "mesh-portal.stl", "mesh-hepatic.stl"]
    assert read_mesh(tmp_path / "mesh-portal.stl").n_faces == result.mesh.n_faces
    again = write_results(replace(result, tree_meshes={"portal": result.mesh}), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in again)
    assert not (tmp_path / "mesh-hepatic.stl").exists()


def test_progress_names_every_file(tmp_path):
    seen = []
    write_results(reconstruction(), tmp_path, progress=lambda step, fraction: seen.append((step, fraction)))
    assert {f"writing {name}" for name in RESULT_FILES} <= {step for step, _ in seen}
    assert all(0.0 <= fraction <= 1.0 for _, fraction in seen)


def fail_at(monkeypatch, name, error):
    whole = results._writers

    def broken(*arguments):
        def write(path):
            path.write_bytes(b"half")
            raise error

        return {**whole(*arguments), name: write}

    monkeypatch.setattr(results, "_writers", broken)


@pytest.mark.parametrize("name", ["graph.vtp", "mesh.glb", "run.json"])
def test_full_disk_in_any_writer_leaves_no_new_folder(tmp_path, monkeypatch, name):
    fail_at(monkeypatch, name, OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match="No space left on device"):
        write_results(reconstruction(), tmp_path / "a" / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt(), MemoryError()], ids=["full", "ctrl-c", "memory"])
def test_failure_keeps_the_earlier_results(tmp_path, monkeypatch, error):
    write_results(reconstruction(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    fail_at(monkeypatch, "mesh.glb", error)
    with pytest.raises((OutputError, KeyboardInterrupt, MemoryError), match=r".*"):
        write_results(reconstruction(empty=True), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_earlier_results_are_replaced_and_other_files_stay(tmp_path):
    write_results(reconstruction(empty=True), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "graph.json").read_bytes()
    write_results(reconstruction(), tmp_path)
    assert (tmp_path / "graph.json").read_bytes() != before
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("record", [None, "{", "[]", '{"program": "other"}'], ids=["none", "broken", "list", "other"])
def test_foreign_files_of_our_names_are_refused(tmp_path, record):
    (tmp_path / "graph.json").write_text("theirs")
    if record is not None:
        (tmp_path / "run.json").write_text(record)
    with pytest.raises(OutputError, match=r"graph\.json"):
        check_folder(tmp_path)
    with pytest.raises(OutputError, match=r"graph\.json"):
        write_results(reconstruction(), tmp_path)
    assert (tmp_path / "graph.json").read_text() == "theirs"


def test_check_leaves_nothing_behind(tmp_path):
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_place_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="to write into"):
        check_folder(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="to write into"):
        check_folder(tmp_path / "file")
