"""The command line from outside: what it prints, which exit code it gives, what it leaves on disk."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest

import vesselgraph as vg
from vesselgraph.cli import main
from vesselgraph.config import PhantomConfig
from vesselgraph.results import RESULT_FILES, TREE_FILES

SMALL = PhantomConfig(shape=(80, 80, 80), n_tips=20)
LIGHT = [
    "--set",
    "region.method=whole",
    "--set",
    "heatmap.n_scales=3",
    "--set",
    "surface.step=1.0",
    "--set",
    "prune.min_heat=0.12",
]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A small CT, its organ mask and its true graph on disk."""
    folder = tmp_path_factory.mktemp("case")
    phantom = vg.make_phantom(SMALL)
    vg.write_image(phantom.image, folder / "ct.nii.gz")
    vg.write_image(phantom.organ_mask, folder / "organ.nii.gz")
    vg.write_image(phantom.vessel_mask, folder / "vessels.nii.gz")
    vg.write_graph(phantom.graph, folder / "truth.vtp")
    return folder


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run a command line in this process: exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vesselgraph", *map(str, arguments)])
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        finally:
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
                signal.signal(number, handler)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def shell(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "vesselgraph", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        **more,
    )


def assert_refused(result, code, words, out):
    """Exit code, three parts on stderr, no traceback, nothing on stdout, nothing on disk."""
    assert result[0] == code, result
    assert re.search(words, result[2], re.DOTALL), result[2]
    if code == 2:
        assert re.search(r"^error\n  expected  \S.*\n  got       \S.*\n  do        \S", result[2], re.MULTILINE), result[2]
    assert "Traceback" not in result[2]
    assert result[1] == ""
    assert not out.exists()


# -- what works ---------------------------------------------------------------------------------------------------------


def test_reconstruct_writes_every_file_complete(case, tmp_path):
    out = tmp_path / "deep" / "out"
    done = shell("reconstruct", case / "ct.nii.gz", "--mask", case / "organ.nii.gz", "--out", out, *LIGHT)
    assert done.returncode == 0, done.stderr
    assert sorted({path.name for path in out.iterdir()} - set(TREE_FILES)) == sorted(RESULT_FILES)
    assert "branches" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    run = json.loads((out / "run.json").read_text())
    assert run["program"] == "vesselgraph"
    assert run["config"]["heatmap"]["n_scales"] == 3
    assert run["region"]["kind"] == "given"
    assert set(run["inputs"]) == {"image", "mask"}
    assert all({"path", "sha256_files", "sha256_values"} <= set(entry) for entry in run["inputs"].values())
    graph = vg.read_graph(out / "graph.json")
    assert run["graph"]["n_branches"] == graph.n_edges > 0
    assert vg.read_mesh(out / "mesh.vtp").n_faces == run["surface"]["n_faces"] > 0
    assert vg.read_heatmap(out / "heatmap.nii.gz").heat.array.max() > 0


def test_roots_are_named_on_the_command_line(cli, case, tmp_path):
    graph, out = vg.read_graph(case / "truth.vtp"), tmp_path / "out"
    tip = graph.node_position[np.flatnonzero(graph.degree == 1)[3]]
    place = ",".join(f"{value:.2f}" for value in tip)
    arguments = ["reconstruct", "--heatmap", case / "vessels.nii.gz", "-o", out, "-q", *LIGHT, "--root", f"portal={place}"]
    code, _, err = cli(*arguments)
    assert code == 0, err
    assert json.loads((out / "run.json").read_text())["roots"] == [[float(part) for part in place.split(",")]]
    found = vg.read_graph(out / "graph.vtp")
    roots = found.node_position[found.node_data["root"].astype(bool)]
    assert np.linalg.norm(roots - tip, axis=1).min() < 5.0
    assert set(found.edge_data["tree"].tolist()) <= {0, 1}
    assert (out / "mesh-portal.stl").is_file()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("1,2", r"--root \[TREE=\]X,Y,Z"),
        ("a,b,c", r"--root \[TREE=\]X,Y,Z"),
        ("portal=1,2", "write e.g. --root portal=-12.5,40,310"),
        ("vena=1,2,3", "a tree called portal, hepatic, artery"),
        ("-900,0,0", "in the image"),
    ],
)
def test_wrong_roots_are_refused(cli, case, tmp_path, place, words):
    arguments = ["reconstruct", "--heatmap", case / "vessels.nii.gz", "-o", tmp_path / "out", "--root", place, *LIGHT]
    assert_refused(cli(*arguments), 2, words, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("portal", "--root-name LABEL=TREE"),
        ("1=", "write e.g. --root-name 1=portal"),
        ("1=portal", "root labels of the value 1"),
    ],
)
def test_wrong_names_of_labels_are_refused(cli, case, tmp_path, name, words):
    arguments = ["reconstruct", "--heatmap", case / "vessels.nii.gz", "-o", tmp_path / "out", "--root-name", name, *LIGHT]
    assert_refused(cli(*arguments), 2, words, tmp_path / "out")


