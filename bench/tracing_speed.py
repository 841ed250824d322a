"""Time and memory of tracing noisy heatmaps, against scikit-image's thinning with skan's branch table on the same voxels.

CPU seconds of the process, one thread, after a first run that is not timed. The peer gets the thresholded heatmap and returns
a branch table. We return a graph with refined centerlines, radii and evidence: of the branches of thinning alone (what the
peer computes), with gap bridges, and with every default generator. The floor is what reading the heat once, and writing and
reading the list of the foreground with its neighbours once, costs at the memory bandwidth measured here.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import harness
import numpy as np
import peers
from ceiling import two_threads_of_this_machine
from harness import Clock
from numba import get_num_threads, set_num_threads

from vesselgraph.config import HeatmapConfig, TraceConfig
from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.io import read_image
from vesselgraph.phantom.heat import forest_graph, make_heatmap
from vesselgraph.region import region_from_mask
from vesselgraph.tracing import trace
from vesselgraph.tracing.depth import depth_of
from vesselgraph.tracing.foreground import find_foreground, from_list
from vesselgraph.tracing.ridges import find_ridges
from vesselgraph.volume import Heatmap

SIZES = (96, 160, 256, 384)
LARGE = (300, 512, 512)
THINNING = TraceConfig(n_bridges=0, keypoint_paths=False)
BRIDGES = TraceConfig(keypoint_paths=False)
REAL_MASKS = (
    "ircadb01_p01/portalvein", "ircadb01_p01/venoussystem", "ts_cta_heart_aorta/aorta", "ts_cta_pulmonary/pulmonary_artery",
)  # fmt: skip
REAL_CT, REAL_ORGAN = "ircadb01_p01/ct.nii.gz", "ircadb01_p01/liver.nii.gz"
_LIST_BYTES = 116.0
_CHILD = "--child"


def main() -> None:
    if _CHILD in sys.argv:
        _child(json.loads(sys.argv[sys.argv.index(_CHILD) + 1]))
        return
    args = harness.arguments("Tracing time, memory and scaling.", seeds=(0,))
    sizes = (48, 64) if args.small else SIZES
    seed = args.seeds[0]
    set_num_threads(1)
    bandwidth = _bandwidth(args.small)
    rows, shares, skipped = [], [], {}
    for size in sizes:
        heatmap = _heatmap((size, size, size), seed)
        row, steps = _compare(heatmap, bandwidth, skipped)
        rows.append({"size": size, **row})
        shares.append({"size": size, **steps})
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")
    harness.print_table("vesselgraph and the peer on one heatmap, CPU seconds, one thread", rows)
    harness.print_table("Share of our steps, all default generators, %", shares)
    real = [] if args.small else _real()
    harness.print_table("Real masks, and the ridge filter's heat of a real liver, CPU seconds, one thread", real)
    scaling = [_scaling(_heatmap((sizes[-1],) * 3, seed))]
    harness.print_table("Heat in half of the box and in all of it, CPU seconds", scaling)
    threads = _threads(_heatmap((sizes[-1],) * 3, seed)) if (os.cpu_count() or 1) > 1 else []
    harness.print_table("Wall seconds of the parallel steps, best of nine", threads)
    ceiling = two_threads_of_this_machine(small=args.small) if threads else []
    harness.print_table("What two threads gain on this machine at best: work of one kind, no part shared", ceiling)
    cold = [_in_a_child({"shape": [48, 48, 48], "threads": 1, "seed": seed})]
    harness.print_table("First call in a new process, kernels compiled before, seconds", [_cold_row(cold[0])])
    large = []
    if not args.small:
        large = [_in_a_child({"shape": list(LARGE), "threads": 2, "seed": seed})]
        harness.print_table("A large heatmap on two threads", [_large_row(row) for row in large])
    results = {
        "rows": rows,
        "shares": shares,
        "real": real,
        "scaling": scaling,
        "threads": threads,
        "ceiling": ceiling,
        "cold": cold,
        "large": large,
    }
    harness.finish(args, "tracing_speed", {**results, "bandwidth": bandwidth, "skipped": skipped})


def _heatmap(shape: tuple[int, ...], seed: int) -> Heatmap:
    return make_heatmap(forest_graph(shape, seed=seed), shape, seed=seed).heatmap


def _timed(call: Callable[[], Any], repeats: int = 5) -> float:
    """Return the least CPU seconds of some runs after one that is not timed."""
    call()
    best = np.inf
    for _ in range(repeats):
        with Clock() as clock:
            call()
        best = min(best, clock.cpu)
    return float(best)


def _compare(heatmap: Heatmap, bandwidth: float, skipped: dict[str, str]) -> tuple[dict[str, float], dict[str, float]]:
    array = heatmap.heat.array
    mask = array > TraceConfig().threshold
    n = int(mask.sum())
    floor = (4.0 * array.size + 2.0 * _LIST_BYTES * n) / bandwidth
    row: dict[str, float] = {"foreground": n, "share %": 100.0 * n / array.size}
    try:
        row["skeletonize + skan"] = _timed(lambda: _peer(mask))
    except peers.PeerMissingError as error:
        skipped["skeletonize + skan"] = str(error)
    ours = {"thinning": THINNING, "with bridges": BRIDGES, "all": TraceConfig()}
    for name, config in ours.items():
        row[f"vesselgraph, {name}"] = _timed(lambda config=config: trace(heatmap, config))  # type: ignore[misc]
    if "skeletonize + skan" in row:
        row |= {f"{name} / peer": row[f"vesselgraph, {name}"] / row["skeletonize + skan"] for name in ours}
    row["floor"] = floor
    row["ns a voxel (all)"] = 1e9 * row["vesselgraph, all"] / max(n, 1)
    return row, _steps(heatmap)


def _real() -> list[dict[str, Any]]:
    """Return times on real masks and real heat: all generators, which on masks are thinning and bridges.

    We resample thick slices to the finest of their spacings, which is part of our time; the peer takes them as they are.
    """
    folder, rows = harness.data_folder(), []
    found: dict[str, Heatmap] = {}
    for name in REAL_MASKS:
        if (folder / f"{name}.nii.gz").is_file():
            mask = read_image(folder / f"{name}.nii.gz")
            found[name] = Heatmap(mask.with_array((mask.array > 0).astype(np.float32)), source="mask")
    if (folder / REAL_CT).is_file():
        organ = read_image(folder / REAL_ORGAN)
        region = region_from_mask(organ.with_array(organ.array > 0), image := read_image(folder / REAL_CT))
        found["ircadb01_p01, heat in the liver"] = predict_heatmap(
            image, HeatmapConfig(method="ridge"), region=region.mask, organ=region.organ
        )
    for name, heatmap in found.items():
        voxels = heatmap.heat.array > (0.5 if heatmap.is_mask else TraceConfig().threshold)
        ours = _timed(lambda heatmap=heatmap: trace(heatmap))  # type: ignore[misc]
        row: dict[str, Any] = {"input": name, "foreground": int(voxels.sum()), "vesselgraph, all": ours}
        try:
            row["skeletonize + skan"] = _timed(lambda voxels=voxels: _peer(voxels))  # type: ignore[misc]
            row["all / peer"] = ours / row["skeletonize + skan"]
        except peers.PeerMissingError:
            pass
        rows.append(row)
    return rows


def _peer(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:
    """Return skan's branch table of scikit-image's skeleton."""
    skan, morphology = peers.load("skan"), peers.load("skimage.morphology")
    return skan.summarize(skan.Skeleton(morphology.skeletonize(mask)), separator="-")


def _steps(heatmap: Heatmap) -> dict[str, float]:
    """Return the share of each step in percent, as the progress of one run tells it."""
    marks: list[tuple[str, float]] = []
    trace(heatmap, progress=lambda step, _fraction: marks.append((step, time.process_time())))
    total = marks[-1][1] - marks[0][1]
    shares: dict[str, float] = {}
    for (name, start), (_, stop) in pairwise(marks):
        shares[name] = shares.get(name, 0.0) + 100.0 * (stop - start) / total
    return shares


def _scaling(heatmap: Heatmap) -> dict[str, float]:
    """Return times of a heatmap whose upper half is empty, and of all of it."""
    half = np.where(np.arange(heatmap.heat.shape[0])[:, None, None] < heatmap.heat.shape[0] // 2, heatmap.heat.array, 0)
    part = Heatmap(heatmap.heat.with_array(half.astype(np.float32)))
    counts = [int((h.heat.array > TraceConfig().threshold).sum()) for h in (part, heatmap)]
    times = [_timed(lambda h=h: trace(h)) for h in (part, heatmap)]
    return {
        "foreground, half": counts[0],
        "foreground, all": counts[1],
        "time, half": times[0],
        "time, all": times[1],
        "foreground ratio": counts[1] / counts[0],
        "time ratio": times[1] / times[0],
    }


def _threads(heatmap: Heatmap) -> list[dict[str, Any]]:
    """Return wall times of the parallel kernels on one and two threads, and whether their results are equal."""
    heat = heatmap.heat.array
    found = find_foreground(heat, TraceConfig().threshold)
    depth = depth_of(found, 10)
    none = np.zeros(len(found), np.float32)
    kernels: dict[str, Callable[[], Any]] = {
        "list of the foreground": lambda: find_foreground(heat, TraceConfig().threshold, joined=False).voxels,
        "neighbour table": lambda: from_list(found.shape, found.voxels, found.row_start).neighbours,
        "depth": lambda: depth_of(found, 10),
        "ridges": lambda: find_ridges(heat, found, np.float32(0.02) * depth, none, 0.01),
        "whole trace": lambda: _signature(trace(heatmap)),
    }
    rows = []
    before = get_num_threads()
    for name, kernel in kernels.items():
        walls, digests = {1: [], 2: []}, set()
        # In turn, so that a time in which the machine is slow does not count for one of the two alone.
        for _ in range(3):
            for threads, own in walls.items():
                set_num_threads(threads)
                own += [_wall(kernel) for _ in range(3)]
        for threads in walls:
            set_num_threads(threads)
            digests.add(hashlib.sha256(np.asarray(kernel()).tobytes()).hexdigest())
        one, two = min(walls[1]), min(walls[2])
        rows.append({"step": name, "1 thread": one, "2 threads": two, "gain": one / two, "equal": len(digests) == 1})
    set_num_threads(before)
    return rows


def _signature(graph: VesselGraph) -> np.ndarray[Any, Any]:
    return np.concatenate([graph.path_position.ravel(), graph.path_radius, graph.edge_data["generator"]])


def _wall(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _in_a_child(order: dict[str, Any]) -> dict[str, float]:
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(order["threads"])}
    done = subprocess.run(
        [sys.executable, __file__, _CHILD, json.dumps(order)], capture_output=True, text=True, env=environment, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _child(order: dict[str, Any]) -> None:
    """Trace in this process for the first time, and print the figures as JSON."""
    shape = tuple(order["shape"])
    heatmap = _heatmap(shape, order["seed"])
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n = int((heatmap.heat.array > TraceConfig().threshold).sum())
    row: dict[str, float] = {"foreground": n, "peak GB before": base / 1e6}
    for name in ("first", "second"):
        with Clock() as clock:
            graph = trace(heatmap)
        row |= {
            f"{name} CPU": clock.cpu,
            f"{name} wall": clock.wall,
            "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        }
    print(json.dumps({**row, "branches": graph.n_edges}))


def _cold_row(row: dict[str, float]) -> dict[str, float]:
    return {"first call": row["first CPU"], "second call": row["second CPU"], "start": row["first CPU"] - row["second CPU"]}


def _large_row(row: dict[str, float]) -> dict[str, float]:
    return {
        "planes x rows x columns": " x ".join(map(str, LARGE)),  # type: ignore[dict-item]
        "foreground": row["foreground"],
        "branches": row["branches"],
        "wall s": row["second wall"],
        "CPU s": row["second CPU"],
        "peak GB (with the heatmap)": row["peak GB"],
    }


def _bandwidth(small: bool) -> float:
    """Return the bytes a second that copying a large array reads and writes; the best of five."""
    source = np.ones((4 if small else 32) * 2**20, dtype=np.float64)
    target = np.empty_like(source)
    best = min(_wall(lambda: np.copyto(target, source)) for _ in range(5))
    return 2.0 * source.nbytes / best


if __name__ == "__main__":
    main()
