"""Every benchmark runs in its small form, with or without the tools it compares with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
NAMES = [
    "clean_mask",
    "eikonal",
    "encoder_memory",
    "end_to_end",
    "foundation_features",
    "heatmap_network",
    "heatmap_trace",
    "imaging_tasks",
    "imaging_uncertainty",
    "mask_segmenter",
    "mesh",
    "metric_errors",
    "network_cost",
    "overcomplete",
    "pruner_features",
    "pruner_models",
    "pruning",
    "real_cases",
    "real_liver",
    "real_unmarked",
    "ridge_speed",
    "tracing_scaling",
    "tracing_speed",
    "tree_names",
]


def run(name: str, folder: Path) -> tuple[str, dict[str, object]]:
    numbers = folder / "numbers.json"
    done = subprocess.run(
        [sys.executable, str(BENCH / f"{name}.py"), "--small", "--json", str(numbers)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, json.loads(numbers.read_text(encoding="utf-8"))


def test_every_benchmark_is_listed():
    scripts = {path.stem for path in BENCH.glob("*.py") if "def main()" in path.read_text(encoding="utf-8")}
    assert scripts == set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("real_")])
def test_small_run_prints_a_table_and_writes_numbers(name, tmp_path):
    text, numbers = run(name, tmp_path)
    assert numbers["bench"] == name
    assert numbers["small"] is True
    assert "|--" in text
    assert "vesselgraph" in text


@pytest.mark.real_data
def test_small_run_on_a_real_liver(data_dir, tmp_path):
    text, numbers = run("real_liver", tmp_path)
    assert numbers["cases"], text
    for case in numbers["cases"].values():
        assert {row["method"] for row in case["rows"]} >= {"vesselgraph, liver mask given", "vesselgraph, no mask"}


@pytest.mark.real_data
def test_small_run_of_what_no_expert_marked(data_dir, tmp_path):
    text, numbers = run("real_unmarked", tmp_path)
    rows = {row["branches"]: row for case in numbers["cases"].values() for row in case}
    assert rows["marked by the expert"]["median"] > rows["the same paths 10 mm aside"]["median"] + 20, text


@pytest.mark.real_data
def test_small_run_of_the_real_cases(data_dir, tmp_path):
    text, numbers = run("real_cases", tmp_path)
    assert [row["key"] for row in numbers["rows"]] == ["mra"], text
    assert numbers["rows"][0]["run"]["graph"]["n_branches"] > 0
    assert "| MR angiography" in text


def test_a_missing_tool_is_skipped_with_its_reason(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import peers

    with pytest.raises(peers.PeerMissingError, match=r"no_such_tool is not installed.*requirements/bench\.txt"):
        peers.load("no_such_tool")
