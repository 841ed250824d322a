"""Generated studies nobody learned from: the shipped network's heat against the ridge filter's and other tools'.

All get the same portal-phase image and the organ mask; a network also gets all phases. Heat is traced and pruned by the rules.
What counts: recall of vessels the image shows clearly (clarity >= 0.5), precision against every vessel it shows at all
(> 0.05); F1 is of these two. Each method runs at its own default and at the threshold that is best on the OTHER studies.
``--noise``, ``--thickness`` and ``--shift`` fix one property of the studies, for curves.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import peers
from harness import Clock, Row

from vesselgraph.config import PipelineConfig, PruneConfig, StudyConfig, StudyRanges
from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.heatmap.targets import clear_graph
from vesselgraph.metrics import mean_interval
from vesselgraph.phantom import Study, make_study, sample_study_config
from vesselgraph.pruning import prune
from vesselgraph.tracing import trace
from vesselgraph.volume import PhaseSet, Volume

SEEDS = tuple(range(300_010, 300_030))
MIN_HEATS = (0.1, 0.2, 0.35, 0.5, 0.65)
THRESHOLDS = (0.12, 0.2, 0.3, 0.45)
KEY = "F1@2"
PEERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Sato ridge filter + skan": (peers.sato, peers.skan_graph),
    "Frangi + kimimaro": (peers.frangi, peers.kimimaro_graph),
    "ITK objectness + skan": (peers.objectness, peers.skan_graph),
}
OURS = ("ridge, portal", "network, portal", "network, phase not told", "network, all phases")
Rows = dict[Any, Row]


def main() -> None:
    args = harness.arguments("Heat of the network on studies it never saw.", seeds=SEEDS, more=_options)
    tables: dict[str, dict[int, Rows]] = {}
    defaults: dict[str, list[Row]] = {}
    missing: dict[str, str] = {}
    for seed in args.seeds:
        study = make_study(_config(seed, args))
        if not clear_graph(study, "portal", harness.CLEAR).n_edges:
            print(f"seed {seed}: no vessel is clear in the portal phase, left out", flush=True)
            continue
        for name, (default, rows) in _ours(study, args).items():
            tables.setdefault(name, {})[seed] = rows
            defaults.setdefault(name, []).append(default)
        for name in PEERS if args.peers or args.small else set(PEERS) & set(args.only or ()):
            try:
                tables.setdefault(name, {})[seed] = _peer(study, *PEERS[name], small=args.small)
            except peers.PeerMissingError as error:
                missing[name] = str(error)
        print(f"seed {seed}: " + ", ".join(f"{name} {rows[-1][KEY]:.3f}" for name, rows in defaults.items()), flush=True)
    for name, reason in missing.items():
        print(f"skipped {name}: {reason}")
    rows = _summary({name: table for name, table in tables.items() if table}, defaults)
    harness.print_table("Studies never learned from", rows)
    if gains := _gains(tables):
        harness.print_table(f"What the network gains over them at {KEY}, all with the thresholds of the other studies", gains)
    plain = {n: {s: {str(k): row for k, row in r.items()} for s, r in t.items()} for n, t in tables.items()}
    harness.finish(
        args, "heatmap_network", {"rows": rows, "gains": gains, "tried": plain, "defaults": defaults, "skipped": missing}
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peers", action="store_true", help="also run the other tools")
    parser.add_argument("--only", action="append", choices=(*OURS, *PEERS), help="run this one; may be repeated")
    parser.add_argument("--weights", default="", help="weights of the network; by default the shipped ones")
    parser.add_argument("--noise", type=float, help="fixed deviation of the noise, HU")
    parser.add_argument("--thickness", type=float, help="fixed slice thickness, mm")
    parser.add_argument("--shift", type=float, help="fixed breathing shift between the phases, mm")


def _config(seed: int, args: argparse.Namespace) -> StudyConfig:
    ranges: dict[str, Any] = {"shape": (64, 64, 64), "n_portal_tips": (40, 60)} if args.small else {}
    for name, value in (("noise", args.noise), ("slice_thickness", args.thickness), ("shift", args.shift)):
        ranges |= {name: (value, value)} if value is not None else {}
    if args.shift is not None:
        ranges["motion_fraction"] = 1.0
    return sample_study_config(seed, StudyRanges(**ranges))


def _ours(study: Study, args: argparse.Namespace) -> dict[str, tuple[Row, Rows]]:
    portal = study.phases["portal"]
    shown: tuple[Volume | PhaseSet, ...] = (portal, PhaseSet({"portal": portal}), portal, PhaseSet(dict(study.phases)))
    found = {}
    for name, image in zip(OURS, shown, strict=True):
        if args.only and name not in args.only:
            continue
        method = name.partition(",")[0]
        config = PipelineConfig.build(overrides=[f"heatmap.method={method}", f'heatmap.weights="{args.weights}"'])
        with Clock() as clock:
            heatmap = predict_heatmap(image, config.heatmap, region=study.organ_mask, organ=study.organ_mask)
            over = trace(heatmap, config.trace, image=portal, region=study.organ_mask)

        def row(settings: PruneConfig, over: VesselGraph = over, cpu: float = clock.cpu) -> Row:
            return {**harness.clear_row(prune(over, settings), study), "CPU s": cpu}

        tried = {heat: row(config.prune.model_copy(update={"min_heat": heat})) for heat in MIN_HEATS[:: 3 if args.small else 1]}
        found[name] = (row(config.prune), tried)
    return found


def _peer(study: Study, response_of: Callable[..., Any], trace_mask: Callable[..., Any], *, small: bool) -> Rows:
    image = study.phases["portal"]
    inside = np.asarray(study.organ_mask.array, dtype=bool)
    rows = {}
    with Clock() as filtering:
        response = np.where(inside, response_of(harness.filled(image, study.organ_mask)), 0.0).astype(np.float32)
    response /= max(float(np.percentile(response[inside], 99.5)), 1e-9)
    for threshold in THRESHOLDS[:: 3 if small else 1]:
        with Clock() as tracing:
            graph = trace_mask(peers.foreground(response, threshold, 60), image.space)
        rows[threshold] = {**harness.clear_row(graph, study), "CPU s": filtering.cpu + tracing.cpu}
    return rows


def _summary(tables: dict[str, dict[int, Rows]], defaults: dict[str, list[Row]]) -> list[Row]:
    chosen = {name: [table[seed][harness.tuned(table, seed, KEY)] for seed in table] for name, table in tables.items()}
    methods = {f"{name}, default": rows for name, rows in defaults.items()} | chosen
    summary = []
    for name, rows in methods.items():
        mean = mean_interval([row[KEY] for row in rows])
        line: dict[str, Any] = {"method": name, "studies": len(rows)}
        line["F1@2 (95 %)"] = f"{mean.mean:.3f} ({mean.low:.3f}-{mean.high:.3f})"
        summary.append(line | {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != KEY})
    return summary


def _gains(tables: dict[str, dict[int, Rows]]) -> list[Row]:
    """Return the paired differences of the network with one phase to everything else that ran."""
    ours = tables.get(OURS[1], {})
    gains = []
    for name, table in tables.items():
        if name != OURS[1] and ours and table:
            gain = [ours[s][harness.tuned(ours, s, KEY)][KEY] - table[s][harness.tuned(table, s, KEY)][KEY] for s in ours]
            mean = mean_interval(gain)
            lost = [seed for seed, one in zip(ours, gain, strict=True) if one < 0]
            gains.append(
                {"over": name, "gain (95 %)": f"{mean.mean:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})", "lost": str(lost)}
            )
    return gains


if __name__ == "__main__":
    main()
