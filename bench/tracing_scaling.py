"""How time and memory of tracing grow: with the foreground, not with the box it lies in, also on thick slices.

One, two and four equal tiles of vessels lie in the corners of a box of eight tiles, so from one to two tiles the box around
the foreground grows eightfold and the foreground doubles. Each is read and traced in a process of its own, after a small
heatmap that loads the kernels: CPU seconds, one thread, and what the resident memory rose above that with the heatmap read.
Thick slices are every third plane.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Clock

from vesselgraph.config import TraceConfig
from vesselgraph.phantom.heat import forest_graph, make_heatmap
from vesselgraph.space import Space
from vesselgraph.tracing import trace
from vesselgraph.volume import Heatmap, Volume

_CORNERS = ((0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0))
_COUNTS = (1, 2, 4)
_THICK = 3
_MASK_LEVEL = 0.4
_CHILD = "--child"
TARGET = 2.3


def main() -> None:
    if _CHILD in sys.argv:
        _child(json.loads(sys.argv[sys.argv.index(_CHILD) + 1]))
        return
    args = harness.arguments("How time and memory of tracing grow with the foreground.", seeds=(0,))
    size = 48 if args.small else 128
    rows = []
    file = Path(tempfile.mkdtemp()) / "heat.npy"
    for kind in ("cubes, heat", "thick slices, heat", "thick slices, mask"):
        before: dict[str, Any] | None = None
        for count in _COUNTS[:2] if args.small else _COUNTS:
            np.save(file, _array(kind, size, count, args.seeds[0]))
            found = _in_a_child({"kind": kind, "file": str(file), "warm": size // 2})
            row = {"vesselgraph traces": kind, "tiles": count, **found}
            for name, of in (("foreground ratio", "foreground"), ("time ratio", "CPU s"), ("memory ratio", "rise MB")):
                row[name] = "" if before is None else round(found[of] / before[of], 2)
            rows.append(row)
            before = found
    shutil.rmtree(file.parent)
    harness.print_table("Vessels added in a box of fixed size", rows)
    worst = max(row["time ratio"] for row in rows if row["time ratio"] != "")
    print(f"\nForeground doubled: at most {worst:.2f} times the time (target {TARGET}).")
    harness.finish(args, "tracing_scaling", {"rows": rows, "worst": worst})


def _array(kind: str, size: int, count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    shape = (size, size, size)
    tile = make_heatmap(forest_graph(shape, seed=seed), shape, seed=seed).heatmap.heat.array
    box = np.zeros((2 * size,) * 3, np.float32)
    for z, y, x in _CORNERS[:count]:
        box[z * size : (z + 1) * size, y * size : (y + 1) * size, x * size : (x + 1) * size] = tile
    if kind.endswith("mask"):
        box = (box > _MASK_LEVEL).astype(np.float32)
    return box if kind.startswith("cubes") else np.ascontiguousarray(box[::_THICK])


def _heatmap(array: np.ndarray[Any, np.dtype[np.float32]], kind: str) -> Heatmap:
    space = Space.axial() if kind.startswith("cubes") else Space.axial((float(_THICK), 1.0, 1.0))
    return Heatmap(Volume(array, space), source="mask" if kind.endswith("mask") else "tiles")


def _in_a_child(order: dict[str, Any]) -> dict[str, float]:
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, _CHILD, json.dumps(order)], capture_output=True, text=True, env=environment, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _child(order: dict[str, Any]) -> None:
    """Trace in this process and print the figures as JSON."""
    array = np.load(order["file"])
    trace(_heatmap(np.ascontiguousarray(array[: order["warm"], : order["warm"], : order["warm"]]), order["kind"]))
    heatmap = _heatmap(array, order["kind"])
    with Clock() as clock:
        graph = trace(heatmap)
    best, rise = clock.cpu, clock.memory
    for _ in range(2):
        with Clock() as clock:
            trace(heatmap)
        best = min(best, clock.cpu)
    level = 0.5 if heatmap.is_mask else TraceConfig().threshold
    row = {"foreground": int((heatmap.heat.array > level).sum()), "CPU s": best, "rise MB": max(rise, 1) / 1e6}
    print(json.dumps({**row, "branches": graph.n_edges}))


if __name__ == "__main__":
    main()
