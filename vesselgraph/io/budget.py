"""The memory an image needs, stated before it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import psutil

from vesselgraph.errors import BudgetError


def require_memory(shape: Sequence[int], bytes_per_voxel: int, what: str) -> None:
    """Check that an image of ``shape`` fits into the free memory.

    Raises
    ------
    BudgetError
        It does not.
    """
    needed = math.prod(int(n) for n in shape) * bytes_per_voxel
    free = int(psutil.virtual_memory().available)
    if needed > free:
        raise BudgetError(
            f"an image that fits into {free / 1e9:.1f} GB of free memory",
            f"{tuple(shape)} in {what}, which needs {needed / 1e9:.1f} GB",
            "crop or resample it, or use a larger machine",
        )
