"""``vesselgraph evaluate``: a graph against the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import vesselgraph as vg


def evaluate(
    predicted: Annotated[Path, typer.Argument(metavar="PRED", help="Graph file (.vtp, .json, .swc, .graphml), world LPS mm.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Graph file, or a vessel mask image to compare with.")],
    region: Annotated[Path | None, typer.Option("--region", help="Mask image; only what lies inside it counts.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a vessel graph against the truth: centerlines, branches, branch points, radii, topology."""
    graph = vg.read_graph(predicted)
    inside = None if region is None else vg.read_mask(region)
    scores = vg.compare_graphs(graph, vg.read_graph(truth), region=inside).to_dict()
    typer.echo(json.dumps(scores, indent=2) if as_json else score_table(scores))


def score_table(scores: Mapping[str, Any]) -> str:
    """Return the scores as lines of name and value."""
    return "\n".join(f"  {name:<32}{_shown(value)}" for name, value in _flat(scores))


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        rows += _flat(value, f"{name} ") if isinstance(value, Mapping) else [(name, value)]
    return rows


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
