"""Noisy phantoms: our heatmap, tracing and pruning against Frangi and ITK objectness with thinning or TEASAR.

Every tool gets the same image and the same organ mask. The peers' threshold and smallest piece are the best, by F1 at 2 mm,
over the OTHER seeds; what they reach when tuned on the very image is printed too. We run at default settings, which are
made for real CT, and once more with the one threshold of our pruning chosen over the other seeds, the way the peers' are.
The phantoms are of seeds nothing was developed on. The peers' rows do not depend on our code: ``--peers FILE`` takes them
from the ``--json`` of an earlier run on the same machine and seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import harness
import numpy as np
import peers
from harness import Clock, Row

from vesselgraph.config import PipelineConfig
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.phantom import Phantom
from vesselgraph.pruning import prune
from vesselgraph.tracing import trace

KEY = "F1@2"
UNSEEN = (20, 21, 22, 23, 24)
THRESHOLDS = (0.08, 0.12, 0.16, 0.2, 0.26, 0.34)
"""Shares of the response's 99.5th percentile in the organ."""
SIZES = (40, 100)
OURS = "vesselgraph"
DEFAULT = "vesselgraph (default settings)"
MIN_HEATS = (0.07, 0.1, 0.13, 0.16, 0.2)

FILTERS: dict[str, Callable[[Any], Any]] = {"Frangi": peers.frangi, "ITK objectness": peers.objectness}
TRACERS: dict[str, tuple[Callable[..., Any], tuple[float, ...], tuple[int, ...]]] = {
    "skan": (peers.skan_graph, THRESHOLDS, SIZES),
    "kimimaro": (peers.kimimaro_graph, THRESHOLDS[2:], SIZES[1:]),
}
PAIRS = (("Frangi", "skan"), ("ITK objectness", "skan"), ("ITK objectness", "kimimaro"))


def main() -> None:
    args = harness.arguments(
        "Centerlines of noisy phantoms against other tools.",
        seeds=UNSEEN,
        more=lambda parser: parser.add_argument("--peers", type=Path, help="take the peers' rows from this --json file"),
    )
    ours: dict[int, Row] = {}
    mine: dict[int, dict[Any, Row]] = {}
    theirs: dict[str, dict[int, dict[Any, Row]]] = {f"{a} + {b}": {} for a, b in PAIRS}
    missing: dict[str, str] = {}
    small = harness.phantom_of(0, small=True)
    harness.warm_up(lambda: harness.our_chain(small.image, small.organ_mask))
    if args.peers:
        theirs = _read_peers(args.peers, args.seeds)
    else:
        _run_peers(small, 0, {f"{a} + {b}": {} for a, b in PAIRS}, missing, small=True)
    for seed in args.seeds:
        phantom = harness.phantom_of(seed, small=args.small)
        ours[seed], mine[seed] = _run_ours(phantom)
        print(f"seed {seed}: {DEFAULT} F1@2 {ours[seed][KEY]:.3f}, {ours[seed]['CPU s']:.1f} CPU s", flush=True)
        if not args.peers:
            _run_peers(phantom, seed, theirs, missing, small=args.small)
    for name, reason in missing.items():
        print(f"skipped {name}: {reason}")
    theirs = {name: table for name, table in theirs.items() if table}
    _report(ours, mine, theirs)
    plain = {name: {s: {str(k): row for k, row in rows.items()} for s, rows in t.items()} for name, t in theirs.items()}
    tried = {s: {str(k): row for k, row in rows.items()} for s, rows in mine.items()}
    harness.finish(args, "heatmap_trace", {"ours": ours, "ours tuned": tried, "peers": plain, "skipped": missing})


def _read_peers(path: Path, seeds: Iterable[int]) -> dict[str, dict[int, dict[Any, Row]]]:
    tables = json.loads(path.read_text(encoding="utf-8"))["peers"]
    return {name: {seed: table[str(seed)] for seed in seeds} for name, table in tables.items()}


def _run_ours(phantom: Phantom) -> tuple[Row, dict[Any, Row]]:
    """Return our row at default settings and one for each pruning threshold."""
    config = PipelineConfig()
    with Clock() as clock:
        heatmap = predict_heatmap(phantom.image, config.heatmap, region=phantom.organ_mask)
        over = trace(heatmap, config.trace, image=phantom.image, region=phantom.organ_mask)
        graph = prune(over, config.prune)
    default = {**_score(graph, phantom), "CPU s": clock.cpu}
    rows = {}
    for min_heat in MIN_HEATS:
        settings = config.prune.model_copy(update={"min_heat": min_heat})
        rows[min_heat] = {**_score(prune(over, settings), phantom), "CPU s": clock.cpu}
    return default, rows


