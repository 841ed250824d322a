"""Surfaces of shapes with a closed formula, of phantoms and of real cases: closed, manifold, volume, distance, size.

The volume of a straight tube or a cone with round ends is known exactly; that of a tree is the union of its round cones,
integrated by rays independently of the surface. The real graphs are the skeletons of expert masks.
"""

from __future__ import annotations

from pathlib import Path

import harness
import numpy as np
from harness import Clock, Row

from vesselgraph.config import SurfaceConfig
from vesselgraph.graph import VesselGraph
from vesselgraph.io import read_mask
from vesselgraph.metrics import skeleton_graph
from vesselgraph.surface import build_surface, check_surface

REAL_MASKS = (
    "*/portalvein.nii.gz",
    "*/venoussystem.nii.gz",
    "ts_cta_heart_aorta/aorta.nii.gz",
    "ts_cta_pulmonary/pulmonary_artery.nii.gz",
)
BOUNDS = (0.0, 0.02, 0.05, 0.1, 0.2)


def main() -> None:
    args = harness.arguments("Surfaces.")
    rows = [_row(name, graph, exact) for name, (graph, exact) in _shapes().items()]
    rows += [_row(f"phantom, seed {s}", harness.phantom_of(s, small=args.small).graph) for s in args.seeds]
    folder = harness.data_folder()
    paths = [] if args.small else sorted(path for pattern in REAL_MASKS for path in folder.glob(pattern))
    if not paths:
        print(f"skipped real cases: {'--small' if args.small else f'none under {folder}'}")
    rows += [_row(f"{path.parent.name} {_stem(path)}", skeleton_graph(read_mask(path))) for path in paths]
    harness.print_table("Default settings (max_error 0.05 mm)", rows)
    graph = harness.phantom_of(args.seeds[0], small=True).graph
    harness.print_table("One phantom at other error bounds", [_bound_row(graph, error) for error in BOUNDS])
    unsound = [row["case"] for row in rows if not row["sound"]]
    off = [row["case"] for row in rows if abs(row["volume error %"]) > 2.0]
    print(f"\nNot closed, manifold and outward: {unsound or 'none'}. Volume off by more than 2 %: {off or 'none'}.")
    harness.finish(args, "mesh", {"rows": rows})


def _shapes() -> dict[str, tuple[VesselGraph, float]]:
    """Return graphs with the exact volume of their surface, cubic mm."""
    length, radius, thin = 30.0, 2.0, 1.0
    tube = VesselGraph.from_paths([[[0, 0, 0], [length, 0, 0]]], [[radius, radius]])
    cone = VesselGraph.from_paths([[[0, 0, 0], [length, 0, 0]]], [[radius, thin]])
    # The hull of two balls: a frustum between the circles where the slanted side touches them, and two caps.
    sine = (radius - thin) / length
    cosine = np.sqrt(1.0 - sine**2)
    wide, narrow, height = radius * cosine, thin * cosine, length - sine * (radius - thin)
    frustum = np.pi * height / 3.0 * (wide**2 + wide * narrow + narrow**2)
    caps = _cap(radius, radius + radius * sine) + _cap(thin, thin - thin * sine)
    return {
        "tube, r 2 mm": (tube, np.pi * radius**2 * length + 4.0 / 3.0 * np.pi * radius**3),
        "cone, r 2 to 1 mm": (cone, frustum + caps),
    }


def _cap(radius: float, height: float) -> float:
    return float(np.pi * height**2 * (3.0 * radius - height) / 3.0)


def _row(name: str, graph: VesselGraph, exact: float | None = None) -> Row:
    with Clock() as clock:
        mesh = build_surface(graph)
    check = check_surface(mesh, graph)
    volume = exact if exact is not None else check.analytic_volume
    return {
        "case": name,
        "branches": graph.n_edges,
        "faces": mesh.n_faces,
        "closed": check.closed,
        "manifold": check.two_manifold,
        "sound": check.is_sound,
        "volume mm3": check.volume,
        "volume error %": 100.0 * (check.volume / volume - 1.0) if volume else 0.0,
        "max distance mm": check.max_distance if check.max_distance is not None else 0.0,
        "CPU s": clock.cpu,
    }


def _bound_row(graph: VesselGraph, error: float) -> Row:
    config = SurfaceConfig(max_error=error)
    mesh = build_surface(graph, config)
    check = check_surface(mesh, graph, config)
    return {
        "max_error mm": error,
        "faces": mesh.n_faces,
        "sound": check.is_sound,
        "volume error %": 100.0 * (check.volume_error_fraction or 0.0),
        "max distance mm": check.max_distance or 0.0,
    }


def _stem(path: Path) -> str:
    return path.name.removesuffix(".nii.gz")


if __name__ == "__main__":
    main()