def test_own_mask_as_heatmap_is_traced_and_scored(case, tmp_path, cli):
    out = tmp_path / "out"
    code, _, err = cli("reconstruct", case / "ct.nii.gz", "--heatmap", case / "vessels.nii.gz", "-o", out, "-q", *LIGHT)
    assert code == 0, err
    assert json.loads((out / "run.json").read_text())["heatmap"]["source"] == "mask"
    code, text, err = cli("evaluate", out / "graph.vtp", case / "truth.vtp", "--json")
    assert code == 0, err
    scores = json.loads(text)
    assert scores["centerline"]["2"]["f1"] > 0.9


def test_own_mask_needs_no_image(case, tmp_path, cli):
    out = tmp_path / "out"
    code, _, err = cli("reconstruct", "--heatmap", case / "vessels.nii.gz", "-o", out, "-q", *LIGHT)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULT_FILES)
    assert set(json.loads((out / "run.json").read_text())["inputs"]) == {"heatmap"}
    page = (out / "report.html").read_text()
    assert "There is no image: the heatmap or mask that was traced is shown." in page
    assert "Heatmap, within the region" in page
    assert "Image, within the region" not in page


@pytest.mark.parametrize("more", [[], ["--phase", "late=organ.nii.gz", "--heatmap", "vessels.nii.gz"]])
def test_nothing_to_look_at_is_refused(more, case, tmp_path, cli):
    more = [text.replace("late=", f"late={case}/") if "=" in text else text for text in more]
    assert_refused(cli("reconstruct", "--out", tmp_path / "out", *more), 2, "an IMAGE", tmp_path / "out")


def test_second_phase_is_moved_onto_the_image_and_shown_in_the_report(case, tmp_path, cli):
    image = vg.read_image(case / "ct.nii.gz")
    moved = vg.Volume(image.array, image.space.shifted((0, 6, 0)), "late")
    vg.write_image(moved, tmp_path / "late.nii.gz")
    out = tmp_path / "out"
    arguments = ["--mask", case / "organ.nii.gz", "--phase", f"portal late={tmp_path / 'late.nii.gz'}", "-o", out, "-q", *LIGHT]
    code, _, err = cli("reconstruct", case / "ct.nii.gz", *arguments)
    assert code == 0, err
    run = json.loads((out / "run.json").read_text())
    assert list(run["phases"]) == ["image", "portal late"]
    assert run["phases"]["image"] == {}
    figures = run["phases"]["portal late"]
    assert figures["mean_displacement"] == pytest.approx(6.0, abs=1.0)
    assert figures["correlation_after"] > figures["correlation_before"] + 0.05
    page = (out / "report.html").read_text()
    assert "Contrast phases" in page
    assert f"{figures['correlation_before']:.3f} → {figures['correlation_after']:.3f}" in page


def test_second_run_replaces_the_first_and_leaves_other_files_alone(case, tmp_path, cli):
    out = tmp_path / "out"
    arguments = ["reconstruct", case / "ct.nii.gz", "--heatmap", case / "vessels.nii.gz", "-o", out, "-q", *LIGHT]
    assert cli(*arguments)[0] == 0
    (out / "notes.txt").write_text("mine")
    before = json.loads((out / "run.json").read_text())["config_digest"]
    assert cli(*arguments, "--set", "surface.step=1.2")[0] == 0
    assert json.loads((out / "run.json").read_text())["config_digest"] != before
    assert (out / "notes.txt").read_text() == "mine"


def test_small_demo_scores_itself(tmp_path):
    done = shell("demo", "--small", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "against the known truth" in done.stdout
    assert str(tmp_path / "demo/report.html") in done.stdout
    scores = json.loads((tmp_path / "demo/run.json").read_text())["scores"]
    assert scores["centerline"]["2"]["f1"] > 0.6
    assert len(list((tmp_path / "demo/portal-dicom").iterdir())) == 60


def test_phantom_is_repeatable_by_its_seed(tmp_path, cli):
    settings = ["--set", "shape=[48,48,48]", "--set", 'phases=["portal","delayed"]', "--set", "n_portal_tips=60"]
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        code, _, err = cli("phantom", "--out", tmp_path / name, "--seed", seed, "--format", "both", *settings)
        assert code == 0, err
    one, two, three = (vg.read_image(tmp_path / name / "portal.nii.gz").array for name in ("one", "two", "three"))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)
    assert np.array_equal(vg.read_image(tmp_path / "one/portal-dicom").array, one)


