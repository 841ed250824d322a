"""The learned pruner against itself: attention or none, many features or heat alone, a logit or evidence; several seeds each.

All learn from the same graphs and are decoded alike, at the threshold of the best F1 on the studies to choose on. A figure of a
study is the mean over the seeds; intervals are over studies. Rejection: pieces are left to a reader in the order of a doubt,
the nearness of presence to one half or the uncertainty that evidence leaves. Its figures are the mean error by length of the
verdicts on what remains, over all shares of length that may remain (area), and at 80 %.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Clock, Row
from numpy.typing import NDArray
from pruning import LEAST_TRUTH, RECIPE, SMALL, THRESHOLDS

from vesselgraph.config import PruneConfig, StudyRanges
from vesselgraph.metrics import mean_interval
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruner_training import LabelledGraph, View, average_precision, planned_studies, traced_study
from vesselgraph.pruning.decision import keep_present
from vesselgraph.pruning.learning import Fit, calibration_error, fit_pruner

Floats = NDArray[np.float64]

ARMS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "attention": ("attention", "logit", ()),
    "perceptron, no links": ("perceptron", "logit", ()),
    "attention, evidence": ("attention", "evidence", ()),
    "attention, heat alone": ("attention", "logit", ("heat",)),
    "perceptron, heat alone": ("perceptron", "logit", ("heat",)),
}
"""Model, head, and feature groups (none: those of the recipe)."""

PAIRS = (
    ("attention", "perceptron, no links"),
    ("attention, heat alone", "perceptron, heat alone"),
    ("attention, evidence", "attention"),
)
LEFT = 0.8
FIGURES = ("F1@2", "AP", "AUC", "calibration error", "error", "area, by presence", "area, by uncertainty")


def main() -> None:
    args = harness.arguments("Models and heads of the learned pruner.", seeds=(0, 1, 2), more=_options)
    config = TrainPrunerConfig.from_toml(RECIPE, SMALL if args.small else ())
    tested = [args.first_test + n for n in range(1 if args.small else args.n_test)]
    with tempfile.TemporaryDirectory() as own:
        training, validation, test = _graphs(config, args.graphs or Path(own), tested, 0.0 if args.small else LEAST_TRUTH)
    print(f"{len(training)} studies to learn from, {len(validation)} to choose on, {len(test)} to test on", flush=True)
    found: dict[str, list[list[Row]]] = {}
    cpu: dict[str, float] = {}
    for name, arm in ARMS.items():
        with Clock() as clock:
            found[name] = [
                _measured(arm, config.model_copy(update={"seed": s}), training, validation, test) for s in args.seeds
            ]
        cpu[name] = clock.cpu / len(args.seeds)
        print(f"{name}: F1 {np.mean([row['F1@2'] for run in found[name] for row in run]):.3f}", flush=True)
    studies = {name: {key: _by_study(runs, key) for key in (*FIGURES, *_LEFT)} for name, runs in found.items()}
    rows = [{"model": name, **_line(studies[name], found[name]), "fit, CPU s": cpu[name]} for name in ARMS]
    harness.print_table(f"Unseen studies, {len(args.seeds)} seeds each", rows)
    gains = [_gain(one, other, studies) for one, other in PAIRS]
    harness.print_table("Paired differences, with 95 % intervals over studies", gains)
    told = studies["attention, evidence"]
    doubts = [
        {"area by uncertainty less that by": label, "": _interval(told["area, by uncertainty"] - against, signed=True)}
        for label, against in (
            ("presence of the same weights", told["area, by presence"]),
            ("presence of the logit", studies["attention"]["area, by presence"]),
        )
    ]
    harness.print_table("Rejection by uncertainty; less is better", doubts)
    plain = {name: {key: values.tolist() for key, values in one.items()} for name, one in studies.items()}
    harness.finish(args, "pruner_models", {"rows": rows, "gains": gains, "doubts": doubts, "studies": plain})


_LEFT = ("error left, by presence", "error left, by uncertainty")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--graphs", type=Path, help="folder that keeps the traced graphs")
    parser.add_argument("--n-test", type=int, default=20, help="studies to test on")
    parser.add_argument("--first-test", type=int, default=300_010, help="seed of the first of them")


def _graphs(config: TrainPrunerConfig, folder: Path, seeds: Sequence[int], least: float) -> list[list[LabelledGraph]]:
    """Return the graphs to learn from, to choose on and to test on; those that show next to nothing are left out."""
    plan = planned_studies(config)
    ranges = config.studies if least == 0.0 else StudyRanges()
    parts = (plan[config.n_validation :], plan[: config.n_validation], [View(seed, ranges, config.views[0]) for seed in seeds])
    graphs = [[LabelledGraph.of(traced_study(view, config, folder), config) for view in part] for part in parts]
    return [[graph for graph in part if graph.wanted >= least] for part in graphs]


def _measured(
    arm: tuple[str, str, tuple[str, ...]],
    config: TrainPrunerConfig,
    training: list[LabelledGraph],
    validation: list[LabelledGraph],
    test: list[LabelledGraph],
) -> list[Row]:
    """Return the figures of one fit on every test study."""
    kind, head, groups = arm[0], arm[1], arm[2] or config.groups
    told = config.model_copy(update={"head": head})
    fit = fit_pruner(*([graph.as_case(groups) for graph in part] for part in (training, validation)), told, kind=kind)
    best = max(THRESHOLDS, key=lambda t: float(np.mean([_f1(graph, _said(fit, graph, groups), t) for graph in validation])))
    rows: list[Row] = []
    for graph in test:
        case = graph.as_case(groups)
        said, unsure = _said(fit, graph, groups), fit.uncertainty(case)
        truth, length = case.presence.astype(np.float64), case.length.astype(np.float64)
        wrong, doubt = np.abs((said >= 0.5) - truth), 0.5 - np.abs(said - 0.5)
        row: dict[str, Any] = {"F1@2": _f1(graph, said, best), "AP": average_precision(said, truth, length)}
        row |= {"AUC": roc_area(said, truth, length), "calibration error": calibration_error(said, truth, length)[0]}
        row |= {"error": float(np.average(wrong, weights=length))}
        row["area, by presence"], row[_LEFT[0]] = rejection(wrong, doubt, length)
        row["area, by uncertainty"], row[_LEFT[1]] = (np.nan, np.nan) if unsure is None else rejection(wrong, unsure, length)
        # Pooled later, for a calibration error that does not grow with the few pieces of a study.
        rows.append(row | {"said": said, "truth": truth, "length": length})
    return rows


def _said(fit: Fit, graph: LabelledGraph, groups: Sequence[str]) -> Floats:
    return fit.presence(graph.as_case(groups))


def _f1(graph: LabelledGraph, said: Floats, threshold: float) -> float:
    return graph.scores(keep_present(graph.case.pieces, said, PruneConfig(), threshold).keep)[2]


def roc_area(said: Floats, truth: Floats, weight: Floats) -> float:
    """Return the chance that a real millimetre is said to be more present than one that is not; ties count half."""
    values, place = np.unique(said, return_inverse=True)
    real = np.bincount(place, weight * truth, len(values))
    other = np.bincount(place, weight * (1.0 - truth), len(values))
    below = np.cumsum(other) - 0.5 * other
    return float(np.sum(real * below) / max(real.sum() * other.sum(), 1e-12))


def rejection(wrong: Floats, doubt: Floats, length: Floats) -> tuple[float, float]:
    """Return the mean over the shares of length that remain of their error, and the error where :data:`LEFT` remain."""
    order = np.argsort(doubt, kind="stable")
    kept = np.cumsum(length[order])
    error = np.cumsum((wrong * length)[order]) / kept
    return float(np.sum(error * length[order]) / kept[-1]), float(np.interp(LEFT * kept[-1], kept, error))


def _by_study(runs: Sequence[Sequence[Row]], key: str) -> Floats:
    return np.mean([[row[key] for row in run] for run in runs], axis=0)


def _interval(values: Floats, *, signed: bool = False) -> str:
    if not np.isfinite(values).any():
        return ""
    found, form = mean_interval(values), "+.4f" if signed else ".3f"
    return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}})" if found.n > 1 else f"{found.mean:{form}}"


def _line(study: Mapping[str, Floats], runs: Sequence[Sequence[Row]]) -> Row:
    means = [float(np.mean([row["F1@2"] for row in run])) for run in runs]
    pooled = [
        calibration_error(*(np.concatenate([row[name] for row in run]) for name in ("said", "truth", "length")))[0]
        for run in runs
    ]
    line = {"F1@2": _interval(study["F1@2"]), "of the seeds": f"{min(means):.3f}-{max(means):.3f}"}
    line |= {key: _interval(study[key]) for key in ("AP", "AUC", "error")} | {"calibration error, pooled": np.mean(pooled)}
    return line | {key: _interval(study[key]) for key in ("area, by presence", "area, by uncertainty", *_LEFT)}


def _gain(one: str, other: str, studies: Mapping[str, Mapping[str, Floats]]) -> Row:
    differences = {key: studies[one][key] - studies[other][key] for key in ("F1@2", "AP", "AUC", "error", "area, by presence")}
    losses = {"studies with less F1": f"{(differences['F1@2'] < 0).sum()} of {len(differences['F1@2'])}"}
    return {"gain of": one, "over": other} | {key: _interval(d, signed=True) for key, d in differences.items()} | losses


if __name__ == "__main__":
    main()
