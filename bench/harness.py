"""What every benchmark shares: its arguments, its clocks, its tables and our own chain of stages."""

from __future__ import annotations

import argparse
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil

from vesselgraph import __version__
from vesselgraph.config import PhantomConfig, PipelineConfig
from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.heatmap.targets import clear_graph
from vesselgraph.metrics import GraphScores, compare_graphs
from vesselgraph.phantom import Phantom, Study, make_phantom
from vesselgraph.pruning import judge, prune
from vesselgraph.tracing import trace
from vesselgraph.volume import Heatmap, Volume

Row = Mapping[str, Any]

CLEAR, SHOWN = 0.5, 0.05
"""Clarity from which a vessel of a study is to be found, and above which finding it is no mistake."""

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def arguments(
    description: str,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    more: Callable[[argparse.ArgumentParser], object] | None = None,
) -> argparse.Namespace:
    """Return the parsed command line every benchmark takes; ``more`` adds options of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--small", action="store_true", help="a few seconds of work, to see that it runs; not a measurement")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds), help="seeds of the phantoms")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    if more is not None:
        more(parser)
    args = parser.parse_args()
    if args.small:
        args.seeds = args.seeds[:1]
    return args


def data_folder() -> Path:
    """Return the folder of real cases: ``$VESSELGRAPH_DATA`` or ``../shared/data`` beside the project."""
    return Path(os.environ.get("VESSELGRAPH_DATA", BESIDE))


@dataclass
class Clock:
    """CPU seconds (all threads of this process), wall seconds, and the rise of resident memory at its highest, bytes."""

    cpu: float = 0.0
    wall: float = 0.0
    memory: int = 0

    def __enter__(self) -> Self:
        self._process = psutil.Process()
        self._base = self._process.memory_info().rss
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self._cpu0, self._wall0 = time.process_time(), time.perf_counter()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.memory = max(self.memory, self._process.memory_info().rss - self._base)

    def __exit__(self, *error: object) -> None:
        self.cpu = time.process_time() - self._cpu0
        self.wall = time.perf_counter() - self._wall0
        self._stop.set()
        self._watcher.join()
        self.memory = max(self.memory, self._process.memory_info().rss - self._base)


def phantom_of(seed: int, *, small: bool, **settings: Any) -> Phantom:
    """Return a phantom of the 160-cube class, or a small one of 72 voxels a side."""
    if small:
        settings = {"shape": (72, 72, 72), "n_tips": 8, **settings}
    return make_phantom(PhantomConfig(seed=seed, **settings))


def our_graph(heatmap: Heatmap, image: Volume | None, region: Volume | None, config: PipelineConfig) -> VesselGraph:
    """Return our traced and pruned graph of a heatmap."""
    graph = trace(heatmap, config.trace, image=image, region=region)
    return prune(judge(graph, config.prune), config.prune)


def our_chain(image: Volume, region: Volume | None) -> VesselGraph:
    """Return our graph of an image at default settings: heatmap, trace, prune."""
    config = PipelineConfig()
    return our_graph(predict_heatmap(image, config.heatmap, region=region), image, region, config)


def filled(image: Volume, region: Volume) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the image with its median inside the region put outside of it.

    Given to the other tools only: the organ's own outline would else be their strongest response, which costs them 20 to 30
    points of F1.
    """
    inside = np.asarray(region.array, dtype=bool)
    return np.where(inside, image.array, np.median(image.array[inside])).astype(np.float32)


def centerline_row(scores: GraphScores) -> dict[str, float]:
    """Return the figures of a comparison that the tables show."""
    row = {}
    for tolerance, score in scores.centerline.items():
        row |= {f"P@{tolerance:g}": score.precision, f"R@{tolerance:g}": score.recall, f"F1@{tolerance:g}": score.f1}
    row |= {f"nearest F1@{tolerance:g}": score.f1 for tolerance, score in scores.nearest.items()}
    betti = scores.betti_error
    row |= {"bif F1": scores.bifurcation.f1, "branch F1": scores.branch.f1, "APLS": scores.apls.score}
    return row | {"b0 err": betti[0], "b1 err": betti[1]}


def score(graph: VesselGraph, truth: VesselGraph, region: Volume | None = None, **settings: Any) -> dict[str, float]:
    """Return the table figures of a graph against the truth."""
    return centerline_row(compare_graphs(graph, truth, region=region, **settings))


def clear_row(graph: VesselGraph, study: Study) -> Row:
    """Return the scores of a graph in a generated study: recall of clear vessels, precision against all that show at all."""
    found = compare_graphs(graph, clear_graph(study, "portal", CLEAR), tolerances=(2.0, 3.0), region=study.organ_mask)
    right = compare_graphs(graph, clear_graph(study, "portal", SHOWN), tolerances=(2.0, 3.0), region=study.organ_mask)
    row: dict[str, Any] = {}
    for tolerance in (2.0, 3.0):
        precision, recall = right.centerline[tolerance].precision, found.centerline[tolerance].recall
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        row |= {f"P@{tolerance:g}": precision, f"R@{tolerance:g}": recall, f"F1@{tolerance:g}": f1}
    return {**row, "bif F1": found.bifurcation.f1, "APLS": found.apls.score}


def tuned(table: Mapping[int, Mapping[Any, Row]], seed: int, key: str, *, on_itself: bool = False) -> Any:
    """Return the setting with the best mean ``key`` over the other seeds (or on the seed itself: an upper bound).

    Parameters
    ----------
    table : mapping of seed to mapping of setting to row
        Every setting tried on every seed.
    """
    others = [seed] if on_itself or len(table) == 1 else [s for s in table if s != seed]
    return max(table[seed], key=lambda setting: float(np.mean([table[s][setting][key] for s in others])))


def print_table(title: str, rows: Sequence[Row], columns: Sequence[str] | None = None) -> None:
    """Print rows as a Markdown table; missing values are blank."""
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    cells = [list(columns), *([_text(row.get(name, "")) for name in columns] for row in rows)]
    width = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, width, strict=True)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in width) + "|")
    print(f"\n{title}\n\n" + "\n".join(lines), flush=True)


def spread(rows: Sequence[Row], key: str) -> str:
    """Return mean and range of a figure over rows."""
    values = [float(row[key]) for row in rows]
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def finish(args: argparse.Namespace, name: str, results: Mapping[str, Any]) -> None:
    """Say what was measured where, and write the numbers if asked to."""
    machine = f"{psutil.cpu_count()}-core {platform.machine()}, Python {platform.python_version()}"
    note = " --small: not a measurement." if args.small else ""
    print(f"\n{name}: vesselgraph {__version__}, {machine}, seeds {args.seeds}.{note}")
    if args.json:
        record = {"bench": name, "version": __version__, "machine": machine, "small": args.small, "seeds": args.seeds}
        args.json.write_text(json.dumps({**record, **results}, indent=1, default=float), encoding="utf-8")


def warm_up(*calls: Callable[[], object]) -> None:
    """Run things once, so that compilation and imports are not timed."""
    for call in calls:
        call()


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)