def _run_peers(
    phantom: Phantom, seed: int, theirs: dict[str, dict[int, dict[Any, Row]]], missing: dict[str, str], *, small: bool
) -> None:
    image = harness.filled(phantom.image, phantom.organ_mask)
    inside = np.asarray(phantom.organ_mask.array, dtype=bool)
    for filter_name, response_of in FILTERS.items():
        try:
            with Clock() as filtering:
                response = np.where(inside, response_of(image), 0.0).astype(np.float32)
        except peers.PeerMissingError as error:
            missing[filter_name] = str(error)
            continue
        response /= np.percentile(response[inside], 99.5)
        for tracer in (t for f, t in PAIRS if f == filter_name):
            name = f"{filter_name} + {tracer}"
            trace, thresholds, sizes = TRACERS[tracer]
            settings = list(product(thresholds, sizes))[:: 4 if small else 1]
            try:
                theirs[name][seed] = _rows(response, settings, trace, phantom, filtering.cpu)
            except peers.PeerMissingError as error:
                missing[name] = str(error)


def _rows(
    response: Any, settings: Iterable[tuple[float, int]], trace: Callable[..., Any], phantom: Phantom, filter_cpu: float
) -> dict[Any, Row]:
    rows = {}
    for threshold, size in settings:
        with Clock() as tracing:
            graph = trace(peers.foreground(response, threshold, size), phantom.image.space)
        rows[threshold, size] = {**_score(graph, phantom), "CPU s": filter_cpu + tracing.cpu}
    return rows


def _score(graph: Any, phantom: Phantom) -> dict[str, float]:
    return harness.score(graph, phantom.graph, phantom.organ_mask)


def _report(default: dict[int, Row], mine: dict[int, dict[Any, Row]], theirs: dict[str, dict[int, dict[Any, Row]]]) -> None:
    ours = {s: mine[s][harness.tuned(mine, s, KEY)] for s in mine}
    chosen = {name: {s: t[s][harness.tuned(t, s, KEY)] for s in t} for name, t in theirs.items()}
    bounds = {name: {s: t[s][harness.tuned(t, s, KEY, on_itself=True)] for s in t} for name, t in theirs.items()}
    methods = {OURS: ours, DEFAULT: default, **chosen, **{f"{name} (tuned on itself)": rows for name, rows in bounds.items()}}
    columns = ["F1@1", "F1@2", "F1@4", "P@2", "R@2", "nearest F1@2", "bif F1", "branch F1", "CPU s"]
    rows = [
        {
            "method": name,
            **{c: float(np.mean([row[c] for row in table.values()])) for c in columns},
            "range F1@2": _range(table),
        }
        for name, table in methods.items()
    ]
    harness.print_table("Mean over the seeds; one-to-one matching inside the organ mask, tolerances in mm", rows)
    per_seed = [{"seed": s, **{name: table[s][KEY] for name, table in methods.items()}} for s in ours]
    harness.print_table("F1 at 2 mm of every seed", per_seed)
    if not chosen:
        return
    gain = [ours[s][KEY] - max(table[s][KEY] for table in chosen.values()) for s in ours]
    speed = [float(np.mean([t[s]["CPU s"] for t in chosen.values()])) / ours[s]["CPU s"] for s in ours]
    lost = [s for s, g in zip(ours, gain, strict=True) if g <= 0]
    plain = [default[s][KEY] - max(table[s][KEY] for table in chosen.values()) for s in ours]
    print(
        f"\nGain over the best peer of each seed: {np.mean(gain):+.3f} (worst {min(gain):+.3f}) F1 at 2 mm; "
        f"CPU time of the peers over ours: {np.mean(speed):.1f} x. Seeds lost: {lost or 'none'}. "
        f"At our default settings: {np.mean(plain):+.3f} (worst {min(plain):+.3f})."
    )


def _range(table: dict[int, Row]) -> str:
    values = [row[KEY] for row in table.values()]
    return f"{min(values):.3f}-{max(values):.3f}"


if __name__ == "__main__":
    main()
