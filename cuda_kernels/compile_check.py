"""Compile every kernel without a card, to PTX and through the assembler, and judge what it uses.

    python -m cuda_kernels.compile_check

Prints registers, shared memory and spills of every kernel for sm_80 (A100) and sm_90 (H100). Exit code 1 if a kernel spills,
needs more registers than :data:`MOST_REGISTERS`, or holds a float64 instruction; 3 if the compiler or the assembler is missing.
Needs ``pip install "vesselgraph[cuda-check]"`` and ``ptxas`` of a CUDA 13 toolkit (on the PATH or under ``$CUDA_HOME``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from numba import cuda, float32, int32, int64, uint32, void

from cuda_kernels import basins, bricks, depth, eikonal, foreground, ridge_filter, ridges, sampling, sections, thinning
from cuda_kernels.device import COMPILES
from vesselgraph.errors import BackendUnavailableError

ARCHITECTURES = ((8, 0), (9, 0))
# 256 threads of a block times 128 registers is half of a multiprocessor's file: two blocks stay resident.
MOST_REGISTERS = 128

_F1, _F2, _F3 = float32[::1], float32[:, ::1], float32[:, :, ::1]
_U1, _I1, _I2 = uint32[::1], int32[::1], int32[:, ::1]
_I, _F = int64, float32

KERNELS: dict[str, tuple[Any, Any]] = {
    "ridge_filter.smooth_axis": (ridge_filter.smooth_axis, void(_F3, _F1, _I, _F3)),
    "ridge_filter.ridge_best": (ridge_filter.ridge_best, void(_F3, _F, _F, _F3, _F3)),
    "ridge_filter.fill": (ridge_filter.fill, void(_F1, _F)),
    "foreground.count_lines": (foreground.count_lines, void(_F3, _F, _I1)),
    "foreground.scan": (foreground.scan, void(_I1, _I1)),
    "foreground.fill_lines": (foreground.fill_lines, void(_F3, _F, _I1, _I2)),
    "foreground.find_neighbours": (foreground.find_neighbours, void(_I1, _I2, _I, _I, _I, _I2)),
    "thinning.count_groups": (thinning.count_groups, void(_I1, _I2, _I1)),
    "thinning.fill_groups": (thinning.fill_groups, void(_I1, _I2, _I1, _I1)),
    "thinning.neighbour_bits": (thinning.neighbour_bits, void(_I2, _U1)),
    "thinning.take_turn": (thinning.take_turn, void(_I1, _I, _I, _I, _I2, _I2, _I1, _U1, _I1, _I1, _I1, _I1, _I1)),
    "thinning.fill_int": (thinning.fill_int, void(_I1, _I)),
    "thinning.compact": (thinning.compact, void(_I1, _I1, _I1)),
    "bricks.mark_bricks": (bricks.mark_bricks, void(_I2, _I, _I, _I1)),
    "bricks.join_bricks": (bricks.join_bricks, void(_I1, _I1, _I, _I, _I, _I2)),
    "bricks.place_voxels": (bricks.place_voxels, void(_I2, _I1, _I, _I, _I1)),
    "bricks.scatter": (bricks.scatter, void(_F1, _I1, _F1)),
    "bricks.gather": (bricks.gather, void(_F1, _I1, _F1)),
    "eikonal.relax_bricks": (eikonal.relax_bricks, void(_I1, _I, _I2, _F1, _F1, _F1, _F, _F, _F, _I1, _I1)),
    "eikonal.wake_bricks": (eikonal.wake_bricks, void(_I1, _I, _I2, _F1, _F1, _I1, _I1, _I1, _I1)),
    "eikonal.start_front": (eikonal.start_front, void(_I1, _I1, _I2, _F1, _I1, _I1, _I1)),
    "eikonal.walk_down": (eikonal.walk_down, void(_F1, _I2, _F1, _F1, _I1)),
    "basins.ask_neighbours": (basins.ask_neighbours, void(_I2, _F1, _F1, _F1, _F1, _I1, _I1)),
    "basins.start_ways": (basins.start_ways, void(_I1, _F1)),
    "basins.label_sources": (basins.label_sources, void(_I1, _I1)),
    "basins.spread_labels": (basins.spread_labels, void(_I1, _I1, _I1)),
    "depth.look_along_columns": (depth.look_along_columns, void(_I2, _I1, _I, _I, _I1)),
    "depth.look_along_lines": (depth.look_along_lines, void(_I2, _I2, _I, _I, _I, _I, _I1, _I1)),
    "depth.take_roots": (depth.take_roots, void(_I1, _F1)),
    "ridges.lift_voxels": (ridges.lift_voxels, void(_F3, _I2, _F1)),
    "ridges.look_for_ridges": (ridges.look_for_ridges, void(_F3, _I2, _F1, _F, _F1, _F1)),
    "ridges.near_deep": (ridges.near_deep, void(_F1, _I2, _F, _F, _F, _F1)),
    "ridges.extremes": (ridges.extremes, void(_F1, _F1)),
    "ridges.removal_order": (ridges.removal_order, void(_F1, _F1, _F1, _F, _F1)),
    "ridges.levels": (ridges.levels, void(_F1, _F1, _I, _I1)),
    "ridges.scale": (ridges.scale, void(_F1, _F, _F1)),
    "sections.ring_profiles": (sections.ring_profiles, void(_F3, _F2, _F2, _F2, _F1, _F1, _F2)),
    "sections.half_widths": (sections.half_widths, void(_F2, _I1, _I1, _F1, _F1)),
    "sampling.sample_points": (sampling.sample_points, void(_F3, _F2, _F1)),
}


@dataclass(frozen=True)
class Use:
    """What one kernel takes on one architecture."""

    kernel: str
    architecture: str
    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_bytes: int
    n_float64: int

    @property
    def accepted(self) -> bool:
        """Whether it neither spills nor computes in float64, and leaves room for a second block."""
        return self.spill_bytes == 0 and self.n_float64 == 0 and self.registers <= MOST_REGISTERS


def assembler() -> str | None:
    """Return the path of ``ptxas``, None if there is none."""
    home = os.environ.get("CUDA_HOME")
    found = shutil.which("ptxas", path=str(Path(home) / "bin")) if home else None
    return found or shutil.which("ptxas")


def missing() -> str:
    """Return what is missing for the check, empty if nothing is."""
    if not COMPILES:
        return 'numba-cuda (pip install "vesselgraph[cuda-check]"), and NUMBA_ENABLE_CUDASIM must not be set'
    return "" if assembler() else "ptxas of a CUDA 13 toolkit, on the PATH or under $CUDA_HOME"


def to_ptx(kernel: Any, signature: Any, capability: tuple[int, int]) -> str:
    """Return the PTX of a kernel; no driver is asked."""
    # Typing a call of a device function asks the driver which card there is; answer for it.
    device = SimpleNamespace(compute_capability=capability)
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        ptx = cuda.compile(kernel.py_func, signature, cc=capability, device=False, abi="numba", output="ptx")[0]
    return ptx.decode() if isinstance(ptx, bytes) else str(ptx)


def assemble(ptx: str, architecture: str) -> str:
    """Return the assembler's report on a PTX text.

    Raises
    ------
    BackendUnavailableError
        The assembler is missing or refuses the text.
    """
    program = assembler()
    if program is None:
        raise BackendUnavailableError(
            missing(),
            "none",
            "install it",
        )
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [program, "-v", f"-arch={architecture}", file.name, "-o", os.devnull]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendUnavailableError(
            f"PTX that {program} takes",
            done.stderr[:500],
            "install its CUDA version",
        )
    return done.stderr


def _number(pattern: str, text: str) -> int:
    return sum(int(value) for value in re.findall(pattern, text))


def measure(name: str, capability: tuple[int, int]) -> Use:
    """Compile one kernel of :data:`KERNELS` and return what it uses."""
    architecture = f"sm_{capability[0]}{capability[1]}"
    ptx = to_ptx(*KERNELS[name], capability)
    report = assemble(ptx, architecture)
    return Use(
        name,
        architecture,
        max(int(value) for value in re.findall(r"Used (\d+) registers", report)),
        _number(r"(\d+) bytes smem", report),
        _number(r"(\d+) bytes stack frame", report),
        _number(r"(\d+) bytes spill", report),
        len(re.findall(r"\.f64\b", ptx)),
    )


def measure_all() -> Iterator[Use]:
    """Yield what every kernel uses on every architecture."""
    for name in KERNELS:
        for capability in ARCHITECTURES:
            yield measure(name, capability)


def main() -> int:
    """Print the table; return the exit code."""
    lacking = missing()
    if lacking:
        print(f"cannot check the CUDA kernels: needs {lacking}")
        return 3
    print(f"{'kernel':32s} {'arch':6s} {'registers':>9s} {'shared':>7s} {'stack':>6s} {'spills':>7s} {'f64':>4s}")
    wrong = 0
    for use in measure_all():
        mark = "" if use.accepted else "  NOT ACCEPTED"
        wrong += not use.accepted
        print(
            f"{use.kernel:32s} {use.architecture:6s} {use.registers:9d} {use.shared_bytes:7d} {use.stack_bytes:6d} "
            f"{use.spill_bytes:7d} {use.n_float64:4d}{mark}"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
