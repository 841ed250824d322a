"""What is traced in real liver CT where the expert marked nothing, and whether the image shows a vessel there.

Precision against an expert's mask counts every vessel the expert left out as false. This looks at the image itself: how
much brighter a branch is than the ring around it: the brightest of its point and twelve points 1.5 mm around, less the
median of twelve points at twice its radius + 2 mm, averaged along the path. Branches are those of ``reconstruct`` at
default settings with the liver mask given, at least 6 mm long and 6 mm inside the liver. Marked: less than 30 % of the path
is further than 3 mm from the skeletons of the masks; not marked: more than 70 %. The yardstick are the same paths moved 10
mm aside, to where neither we nor the expert saw a vessel: their brightest points are noise, chosen as freely as ours.
"""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
from numpy.typing import NDArray
from real_liver import TREES
from scipy import ndimage
from scipy.spatial import cKDTree

from vesselgraph.graph import VesselGraph
from vesselgraph.io import read_image, read_mask
from vesselgraph.metrics import skeleton_graph
from vesselgraph.pipeline import reconstruct
from vesselgraph.volume import Volume

LENGTH, DEPTH, TOLERANCE = 6.0, 6.0, 3.0
ASIDE, FREE, TRIES = 10.0, 5.0, 4
THIN, NEAR = 1.5, 1.5
Points = NDArray[np.float64]


def main() -> None:
    args = harness.arguments("Brightness of branches an expert did not mark.", seeds=(0,))
    folder = harness.data_folder()
    cases = sorted(path.parent for path in folder.glob("*/liver.nii.gz") if (path.parent / f"{TREES[0]}.nii.gz").exists())
    if not cases:
        print(f"skipped: no case with ct, liver, {' and '.join(TREES)} under {folder}; set VESSELGRAPH_DATA")
    results = {}
    for case in cases[:1] if args.small else cases:
        ct, liver = read_image(case / "ct.nii.gz"), read_mask(case / "liver.nii.gz")
        union = np.logical_or(*(read_mask(case / f"{name}.nii.gz").array for name in TREES))
        first, last = _box(liver, small=args.small)
        ct, liver, vessels = (volume.crop(first, last) for volume in (ct, liver, liver.with_array(union, "vessels")))
        graph = reconstruct(ct, mask=liver).graph
        truth = skeleton_graph(vessels, step=1.5 if args.small else 1.0)
        results[case.name] = _rows(graph, truth, ct, liver, np.random.default_rng(args.seeds[0]))
        harness.print_table(f"{case.name}: HU over the surroundings, by branch", results[case.name])
    harness.finish(args, "real_unmarked", {"cases": results})


def _box(liver: Volume, *, small: bool) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    where = np.argwhere(liver.array)
    low, high = np.maximum(where.min(axis=0) - 20, 0), np.minimum(where.max(axis=0) + 21, liver.shape)
    if small:
        low[0] = (low[0] + high[0]) // 2 - 12
        high[0] = low[0] + 25
    return tuple(low.tolist()), tuple(high.tolist())  # type: ignore[return-value]


def _rows(graph: VesselGraph, truth: VesselGraph, ct: Volume, liver: Volume, rng: np.random.Generator) -> list[dict[str, Any]]:
    deep = ndimage.distance_transform_edt(liver.array, sampling=liver.space.spacing)
    marked, found = cKDTree(truth.path_position), cKDTree(graph.path_position)
    measured, aside = [], []
    for edge in range(graph.n_edges):
        path, length = graph.path(edge), float(graph.edge_length[edge])
        if length < LENGTH or len(path) < 3 or _at(deep, liver, path).min() < DEPTH:
            continue
        radius = float(np.median(graph.radius_along(edge)))
        unmarked = float((marked.query(path)[0] > TOLERANCE).mean())
        measured.append((unmarked, _brighter(ct, path, radius), length, radius))
        for _ in range(TRIES):
            way = rng.normal(size=3)
            moved = path + ASIDE * way / np.linalg.norm(way)
            free = all((tree.query(moved)[0] > FREE).all() for tree in (marked, found))
            if free and _at(deep, liver, moved).min() >= DEPTH:
                aside.append((1.0, _brighter(ct, moved, radius), length, radius))
    far, _, _, radius = np.array(measured).reshape(-1, 4).T
    empty = np.array(aside).reshape(-1, 4)
    bound = float(np.percentile(empty[:, 1], 97.5)) if len(empty) else float("nan")
    groups = {
        "marked by the expert": far < 0.3,
        f"of these, radius < {THIN:g} mm": (far < 0.3) & (radius < THIN),
        "not marked": far > 0.7,
    }
    rows = [_row(name, np.array(measured)[which], bound) for name, which in groups.items() if which.any()]
    return [*rows, *([_row(f"the same paths {ASIDE:g} mm aside", empty, bound)] if len(empty) else [])]


def _row(name: str, branches: Points, bound: float) -> dict[str, Any]:
    _, hu, length, _ = branches.T
    low, middle, high = np.percentile(hu, (10, 50, 90))
    return {
        "branches": name,
        "n": len(branches),
        "length mm": float(length.sum()),
        "HU, 10 %": low,
        "median": middle,
        "90 %": high,
        "length brighter than 97.5 % of the moved": float(length[hu > bound].sum() / length.sum()),
    }


def _at(array: NDArray[Any], grid: Volume, points: Points) -> Points:
    return np.asarray(ndimage.map_coordinates(array, grid.space.to_index(points).T, order=1, mode="nearest"))


def _brighter(ct: Volume, path: Points, radius: float) -> float:
    """Return how much brighter a path is than what is around it, HU."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    side = np.cross(tangent, np.where(np.abs(tangent[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(tangent, side)
    values = np.asarray(ct.array, np.float32)

    def ring(distance: float) -> Points:
        angles = np.arange(12) * np.pi / 6
        return np.stack([_at(values, ct, path + distance * (np.cos(a) * side + np.sin(a) * other)) for a in angles])

    brightest = np.maximum(_at(values, ct, path), ring(NEAR).max(axis=0))
    return float((brightest - np.median(ring(2.0 * radius + 2.0), axis=0)).mean())


if __name__ == "__main__":
    main()