def test_config_prints_a_recipe_that_config_reads(tmp_path, cli):
    code, text, _ = cli("config", "--set", "heatmap.step=0.8")
    assert code == 0
    (tmp_path / "recipe.toml").write_text(text)
    assert cli("config", "--config", tmp_path / "recipe.toml")[1] == text


def test_info_is_json_and_loads_nothing_heavy(cli):
    code, text, err = cli("info", "--json")
    assert (code, err) == (0, "")
    assert json.loads(text)["versions"]["vesselgraph"] == vg.__version__


def test_version(cli):
    assert cli("--version")[:2] == (0, vg.__version__ + "\n")


@pytest.mark.parametrize("command", ["reconstruct", "demo", "phantom", "evaluate", "info", "config"])
def test_every_command_has_help(command, cli):
    code, text, _ = cli(command, "--help")
    assert code == 0
    assert f"vesselgraph {command}" in text


# -- bad input: three parts, exit code, nothing written -----------------------------------------------------------------


def nifti(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 1.0, 1.0]) if affine is None else affine), path)
    return path


def some_ct(shape=(24, 24, 24)):
    return np.random.default_rng(0).integers(-100, 200, shape).astype(np.int16)


def empty(folder):
    (folder / "a.nii.gz").write_bytes(b"")
    return folder / "a.nii.gz"


