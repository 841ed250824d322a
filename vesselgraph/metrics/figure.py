"""A picture of scores: precision, recall and F1 by tolerance, and what was found by calibre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesselgraph.errors import BackendUnavailableError, InputError
from vesselgraph.metrics.summary import Interval, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = {"precision": "#4477aa", "recall": "#ee6677", "f1": "#228833"}
_SHADES = ("#bbccee", "#77aadd", "#4477aa", "#224466")


def draw_scores(cases: Sequence[Mapping[str, Any]], path: str | Path, *, title: str = "") -> None:
    """Draw the scores of one or more cases and write the picture; the suffix chooses the format (png, svg, pdf).

    Left: centerline precision, recall and F1 by tolerance. Middle: recall by calibre at each tolerance. Right: radius
    error by calibre. Bars are means over cases, whiskers 95 % bootstrap intervals (none for a single case). What is
    undefined in all cases has no bar.

    Parameters
    ----------
    cases : sequence of mapping
        Scores as ``GraphScores.to_dict`` returns them, at least one.
    path : path
        The file to write.
    title : str
        Above the picture.

    Raises
    ------
    InputError
        No case, or an unknown suffix.
    BackendUnavailableError
        matplotlib is not installed.
    """
    if not cases:
        raise InputError("at least one case", "none", "pass scores")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailableError(
            "matplotlib to draw figures", "none", "install it with `pip install matplotlib`"
        ) from error
    summary = summarise(cases)
    tolerances, calibres = list(cases[0]["centerline"]), list(cases[0]["radius_by_calibre"])
    drawing = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = drawing.subplots(1, 3)
    _bars(
        left,
        [f"{t} mm" for t in tolerances],
        {part.replace("f1", "F1"): [summary[f"centerline.{t}.{part}"] for t in tolerances] for part in _PARTS},
        list(_PARTS.values()),
    )
    left.set(title="centerline, by tolerance", ylim=(0, 1.02))
    _bars(
        middle,
        [f"r {c} mm" for c in calibres],
        {f"{t} mm": [summary[f"recall_by_calibre.{t}.{c}"] for c in calibres] for t in tolerances},
        [_SHADES[i % len(_SHADES)] for i in range(len(tolerances))],
    )
    middle.set(title="recall, by true radius", ylim=(0, 1.02))
    kinds = {"mean absolute": "mae", "bias": "bias"}
    errors = {name: [summary[f"radius_by_calibre.{c}.{key}"] for c in calibres] for name, key in kinds.items()}
    _bars(right, [f"r {c} mm" for c in calibres], errors, ["#ccbb44", "#aa3377"])
    right.set(title="radius error, mm")
    right.axhline(0, color="black", linewidth=0.8)
    cohort = f"{len(cases)} cases, 95 % intervals" if len(cases) > 1 else "1 case"
    drawing.suptitle(f"{title} ({cohort})" if title else cohort, fontsize=10)
    try:
        drawing.savefig(path, dpi=150)
    except ValueError as error:
        raise InputError("a picture file (.png, .svg, .pdf)", str(path), "choose one of these suffixes") from error


def _bars(axes: Axes, labels: list[str], series: Mapping[str, list[Interval]], colours: list[str]) -> None:
    """Draw groups of bars with whiskers, one group a label and one bar of each group a series."""
    width = 0.8 / len(series)
    place = np.arange(len(labels))
    for i, ((name, row), colour) in enumerate(zip(series.items(), colours, strict=True)):
        mean = np.array([interval.mean for interval in row])
        ends = np.array([[interval.mean - interval.low, interval.high - interval.mean] for interval in row]).T
        middle = place + (i + 0.5) * width - 0.4
        axes.bar(middle, np.nan_to_num(mean), width, label=name, color=colour)
        known = np.isfinite(ends).all(axis=0)
        if known.any():
            axes.errorbar(
                middle[known],
                mean[known],
                np.maximum(ends[:, known], 0.0),
                fmt="none",
                ecolor="black",
                elinewidth=0.9,
                capsize=2,
            )
    axes.set_xticks(place, labels)
    axes.legend(fontsize=8, frameon=False, ncols=len(series), loc="upper center", bbox_to_anchor=(0.5, -0.1))
    axes.spines[["top", "right"]].set_visible(False)
