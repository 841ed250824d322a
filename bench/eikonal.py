"""Travel times over a heatmap's foreground against full-volume solvers: same speed, same sources, CPU seconds.

Every tool gets the same speed (heat to the third power in the foreground, a floor of 1e-3 outside), because full-volume solvers
have to pass the background too. It starts from the hottest voxel of every piece of the foreground, so that all of it is solved:
a front from one voxel leaves most of a foreground in pieces unsolved, a full volume never. Peers run over the whole volume and
over the bounding box of the foreground; ours runs on the list of its voxels. What ours takes includes making the list's
neighbour table. Times agree where both went through the foreground only; the table says to what degree.

A second table takes single minimal paths, from the tip farthest from each tree's root back to the root, against ITK's minimal
path extraction: both get the heat, at least the threshold everywhere, as speed, and both stop at the tip. ITK's path is traced
below the voxel, ours is one of voxels (the tracer refines it later). A lower floor of the speed leaves the voxels around the
tip unreached when ITK's front stops, and its descent ends where it begins; its neighbourhood optimizer ends the interpreter.

Every step of every tool runs twice and the lesser time counts, as in the other benchmarks of speed: the first run also pays
for memory that the process never had before, which is the system's time. The first run of ours stands in its own column.
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
from scipy.ndimage import label
from scipy.spatial import cKDTree

from vesselgraph.phantom.heat import forest_graph, make_heatmap
from vesselgraph.tracing.foreground import Foreground, find_foreground, voxel_at
from vesselgraph.tracing.marching import march, path_back

THRESHOLD = 0.1
FLOOR = 1e-3
TARGET_FULL, TARGET_BOX = 100.0, 5.0
N_TREES = 2
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
    paths = [row for size in sizes for seed in args.seeds for row in _single_paths(size, seed, skipped)]
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")
    harness.print_table("CPU seconds of one solve from one voxel of every piece", rows)
    _verdict(rows)
    harness.print_table("One minimal path from a far tip to the root of its tree", paths)
    threads = _threads(64 if args.small else 256, args.seeds[0])
    harness.print_table("Parallel solve: wall seconds from many sources, and the largest relative difference", threads)
    harness.finish(args, "eikonal", {"rows": rows, "paths": paths, "threads": threads, "skipped": skipped})


def _rows(size: int, seed: int, tools: dict[str, Callable[..., Any]], skipped: dict[str, str]) -> list[Row]:
    graph = forest_graph((size,) * 3, seed=seed)
    heat = make_heatmap(graph, (size,) * 3, seed=seed).heatmap.heat.array
    foreground, listing, first_listing = _least(lambda: find_foreground(heat, THRESHOLD))
    places = tuple(foreground.voxels.T)
    speed = np.maximum(heat.astype(np.float64) ** 3, FLOOR)
    speed[heat <= THRESHOLD] = FLOOR
    sources = _hottest_of_pieces(heat, foreground)
    low, high = foreground.voxels.min(axis=0), foreground.voxels.max(axis=0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    rows, times = [], {}
    for scheme in ("first", "multistencil", "graph"):
        arrival, solving, first = _least(
            lambda scheme=scheme: march(foreground, speed[places], sources, np.ones(3), scheme=scheme)
        )
        times[scheme] = arrival.time
        row = _row(size, f"vesselgraph {scheme}", solving, solving, foreground, listing)
        rows.append({**row, "first run, list included": first + first_listing})
    starts = foreground.voxels[sources].astype(np.int64)
    for name, solve in tools.items():
        try:
            found, full, _ = _least(lambda solve=solve: solve(speed, starts))
            part = np.ascontiguousarray(speed[box])
            _, boxed, _ = _least(lambda solve=solve, part=part: solve(part, starts - low))
        except peers.PeerMissingError as error:
            skipped[name] = str(error)
            continue
        row = _row(size, name, full, boxed, foreground, 0.0)
        ours = times["graph" if "graph" in name else "first"]
        rows.append({**row, "differs": _difference(ours, found[places])})
    own = rows[0]["whole volume"] + listing
    return [{**row, "over ours": row["whole volume"] / own, "box over ours": row["box"] / own} for row in rows]


def _hottest_of_pieces(heat: NDArray[np.float32], foreground: Foreground) -> NDArray[np.int64]:
    """Return the ids of the hottest voxel of every 26-connected piece of the foreground, rising."""
    values = heat[tuple(foreground.voxels.T)]
    piece = label(heat > THRESHOLD, np.ones((3, 3, 3)))[0][tuple(foreground.voxels.T)]
    order = np.lexsort((-values, piece))
    return np.sort(order[np.flatnonzero(np.diff(piece[order], prepend=0))])


def _least(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what the call gives, the least CPU seconds of two runs, and those of the first."""
    with Clock() as first:
        call()
    with Clock() as second:
        result = call()
    return result, min(first.cpu, second.cpu), first.cpu


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
        "first run, list included": "",
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