def truncated(folder):
    whole = nifti(folder / "whole.nii", some_ct()).read_bytes()
    (folder / "a.nii").write_bytes(whole[: len(whole) // 2])
    return folder / "a.nii"


def wrong_suffix(folder):
    nifti(folder / "whole.nii", some_ct()).rename(folder / "a.nrrd")
    return folder / "a.nrrd"


def zero_spacing(folder):
    data = bytearray(nifti(folder / "whole.nii", some_ct()).read_bytes())
    struct.pack_into("<3f", data, 80, 0.0, 0.0, 0.0)
    struct.pack_into("<12f", data, 280, *([0.0] * 12))
    (folder / "a.nii").write_bytes(data)
    return folder / "a.nii"


def sheared(folder):
    affine = np.eye(4)
    affine[0, 2] = 0.3
    return nifti(folder / "a.nii", some_ct(), affine)


def folder_without_image(folder):
    (folder / "series").mkdir()
    (folder / "series/readme.txt").write_text("no image")
    return folder / "series"


BAD_IMAGES = {
    "missing": (lambda folder: folder / "none.nii.gz", "nothing at"),
    "empty file": (empty, "nothing in"),
    "truncated": (truncated, "truncated|bytes"),
    "wrong suffix": (wrong_suffix, "NRRD"),
    "all NaN": (lambda folder: nifti(folder / "a.nii", np.full((9, 9, 9), np.nan, np.float32)), "NaN|finite"),
    "constant": (lambda folder: nifti(folder / "a.nii", np.full((9, 9, 9), 7, np.int16)), "7|contrast|constant"),
    "2-D": (lambda folder: nifti(folder / "a.nii", some_ct((24, 24))), "3-D"),
    "4-D": (lambda folder: nifti(folder / "a.nii", some_ct((9, 9, 9, 3))), "3-D"),
    "zero spacing": (zero_spacing, "spacing|axis|axes"),
    "sheared": (sheared, "orthogonal"),
    "no image": (folder_without_image, "image|DICOM"),
}


@pytest.mark.parametrize(("make", "words"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_image_is_refused(make, words, tmp_path, cli):
    image = make(tmp_path)
    assert_refused(cli("reconstruct", image, "--out", tmp_path / "out"), 2, words, tmp_path / "out")


def test_image_too_large_for_memory_is_refused_from_its_header(tmp_path, cli):
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.int16)
    header["pixdim"][1:4] = 1.0
    header["vox_offset"], header["sform_code"], header["magic"] = 352, 1, b"n+1"
    header["srow_x"][0] = header["srow_y"][1] = header["srow_z"][2] = 1.0
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + b"\0" * 100)
    assert_refused(cli("reconstruct", tmp_path / "huge.nii", "--out", tmp_path / "out"), 4, "GB", tmp_path / "out")


def test_memory_bound_is_checked_before_work_starts(case, tmp_path, cli):
    result = cli("reconstruct", case / "ct.nii.gz", "--set", "max_memory_gb=0.1", "--out", tmp_path / "out")
    assert_refused(result, 4, r"at most 0\.1 GB.*estimate of.*raise", tmp_path / "out")


def test_mask_elsewhere_is_refused_with_both_boxes(case, tmp_path, cli):
    far = np.diag([1.0, 1.0, 1.0, 1.0])
    far[:3, 3] = 5000.0
    mask = nifti(tmp_path / "mask.nii", np.ones((9, 9, 9), np.uint8), far)
    result = cli("reconstruct", case / "ct.nii.gz", "--mask", mask, "--out", tmp_path / "out")
    assert_refused(result, 2, r"overlaps the image.*mm.*mm", tmp_path / "out")


def test_mask_on_another_grid_is_moved_and_said(case, tmp_path, cli):
    organ = vg.read_mask(case / "organ.nii.gz")
    coarse = organ.space.rescaled((3.0, 3.0, 3.0))
    vg.write_image(vg.Volume(organ.array[::2, ::2, ::2], coarse), tmp_path / "mask.nii.gz")
    code, _, err = cli("reconstruct", case / "ct.nii.gz", "--mask", tmp_path / "mask.nii.gz", "-o", tmp_path / "out", *LIGHT)
    assert code == 0, err
    assert re.search(r"warning: .*another grid", err)


@pytest.mark.parametrize("top", [255, 1.5])
def test_heatmap_outside_0_to_1_is_refused(case, tmp_path, cli, top):
    heat = np.zeros((9, 9, 9), np.float32)
    heat[4, 4, 4] = top
    arguments = ["reconstruct", case / "ct.nii.gz", "--heatmap", nifti(tmp_path / "heat.nii", heat), "--out", tmp_path / "out"]
    assert_refused(cli(*arguments), 2, r"within \[0, 1\]", tmp_path / "out")


def test_heatmap_elsewhere_is_refused(case, tmp_path, cli):
    far = np.diag([1.0, 1.0, 1.0, 1.0])
    far[:3, 3] = 5000.0
    heat = np.zeros((9, 9, 9), np.float32)
    heat[4, 4, 4] = 0.5
    path = nifti(tmp_path / "heat.nii", heat, far)
    result = cli("reconstruct", case / "ct.nii.gz", "--heatmap", path, "--out", tmp_path / "out", *LIGHT)
    assert_refused(result, 2, "overlaps the image", tmp_path / "out")


@pytest.mark.parametrize("setting", ["heatmap.stepp=1", "heatmap.step=-1", "heatmap.step", "nothing.x=1"])
def test_wrong_setting_is_refused(setting, case, tmp_path, cli):
    result = cli("reconstruct", case / "ct.nii.gz", "--set", setting, "--out", tmp_path / "out")
    assert_refused(result, 2, "heatmap|nothing", tmp_path / "out")


@pytest.mark.parametrize("phase", ["portal", "=a.nii", "image=a.nii", "mask=a.nii"])
def test_phase_without_a_name_of_its_own_is_refused(phase, case, tmp_path, cli):
    result = cli("reconstruct", case / "ct.nii.gz", "--phase", phase, "--out", tmp_path / "out")
    assert_refused(result, 2, "name of its own", tmp_path / "out")


def test_missing_backend_has_its_own_exit_code(case, tmp_path, cli):
    arguments = ["reconstruct", case / "ct.nii.gz", "--set", "trace.backend=cuda", "--out", tmp_path / "out", *LIGHT]
    code, out, err = cli(*arguments)
    assert code == 3, err
    assert "cuda" in err.lower()
    assert out == ""
    assert not list((tmp_path / "out").glob("*"))


def test_unknown_option_is_a_usage_error(cli):
    code, _, err = cli("reconstruct", "--nothing")
    assert code == 2
    assert "--nothing" in err


# -- bad output places --------------------------------------------------------------------------------------------------


def test_output_under_a_file_is_refused_before_work_starts(case, tmp_path, cli):
    (tmp_path / "file").write_text("mine")
    result = cli("reconstruct", case / "ct.nii.gz", "--out", tmp_path / "file" / "out")
    assert result[0] == 2
    assert "to write into" in result[2]
    assert (tmp_path / "file").read_text() == "mine"


def test_foreign_files_of_our_names_are_not_overwritten(case, tmp_path, cli):
    (tmp_path / "graph.json").write_text("someone else's")
    result = cli("reconstruct", case / "ct.nii.gz", "--out", tmp_path)
    assert result[0] == 2
    assert "graph.json" in result[2]
    assert [path.name for path in tmp_path.iterdir()] == ["graph.json"]
    assert (tmp_path / "graph.json").read_text() == "someone else's"


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 100 kB; needs the right to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", place], capture_output=True, check=False)
    if mount.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_full_disk_leaves_nothing(case, tiny_disk, cli):
    out = tiny_disk / "out"
    arguments = ["reconstruct", case / "ct.nii.gz", "--heatmap", case / "vessels.nii.gz", "--out", out, *LIGHT]
    assert_refused(cli(*arguments), 2, "to write|space", out)
    assert list(tiny_disk.iterdir()) == []


def test_interrupt_leaves_nothing_half_written(tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "vesselgraph", "demo", "--small", "--out", str(out)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    until = time.monotonic() + 240
    while not (out / "truth/phantom.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    # The truth folder has complete files of its own; results would lie beside it.
    assert not {path.name for path in out.iterdir()} & set(RESULT_FILES)
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]
