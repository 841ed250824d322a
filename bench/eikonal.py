"""Travel times over a heatmap's foreground against full-volume solvers: same speed, same source, CPU seconds.

Every tool gets the same speed (heat to the third power in the foreground, a floor of 1e-3 outside), because full-volume solvers
have to pass the background too. They run over the whole volume and over the bounding box of the foreground; ours runs on the
list of its voxels. What ours takes includes making the list's neighbour table. Times agree where both went through the
foreground only; the table says to what degree.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import peers
from harness import Clock, Row
from numba import get_num_threads, set_num_threads
from numpy.typing import NDArray

from vesselgraph.phantom.heat import forest_graph, make_heatmap
from vesselgraph.tracing.foreground import Foreground, find_foreground
from vesselgraph.tracing.marching import march

THRESHOLD = 0.1
FLOOR = 1e-3
TARGET_FULL, TARGET_BOX = 100.0, 5.0
Image = NDArray[np.float64]
# Bytes the solver has to move for each voxel at the least: its neighbour row, speed, time, source and link.
BYTES = 26 * 4 + 8 + 8 + 4 + 4


def main() -> None:
    args = harness.arguments("Travel times over the foreground against full-volume solvers.", seeds=(0,))
    sizes = (64,) if args.small else (96, 160, 256)
    tools = {"scikit-fmm": _skfmm, "SimpleITK": _sitk, "dijkstra3d (graph)": _dijkstra3d}
    rows: list[Row] = []
    skipped: dict[str, str] = {"VMTK": peers.vmtk_reason()}
    _rows(48, args.seeds[0], tools, skipped)
    for size in sizes:
        for seed in args.seeds:
            rows += _rows(size, seed, tools, skipped)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")
    harness.print_table("CPU seconds of one solve from one source", rows)
    _verdict(rows)
    threads = _threads(64 if args.small else 256, args.seeds[0])
    harness.print_table("Parallel solve: wall seconds from many sources, and the largest relative difference", threads)
    harness.finish(args, "eikonal", {"rows": rows, "threads": threads, "skipped": skipped})


def _rows(size: int, seed: int, tools: dict[str, Callable[..., Any]], skipped: dict[str, str]) -> list[Row]:
    graph = forest_graph((size,) * 3, seed=seed)
    heat = make_heatmap(graph, (size,) * 3, seed=seed).heatmap.heat.array
    with Clock() as listing:
        foreground = find_foreground(heat, THRESHOLD)
    places = tuple(foreground.voxels.T)
    speed = np.maximum(heat.astype(np.float64) ** 3, FLOOR)
    speed[heat <= THRESHOLD] = FLOOR
    source = int(np.argmax(heat[places]))
    low, high = foreground.voxels.min(axis=0), foreground.voxels.max(axis=0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    rows, times = [], {}
    for scheme in ("first", "multistencil", "graph"):
        with Clock() as solving:
            times[scheme] = march(foreground, speed[places], np.array([source]), np.ones(3), scheme=scheme).time
        rows.append(_row(size, f"vesselgraph {scheme}", solving.cpu, solving.cpu, foreground, listing.cpu))
    seed_voxel = foreground.voxels[source]
    for name, solve in tools.items():
        try:
            with Clock() as full:
                found = solve(speed, tuple(int(v) for v in seed_voxel))
            with Clock() as boxed:
                solve(np.ascontiguousarray(speed[box]), tuple(int(v) for v in seed_voxel - low))
        except peers.PeerMissingError as error:
            skipped[name] = str(error)
            continue
        row = _row(size, name, full.cpu, boxed.cpu, foreground, 0.0)
        ours = times["graph" if "graph" in name else "first"]
        rows.append({**row, "differs": _difference(ours, found[places])})
    own = {"full": rows[0]["whole volume"] + listing.cpu, "box": rows[0]["whole volume"] + listing.cpu}
    return [{**row, "over ours": row["whole volume"] / own["full"], "box over ours": row["box"] / own["box"]} for row in rows]


def _row(size: int, name: str, full: float, box: float, foreground: Foreground, listing: float) -> dict[str, Any]:
    floor = len(foreground) * BYTES / _bandwidth() * 1e9 / len(foreground)
    ours = name.startswith("vesselgraph")
    return {
        "size": size,
        "foreground": f"{len(foreground)} ({len(foreground) / size**3:.1%})",
        "tool": name,
        "whole volume": full,
        "box": box,
        "list": listing,
        "ns a foreground voxel": 1e9 * (full + listing) / len(foreground) if ours else "",
        "floor ns": floor if ours else "",
        "differs": "",
    }


_MEASURED: list[float] = []


def _bandwidth() -> float:
    """Return bytes a second of one core copying memory, measured once: the floor of anything that reads the list."""
    if not _MEASURED:
        source = np.ones(8_000_000)
        target = np.empty_like(source)
        best = np.inf
        for _ in range(5):
            start = time.process_time()
            np.copyto(target, source)
            best = min(best, time.process_time() - start)
        _MEASURED.append(2 * source.nbytes / max(best, 1e-9))
    return _MEASURED[0]


def _difference(ours: Image, theirs: Image) -> str:
    """Return the median relative difference where the front came through the foreground in both."""
    # A full-volume front takes short cuts through the background; those voxels are reached earlier there.
    reached = np.isfinite(ours) & (ours > 0)
    apart = np.abs(ours[reached] - theirs[reached]) / ours[reached]
    return f"{np.median(apart):.4f}"


def _skfmm(speed: Image, source: tuple[int, ...]) -> Image:
    skfmm = peers.load("skfmm")
    phi = np.ones(speed.shape)
    phi[source] = -1.0
    return np.ma.filled(skfmm.travel_time(phi, speed), np.inf)


def _sitk(speed: Image, source: tuple[int, ...]) -> Image:
    sitk = peers.load("SimpleITK")
    image = sitk.GetImageFromArray(speed)
    times = sitk.FastMarching(image, [[int(v) for v in source[::-1]]], 1.0, 1e300)
    return sitk.GetArrayFromImage(times)


def _dijkstra3d(speed: Image, source: tuple[int, ...]) -> Image:
    dijkstra3d = peers.load("dijkstra3d")
    return dijkstra3d.distance_field((1.0 / speed).astype(np.float32), source=source)


def _verdict(rows: list[Row]) -> None:
    largest = max(row["size"] for row in rows)
    peers_rows = [row for row in rows if row["size"] == largest and not row["tool"].startswith("vesselgraph")]
    marching = [row for row in peers_rows if "graph" not in row["tool"]]
    if not marching:
        return
    full, box = min(row["over ours"] for row in marching), min(row["box over ours"] for row in marching)
    print(
        f"\nAt {largest} cubed, list included, ours takes {full:.0f} times less CPU than the fastest over the whole volume "
        f"(target {TARGET_FULL:.0f}) and {box:.0f} times less than the fastest over the bounding box (target {TARGET_BOX:.0f})."
    )


def _threads(size: int, seed: int) -> list[Row]:
    graph = forest_graph((size,) * 3, seed=seed)
    heat = make_heatmap(graph, (size,) * 3, seed=seed).heatmap.heat.array
    foreground = find_foreground(heat, THRESHOLD)
    speed = np.maximum(heat[tuple(foreground.voxels.T)].astype(np.float64) ** 3, FLOOR)
    sources = np.arange(0, len(foreground), 97)
    before = get_num_threads()
    exact = march(foreground, speed, sources, np.ones(3)).time
    rows, bytes_of = [], {}
    for n in (1, 2):
        if n > before:
            continue
        set_num_threads(n)
        march(foreground, speed, sources, np.ones(3), n_in_block=65536)
        with Clock() as clock:
            found = march(foreground, speed, sources, np.ones(3), n_in_block=65536).time
        bytes_of[n] = found.tobytes()
        reached = (exact > 0) & np.isfinite(exact)
        apart = float(np.max(np.abs(found[reached] - exact[reached]) / exact[reached]))
        rows.append({"threads": n, "wall s": clock.wall, "CPU s": clock.cpu, "differs": f"{apart:.1e}"})
    set_num_threads(before)
    same = len(set(bytes_of.values())) == 1
    return [{**row, "same bytes": "yes" if same else "NO"} for row in rows]


if __name__ == "__main__":
    main()
