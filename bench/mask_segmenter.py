"""The habit to compare with: the same network trained to draw a vessel mask, then skeletonized, on studies it never saw.

The segmenter (``segmenter.py``) starts from the shipped heatmap network and learns on studies of the same kind for ``--steps``
more steps: a better start than most segmenters have. Its threshold, like ours, is the one that is best on the OTHER studies,
and once each its default (0.5 for a probability, ours as shipped). All get the portal phase and the organ mask. A run that
is stopped goes on from ``--folder``. ``--real`` scores the real livers instead, as ``real_liver.py`` does: the segmenter at
every threshold, so that its best row is an upper bound for it, ours at default.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import peers
import real_liver
import segmenter
from harness import Clock, Row

from vesselgraph.config import PipelineConfig, StudyRanges
from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.heatmap.boxes import box_around
from vesselgraph.heatmap.network import HeatmapNetwork
from vesselgraph.heatmap.sources import StudySource
from vesselgraph.heatmap.targets import clear_graph
from vesselgraph.io import read_image, read_mask
from vesselgraph.metrics import mean_interval, skeleton_graph
from vesselgraph.phantom import Study, make_study, sample_study_config
from vesselgraph.pipeline import reconstruct
from vesselgraph.pruning import prune
from vesselgraph.tracing import trace
from vesselgraph.volume import Heatmap, Volume

SEEDS = tuple(range(300_010, 300_030))
MIN_HEATS = (0.1, 0.2, 0.35, 0.5, 0.65)
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
DEFAULT = 0.5
KEY = "F1@2"
OURS, THINNED, TRACED = "heat, traced and pruned", "mask, skeletonize + skan", "mask, traced and pruned by us"
Rows = dict[float, Row]


def main() -> None:
    args = harness.arguments("A mask segmenter against centerline heat.", seeds=SEEDS, more=_options)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        recipe = segmenter.recipe(small=args.small, n_steps=args.steps)
        network = segmenter.train(recipe, StudySource(recipe, folder / "cases"), folder, lambda text: print(text, flush=True))
    if args.real:
        cases = {case.name: _real(network, case) for case in real_liver.real_cases()}
        harness.finish(args, "mask_segmenter", {"cases": cases, "steps": recipe.n_steps})
        return
    tables: dict[str, dict[int, Rows]] = {}
    for seed in args.seeds:
        ranges = {"shape": (64, 64, 64), "n_portal_tips": (40, 60)} if args.small else {}
        study = make_study(sample_study_config(seed, StudyRanges.model_validate(ranges)))
        if not clear_graph(study, "portal", harness.CLEAR).n_edges:
            print(f"seed {seed}: no vessel is clear in the portal phase, left out", flush=True)
            continue
        tables.setdefault(OURS, {})[seed] = _from_heat(study)
        try:
            found = _from_mask(network, study, small=args.small)
        except peers.PeerMissingError as error:
            print(f"skipped {THINNED}: {error}")
            found = {}
        for name, rows in found.items():
            tables.setdefault(name, {})[seed] = rows
        best = {name: max(row[KEY] for row in table[seed].values()) for name, table in tables.items()}
        print(f"seed {seed}: " + ", ".join(f"{name} {value:.3f}" for name, value in best.items()), flush=True)
    defaults = {OURS: PipelineConfig().prune.min_heat, THINNED: DEFAULT, TRACED: DEFAULT}
    rows = [_summary(name, table, at) for name, table in tables.items() for at in (None, defaults[name])]
    harness.print_table("Studies never learned from", rows)
    for name, table in tables.items():
        if name != OURS:
            harness.print_table(f"Ours less {name}, both tuned on the others", [_difference(tables[OURS], table)])
    plain = {n: {s: {str(k): row for k, row in r.items()} for s, r in t.items()} for n, t in tables.items()}
    harness.finish(args, "mask_segmenter", {"rows": rows, "tried": plain, "steps": recipe.n_steps})


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="where the training is kept; by default nowhere")
    parser.add_argument("--steps", type=int, default=2400, help="steps of training")
    parser.add_argument("--real", action="store_true", help="score the real livers instead of generated studies")


def _from_heat(study: Study) -> Rows:
    portal, config = study.phases["portal"], PipelineConfig.build(overrides=["heatmap.method=network"])
    with Clock() as clock:
        heatmap = predict_heatmap(portal, config.heatmap, region=study.organ_mask, organ=study.organ_mask)
        over = trace(heatmap, config.trace, image=portal, region=study.organ_mask)
    heats = sorted({*MIN_HEATS, config.prune.min_heat})
    settings = {heat: config.prune.model_copy(update={"min_heat": heat}) for heat in heats}
    return {heat: {**harness.clear_row(prune(over, one), study), "CPU s": clock.cpu} for heat, one in settings.items()}


def _from_mask(network: HeatmapNetwork, study: Study, *, small: bool) -> dict[str, Rows]:
    with Clock() as clock:
        drawn = segmenter.predict_mask(network, study.phases["portal"], study.organ_mask)
    ways: dict[str, Callable[[Volume], VesselGraph]] = {THINNED: _thinned, TRACED: _traced}
    found: dict[str, Rows] = {name: {} for name in ways}
    for threshold in (DEFAULT,) if small else THRESHOLDS:
        mask = drawn.with_array(peers.foreground(np.asarray(drawn.array), threshold, 60))
        for name, way in ways.items():
            with Clock() as tracing:
                graph = way(mask)
            found[name][threshold] = {**harness.clear_row(graph, study), "CPU s": clock.cpu + tracing.cpu}
    return found


def _real(network: HeatmapNetwork, case: Path) -> list[Row]:
    """Return and print the rows of a real liver, its mask given."""
    ct, liver = read_image(case / "ct.nii.gz"), read_mask(case / "liver.nii.gz")
    truth = {
        "all": real_liver.beside([skeleton_graph(read_mask(case / f"{name}.nii.gz"), step=1.0) for name in real_liver.TREES])
    }
    inside = real_liver.grown(liver, real_liver.RIM)
    box = box_around(inside, 16.0)
    rows: list[Row] = []
    drawn = segmenter.predict_mask(network, ct.crop(*box), inside.crop(*box))
    for threshold in THRESHOLDS:
        mask = drawn.with_array(peers.foreground(np.asarray(drawn.array), threshold, 60))
        for name, way in ((THINNED, _thinned), (TRACED, _traced)):
            row = real_liver.scored(way(mask), truth, inside)[1]
            rows.append({"method": f"{name}, threshold {threshold:g}", **row})
    graph = reconstruct(ct, mask=liver).graph
    rows.append({"method": f"{OURS}, default", **real_liver.scored(graph, truth, inside)[1]})
    columns = ["method", *(f"{m}@{t}" for t in (2, 3) for m in ("P", "R", "F1")), "bif F1", "APLS", "b1 err"]
    harness.print_table(f"{case.name}: inside the liver and {real_liver.RIM:g} mm around it", rows, columns)
    return rows


def _thinned(mask: Volume) -> VesselGraph:
    return peers.skan_graph(mask.array, mask.space)


def _traced(mask: Volume) -> VesselGraph:
    heatmap = Heatmap(mask.with_array(mask.array.astype(np.float32)), source="mask")
    return harness.our_graph(heatmap, None, None, PipelineConfig())


def _at(table: dict[int, Rows], at: float | None) -> list[Row]:
    return [table[seed][harness.tuned(table, seed, KEY) if at is None else at] for seed in table]


def _summary(name: str, table: dict[int, Rows], at: float | None) -> Row:
    rows = _at(table, at)
    mean = mean_interval([row[KEY] for row in rows])
    line: dict[str, Any] = {"method": f"{name}, " + ("tuned on the others" if at is None else "default"), "studies": len(rows)}
    line["F1@2 (95 %)"] = f"{mean.mean:.3f} ({mean.low:.3f}-{mean.high:.3f})"
    return line | {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != KEY}


def _difference(ours: dict[int, Rows], theirs: dict[int, Rows]) -> Row:
    gains = [a[KEY] - b[KEY] for a, b in zip(_at(ours, None), _at(theirs, None), strict=True)]
    mean = mean_interval(gains)
    lost = [seed for seed, gain in zip(ours, gains, strict=True) if gain < 0]
    return {
        "F1@2": f"{mean.mean:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})",
        "worst": min(gains),
        "studies lost": str(lost or "none"),
    }


if __name__ == "__main__":
    main()
