"""Real portal-phase liver CT with expert vessel masks: ours with and without the liver mask, against ITK objectness + skan.

A case is a folder with ``ct``, ``liver``, ``portalvein`` and ``venoussystem`` (.nii.gz). The truth are the skeletons of the two
expert masks side by side, so that trees that touch are two trees; what counts lies in the liver plus a 5 mm rim. For
comparison "APLS, welded" is against the skeleton of both masks' union, in which they are one. The peer gets the liver mask,
and its threshold and smallest piece are tuned on this very case: an upper bound for it. We run at default settings, with the
ridge filter and with the shipped network, and once more with our pruning threshold tuned on this case too.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import harness
import numpy as np
import peers
from harness import Clock, Row
from scipy import ndimage

from vesselgraph.config import PipelineConfig
from vesselgraph.edit import subset
from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.io import read_image, read_mask
from vesselgraph.metrics import GraphScores, compare_graphs, skeleton_graph
from vesselgraph.pruning import judge, prune
from vesselgraph.region import estimate_region, region_from_mask
from vesselgraph.resampling import isotropic_grid, resample, resample_like
from vesselgraph.tracing import trace
from vesselgraph.volume import Heatmap, Volume

TREES = ("portalvein", "venoussystem")
RIM = 5.0
TOLERANCES = (1.0, 2.0, 3.0)
THRESHOLDS = (0.4, 0.47, 0.55, 0.65, 0.8)
MIN_HEATS = (0.25, 0.3, 0.35, 0.4, 0.45)
SIZES = (30, 60, 150)
SCALES = {"fine": (1.5, 2.0, 3.0, 4.5), "wide": (2.0, 3.0, 4.5)}
"""Tried on the peer, mm."""


def main() -> None:
    args = harness.arguments("Centerlines of real liver CT.", more=_options)
    cases = real_cases()
    results = {case.name: _run_case(case, args.small, args.pruner) for case in (cases[:1] if args.small else cases)}
    harness.finish(args, "real_liver", {"cases": results})


def real_cases() -> list[Path]:
    """Return the folders of the cases; says so if there are none."""
    folder = harness.data_folder()
    cases = sorted(path.parent for path in folder.glob("*/liver.nii.gz") if (path.parent / f"{TREES[0]}.nii.gz").exists())
    if not cases:
        print(f"skipped: no case with ct, liver, {' and '.join(TREES)} under {folder}; set VESSELGRAPH_DATA")
    return cases


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pruner", default="", help="weights of a pruner, measured as well")


def _run_case(case: Path, small: bool, pruner: str) -> dict[str, Any]:
    ct, liver = read_image(case / "ct.nii.gz"), read_mask(case / "liver.nii.gz")
    masks = {name: read_mask(case / f"{name}.nii.gz") for name in TREES}
    if small:
        ct, liver, masks = _middle(ct, liver, masks)
    inside = grown(liver, RIM)
    step = 1.5 if small else 1.0
    union = liver.with_array(np.logical_or(*(mask.array for mask in masks.values())), "vessels")
    truths = {name: skeleton_graph(mask, step=step) for name, mask in masks.items()}
    truths |= {"all": beside(list(truths.values())), "welded": skeleton_graph(union, step=step)}
    rows, scores = _ours(ct, liver, truths, inside, pruner)
    skipped: dict[str, str] = {}
    try:
        peer = _peer(ct, liver, truths, inside, small)
    except peers.PeerMissingError as error:
        skipped["ITK objectness + skan"] = str(error)
        print(f"skipped ITK objectness + skan: {error}")
    else:
        best = max(peer, key=lambda entry: entry[0]["F1@3"])
        rows.append(best[0] | welded(best[2], truths, inside))
        scores[best[0]["method"]] = (best[1], best[2])
    columns = ["method", *(f"{m}@{t:g}" for t in TOLERANCES[1:] for m in ("P", "R", "F1"))]
    columns += ["nearest F1@3", "bif F1", "APLS", "APLS, welded", "b0 err", "b1 err", "named right", "not named", "CPU s"]
    harness.print_table(f"{case.name}: inside the liver and {RIM:g} mm around it", rows, columns)
    detail = [_detail(name, result, graph, truths, inside) for name, (result, graph) in scores.items()]
    harness.print_table("Recall at 3 mm by calibre (mm) and tree; F1 and APLS of the branches of one name", detail)
    return {"rows": rows, "recall": detail, "skipped": skipped}


def _ours(
    ct: Volume, liver: Volume, truths: dict[str, VesselGraph], inside: Volume, pruner: str
) -> tuple[list[Row], dict[str, tuple[GraphScores, VesselGraph]]]:
    config = PipelineConfig()
    small = harness.phantom_of(0, small=True)
    harness.warm_up(lambda: harness.our_chain(small.image, small.organ_mask))
    rows: list[Row] = []
    scores = {}
    ways = [("vesselgraph, liver mask given", True, "ridge"), ("vesselgraph, no mask", False, "ridge")]
    ways += [("vesselgraph, network, liver mask given", True, "network"), ("vesselgraph, network, no mask", False, "network")]
    for name, given, method in ways:
        config = PipelineConfig.build(overrides=[f"heatmap.method={method}"])
        with Clock() as clock:
            region = region_from_mask(liver, ct, config.region) if given else estimate_region(ct, config.region)
            heatmap = predict_heatmap(ct, config.heatmap, region=region.mask, organ=region.organ)
            over = trace(heatmap, config.trace, image=ct, region=region.mask)
            organ = None if region.kind == "whole" else region.organ
            judged = judge(over, config.prune, image=ct, organ=region.organ, heatmap=heatmap)
            graph = prune(judged, config.prune, organ=organ, heatmap=heatmap)
        if not given and method == "ridge":
            print(f"without a mask the region is: {region.kind}; {region.note}", flush=True)
        result, row = scored(graph, truths, inside)
        rows.append({"method": name, **row, **welded(graph, truths, inside), "CPU s": clock.cpu})
        scores[name] = (result, graph)
        if method == "network" and pruner:
            told = name.replace("network", "network and learned pruner")
            learned = config.prune.model_copy(update={"method": "learned", "weights": pruner})
            with Clock() as judging:
                judged = judge(over, learned, image=ct, organ=region.organ, heatmap=heatmap)
                graph = prune(judged, learned, organ=organ, heatmap=heatmap)
            result, row = scored(graph, truths, inside)
            rows.append({"method": told, **row, **welded(graph, truths, inside), "CPU s": clock.cpu + judging.cpu})
            scores[told] = (result, graph)
        if given:
            rows.append(_tuned(name, over, config, (organ, heatmap), truths, inside, clock.cpu))
    return rows, scores


def beside(graphs: list[VesselGraph]) -> VesselGraph:
    """Return graphs as one, side by side, with their place from 1 on as the edge column ``tree``."""
    paths = [graph.path(e) for graph in graphs for e in range(graph.n_edges)]
    radii = [graph.radius_along(e) for graph in graphs for e in range(graph.n_edges)]
    tree = np.repeat(np.arange(1, len(graphs) + 1), [graph.n_edges for graph in graphs])
    return VesselGraph.from_paths(paths, radii, edge_data={"tree": tree})


def scored(graph: VesselGraph, truths: dict[str, VesselGraph], inside: Volume) -> tuple[GraphScores, Row]:
    """Return the comparison with both trees side by side, and its row; names of vessels where the graph has them."""
    result = compare_graphs(graph, truths["all"], tolerances=TOLERANCES, region=inside)
    row: Row = harness.centerline_row(result)
    if "tree" in graph.edge_data and result.identity is not None:
        silent = sum(found.get("0", 0.0) for found in result.identity.confusion.values())
        row |= {"named right": result.identity.accuracy, "not named": silent / max(result.identity.length, 1e-9)}
    return result, row


def welded(graph: VesselGraph, truths: dict[str, VesselGraph], inside: Volume) -> Row:
    return {"APLS, welded": compare_graphs(graph, truths["welded"], tolerances=(3.0,), region=inside).apls.score}


def _tuned(
    name: str,
    over: VesselGraph,
    config: PipelineConfig,
    seen: tuple[Volume | None, Heatmap],
    truths: dict[str, VesselGraph],
    inside: Volume,
    cpu: float,
) -> Row:
    """Return our row with the pruning threshold tuned on this very case, as the peer's is: an upper bound too."""
    rows = []
    for min_heat in MIN_HEATS:
        rules = config.prune.model_copy(update={"method": "rules", "min_heat": min_heat})
        graph = prune(over, rules, organ=seen[0], heatmap=seen[1])
        told = f"{name}, rules tuned on this case (min_heat {min_heat:g})"
        rows.append({"method": told, **scored(graph, truths, inside)[1], "CPU s": cpu})
    return max(rows, key=lambda row: row["F1@3"])


