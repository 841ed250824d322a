"""The heatmap network with and without features of a frozen encoder, trained equally long from the same start.

Arms: the plain network; with EfficientNet-Lite0 (ImageNet weights, then random ones as the control: features without
pretraining); with the chest-CT network Astra, and with random weights of it; and the features of either alone. Random weights
are drawn anew for every seed, twice for Astra. All see the portal phase of the same generated studies in the same order; F1,
radius and tree names are those of the training's own validation, on studies nobody learned from. ``--start shipped`` goes on
from the shipped weights instead of random ones. Called again with the same ``--folder``, finished trainings are only judged
(and their seconds are no longer told truly).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import Clock, Row, arguments, finish, print_table, spread

from vesselgraph.config import AugmentConfig, StudyRanges, TrainHeatmapConfig
from vesselgraph.errors import CheckpointError
from vesselgraph.heatmap.cases import TrainingCase
from vesselgraph.heatmap.foundation import foundation_for
from vesselgraph.heatmap.sources import StudySource
from vesselgraph.heatmap.training import WEIGHTS, train_heatmap
from vesselgraph.heatmap.validation import make_box, validate
from vesselgraph.heatmap.weights import SHIPPED, load_network, read_card
from vesselgraph.training_config import FeaturesConfig

LITE = FeaturesConfig(use="both", maps=("block 2", "block 4", "block 10"))
ASTRA = FeaturesConfig(use="both", encoder="astra-resnet152", maps=("layer1", "layer2"))
ARMS: dict[str, FeaturesConfig] = {
    "plain": FeaturesConfig(),
    "+ Astra, chest CT": ASTRA,
    "+ Astra, random weights": ASTRA.model_copy(update={"random_weights": True}),
    "+ Astra, other random weights": ASTRA.model_copy(update={"random_weights": True, "random_seed": 100}),
    "Astra alone, chest CT": ASTRA.model_copy(update={"use": "foundation"}),
    "+ EfficientNet-Lite0, ImageNet": LITE,
    "+ EfficientNet-Lite0, random weights": LITE.model_copy(update={"random_weights": True}),
    "EfficientNet-Lite0 alone, ImageNet": LITE.model_copy(update={"use": "foundation"}),
}
FIGURES = ("F1", "precision", "recall", "radius error", "trees named")


class PortalOnly:
    """Numbered generated studies of which only the portal phase is shown."""

    def __init__(self, config: TrainHeatmapConfig, folder: Path) -> None:
        self.source = StudySource(config, folder)

    def __len__(self) -> int:
        return len(self.source)

    def case(self, index: int) -> TrainingCase:
        """Return one study."""
        case = self.source.case(index)
        return replace(case, phases={"portal": case.phases["portal"]})


class NoCases:
    """No case at all."""

    def __len__(self) -> int:
        return 0

    def case(self, index: int) -> TrainingCase:
        """Raise: there is none."""
        raise IndexError(index)


def main() -> None:
    args = arguments(__doc__ or "", seeds=(0, 1, 2, 3, 4), more=_options)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        rows = []
        for seed in args.seeds:
            for arm, features in ARMS.items():
                if args.only and arm not in args.only:
                    continue
                try:
                    rows += _run(args, arm, _recipe(args, seed, features), folder)
                except CheckpointError as error:
                    print(f"skipped {arm}: {error}", flush=True)
                    continue
                print(f"seed {seed}, {arm}: F1 {np.mean([row['F1'] for row in rows[-args.n_test :]]):.3f}", flush=True)
    arms = {arm: [row for row in rows if row["arm"] == arm] for arm in ARMS if any(row["arm"] == arm for row in rows)}
    table = [_line(arm, some, arms.get("plain")) for arm, some in arms.items()]
    print_table(f"Features of frozen encoders, {args.n_steps} steps from {args.start} weights", table)
    finish(args, "foundation_features", {"rows": rows, "n_steps": args.n_steps, "start": args.start})


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--start", choices=("random", "shipped"), default="random", help="weights every arm starts from")
    parser.add_argument("--n-steps", type=int, default=600, help="training steps of every arm")
    parser.add_argument("--n-studies", type=int, default=16, help="generated studies to learn from")
    parser.add_argument("--n-test", type=int, default=6, help="generated studies to judge on")
    parser.add_argument("--only", action="append", choices=list(ARMS), help="run this arm; may be repeated")
    parser.add_argument("--folder", help="where studies, features and runs are kept; by default nowhere")


def _recipe(args: argparse.Namespace, seed: int, features: FeaturesConfig) -> TrainHeatmapConfig:
    common: dict[str, Any] = {
        "features": features.model_copy(update={"random_seed": features.random_seed + seed}),
        "seed": seed,
        "one_phase_fraction": 1.0,
        "unknown_fraction": 0.0,
        # Features follow a patch's place but not its intensities, so these stay as they are in every arm.
        "augment": AugmentConfig(gain=0.0, gamma=0.0, shift=0.0, noise=0.0, blur=0.0, thick_fraction=0.0),
        "n_validation": 0,
        "validate_every": 10**6,
        "n_workers": 0,
        "average": 0.99,
    }
    if args.small:
        args.n_steps, args.n_studies, args.n_test = 2, 1, 1
        small = {"studies": StudyRanges(shape=(56, 56, 56), n_portal_tips=(30, 40), n_hepatic_tips=(30, 40))}
        common |= {"widths": (4, 8), "n_groups": 2, "patch": 16, "validation_side": 32, **small}
    else:
        common |= {"widths": (8, 16, 32, 64), "patch": 48, "validation_side": 96}
    if args.start == "shipped":
        card = read_card(SHIPPED)
        common |= {"start_from": str(SHIPPED), "widths": card.widths, "n_groups": card.n_groups, "rate": 5e-4}
    steps = {"n_steps": args.n_steps, "n_warm_up": min(50, args.n_steps), "n_steps_a_case": max(args.n_steps // 12, 1)}
    return TrainHeatmapConfig(**{**common, **steps, "n_studies": args.n_studies})


def _run(args: argparse.Namespace, arm: str, config: TrainHeatmapConfig, folder: Path) -> list[Row]:
    """Train one arm and return its figures on each study it never saw."""
    source = PortalOnly(config, folder / "cases")
    place = folder / f"{args.start}-{args.n_steps}-{config.seed}-{list(ARMS).index(arm)}"
    # Features are kept by image and weights, so that the arms and seeds of one encoder share them.
    (folder / "features").mkdir(exist_ok=True, parents=True)
    place.mkdir(exist_ok=True)
    if not (place / "features").exists():
        (place / "features").symlink_to((folder / "features").resolve())
    with Clock() as clock:
        train_heatmap(config, place, generated=source, real=NoCases(), validation=[])
    network, _ = load_network(place / WEIGHTS)
    foundation = foundation_for(config.features, config.step, len(config.widths), place / "features")
    opened = [float(gate.gate.detach().abs().mean()) for gate in network.gates]  # type: ignore[operator, union-attr]
    rows = []
    for number in range(args.n_test):
        found = validate(network, [make_box(source.case(-1 - number), config, foundation)], config)
        named = dict(
            zip(FIGURES, (found[f"one/{key}"] for key in ("f1", "precision", "recall", "radius", "identity")), strict=True)
        )
        rows.append({"arm": arm, "seed": config.seed, "study": number, **named, "CPU s": clock.cpu, "gates": opened})
    return rows


def _line(arm: str, rows: list[Row], plain: list[Row] | None) -> Row:
    line: dict[str, Any] = {"arm": arm, "F1 (mean, range)": spread(rows, "F1")}
    if plain and len(plain) == len(rows):
        change = [row["F1"] - other["F1"] for row, other in zip(rows, plain, strict=True)]
        seeds = sorted({row["seed"] for row in rows})
        of_seed = [np.mean([one for one, row in zip(change, rows, strict=True) if row["seed"] == seed]) for seed in seeds]
        told = rows is not plain
        line["over plain (mean, range over seeds)"] = (
            f"{np.mean(change):+.3f} ({min(of_seed):+.3f} to {max(of_seed):+.3f})" if told else ""
        )
        line["better in"] = f"{sum(one > 0 for one in change)} of {len(change)}" if told else ""
    line |= {key: float(np.mean([row[key] for row in rows])) for key in FIGURES[1:]}
    return line | {"training, CPU s": float(np.mean([row["CPU s"] for row in rows]))}


if __name__ == "__main__":
    main()
