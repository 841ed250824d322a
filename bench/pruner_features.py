"""The learned pruner with and without features of a frozen encoder along every piece, on studies nobody learned from.

Arms: the groups of the shipped recipe; with EfficientNet-Lite0 (ImageNet weights, then random ones: features without
pretraining); with the maps of the heatmap network; with both; and with the encoder's maps alone. All learn from the same
graphs; F1 at 2 mm is with each arm's own threshold, that of the best F1 on the studies to choose on.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from harness import Clock, Row, arguments, finish, print_table, spread

from vesselgraph.config import PruneConfig
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruner_training import LabelledGraph, View, average_precision, planned_studies, traced_study
from vesselgraph.pruning.decision import keep_present
from vesselgraph.pruning.learning import Fit, fit_pruner
from vesselgraph.training_config import FeaturesConfig

MAPS = ("block 2", "block 4")
PLAIN = TrainPrunerConfig().groups
ARMS: dict[str, tuple[FeaturesConfig, tuple[str, ...]]] = {
    "plain": (FeaturesConfig(), PLAIN),
    "+ EfficientNet-Lite0, ImageNet": (FeaturesConfig(use="both", maps=MAPS), PLAIN),
    "+ network": (FeaturesConfig(), (*PLAIN, "network")),
    "+ network, EfficientNet-Lite0 (both)": (FeaturesConfig(use="both", maps=MAPS), (*PLAIN, "network")),
    "EfficientNet-Lite0 alone": (FeaturesConfig(use="foundation", maps=MAPS), ("network",)),
    "+ EfficientNet-Lite0, random weights": (FeaturesConfig(use="both", maps=MAPS, random_weights=True), PLAIN),
}
THRESHOLDS = (0.12, 0.16, 0.2, 0.25, 0.3, 0.36, 0.45)
_SMALL = [
    "studies={shape=[44,44,44], center_x=[-62,-58], center_y=[-12,-8], center_z=[-2,2], n_portal_tips=[300,300], "
    "n_hepatic_tips=[300,300], slice_thickness=[1.0,1.2], noise=[4,5]}",
    "n_epochs=1",
    "width=8",
    "n_layers=1",
    "n_heads=2",
]


def main() -> None:
    args = arguments(__doc__ or "", seeds=(0, 1, 2), more=_options)
    if args.small:
        args.n_studies = args.n_validation = args.n_test = 1
    sizes = [f"n_studies={args.n_studies}", f"n_validation={args.n_validation}", "n_whole=0", 'views=["portal"]']
    recipe = TrainPrunerConfig.build(overrides=[*sizes, *(_SMALL if args.small else [])])
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as own:
        folder = Path(args.graphs or own)
        for name, (features, groups) in ARMS.items():
            config = recipe.model_copy(update={"features": features, "groups": groups})
            learned, chosen, tested = _graphs(config, folder, args.n_test)
            for seed in args.seeds:
                rows += _measured(name, config.model_copy(update={"seed": seed}), learned, chosen, tested)
            print(f"{name}: F1 {np.mean([row['F1'] for row in rows if row['arm'] == name]):.3f}", flush=True)
    table = [_line(name, rows) for name in ARMS]
    print_table(f"Features of encoders in the pruner, {args.n_studies} studies to learn from, {args.n_test} to test on", table)
    finish(args, "pruner_features", {"rows": rows})


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n-studies", type=int, default=16, help="generated studies to learn from")
    parser.add_argument("--n-validation", type=int, default=6, help="generated studies to choose on")
    parser.add_argument("--n-test", type=int, default=10, help="generated studies to test on")
    parser.add_argument("--graphs", help="folder that keeps the traced graphs; by default nowhere")


def _graphs(config: TrainPrunerConfig, folder: Path, n_test: int) -> tuple[list[LabelledGraph], ...]:
    """Return the graphs to learn from, to choose on, and to test on."""
    if config.features.use == "cnn":
        # What an arm is not told does no harm in the graphs, and so they are traced once.
        config = config.model_copy(update={"features": FeaturesConfig(use="both", maps=MAPS)})
    plan = planned_studies(config)
    tested = [View(300_010 + n, config.studies, "portal") for n in range(n_test)]
    parts = (plan[config.n_validation :], plan[: config.n_validation], tested)
    learned, chosen, judged = (
        [LabelledGraph.of(traced_study(view, config, folder), config) for view in part] for part in parts
    )
    return learned, chosen, judged


def _measured(
    name: str,
    config: TrainPrunerConfig,
    learned: list[LabelledGraph],
    chosen: list[LabelledGraph],
    tested: list[LabelledGraph],
) -> list[Row]:
    told = config.told
    with Clock() as clock:
        fit = fit_pruner([one.as_case(told) for one in learned], [one.as_case(told) for one in chosen], config)
    best = max(THRESHOLDS, key=lambda threshold: float(np.mean([_f1(fit, one, told, threshold) for one in chosen])))
    rows = []
    for number, one in enumerate(tested):
        case = one.as_case(told)
        precision = average_precision(fit.presence(case), case.presence, case.length)
        row = {"arm": name, "seed": config.seed, "study": number, "F1": _f1(fit, one, told, best)}
        rows.append(row | {"average precision": precision, "features": case.features.shape[1], "CPU s": clock.cpu})
    return rows


def _f1(fit: Fit, one: LabelledGraph, told: tuple[str, ...], threshold: float) -> float:
    kept = keep_present(one.case.pieces, fit.presence(one.as_case(told)), PruneConfig(), threshold).keep
    return one.scores(kept)[2]


def _line(name: str, rows: list[Row]) -> Row:
    mine, plain = ([row for row in rows if row["arm"] == arm] for arm in (name, "plain"))
    change = [row["F1"] - other["F1"] for row, other in zip(mine, plain, strict=True)]
    over = {"over plain": f"{np.mean(change):+.3f}", "worse in": f"{sum(one < 0 for one in change)} of {len(change)}"}
    line = {"arm": name, "features": mine[0]["features"], "F1 (mean, range)": spread(mine, "F1")}
    line |= over if name != "plain" else {"over plain": "", "worse in": ""}
    precision = float(np.nanmean([row["average precision"] for row in mine]))
    return line | {"average precision": precision, "fit, CPU s": float(np.mean([row["CPU s"] for row in mine]))}


if __name__ == "__main__":
    main()
