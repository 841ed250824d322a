"""``vesselgraph evaluate``: a graph against the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import vesselgraph as vg

_IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


def evaluate(
    predicted: Annotated[Path, typer.Argument(metavar="PRED", help="Graph file (.vtp, .json, .swc, .graphml), world LPS mm.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Graph file, or a vessel mask image to compare with.")],
    region: Annotated[Path | None, typer.Option("--region", help="Mask image; only what lies inside it counts.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a vessel graph against the truth: centerlines, branches, branch points, radii, topology."""
    graph = vg.read_graph(predicted)
    # A drawn mask has no graph of its own: its centerline is taken without our tracer, so that it does not judge itself.
    is_mask = truth.name.lower().endswith(_IMAGE_SUFFIXES)
    known = vg.skeleton_graph(vg.read_mask(truth)) if is_mask else vg.read_graph(truth)
    inside = None if region is None else vg.read_mask(region)
    scores = vg.compare_graphs(graph, known, region=inside).to_dict()
    typer.echo(json.dumps(scores, indent=2) if as_json else score_table(scores))


def score_table(scores: Mapping[str, Any]) -> str:
    """Return the main scores of ``GraphScores.to_dict()`` as aligned lines.

    Examples
    --------
    >>> print(score_table({"branch": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3}}))
                        precision  recall      F1
    branches                1.000   0.500   0.667
    """
    lines = [f"{'':<18}{'precision':>11}{'recall':>8}{'F1':>8}"]
    rows = {f"centerline, {mm} mm": row for mm, row in scores.get("centerline", {}).items()}
    rows |= {title: scores[key] for key, title in _NODES_AND_BRANCHES.items() if key in scores}
    lines += [f"{name:<18}{row['precision']:>11.3f}{row['recall']:>8.3f}{row['f1']:>8.3f}" for name, row in rows.items()]
    for name, path, unit in _FIGURES:
        value: Any = scores
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            shown = f"{value:.3f}" if isinstance(value, float) else ", ".join(str(item) for item in value)
            lines.append(f"{name:<18}{shown:>11} {unit}".rstrip())
    return "\n".join(lines)


_NODES_AND_BRANCHES = {"branch": "branches", "bifurcation": "branch points", "tip": "tips"}
_FIGURES = (
    ("radius error", ("radius", "mae"), "mm (mean absolute)"),
    ("radius bias", ("radius", "bias"), "mm"),
    ("length ratio", ("length", "ratio"), "found / true"),
    ("clDice", ("cldice",), ""),
    ("Betti errors", ("betti", "error"), "(pieces, loops)"),
)
