"""Pruning gain: attention over the graph of branches against rules, single evidence and models that see no graph.

Graphs are traced in generated studies nobody was fitted to, chosen on or calibrated on. All judges get the same pieces; each
says how present a piece is, the same decoding follows (the best forest at the presence of the best F1 on the validation
studies), and F1 at 2 mm compares what is kept with the true vessels that are clear in the image, one to one. True vessels that
are hardly seen count neither way. Training, validation and test studies have different seeds; studies with less than half a
metre of clear vessels say nothing and are listed, not scored. Two rows are what a user gets: the rules at their defaults, and
attention at the threshold of its card, lowered where the rules keep more.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
import peers
from harness import Clock
from numpy.typing import NDArray

from vesselgraph.config import PruneConfig, StudyRanges
from vesselgraph.metrics import Interval, mean_interval
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruner_training import (
    TOLERANCE,
    LabelledGraph,
    View,
    average_precision,
    judge_fit,
    planned_studies,
    traced_study,
)
from vesselgraph.pruning import judge
from vesselgraph.pruning.decision import keep_like_rules, keep_present
from vesselgraph.pruning.learning import calibration_error, fit_pruner
from vesselgraph.pruning.weights import load_pruner

Presence = NDArray[np.float64]
"""(P,) of each piece."""
Keep = NDArray[np.bool_]
Judge = Callable[[LabelledGraph], Presence]

RECIPE = Path(__file__).resolve().parents[1] / "examples" / "train-pruner.toml"
LEAST_TRUTH = 500.0
THRESHOLDS = (0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.36, 0.45)
MIN_HEATS = (0.05, 0.08, 0.12, 0.15, 0.2, 0.25, 0.36)
LENGTHS = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0)
SINGLE = ("heat.mean", "heat.q25", "heat.min", "contrast.mean", "contrast.q25", "evidence.cost", "geometry.radius")
N_RANGES = 40
TARGETS = "targets: +0.10 over unpruned, +0.03 over the best single evidence, better than all other models"


def main() -> None:
    args = harness.arguments("What the learned pruner gains.", seeds=range(300_010, 300_030), more=_options)
    config = TrainPrunerConfig.from_toml(RECIPE, SMALL if args.small else args.set)
    with tempfile.TemporaryDirectory() as own:
        folder = args.graphs or Path(own)
        plan = planned_studies(config)
        unseen = config.studies if args.small else StudyRanges()
        tested = [View(seed, unseen, config.views[0]) for seed in args.seeds]
        parts = [
            [LabelledGraph.of(traced_study(view, config, folder), config) for view in part]
            for part in (plan[config.n_validation :], plan[: config.n_validation], tested)
        ]
    least = 0.0 if args.small else LEAST_TRUTH
    empty = [seed for seed, graph in zip(args.seeds, parts[2], strict=True) if graph.wanted < least]
    training, validation, test = ([graph for graph in part if graph.wanted >= least] for part in parts)
    sizes = f"{len(training)} studies to learn from, {len(validation)} to choose on, {len(test)} to test on"
    print(f"{sizes}; too little to see in test studies {empty}", flush=True)
    rows, cases = [], {}
    for name, make in _judges(config, weights=args.weights).items():
        try:
            with Clock() as clock:
                row, f1 = _measure(*make(training, validation), validation, test)
        except peers.PeerMissingError as error:
            print(f"skipped {name}: {error}")
            continue
        rows.append({"judge": name, **row, "CPU s": clock.cpu})
        cases[name] = f1
        print(f"{name}: F1 {row['F1@2']:.3f}", flush=True)
    for row in rows:
        _compare(row, cases, _OURS, "attention gains")
        _compare(row, cases, _AS_SHIPPED, "as shipped gains")
    harness.print_table(f"Unseen studies, F1 at {TOLERANCE:g} mm; {TARGETS}", rows)
    losing = {name: [n for n, gain in enumerate(np.subtract(cases[_OURS], f1)) if gain < 0] for name, f1 in cases.items()}
    print("test studies (by place) on which attention loses:", {name: lost for name, lost in losing.items() if lost})
    harness.finish(args, "pruning", {"rows": rows, "cases": cases, "too_little_to_see": empty})


_OURS, _AS_SHIPPED = "graph attention", "graph attention, defaults"
SMALL = (
    "n_studies=2",
    "n_validation=1",
    "n_whole=0",
    'views=["portal"]',
    "n_epochs=2",
    "width=16",
    "n_layers=1",
    "n_heads=2",
    "studies.shape=[56,56,56]",
    "studies.center_x=[-70,-60]",
    "studies.center_y=[-15,-5]",
    "studies.center_z=[-5,5]",
    "studies.noise=[4,5]",
    "studies.slice_thickness=[1.0,1.2]",
)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--graphs", type=Path, help="folder that keeps the traced graphs")
    parser.add_argument("--weights", type=Path, help="measure these weights, without fitting attention again")
    parser.add_argument("--set", action="append", default=[], help="change a setting of the recipe")


def _judges(config: TrainPrunerConfig, *, weights: Path | None = None) -> Mapping[str, Callable[..., tuple]]:
    """Return by name: from training and validation graphs to the tried values, the decoding and the presence."""
    attention: dict[str, Any] = {}

    def network(kind: str, groups: Sequence[str]) -> Callable[..., tuple]:
        def make(training: list[LabelledGraph], validation: list[LabelledGraph]) -> tuple:
            parts = [[graph.as_case(groups) for graph in part] for part in (training, validation)]
            fit = load_pruner(weights)[0] if weights and kind == "attention" else fit_pruner(*parts, config, kind=kind)
            if kind == "attention":
                least = load_pruner(weights)[1].min_presence if weights else judge_fit(fit, parts[1], validation)[1]
                attention.update(fit=fit, least=least)
            return THRESHOLDS, _decode, lambda graph: fit.presence(graph.as_case(groups))

        return make

    def as_shipped(*_: list[LabelledGraph]) -> tuple:
        return (attention["least"],), _decode_like_rules, lambda graph: attention["fit"].presence(graph.as_case(config.groups))

    def classic(fit: Callable[..., Any]) -> Callable[..., tuple]:
        def make(training: list[LabelledGraph], _: list[LabelledGraph]) -> tuple:
            pieces = _pieces(training, config.groups)
            centre, scale = pieces[0].mean(axis=0), pieces[0].std(axis=0) + 1e-6
            fitted = fit(*_both_ways((pieces[0] - centre) / scale, *pieces[1:]))

            def say(graph: LabelledGraph) -> Presence:
                return fitted.predict_proba((graph.case.features_of(config.groups)[0] - centre) / scale)[:, 1]

            return THRESHOLDS, _decode, say

        return make

    return {
        "(a) unpruned": lambda *_: ((0.0,), _above, _length),
        "(b) best single evidence": _single,
        "(c) length": lambda *_: (LENGTHS, _above, _length),
        "rules, defaults": lambda *_: ((PruneConfig().min_heat,), _by_rules, _heat),
        "rules (prune.min_heat tuned)": lambda *_: (MIN_HEATS, _by_rules, _heat),
        "(d) logistic regression": classic(_logistic),
        "(d) boosted trees": classic(_boosted),
        "(e) perceptron, no edges": network("perceptron", config.groups),
        "(f) zhang2020": network("zhang2020", ("heat",)),
        _OURS: network("attention", config.groups),
        _AS_SHIPPED: as_shipped,
    }


def _above(_: LabelledGraph, values: Presence, least: float) -> Keep:
    return values >= least


def _decode(graph: LabelledGraph, presence: Presence, threshold: float) -> Keep:
    return keep_present(graph.case.pieces, presence, PruneConfig(), threshold).keep


def _decode_like_rules(graph: LabelledGraph, presence: Presence, threshold: float) -> Keep:
    return keep_like_rules(graph.case.pieces, presence, PruneConfig(), threshold).keep


def _by_rules(graph: LabelledGraph, presence: Presence, min_heat: float) -> Keep:
    config = PruneConfig(method="rules", min_heat=min_heat, piece_length=1e6)
    judged = judge(graph.case.pieces.with_columns(edge={"number": np.arange(len(presence))}), config)
    # Swollen ends are cut inside of pieces: a piece stays if more than half of it does.
    kept = np.bincount(judged.edge_data["number"], judged.edge_data["keep"] * judged.edge_length, len(presence))
    return kept > 0.5 * graph.case.pieces.edge_length


def _heat(graph: LabelledGraph) -> Presence:
    return graph.case.features[:, graph.case.names.index("heat.mean")].astype(np.float64)


def _length(graph: LabelledGraph) -> Presence:
    return np.expm1(graph.case.features[:, graph.case.names.index("geometry.branch_length")].astype(np.float64))


def _pieces(graphs: Sequence[LabelledGraph], groups: Sequence[str]) -> tuple[Presence, Presence, Presence]:
    """Return features, label and length of all pieces."""
    return (
        np.concatenate([graph.case.features_of(groups)[0] for graph in graphs]).astype(np.float64),
        np.concatenate([graph.presence for graph in graphs]).astype(np.float64),
        np.concatenate([graph.case.pieces.edge_length for graph in graphs]),
    )


def _both_ways(values: Presence, real: Presence, length: Presence) -> tuple[Presence, Keep, Presence]:
    """Return every piece as real and as not real, weighted by its label: what classifiers take a label between 0 and 1 as."""
    verdict = np.repeat([True, False], len(real))
    return np.concatenate([values, values]), verdict, np.concatenate([length * real, length * (1.0 - real)])


def _logistic(values: Presence, real: Keep, weight: Presence) -> Any:
    return peers.load("sklearn.linear_model").LogisticRegression(max_iter=300).fit(values, real, weight)


def _boosted(values: Presence, real: Keep, weight: Presence) -> Any:
    model = peers.load("sklearn.ensemble").HistGradientBoostingClassifier(max_iter=120, random_state=0)
    return model.fit(values, real, weight)


def _single(training: list[LabelledGraph], validation: list[LabelledGraph]) -> tuple:
    """Return the one feature of the best average precision on validation; its presence is the share real in its range."""
    best: tuple[str, float, Judge] = ("", -1.0, _heat)
    for name in SINGLE:
        values, real, length = _pieces(training, [name.partition(".")[0]])
        place = training[0].case.features_of([name.partition(".")[0]])[1].index(name)
        column = values[:, place]
        ends = np.quantile(column, np.linspace(0, 1, N_RANGES + 1)[1:-1])
        where = np.searchsorted(ends, column)
        share = np.bincount(where, length * real, N_RANGES) / np.maximum(np.bincount(where, length, N_RANGES), 1e-9)

        def say(graph: LabelledGraph, name: str = name, ends: Presence = ends, share: Presence = share) -> Presence:
            return share[np.searchsorted(ends, graph.case.features[:, graph.case.names.index(name)])]

        found = average_precision(
            np.concatenate([say(graph) for graph in validation]),
            np.concatenate([graph.presence for graph in validation]),
            np.concatenate([graph.case.pieces.edge_length for graph in validation]),
        )
        if found > best[1]:
            best = (name, found, say)
    print(f"best single evidence: {best[0]}")
    return THRESHOLDS, _decode, best[2]


def _measure(
    tried: Sequence[float],
    decode: Callable[[LabelledGraph, Presence, float], Keep],
    say: Judge,
    validation: Sequence[LabelledGraph],
    test: Sequence[LabelledGraph],
) -> tuple[dict[str, object], list[float]]:
    on_validation = [say(graph) for graph in validation]
    mean = {t: np.mean([g.scores(decode(g, p, t))[2] for g, p in zip(validation, on_validation, strict=True)]) for t in tried}
    chosen = max(tried, key=lambda t: mean[t])
    said = [say(graph) for graph in test]
    scores = np.array([graph.scores(decode(graph, p, chosen)) for graph, p in zip(test, said, strict=True)])
    interval = mean_interval(scores[:, 2])
    flat = [
        np.concatenate(said),
        np.concatenate([g.presence for g in test]),
        np.concatenate([g.case.pieces.edge_length for g in test]),
    ]
    row: dict[str, object] = {
        "threshold": chosen,
        "P@2": scores[:, 0].mean(),
        "R@2": scores[:, 1].mean(),
        "F1@2": interval.mean,
    }
    row |= {"95 %": _between(interval), "AP": average_precision(*flat)}
    if decode in {_decode, _decode_like_rules}:
        row["ECE"] = calibration_error(*flat)[0]
    return row, scores[:, 2].tolist()


def _between(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}" if interval.n > 1 else "one case"


def _compare(row: dict[str, object], cases: Mapping[str, list[float]], ours: str, column: str) -> None:
    """Add how much one of ours gains over a judge, with the interval of the paired difference."""
    if row["judge"] != ours:
        gain = mean_interval(np.subtract(cases[ours], cases[str(row["judge"])]))
        row[column] = f"{gain.mean:+.3f} ({_between(gain)})"


if __name__ == "__main__":
    main()
