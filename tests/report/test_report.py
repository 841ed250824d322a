"""The page as a whole: one file, nothing fetched, nothing injected, nothing missing."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.report.cases import ball, fork, heatmap, image
from vesselgraph.errors import BackendUnavailableError, InputError, OutputError
from vesselgraph.graph import VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.report import mesh_png, render_mesh_png, still, write_report
from vesselgraph.report import report as page_module
from vesselgraph.space import Space
from vesselgraph.volume import Volume

HOSTILE = '<script>alert(1)</script><img src="http://x.example/a.png" onerror=alert(2)>"\'</script>&{{ 7*7 }}'


class Page(HTMLParser):
    """What a browser would find in the file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.size = path.stat().st_size
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append((self.tags[-1][1].get("type", ""), ""))

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif "style" not in self._open:
            self.text += data

    def data(self) -> dict:
        return json.loads(next(text for kind, text in self.scripts if kind == "application/json"))

    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}


def run_record() -> dict:
    return {
        "program": "vesselgraph",
        "started": "2026-01-02T03:04:05+00:00",
        "versions": {"vesselgraph": "0.1.0", "numpy": "2.1.77"},
        "machine": {"n_processors": 2},
        "config": {"region": {"margin": 2.0}, "trace": {"threshold": 0.1}},
        "inputs": {"portal": {"path": "ct.nii.gz", "sha256_values": "0123abcd"}},
        "timings": {"trace": 2.25, "total": 2.25},
        "warnings": ["The liver was estimated."],
        "region": {"kind": "liver", "confidence": 0.75, "note": "Largest soft organ on the right."},
        "dropped": {"score too low": {"n_branches": 4, "length": 33.0}},
        "candidates": {"length": 150.0},
        "surface": {"closed": True},
    }


@pytest.fixture
def quick(monkeypatch):
    """Leave out the still picture and most slices, which take a small report's time."""

    def refuse(*_):
        raise BackendUnavailableError("a picture", "none", "this test draws none")

    monkeypatch.setattr(page_module, "mesh_png", refuse)
    monkeypatch.setattr(page_module, "_MAX_SLICES", 3)


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("report") / "report.html"
    volume = image()
    mask = np.zeros(volume.shape, bool)
    mask[2:34, 5:28, 8:34] = True
    scores = {"centerline": {"2": {"precision": 0.9, "recall": 0.8, "f1": 0.847, "n_predicted": 10, "n_truth": 11}}}
    written = write_report(
        path,
        image=volume,
        graph=fork(),
        mesh=ball(),
        heatmap=heatmap(volume),
        region=volume.with_array(mask),
        run=run_record(),
        scores=scores,
    )
    assert written == path
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    return Page(path)


def test_nothing_is_fetched(full):
    for tag, attributes in full.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            value = attributes.get(name, "")
            assert value == "" or value.startswith(("data:image/", "#")), (tag, name, value[:80])
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert "url(" not in attributes.get("style", "")


def test_the_page_forbids_itself_the_network_and_foreign_scripts(full):
    policy = next(a["content"] for tag, a in full.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe-inline" not in policy.split("script-src")[1]
    for kind, text in full.scripts:
        if kind != "application/json":
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    assert not [name for _, attributes in full.tags for name in attributes if name.startswith("on")]


def test_the_styles_load_nothing():
    text = page_module._asset("report.css")
    assert not re.search(r"@import|url\(|https?:", text)


def test_the_bundled_library_has_its_licence_and_a_bound_on_its_size():
    bundle = page_module._asset("three.bundle.min.js")
    assert len(bundle) < 800_000
    assert "SPDX-License-Identifier: MIT" in bundle
    assert "Permission is hereby granted" in page_module._asset("three.LICENSE.txt")
    assert "</script" not in bundle.lower()


def test_every_element_the_scripts_ask_for_is_there(full):
    wanted = set()
    for name in ("viewer.js", "page.js"):
        wanted |= set(re.findall(r"""(?:byId|getElementById)\(["']([\w-]+)["']\)""", page_module._asset(name)))
    assert len(wanted) > 15
    assert wanted - full.ids() == set()


def test_the_facts_are_in_the_text(full):
    for fact in (
        "Vessel report: made-up CT",
        "Research use only. Not a medical device.",
        "40 x 30 x 36 voxels",
        "2 x 2 x 2 mm",
        "columns to left, rows to back, planes to head",
        "liver, estimated from the image",
        "Largest soft organ on the right.",
        "Confidence 75 %",
        "The liver was estimated.",
        "score too low",
        "120 mm",
        "centerline, 2 mm",
        "0.847",
        "0123abcd",
        "2.25",
        "2.1.77",
        "ct.nii.gz",
        "trace.threshold",
        "2026-01-02T03:04:05+00:00",
    ):
        assert fact in full.text, fact


def test_warnings_come_before_everything_but_the_title(full):
    order = [attributes.get("class") or attributes.get("id") for _, attributes in full.tags]
    assert order.index("warnings") < order.index("figures") < order.index("view")


def test_pictures_are_whole_and_labelled(full):
    pictures = [attributes for tag, attributes in full.tags if tag == "img"]
    assert all("alt" in attributes for attributes in pictures)
    sources = [attributes["src"] for attributes in pictures if attributes.get("src")]
    assert len(sources) >= 2 * (1 + 2 + 3 + 3)
    for source in sources:
        Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))).load()