def _peer(
    ct: Volume, liver: Volume, truths: dict[str, VesselGraph], inside: Volume, small: bool
) -> list[tuple[Row, GraphScores, VesselGraph]]:
    """Return the peer's result at every setting."""
    space, shape = isotropic_grid(ct, 1.5 if small else 1.0)
    image = resample(ct, space, shape)
    mask = resample(liver, space, shape, interpolation="nearest", fill=0.0)
    box = ndimage.find_objects(grown(mask, 15.0).array.astype(np.uint8))[0]
    first, last = tuple(part.start for part in box), tuple(part.stop for part in box)
    image, mask = image.crop(first, last), mask.crop(first, last)
    within = np.asarray(resample_like(inside, image, interpolation="nearest").array, dtype=bool)
    # With the liver itself as the border of the fill; a rim of other tissue would outshine the vessels (0.29 F1 at 3 mm).
    source = harness.filled(image, mask)
    found = []
    for scale, sigmas in list(SCALES.items())[: 1 if small else 2]:
        with Clock() as filtering:
            response = peers.objectness(source, sigmas, float(image.space.spacing[0]))
            response = np.where(within, response, 0.0).astype(np.float32)
            response /= np.percentile(response[within], 99.5)
        for threshold, size in list(product(THRESHOLDS, SIZES))[:: 6 if small else 1]:
            with Clock() as tracing:
                graph = peers.skan_graph(peers.foreground(response, threshold, size), image.space)
            result, row = scored(graph, truths, inside)
            setting = f"{scale} scales, threshold {threshold:g}, {size} voxels"
            row = {"method": f"ITK objectness + skan, tuned on this case ({setting})", **row}
            found.append(({**row, "CPU s": filtering.cpu + tracing.cpu}, result, graph))
    return found


