"""The output folder of a classification: JSON, CSV, heat as images, pictures, and a page that opens offline. Needs torch."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesselgraph.errors import InputError, OutputError
from vesselgraph.imaging.cases import ImageCase
from vesselgraph.imaging.classifier import Classifier, Prediction
from vesselgraph.imaging.heat import HeatKind
from vesselgraph.imaging.pictures import overlay_png
from vesselgraph.imaging.training import write_rows
from vesselgraph.io import read_image, write_image
from vesselgraph.io.atomic import atomic_path
from vesselgraph.progress import Progress, silent

_STRANGE = 0.95

JSON_FILE, TABLE, PAGE = "predictions.json", "predictions.csv", "report.html"


@dataclass(frozen=True, eq=False)
class _Entry:
    case: str
    prediction: Prediction
    pictures: dict[str, bytes]
    files: dict[str, str]


@dataclass(frozen=True)
class Limits:
    """From where on answers are handed to a person; None: never for this reason."""

    uncertainty: float | None = None
    strangeness: float | None = None

    @property
    def are_set(self) -> bool:
        """Whether anything is marked at all."""
        return self.uncertainty is not None or self.strangeness is not None

    def refer(self, uncertainty: float, strangeness: float) -> bool:
        """Return whether an answer is handed on; unknown strangeness is."""
        strange = self.strangeness is not None and not strangeness <= self.strangeness
        return strange or (self.uncertainty is not None and uncertainty > self.uncertainty)

    def mark(self, uncertainty: float, strangeness: float) -> str:
        """Return yes or no, or nothing where no limit is set."""
        return ("yes" if self.refer(uncertainty, strangeness) else "no") if self.are_set else ""


def classify_cases(
    classifier: Classifier,
    cases: Sequence[ImageCase],
    folder: str | Path,
    *,
    heat: HeatKind | None = "auto",
    heat_label: str = "",
    refer_above: float | None = None,
    refer_stranger: float | None = None,
    progress: Progress = silent,
) -> Path:
    """Classify cases by every task of a classifier and write the folder of results; return the JSON file.

    Parameters
    ----------
    classifier : Classifier
    cases : sequence of ImageCase
        Their labels are not looked at.
    folder : path
        Gets ``predictions.json``, ``predictions.csv``, ``report.html`` and, with heat, for each case, task and view
        ``CASE-TASK-heat.nii.gz`` and ``.png``.
    heat : {"auto", "attention", "gradient"}, optional
        None: no heat maps.
    heat_label : str
        The label of the heat; empty: the most probable one.
    refer_above : float, optional
        Answers with more uncertainty than this are marked ``refer``.
    refer_stranger : float, optional
        So are all answers of cases that are stranger than this, or of which strangeness is not known.
    progress : Progress

    Raises
    ------
    InputError
        An image cannot be read or used; the message names the case.
    OutputError
        The folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"to write into {folder}", error.strerror or str(error), "check the path and its rights") from error
    entries, limits = [], Limits(refer_above, refer_stranger)
    seen = classifier.backbone.encoder.card.input
    assert seen is not None, "an encoder without it cannot be fed"
    window = (seen.low, seen.high)
    for number, case in enumerate(cases):
        progress(case.name, number / len(cases))
        try:
            images = {view: read_image(path) for view, path in case.images.items()}
            said = [classifier.classify(images, task, heat=heat, heat_label=heat_label) for task in classifier.tasks]
        except InputError as error:
            raise type(error)(f"{error.expected} in case {case.name}", error.got, error.do) from error
        entries += [_write_heat(case.name, one, folder, window) for one in said]
    _write_json(classifier, entries, folder / JSON_FILE, limits)
    rows = [
        [one.case, one.prediction.task, label]
        + [f"{value:.6f}" for value in (*values, one.prediction.strangeness)]
        + [limits.mark(values[1], one.prediction.strangeness)]
        for one in entries
        for label, *values in _rows(one.prediction)
    ]
    header = ["case", "task", "label", "probability", "uncertainty", "belief", "disbelief", "strangeness", "refer"]
    write_rows(folder / TABLE, header, rows)
    _write_page(entries, folder / PAGE, classifier, limits)
    return folder / JSON_FILE


