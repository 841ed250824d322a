"""``vesselgraph evaluate``: graphs against the truth."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import vesselgraph as vg
from vesselgraph.cli.frame import QuietOption, progress_bar
from vesselgraph.cli.pairs import Pair, is_image, pairs_of_folders, pairs_of_table
from vesselgraph.errors import InputError
from vesselgraph.io import atomic_path
from vesselgraph.metrics.figure import draw_scores
from vesselgraph.metrics.summary import Interval, figures, summarise

_ALL, _BASIC = "all", "basic"


def evaluate(
    predicted: Annotated[
        Path | None,
        typer.Argument(metavar="PRED", help="Graph file (.vtp, .json, .swc, .graphml), world LPS mm, or a folder of them."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Argument(metavar="TRUTH", help="Graph file, or a vessel mask image; or a folder with the same names as PRED."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="CSV of many cases: columns predicted, truth and, if wanted, case, region."),
    ] = None,
    region: Annotated[
        Path | None, typer.Option("--region", help="Mask image, or a folder of them; only what lies inside counts.")
    ] = None,
    metrics: Annotated[
        str,
        typer.Option("--metrics", help="`all`, `basic`, or names with commas; a wrong name lists them."),
    ] = _ALL,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write one row of figures a case to this file.")] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw scores by tolerance and by calibre (.png, .svg, .pdf).")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Score vessel graphs against the truth: centerlines, branches, branch points, radii, topology, trees.

    With many cases the means are given with 95 % bootstrap intervals over the cases.
    """
    cases = _pairs(predicted, truth, pairs, region)
    further = {_ALL: None, _BASIC: ()}.get(metrics, tuple(name.strip() for name in metrics.split(",")))
    scores: dict[str, dict[str, Any]] = {}
    with progress_bar(quiet) as progress:
        for i, pair in enumerate(cases):
            progress(f"comparing {pair.case}", i / len(cases))
            scores[pair.case] = _score(pair, further)
    if csv_file is not None:
        _write_csv(scores, csv_file)
    if figure is not None:
        with atomic_path(figure) as file:
            draw_scores(list(scores.values()), file)
    if predicted is not None and predicted.is_file():
        only = next(iter(scores.values()))
        typer.echo(json.dumps(only, indent=2) if as_json else score_table(only))
        return
    summary = summarise(list(scores.values()))
    if as_json:
        means = {name: interval.to_dict() for name, interval in summary.items()}
        typer.echo(json.dumps({"cases": scores, "summary": means}, indent=2))
    else:
        typer.echo(summary_table(summary, len(scores)))


def _pairs(predicted: Path | None, truth: Path | None, table: Path | None, region: Path | None) -> list[Pair]:
    if table is not None and predicted is None:
        return pairs_of_table(table, region)
    if table is not None or predicted is None or truth is None:
        raise InputError("PRED and TRUTH, or --pairs", "not one of the two", "see `vesselgraph evaluate --help`")
    if predicted.is_dir() != truth.is_dir():
        raise InputError("two files or two folders", f"{predicted} and {truth}", "pass the same kind for PRED and TRUTH")
    if predicted.is_dir():
        return pairs_of_folders(predicted, truth, region)
    return [Pair(predicted.name, predicted, truth, region)]


def _score(pair: Pair, further: Sequence[str] | None) -> dict[str, Any]:
    graph = vg.read_graph(pair.predicted)
    # A drawn mask has no graph of its own: its centerline is taken without our tracer, so that it does not judge itself.
    known = vg.skeleton_graph(vg.read_mask(pair.truth)) if is_image(pair.truth) else vg.read_graph(pair.truth)
    inside = None if pair.region is None else vg.read_mask(pair.region)
    return vg.evaluate_graphs(graph, known, further=further, region=inside)


