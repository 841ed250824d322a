"""What the heatmap network costs on PyTorch and on OpenVINO, processor seconds per litre of liver, and how far they differ.

The liver is a whole one of a generated study; the network sees it as ``predict_heatmap`` does, at 1 mm, in boxes that touch
it. Backends take turns in one run; compiling, once an image, is a column of its own. Seconds are those of all ``--threads``
together.
"""

from __future__ import annotations

import argparse
from typing import Any

import harness
import numpy as np
import torch
from harness import Clock, Row

from vesselgraph.errors import BackendUnavailableError
from vesselgraph.heatmap.openvino_backend import OpenVinoNetwork
from vesselgraph.heatmap.prediction import Engine, Maps, predict_maps
from vesselgraph.heatmap.targets import LEARNED_AXES
from vesselgraph.heatmap.weights import load_network
from vesselgraph.phantom import make_study, sample_study_config
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.resampling import isotropic_grid, resample
from vesselgraph.training_config import StudyRanges
from vesselgraph.volume import oriented

OVERLAP = 0.25
WAYS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("portal",), 64),
    (("portal",), 96),
    (("native", "arterial", "portal", "delayed"), 64),
)


def main() -> None:
    args = harness.arguments("Cost of the heatmap network.", seeds=(300_050,), more=_options)
    torch.set_num_threads(args.threads)
    rows: list[Row] = []
    for seed in args.seeds:
        phases, inside = _liver(seed, small=args.small)
        rows += [_measure(phases, inside, *way, args.rounds) for way in (((("portal",), 32),) if args.small else WAYS)]
    harness.print_table("Processor seconds per litre of liver", rows)
    harness.finish(args, "network_cost", {"rows": rows, "threads": args.threads})


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1, help="threads of the network")
    parser.add_argument("--rounds", type=int, default=3, help="times each backend has its turn")


def _liver(seed: int, *, small: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the phases of a study at 1 mm and where the liver is."""
    ranges = (
        StudyRanges(shape=(48, 48, 48), n_portal_tips=(300, 300), n_hepatic_tips=(300, 300))
        if small
        else TrainPrunerConfig().whole
    )
    study = make_study(sample_study_config(seed, ranges))
    organ = oriented(study.organ_mask, LEARNED_AXES)
    space, shape = isotropic_grid(organ, 1.0)
    phases = {
        name: np.asarray(resample(oriented(image, LEARNED_AXES), space, shape).array, np.float32)
        for name, image in study.phases.items()
    }
    inside = resample(organ, space, shape, interpolation="nearest", fill=0.0).array.astype(np.bool_)
    used = np.argwhere(inside)
    # Cropped as the stage does, with tissue around.
    box = tuple(slice(max(int(a) - 16, 0), int(b) + 17) for a, b in zip(used.min(axis=0), used.max(axis=0), strict=True))
    return {name: array[box] for name, array in phases.items()}, inside[box]


def _measure(phases: dict[str, np.ndarray], inside: np.ndarray, names: tuple[str, ...], window: int, n_rounds: int) -> Row:
    network, _ = load_network()
    shown, litres = {name: phases[name] for name in names}, float(inside.sum()) * 1e-6
    row: dict[str, Any] = {"phases": len(names), "window": window, "litres": litres}

    def run(engine: Engine | None) -> tuple[Maps, float]:
        with Clock() as clock:
            maps = predict_maps(network, shown, inside, window=window, overlap_fraction=OVERLAP, engine=engine)
        return maps, clock.cpu

    engines: dict[str, Engine | None] = {"torch": None}
    try:
        engines["openvino"] = OpenVinoNetwork(network)
    except BackendUnavailableError as error:
        print(f"skipped openvino: {error}")
    said: dict[str, Maps] = {}
    spent: dict[str, list[float]] = {name: [] for name in engines}
    if "openvino" in engines:
        # A first round apart: it compiles.
        row["compiling s"] = run(engines["openvino"])[1]
    for _ in range(n_rounds):
        for name, engine in engines.items():
            said[name], cpu = run(engine)
            spent[name].append(cpu)
    row |= {f"{name}, CPU s a litre": min(cpu) / litres for name, cpu in spent.items()}
    if "openvino" in engines:
        row["compiling s"] -= min(spent["openvino"])
        ratios = np.divide(spent["torch"], spent["openvino"])
        row["torch / openvino"] = f"{np.median(ratios):.2f} ({ratios.min():.2f}-{ratios.max():.2f})"
        row["largest difference of heat"] = f"{np.abs(said['torch'].heat - said['openvino'].heat).max():.1e}"
    return row


if __name__ == "__main__":
    main()