def _detail(name: str, result: GraphScores, graph: VesselGraph, truths: dict[str, VesselGraph], inside: Volume) -> Row:
    row: dict[str, Any] = {"method": name, **result.recall_by_calibre[3.0]}
    for tree in TREES:
        row[tree] = compare_graphs(graph, truths[tree], tolerances=(3.0,), region=inside).centerline[3.0].recall
    for value, tree in enumerate(TREES, start=1):
        if "tree" in graph.edge_data:
            alone, _ = subset(graph, edges=graph.edge_data["tree"] == value, drop_isolated=True)
            mine = compare_graphs(alone, truths[tree], tolerances=(3.0,), region=inside)
            row |= {f"F1 {tree}, by name": mine.centerline[3.0].f1, f"APLS {tree}, by name": mine.apls.score}
    return row


def grown(mask: Volume, margin: float) -> Volume:
    """Return a mask with a rim of ``margin`` mm."""
    return mask.with_array(ndimage.distance_transform_edt(mask.array == 0, sampling=mask.space.spacing) <= margin)


def _middle(ct: Volume, liver: Volume, masks: dict[str, Volume]) -> tuple[Volume, Volume, dict[str, Volume]]:
    """Return the middle of the liver's box, three tenths of it along every axis."""
    box = ndimage.find_objects((liver.array != 0).astype(np.uint8))[0]
    first = tuple(int(p.start + (p.stop - p.start) * 0.35) for p in box)
    last = tuple(int(p.start + (p.stop - p.start) * 0.65) for p in box)
    return ct.crop(first, last), liver.crop(first, last), {name: mask.crop(first, last) for name, mask in masks.items()}


if __name__ == "__main__":
    main()
