"""``vesselgraph evaluate`` for one case, for a table of cases and for folders of cases."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.metrics.drawn import graph_of, line
from vesselgraph import Space, Volume, write_graph, write_image
from vesselgraph.cli.app import app
from vesselgraph.cli.pairs import pairs_of_folders, pairs_of_table
from vesselgraph.errors import FormatError, InputError

TRUTH = graph_of(line((0, 0, 0), (20, 0, 0)), line((20, 0, 0), (30, 9, 0)), line((20, 0, 0), (30, -9, 0)))
HALF = graph_of(line((0, 0, 0), (20, 0, 0)))


def run(*arguments):
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def cases(tmp_path):
    """Two folders with two cases each; the prediction of the second is half."""
    for name, graph in (("a", TRUTH), ("b", HALF)):
        for folder in ("ours", "theirs"):
            (tmp_path / folder).mkdir(exist_ok=True)
        write_graph(graph, tmp_path / "ours" / f"{name}.json")
        write_graph(TRUTH, tmp_path / "theirs" / f"{name}.vtp")
    return tmp_path


def test_one_case_as_text_and_json(cases):
    text = run(cases / "ours/b.json", cases / "theirs/b.vtp")
    for row in (
        "centerline, 2 mm",
        "centerline, 0.5 r",
        "branch points",
        "APLS",
        "street mover",
        "NetMets links",
        "Rivulet",
        "radius <1.5 mm",
    ):
        assert row in text
    scores = json.loads(run(cases / "ours/b.json", cases / "theirs/b.vtp", "--json"))
    assert scores["centerline"]["1"]["precision"] == 1.0
    assert scores["centerline"]["1"]["recall"] == pytest.approx(20 / TRUTH.length, abs=0.01)
    assert "diadem" in scores
    basic = json.loads(run(cases / "ours/b.json", cases / "theirs/b.vtp", "--json", "--metrics", "basic"))
    some = json.loads(run(cases / "ours/b.json", cases / "theirs/b.vtp", "--json", "--metrics", "netmets, rivulet"))
    assert ("diadem" in basic, "netmets" in some, "diadem" in some) == (False, True, False)


def test_folders_give_means_with_intervals_a_table_and_a_figure(cases):
    arguments = (cases / "ours", cases / "theirs", "--csv", cases / "scores.csv", "--figure", cases / "scores.png")
    text = run(*arguments)
    assert "2 cases: mean [95 % interval]" in text
    assert "Betti errors" in text
    # All true radii are 1 mm.
    assert "radius <1.5 mm" in text
    assert "radius >=3 mm" not in text
    rows = list(csv.DictReader((cases / "scores.csv").read_text().splitlines()))
    assert [row["case"] for row in rows] == ["a", "b"]
    assert float(rows[0]["centerline.2.f1"]) == 1.0 > float(rows[1]["centerline.2.f1"])
    assert (cases / "scores.png").read_bytes().startswith(b"\x89PNG")
    both = json.loads(run(cases / "ours", cases / "theirs", "--json"))
    assert list(both["cases"]) == ["a", "b"]
    recall = both["summary"]["centerline.2.recall"]
    assert (recall["n"], recall["high"]) == (2, 1.0)
    assert recall["low"] < recall["mean"] < recall["high"]


def test_a_table_names_cases_and_regions(cases):
    inside = Volume(np.ones((3, 5, 10), dtype=bool), Space.axial(origin=(0, -2, -1)))
    write_image(inside, cases / "inside.nii.gz")
    (cases / "pairs.csv").write_text(
        "case,predicted,truth,region\nwhole,ours/b.json,theirs/b.vtp,\nstem,ours/b.json,theirs/b.vtp,inside.nii.gz\n"
    )
    scores = json.loads(run("--pairs", cases / "pairs.csv", "--json"))["cases"]
    assert scores["stem"]["centerline"]["2"]["f1"] == 1.0
    assert scores["whole"]["centerline"]["2"]["f1"] < 1.0
    masked = json.loads(run("--pairs", cases / "pairs.csv", "--region", cases / "inside.nii.gz", "--json"))["cases"]
    assert masked["whole"]["centerline"]["2"]["f1"] == 1.0


def test_result_folders_and_masks_are_cases_too(cases):
    mask = np.zeros((9, 9, 30), dtype=bool)
    mask[3:6, 3:6, 2:28] = True
    (cases / "results/case").mkdir(parents=True)
    (cases / "truths").mkdir()
    write_graph(graph_of(line((2, 0, 0), (27, 0, 0))), cases / "results/case/graph.vtp")
    write_image(Volume(mask, Space.axial(origin=(0, -4, -4))), cases / "truths/case.nii.gz")
    scores = json.loads(run(cases / "results", cases / "truths", "--json"))["cases"]["case"]
    assert scores["centerline"]["2"]["f1"] > 0.9


def test_a_case_missing_on_one_side_is_refused(cases):
    (cases / "ours/b.json").rename(cases / "ours/c.json")
    with pytest.raises(InputError, match=r"2 missing: b in .*ours, c in .*theirs"):
        pairs_of_folders(cases / "ours", cases / "theirs")
    (cases / "empty").mkdir()
    with pytest.raises(InputError, match="no graphs in"):
        pairs_of_folders(cases / "empty", cases / "empty")


def test_two_files_for_one_case_are_refused(cases):
    write_graph(TRUTH, cases / "ours/a.swc")
    with pytest.raises(InputError, match=r"one file for 'a' .*got a.json and a.swc"):
        pairs_of_folders(cases / "ours", cases / "theirs")


def test_masks_by_name_or_one_for_all(cases):
    inside = Volume(np.ones((3, 5, 10), dtype=bool), Space.axial(origin=(0, -2, -1)))
    (cases / "masks").mkdir()
    write_image(inside, cases / "masks/a.nii.gz")
    with pytest.raises(InputError, match=r"1 missing: b in .*masks"):
        pairs_of_folders(cases / "ours", cases / "theirs", cases / "masks")
    write_image(inside, cases / "masks/b.nii.gz")
    by_name = pairs_of_folders(cases / "ours", cases / "theirs", cases / "masks")
    assert [pair.region.name for pair in by_name] == ["a.nii.gz", "b.nii.gz"]
    for_all = pairs_of_folders(cases / "ours", cases / "theirs", cases / "masks/a.nii.gz")
    assert [pair.region.name for pair in for_all] == ["a.nii.gz", "a.nii.gz"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("case,predicted\na,b\n", "no truth in"),
        ("predicted,truth\n", "no rows in"),
        ("case,predicted,truth\na,b,c\na,d,e\n", "every case once"),
    ],
)
def test_tables_are_checked(text, match, tmp_path):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(FormatError, match=match):
        pairs_of_table(tmp_path / "pairs.csv")


def test_cases_without_names_are_numbered_and_missing_tables_refused(tmp_path):
    (tmp_path / "pairs.csv").write_text("predicted,truth\na.vtp,b.vtp\nc.vtp,d.vtp\n")
    assert [pair.case for pair in pairs_of_table(tmp_path / "pairs.csv")] == ["001", "002"]
    with pytest.raises(InputError, match="a CSV file of pairs"):
        pairs_of_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [((), "PRED and TRUTH, or --pairs"), (("ours/a.json",), "PRED and TRUTH"), (("ours", "theirs/a.vtp"), "two files or two")],
)
def test_unclear_arguments_are_refused(arguments, match, cases):
    with pytest.raises(InputError, match=match):
        run(*(cases / name for name in arguments))


def test_an_unknown_metric_lists_the_known(cases):
    with pytest.raises(InputError, match="street_mover"):
        run(cases / "ours/a.json", cases / "theirs/a.vtp", "--metrics", "smd")