def test_slices_run_from_feet_to_head_and_fit_their_positions(full):
    slices = full.data()["slices"]
    assert len(slices["base"]) == len(slices["overlay"]) == len(slices["positions"]) == 32
    assert slices["positions"] == sorted(slices["positions"])
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(slices["base"][0]))))
    assert first.shape == (slices["height"], slices["width"])


def test_the_patients_left_is_on_the_right_of_the_embedded_slice(tmp_path):
    volume = Volume(np.zeros((3, 40, 40), np.int16), Space.axial((5.0, 1.0, 1.0)))
    array = volume.array.copy()
    array[:, 18:22, 28:34] = 300
    path = write_report(tmp_path / "r.html", image=volume.with_array(array), graph=VesselGraph.empty(), mesh=Mesh.empty())
    slices = Page(path).data()["slices"]
    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(slices["base"][1])))).astype(float)[120:360, 60:420]
    centre = (np.nonzero(grey > 128)[1].mean() + 60) / slices["width"]
    assert centre == pytest.approx(31 / 40, abs=0.03)


def test_without_an_image_the_heatmap_is_shown_and_said(tmp_path, quick):
    path = write_report(tmp_path / "r.html", image=None, heatmap=heatmap(image()), graph=fork(), mesh=Mesh.empty())
    page = Page(path)
    assert "There is no image" in page.text
    assert "Heatmap, within the region" in page.text
    assert sum("maximum-intensity" in text for text in page.text.splitlines()) == 3
    with pytest.raises(InputError, match="an image or a heatmap to show; got neither"):
        write_report(tmp_path / "none.html", image=None, graph=fork(), mesh=Mesh.empty())
    assert not (tmp_path / "none.html").exists()


def test_phases_have_a_table_with_their_quality(tmp_path, quick):
    run = {"phases": {"portal": {}, "arterial": {"body_dice_before": 0.71, "body_dice_after": 0.98}}, "warnings": ["bad fit"]}
    page = Page(write_report(tmp_path / "r.html", image=image(), graph=fork(), mesh=Mesh.empty(), run=run))
    assert "table-phases" in page.ids()
    for text in ("Contrast phases", "portal (reference)", "0.710 → 0.980", "bad fit"):
        assert text in page.text


def test_hostile_names_stay_text(tmp_path, quick):
    volume = Volume(image().array, image().space, HOSTILE)
    run = {
        "warnings": [HOSTILE],
        "region": {"kind": HOSTILE, "note": HOSTILE},
        "dropped": {HOSTILE: {"n_branches": HOSTILE, "length": 1.0}},
        "inputs": {HOSTILE: {"path": HOSTILE}},
        "config": {HOSTILE: {HOSTILE: HOSTILE}},
        "started": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
        "timings": {HOSTILE: 1.0, "total": 1.0},
        HOSTILE: HOSTILE,
    }
    path = write_report(
        tmp_path / "r.html", image=volume, graph=fork(), mesh=Mesh.empty(), run=run, scores={HOSTILE: {HOSTILE: HOSTILE}}
    )
    page = Page(path)
    assert len(page.scripts) == 4
    assert not [1 for tag, attributes in page.tags if "onerror" in attributes or "x.example" in attributes.get("src", "")]
    assert HOSTILE in page.text
    assert page.text.count("alert(1)") >= 8
    assert "49" not in re.findall(r"&\{\{? ?(\d+)", page.text)