def _write_csv(scores: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    rows = {case: figures(values) for case, values in scores.items()}
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", *names])
        writer.writerows([case, *(row.get(name) for name in names)] for case, row in rows.items())


def score_table(scores: Mapping[str, Any]) -> str:
    """Return the main scores of one case as aligned lines: those of ``GraphScores.to_dict()``, and more if present.

    Examples
    --------
    >>> print(score_table({"branch": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3}}))
                        precision  recall      F1
    branches                1.000   0.500   0.667
    """
    lines = [f"{'':<18}{'precision':>11}{'recall':>8}{'F1':>8}"]
    named = figures(scores)
    for title, keys in _rows(named).items():
        values = [named.get(key) for key in keys]
        shown = ["" if value is None else f"{value:.3f}" for value in values]
        if any(shown):
            lines.append(f"{title:<18}{shown[0]:>11}{shown[1]:>8}{shown[2]:>8}".rstrip())
    for name, path, unit in _FIGURES:
        value: Any = scores
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            shown_value = f"{value:.3f}" if isinstance(value, float) else ", ".join(str(item) for item in value)
            lines.append(f"{name:<18}{shown_value:>11} {unit}".rstrip())
    return "\n".join(lines)


def summary_table(summary: Mapping[str, Interval], n_cases: int) -> str:
    """Return the main figures over many cases as aligned lines: mean and 95 % interval.

    Examples
    --------
    >>> figure = Interval(0.9, 0.85, 0.95, 5)
    >>> print(summary_table({f"branch.{part}": figure for part in ("precision", "recall", "f1")}, 5))
    5 cases: mean [95 % interval]   precision             recall                F1
    branches                        0.900 [0.850 0.950]   0.900 [0.850 0.950]   0.900 [0.850 0.950]
    """
    head = f"{n_cases} cases: mean [95 % interval]"
    lines = [f"{head:<32}{'precision':<22}{'recall':<22}F1"]
    for title, keys in _rows(summary).items():
        shown = "".join(f"{_interval(summary.get(key)):<22}" for key in keys).rstrip()
        if shown:
            lines.append(f"{title:<32}{shown}")
    for name, path, unit in _FIGURES:
        parts = ["".join(f".{i}" for i in index) for index in ((), (0,), (1,))]
        found = [summary[".".join(path) + part] for part in parts if ".".join(path) + part in summary]
        if found:
            lines.append(f"{name:<32}{', '.join(_interval(item) for item in found)} {unit}".rstrip())
    return "\n".join(lines)


def _interval(value: Interval | None) -> str:
    return "" if value is None or not value.n else f"{value.mean:.3f} [{value.low:.3f} {value.high:.3f}]"


def _rows(named: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return titles of the lines with precision, recall and F1, and the names of these figures."""
    # Recalls by calibre have no precision: the other columns stay empty.
    by_calibre = {
        f"radius {name.removeprefix(_BY_CALIBRE)} mm": ["", name, ""] for name in named if name.startswith(_BY_CALIBRE)
    }
    starts = [name[: -len(".recall")] for name in named if name.endswith(".recall")]
    rows = {}
    for start in starts:
        group, _, tolerance = start.partition(".")
        if group in _GROUPS:
            last = "score" if group == "apls" else "f1"
            title = _GROUPS[group] + (f", {tolerance} {_UNITS[group]}" if tolerance else "")
            rows[title] = [f"{start}.precision", f"{start}.recall", f"{start}.{last}"]
    return rows | by_calibre


_BY_CALIBRE = "recall_by_calibre.2."
_GROUPS = {
    "centerline": "centerline",
    "adaptive": "centerline",
    "branch": "branches",
    "bifurcation": "branch points",
    "tip": "tips",
    "apls": "APLS",
    "rivulet": "Rivulet's, 4 mm",
}
_UNITS = {"centerline": "mm", "adaptive": "r"}
_FIGURES = (
    ("radius error", ("radius", "mae"), "mm (mean absolute)"),
    ("radius bias", ("radius", "bias"), "mm"),
    ("length ratio", ("length", "ratio"), "found / true"),
    ("clDice", ("cldice",), ""),
    ("tree identity", ("identity", "accuracy"), "of the found length, by name"),
    ("tree partition", ("identity", "matched_accuracy"), "of the found length, renamed"),
    ("street mover", ("street_mover",), "mm"),
    ("NetMets geometry", ("netmets", "gfpr"), "false positive rate"),
    ("", ("netmets", "gfnr"), "false negative rate"),
    ("NetMets links", ("netmets", "cfpr"), "false positive rate"),
    ("", ("netmets", "cfnr"), "false negative rate"),
    ("DIADEM-style", ("diadem", "score"), ""),
    ("Betti errors", ("betti", "error"), "(pieces, loops)"),
)
