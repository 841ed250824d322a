"""What the kernels run on: a CUDA device, numba's simulator, or nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from numba import config, cuda

from vesselgraph.errors import BackendUnavailableError, BudgetError

SIMULATED = bool(getattr(config, "ENABLE_CUDASIM", False))
COMPILES = not SIMULATED and getattr(cuda, "implementation", "") == "NVIDIA"

# Kernels stride over their work, so few threads do; the simulator starts a Python thread for each.
THREADS = 4 if SIMULATED else 256
_MAX_BLOCKS = 2 if SIMULATED else 8192
# Threads along columns, rows and planes of a volume.
VOLUME_THREADS = (2, 2, 1) if SIMULATED else (32, 8, 1)
_MAX_GRID = (1, 2, 1) if SIMULATED else (65535, 65535, 65535)

_DO = (
    'on a machine with an NVIDIA driver (R580 or newer) run pip install "vesselgraph[cuda]", '
    'or use trace.backend = "numba"; NUMBA_ENABLE_CUDASIM=1 runs the kernels in numba\'s slow simulator'
)


def require_device() -> None:
    """Return if kernels can run here.

    Raises
    ------
    BackendUnavailableError
        There is no driver, no card, or no numba-cuda.
    """
    if SIMULATED:
        return
    if not COMPILES:
        raise BackendUnavailableError(
            "the package numba-cuda",
            "numba's built-in CUDA target",
            _DO,
        )
    if not cuda.is_available():
        raise BackendUnavailableError(
            "a CUDA device",
            "no driver or no card",
            _DO,
        )
    # Thinning launches many small grids on purpose; numba would warn of each.
    settings: Any = import_module("numba.cuda.core.config")
    settings.CUDA_LOW_OCCUPANCY_WARNINGS = 0


def require_memory(n_bytes: int) -> None:
    """Return if the device has this much free memory.

    Raises
    ------
    BudgetError
        It has not.
    """
    free = float("inf") if SIMULATED else cuda.current_context().get_memory_info().free
    if n_bytes > free:
        raise BudgetError(
            f"{n_bytes / 1e9:.2f} GB of free memory on {device_name()}",
            f"{free / 1e9:.2f} GB",
            'crop the image, raise the threshold, or use trace.backend = "numba"',
        )


def launch(kernel: Any, n_items: int, *arguments: Any) -> None:
    """Run a kernel that strides over ``n_items`` in one dimension; nothing is launched for none."""
    if n_items > 0:
        blocks = min((n_items + THREADS - 1) // THREADS, _MAX_BLOCKS)
        kernel[blocks, THREADS](*arguments)


def launch_volume(kernel: Any, shape: tuple[int, ...], *arguments: Any) -> None:
    """Run a kernel that strides over a volume in three dimensions, columns first; nothing is launched for an empty one."""
    if min(shape) > 0:
        sizes = zip(reversed(shape), VOLUME_THREADS, _MAX_GRID, strict=True)
        grid = tuple(min((size + threads - 1) // threads, most) for size, threads, most in sizes)
        kernel[grid, VOLUME_THREADS](*arguments)


def device_name() -> str:
    """Return the name of the device the kernels run on."""
    if SIMULATED:
        return "simulator"
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)
