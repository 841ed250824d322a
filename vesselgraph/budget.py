"""How much memory a reconstruction will need, said before it starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vesselgraph.config import PipelineConfig
from vesselgraph.errors import BudgetError

# Measured on phantoms and on abdominal CT; see docs/architecture.md. The program itself with its libraries loaded:
_BASE_GB = 0.9
# Working copies, bytes a voxel: on the image grid (float copy, masks) and on the tracing grid (scales, thinning, labels).
_IMAGE_BYTES = 14.0
_TRACING_BYTES = 90.0
# What a network adds on the tracing grid: the image as float32, heat, radius, identity and 12 to 16 features.
_NETWORK_BYTES = 55.0
_GB = 1e9


@dataclass(frozen=True)
class MemoryEstimate:
    """An upper estimate of the resident memory of one reconstruction, in 1e9 bytes."""

    image_gb: float
    tracing_gb: float
    base_gb: float = _BASE_GB

    @property
    def total_gb(self) -> float:
        """Everything together."""
        return self.base_gb + self.image_gb + self.tracing_gb

    def require(self, config: PipelineConfig) -> None:
        """Refuse if the estimate is above ``config.max_memory_gb``.

        Raises
        ------
        BudgetError
            It is; the message says the estimate, the bound and what to do.
        """
        if self.total_gb > config.max_memory_gb:
            raise BudgetError(
                f"expected to need at most {config.max_memory_gb:.3g} GB of memory (max_memory_gb); got an estimate of "
                f"{self.total_gb:.3g} GB ({self.image_gb:.3g} GB for images, {self.tracing_gb:.3g} GB for the tracing grid); "
                "crop the image, give an organ mask, raise heatmap.step, or raise max_memory_gb if the machine has it"
            )


def estimate_memory(
    shape: tuple[int, int, int],
    spacing: ArrayLike,
    config: PipelineConfig,
    *,
    n_phases: int = 1,
    bytes_per_voxel: float = 2.0,
    traced_extent: ArrayLike | None = None,
    heatmap: tuple[int, int, int] | None = None,
) -> MemoryEstimate:
    """Return the memory one reconstruction will need at most, from the image header alone.

    Parameters
    ----------
    shape, spacing : (3,), (3,) mm
        Of the image grid, array order.
    config : PipelineConfig
        ``heatmap`` sets the step of the tracing grid.
    n_phases : int
        Images that are held at once.
    bytes_per_voxel : float
        Of the stored image.
    traced_extent : (3,) mm, optional
        Box of the region that is traced; the whole image if unknown.
    heatmap : (3,), optional
        Shape of a heatmap that is given, which is traced on its own grid.

    Examples
    --------
    >>> estimate = estimate_memory((100, 100, 100), (1.0, 1.0, 1.0), PipelineConfig())
    >>> round(estimate.image_gb, 3), round(estimate.tracing_gb, 3)
    (0.016, 0.09)
    """
    n_voxels = float(np.prod(np.asarray(shape, dtype=np.float64)))
    extent = np.asarray(shape, dtype=np.float64) * np.asarray(spacing, dtype=np.float64)
    traced = extent if traced_extent is None else np.minimum(extent, np.asarray(traced_extent, dtype=np.float64))
    step = config.heatmap.step_for(np.asarray(spacing, dtype=np.float64).tolist())
    traced_shape = np.ceil(traced / step) if heatmap is None else np.asarray(heatmap, dtype=np.float64)
    n_traced = float(np.prod(traced_shape))
    return MemoryEstimate(
        image_gb=n_voxels * (bytes_per_voxel * n_phases + _IMAGE_BYTES) / _GB,
        tracing_gb=n_traced * (_TRACING_BYTES + (_NETWORK_BYTES if config.heatmap.method == "network" else 0.0)) / _GB,
    )