def _skfmm(speed: Image, sources: NDArray[np.int64]) -> Image:
    skfmm = peers.load("skfmm")
    phi = np.ones(speed.shape)
    phi[tuple(sources.T)] = -1.0
    return np.ma.filled(skfmm.travel_time(phi, speed), np.inf)


def _sitk(speed: Image, sources: NDArray[np.int64]) -> Image:
    sitk = peers.load("SimpleITK")
    image = sitk.GetImageFromArray(speed)
    times = sitk.FastMarching(image, sources[:, ::-1].tolist(), 1.0, 1e300)
    return sitk.GetArrayFromImage(times)


def _dijkstra3d(speed: Image, sources: NDArray[np.int64]) -> Image:
    dijkstra3d = peers.load("dijkstra3d")
    return dijkstra3d.distance_field((1.0 / speed).astype(np.float32), source=sources.tolist())


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


def _single_paths(size: int, seed: int, skipped: dict[str, str]) -> list[Row]:
    """Return CPU seconds of one minimal path, and how far both paths run from the true centerlines, a row a tree.

    Of the first two trees: large volumes hold more of them.
    """
    graph = forest_graph((size,) * 3, seed=seed)
    heatmap = make_heatmap(graph, (size,) * 3, seed=seed).heatmap
    heat, space = heatmap.heat.array, heatmap.heat.space
    lines = cKDTree(graph.path_position)
    rows = []
    for number in np.unique(graph.edge_data["tree_id"])[:N_TREES]:
        nodes = np.unique(graph.edge_nodes[graph.edge_data["tree_id"] == number])
        tips = nodes[graph.degree[nodes] == 1]
        root = tips[np.argmax(graph.node_radius[tips])]
        far = tips[np.argmax(np.linalg.norm(graph.node_position[tips] - graph.node_position[root], axis=1))]
        ends = np.round(space.to_index(graph.node_position[[root, far]])).astype(np.int64)
        ours, least, _ = _least(lambda ends=ends: _path_on_list(heat, *ends))
        row: Row = {"size": size, "tree": int(number), "vesselgraph CPU s": least}
        off = {} if ours is None else {"vesselgraph off mm": float(lines.query(space.to_world(ours))[0].mean())}
        try:
            theirs, least, _ = _least(lambda ends=ends: _itk_path(heat, *ends))
        except peers.PeerMissingError as error:
            skipped["ITK minimal path"] = str(error)
        else:
            row |= {"ITK CPU s": least, "ITK / ours": least / row["vesselgraph CPU s"]}
            off["ITK off mm"] = float(lines.query(space.to_world(theirs))[0].mean())
        rows.append(row | off)
    return rows


def _path_on_list(heat: NDArray[np.float32], root: Any, far: Any) -> Any:
    """Return the voxels from the tip back to the root through the foreground; None if they do not hang together."""
    foreground = find_foreground(heat, THRESHOLD)
    source, target = (voxel_at(foreground.row_start, foreground.voxels, *heat.shape, *place) for place in (root, far))
    if source < 0 or target < 0:
        return None
    speed = np.maximum(heat[tuple(foreground.voxels.T)], THRESHOLD)
    arrival = march(foreground, speed, np.array([source]), np.ones(3), targets=np.array([target]))
    line = path_back(arrival, target)
    return foreground.voxels[line].astype(np.float64) if line[-1] == source else None


def _itk_path(heat: NDArray[np.float32], root: Any, far: Any) -> Image:
    itk = peers.load("itk")
    if not hasattr(itk, "SpeedFunctionToPathFilter"):
        raise peers.PeerMissingError("itk-minimalpathextraction is not installed")
    image = itk.image_from_array(np.ascontiguousarray(np.maximum(heat, np.float32(THRESHOLD))))
    path_filter = itk.SpeedFunctionToPathFilter[type(image), itk.PolyLineParametricPath[3]].New(image)
    point = itk.Point[itk.D, 3]
    ends = itk.SpeedFunctionPathInformation[point].New()
    ends.SetStartPoint(point([float(x) for x in far[::-1]]))
    ends.SetEndPoint(point([float(x) for x in root[::-1]]))
    path_filter.AddPathInformation(ends)
    descent = itk.RegularStepGradientDescentOptimizer.New()
    descent.SetNumberOfIterations(10_000)
    descent.SetMaximumStepLength(0.5)
    descent.SetMinimumStepLength(0.1)
    descent.SetRelaxationFactor(0.5)
    path_filter.SetOptimizer(descent)
    path_filter.SetTerminationValue(2.0)
    path_filter.Update()
    places = path_filter.GetOutput(0).GetVertexList()
    return np.array([[places.ElementAt(i)[k] for k in (2, 1, 0)] for i in range(places.Size())]).reshape(-1, 3)


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