@pytest.mark.parametrize(
    "case",
    [
        "empty",
        "one branch",
        "no radii",
        "not finite",
        "all unknown",
        "one voxel",
        "wide slices",
        "oblique",
        "open surface",
        "whole",
    ],
)
def test_odd_cases_still_give_a_clear_report(case, tmp_path, quick):
    volume, graph, mesh, region = image(), fork(), ball(), None
    expected = ""
    if case == "empty":
        graph, mesh, expected = VesselGraph.empty(), Mesh.empty(), "No vessel was found"
    elif case == "one branch":
        graph, expected = VesselGraph.from_paths([[[0, 0, 0], [0, 0, 9]]], [[1, 1]]), "All 1 branches."
    elif case == "no radii":
        graph, expected = VesselGraph.from_paths([[[0, 0, 0], [0, 0, 9]]]), "- mm"
    elif case == "not finite":
        array = volume.array.astype(np.float32)
        array[:, ::3] = np.nan
        array[0, 0, 0] = np.inf
        volume = volume.with_array(array)
    elif case == "all unknown":
        volume = volume.with_array(np.full(volume.shape, np.nan, np.float32))
    elif case == "one voxel":
        volume = Volume(np.ones((1, 1, 1), np.int16), Space.axial())
    elif case == "wide slices":
        volume = Volume(image().array[::9, ::4, ::4], Space.axial((30.0, 8.0, 8.0), (-38.0, -28.0, -4.0)), "wide")
    elif case == "oblique":
        turn = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix() @ Space.axial().direction
        volume = image(Space(np.full(3, 2.0), np.array([-20.0, -30.0, -20.0]), turn))
        region, expected = volume.with_array(volume.array > 150), "oblique by"
    elif case == "open surface":
        mesh, expected = Mesh(mesh.points, mesh.faces[1:]), "The surface is not closed"
    else:
        region = volume.with_array(np.ones(volume.shape, bool))
    page = Page(write_report(tmp_path / "r.html", image=volume, graph=graph, mesh=mesh, region=region))
    assert expected in page.text
    assert {"view", "slices", "projections", "trees", "branches", "dropped", "run"} <= page.ids()
    json.dumps(page.data(), allow_nan=False)


def test_thousands_of_branches_stay_small(tmp_path, quick):
    rng = np.random.default_rng(3)
    starts = rng.uniform(-20, 20, (4000, 1, 3))
    paths = starts + np.cumsum(rng.normal(0, 0.5, (4000, 12, 3)), axis=1)
    graph = VesselGraph.from_paths(list(paths), list(np.full((4000, 12), 0.5)))
    path = write_report(tmp_path / "r.html", image=image(), graph=graph, mesh=ball())
    page = Page(path)
    assert page.size < 8e6
    assert "The 300 longest of 4000 branches" in page.text
    assert sum(tag == "tr" for tag, _ in page.tags) < 360


def test_an_unwritable_place_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="expected an existing folder"):
        write_report(tmp_path / "none" / "r.html", image=image(), graph=VesselGraph.empty(), mesh=Mesh.empty())
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_cannot_draw_is_told_in_the_report(tmp_path, monkeypatch):
    broken = tmp_path / "broken.py"
    broken.write_text("import os; os.abort()", encoding="utf-8")
    monkeypatch.setattr(still, "_PROGRAM", broken)
    with pytest.raises(BackendUnavailableError, match="drawn by VTK; got exit code"):
        mesh_png(ball())
    page = Page(write_report(tmp_path / "r.html", image=image(), graph=fork(), mesh=ball()))
    assert "No still picture" in page.text
    assert "still" not in page.ids()


def test_the_still_picture_shows_the_surface_in_its_colour(tmp_path):
    mesh = ball(20)
    path = render_mesh_png(
        Mesh(mesh.points, mesh.faces, {"tree_id": np.full(mesh.n_points, 2)}), tmp_path / "s.png", size=(90, 60)
    )
    with Image.open(path) as picture:
        shown = np.asarray(picture.convert("RGBA"))
    assert shown.shape == (60, 90, 4)
    assert shown[0, 0, 3] == 0
    red, _, blue, alpha = shown[30, 45].astype(int)
    assert alpha == 255
    assert blue > red + 30


def test_no_faces_no_still_picture():
    with pytest.raises(InputError, match="a surface with faces"):
        mesh_png(Mesh.empty())


def test_progress_rises_to_one(tmp_path, quick):
    seen = []
    write_report(
        tmp_path / "r.html",
        image=image(),
        graph=VesselGraph.empty(),
        mesh=Mesh.empty(),
        progress=lambda step, fraction: seen.append((step, fraction)),
    )
    assert seen[-1][1] == 1.0
    assert all(0 <= fraction <= 1 for _, fraction in seen)


def test_text_in_the_data_cannot_end_its_element():
    text = str(page_module._json({"name": "</script><!--&"}))
    assert not set(text) & set("<>&")
    assert json.loads(text) == {"name": "</script><!--&"}
