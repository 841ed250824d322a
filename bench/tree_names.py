"""Generated livers nobody learned from: how much of the found length gets the right name, and what taking trees apart is worth.

Portal-phase studies with the organ mask, heat of the shipped network, the judge of the default run. Named are portal veins,
hepatic veins and arteries by where they come from; beside that stand the network's own names, branch by branch, and the
trees that radii and angles alone take apart. Part: 128 mm of a liver, cut off somewhere. Whole: all of it, as in a patient.
"""

from __future__ import annotations

import argparse
from typing import Any

import harness
import numpy as np
from harness import Row

from vesselgraph.config import PipelineConfig, StudyRanges
from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.heatmap.targets import clear_graph
from vesselgraph.metrics import compare_graphs, mean_interval
from vesselgraph.phantom import Study, make_study, sample_study_config
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruning import judge, prune
from vesselgraph.pruning.surroundings import sample
from vesselgraph.tracing import trace
from vesselgraph.volume import Heatmap, PhaseSet, Volume

SEEDS = tuple(range(300_010, 300_030))
SHOWN = 0.05
"""Least clarity of the truth that counts."""


def main() -> None:
    args = harness.arguments("Names of trees on studies nobody learned from.", seeds=SEEDS, more=_options)
    rows: list[Row] = []
    for seed in args.seeds:
        study = make_study(_config(seed, args))
        if clear_graph(study, "portal", SHOWN).n_edges:
            rows += _rows(seed, study)
            print(f"seed {seed}: " + ", ".join(f"{r['names']} {r['right']:.3f}" for r in rows if r["seed"] == seed), flush=True)
        else:
            print(f"seed {seed}: the portal phase shows no vessel, left out", flush=True)
    summary = [
        _summary(name, [row for row in rows if row["names"] == name]) for name in dict.fromkeys(r["names"] for r in rows)
    ]
    harness.print_table("Each study", rows)
    harness.print_table("Mean (95 %)", summary)
    harness.finish(args, "tree_names", {"rows": rows, "summary": summary})


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--whole", action="store_true", help="whole livers instead of parts")


def _config(seed: int, args: argparse.Namespace) -> Any:
    ranges = TrainPrunerConfig().whole if args.whole else StudyRanges()
    if args.small:
        ranges = StudyRanges(shape=(64, 64, 64), n_portal_tips=(40, 60))
    return sample_study_config(seed, ranges).model_copy(update={"phases": ("portal",), "reference": "portal"})


def _rows(seed: int, study: Study) -> list[Row]:
    config, organ = PipelineConfig.build(overrides=["heatmap.method=network"]), study.organ_mask
    image = study.phases["portal"]
    heatmap = predict_heatmap(PhaseSet({"portal": image}), config.heatmap, region=organ, organ=organ)
    over = trace(heatmap, config.trace, image=image, region=organ)
    judged = judge(over, config.prune, image=image, organ=organ, heatmap=heatmap)
    numbered = prune(judged, config.prune)
    graphs = {
        "where they come from": prune(judged, config.prune, organ=organ, heatmap=heatmap),
        "the network's own": _network_names(numbered, heatmap),
    }
    return [{"names": name, "seed": seed, **_score(graph, study, organ)} for name, graph in graphs.items()]


def _network_names(graph: VesselGraph, heatmap: Heatmap) -> VesselGraph:
    """Return the graph with the tree the network thinks likeliest on the mean of each branch."""
    assert heatmap.identity is not None
    said = sample(heatmap.identity, heatmap.heat, graph.path_position)
    total = np.stack([np.bincount(graph.edge_of_point, one, graph.n_edges) for one in said.T], axis=1)
    return graph.with_columns(edge={"tree": total.argmax(axis=1) + 1})


def _score(graph: VesselGraph, study: Study, region: Volume) -> dict[str, float]:
    result = compare_graphs(graph, clear_graph(study, "portal", SHOWN), tolerances=(2.0,), region=region)
    identity = result.identity
    if identity is None or not identity.length:
        return {"right": np.nan, "not named": np.nan, "APLS": result.apls.score, "found mm": 0.0}
    silent = sum(found.get("0", 0.0) for found in identity.confusion.values()) / identity.length
    veins = {k: identity.confusion.get(k, {}) for k in ("1", "2")}
    named = sum(found.get(k, 0.0) for found in veins.values() for k in ("1", "2"))
    both = sum(found.get(k, 0.0) for k, found in veins.items())
    return {
        "right": identity.accuracy,
        "not named": silent,
        "right of named veins": both / named if named else np.nan,
        "APLS": result.apls.score,
        "found mm": identity.length,
    }


def _summary(name: str, rows: list[Row]) -> Row:
    summary: Row = {"names": name, "studies": len(rows)}
    for key in ("right", "not named", "right of named veins", "APLS"):
        values = [row.get(key, np.nan) for row in rows]
        if np.isfinite(values).any():
            mean = mean_interval(values)
            summary[key] = f"{mean.mean:.3f} ({mean.low:.3f}-{mean.high:.3f})"
    return summary


if __name__ == "__main__":
    main()