def _rows(one: Prediction) -> list[tuple[str, float, float, float, float]]:
    parts = (one.probability, one.uncertainty, one.belief, one.disbelief)
    return [(label, *(float(part[k]) for part in parts)) for k, label in enumerate(one.labels)]  # type: ignore[misc]


def _write_heat(case: str, one: Prediction, folder: Path, window: tuple[float, float]) -> _Entry:
    pictures, files = {}, {}
    for view, heat in one.heat.items():
        stem = "-".join(part.replace("/", "_").replace(" ", "_") for part in (case, one.task, view) if part)
        write_image(heat, folder / f"{stem}-heat.nii.gz")
        pictures[view] = overlay_png(one.shown[view], heat, window)
        with atomic_path(folder / f"{stem}.png") as temporary:
            temporary.write_bytes(pictures[view])
        files[view] = f"{stem}-heat.nii.gz"
    return _Entry(case, one, pictures, files)


def _write_json(classifier: Classifier, entries: Sequence[_Entry], path: Path, limits: Limits) -> None:
    backbone = classifier.backbone
    answers: list[dict[str, Any]] = []
    for one in entries:
        said = one.prediction
        labels = {}
        for label, p, u, b, d in _rows(said):
            labels[label] = {"probability": p, "uncertainty": u, "belief": b, "disbelief": d}
            if limits.are_set:
                labels[label]["refer"] = limits.refer(u, said.strangeness)
        answers.append(
            {
                "case": one.case,
                "task": said.task,
                "labels": labels,
                "strangeness": round(said.strangeness, 6) if np.isfinite(said.strangeness) else None,
                "slice_weights": {view: np.round(values, 6).tolist() for view, values in said.slice_weights.items()},
                "view_weights": np.round(said.view_weights, 6).tolist(),
                "heat": one.files,
                "heat_label": said.heat_label if one.files else None,
            }
        )
    encoder = {"name": backbone.name, "card": backbone.card_digest, "weights": backbone.weights_digest}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"encoder": encoder, "answers": answers}, indent=1) + "\n", encoding="utf-8")


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Classification</title><style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}img{max-width:100%}.bar{display:inline-block;height:.7em;background:#3b6ea5}
.doubt{background:#c9c9c9}.note{color:#666}</style>
<h1>Classification</h1><p class="note">Research use only. Belief (blue) is what the evidence for a finding amounts to;
uncertainty (grey) is what no evidence covers. Uncertainty is about the training data as much as about the patient.</p>
"""


def _bar(kind: str, share: float) -> str:
    return f'<span class="{kind}" style="width:{100 * share:.0f}px"></span>'


def _strangeness(share: float) -> str:
    if not np.isfinite(share):
        return "Too few training images to say whether this one is of their kind."
    said = f"Stranger than {100 * share:.0f} % of the training images."
    warning = " <strong>It may be of another kind than was learned from; then the answers mean nothing.</strong>"
    return said + (warning if share >= _STRANGE else "")


def _write_page(entries: Sequence[_Entry], path: Path, classifier: Classifier, limits: Limits) -> None:
    parts = [_HEAD, f"<p>Encoder: {html.escape(classifier.backbone.name)}</p>"]
    for one in entries:
        parts.append(f"<h2>{html.escape(one.case)}: {html.escape(one.prediction.task)}</h2>")
        parts.append(f"<p>{_strangeness(one.prediction.strangeness)}</p>")
        refer = "<th>refer" if limits.are_set else ""
        parts.append(f"<table><tr><th>label<th>probability<th>uncertainty<th>belief, uncertainty{refer}")
        for label, p, u, b, _ in _rows(one.prediction):
            mark = f"<td>{limits.mark(u, one.prediction.strangeness)}" if limits.are_set else ""
            parts.append(f"<tr><td>{html.escape(label)}<td>{p:.3f}<td>{u:.3f}<td>{_bar('bar', b)}{_bar('bar doubt', u)}{mark}")
        parts.append("</table>")
        for view, picture in one.pictures.items():
            shown = f"Heat of {html.escape(one.prediction.heat_label)}" + (f", {html.escape(view)}" if view else "")
            data = base64.b64encode(picture).decode()
            parts.append(f'<p class="note">{shown}</p><img alt="{shown}" src="data:image/png;base64,{data}">')
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(parts) + "\n</html>\n", encoding="utf-8")
