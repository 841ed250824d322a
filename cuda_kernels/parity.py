"""Compare the results and the speed of the CUDA kernels with those of the CPU.

    python -m cuda_kernels.parity            # on a card: 192 cubed, a minute
    python -m cuda_kernels.parity --small    # anywhere, in numba's simulator: 13 x 10 x 17

Prints a line a kernel. Exit code 0 if all agree, 1 if one does not, 3 if there is no device. The simulator's times say nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from vesselgraph.errors import BackendUnavailableError

if TYPE_CHECKING:
    from cuda_kernels.cases import Arrays, Case

_FULL, _SMALL = (192, 190, 199), (13, 10, 17)
# On a card the compiler may join a product and a sum into one rounding, which decides a ridge in a few of a million voxels.
_SHARE_ON_A_CARD = 0.999


def seconds(run: Callable[[], Arrays]) -> tuple[Arrays, float]:
    """Return the result and the wall time of a second run; the first one compiles."""
    run()
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def report(case: Case, *, is_simulated: bool) -> bool:
    """Print the line of one case; return whether the results agree."""
    expected, on_cpu = seconds(case.on_cpu)
    if is_simulated:
        result, note = case.on_device(), "simulated"
    else:
        result, on_device = seconds(case.on_device)
        note = f"CPU {1e3 * on_cpu:9.2f} ms   device {1e3 * on_device:9.2f} ms   {on_cpu / on_device:6.1f} x"
    worst, agree = case.difference(expected, result)
    verdict = "equal" if agree and worst == 0.0 else "agrees" if agree else "DIFFERS"
    print(
        f"{case.name:14s} {case.n_items:9d} items   {verdict:8s} {worst:8.1e} (allowed {case.tolerance:.0e})   {note}",
        flush=True,
    )
    return agree


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cuda_kernels.parity", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--small", action="store_true", help="in numba's simulator, on tiny volumes")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    if chosen.small:
        # Read when numba is first loaded, which is why nothing above loads it.
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    device = import_module("cuda_kernels.device")
    try:
        device.require_device()
    except BackendUnavailableError as error:
        print(error)
        return 3
    print(f"device: {device.device_name()}")
    shape, share = (_SMALL, 1.0) if device.SIMULATED else (_FULL, _SHARE_ON_A_CARD)
    cases = import_module("cuda_kernels.cases").random_cases(shape, chosen.seed, share)
    results = [report(case, is_simulated=device.SIMULATED) for case in cases]
    print(f"{sum(results)} of {len(results)} agree")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
