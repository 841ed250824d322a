"""How much memory a reconstruction will need, said before it starts; how fine a surface can be in reasonable time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vesselgraph.config import PipelineConfig, SurfaceConfig
from vesselgraph.errors import BudgetError
from vesselgraph.graph import VesselGraph

# Measured on phantoms and on real CT; see docs/architecture.md. The program itself with its libraries loaded:
_BASE_GB = 0.4
# Working copies, bytes a voxel: on the image grid (masks, labels) and on the tracing grid (scales, thinning, labels).
_IMAGE_BYTES = 6.0
_TRACING_BYTES = 90.0
# The surface, when tracing has given its memory back: by traced voxel in an organ and in a whole field of view, where more
# is traced, but never more than the triangles of `quick_enough` take.
_SURFACE_BYTES, _SURFACE_BYTES_WHOLE, _SURFACE_MOST_GB = 90.0, 1000.0, 2.0
# What a network adds on the tracing grid: the image as float32, heat, radius, identity and 12 to 16 features.
_NETWORK_BYTES = 55.0
_GB = 1e9

COARSEST_MIN_RADIUS = 2.5
"""Thinner vessels are never drawn wider than this, mm of radius."""
STEPS_PER_RADIUS = 1.5
"""Grid steps a surface needs in the smallest drawn radius."""
# Triangles before decimation that take about 40 s of one core, and how many there are per squared grid step of surface.
_QUICK_TRIANGLES = 2_000_000
_TRIANGLES_PER_STEP = 2.9
_MOST_SCALE = 5.0
_COARSER = 1.2


@dataclass(frozen=True)
class MemoryEstimate:
    """An upper estimate of the resident memory of one reconstruction, in 1e9 bytes."""

    image_gb: float
    tracing_gb: float
    surface_gb: float = 0.0
    base_gb: float = _BASE_GB

    @property
    def total_gb(self) -> float:
        """The largest of all stages: tracing and the surface do not run at the same time."""
        return self.base_gb + self.image_gb + max(self.tracing_gb, self.surface_gb)

    def require(self, config: PipelineConfig) -> None:
        """Refuse if the estimate is above ``config.max_memory_gb``.

        Raises
        ------
        BudgetError
            It is; the message says the estimate, the bound and what to do.
        """
        if self.total_gb > config.max_memory_gb:
            raise BudgetError(
                f"to need at most {config.max_memory_gb:.3g} GB of memory (max_memory_gb)",
                f"an estimate of {self.total_gb:.3g} GB ({self.image_gb:.3g} GB for images, "
                f"{self.tracing_gb:.3g} GB for the tracing grid, {self.surface_gb:.3g} GB for the surface)",
                "crop the image, give an organ mask, raise heatmap.step, or raise max_memory_gb if the machine has it",
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
    >>> round(estimate.image_gb, 3), round(estimate.tracing_gb, 3), round(estimate.surface_gb, 3)
    (0.008, 0.145, 1.0)
    """
    n_voxels = float(np.prod(np.asarray(shape, dtype=np.float64)))
    extent = np.asarray(shape, dtype=np.float64) * np.asarray(spacing, dtype=np.float64)
    traced = extent if traced_extent is None else np.minimum(extent, np.asarray(traced_extent, dtype=np.float64))
    step = config.heatmap.step_for(np.asarray(spacing, dtype=np.float64).tolist())
    traced_shape = np.ceil(traced / step) if heatmap is None else np.asarray(heatmap, dtype=np.float64)
    n_traced = float(np.prod(traced_shape))
    surface_bytes = _SURFACE_BYTES_WHOLE if traced_extent is None and heatmap is None else _SURFACE_BYTES
    return MemoryEstimate(
        image_gb=n_voxels * (bytes_per_voxel * n_phases + _IMAGE_BYTES) / _GB,
        tracing_gb=n_traced * (_TRACING_BYTES + (_NETWORK_BYTES if config.heatmap.method != "ridge" else 0.0)) / _GB,
        surface_gb=min(n_traced * surface_bytes / _GB, _SURFACE_MOST_GB),
    )


def as_fine_as_the_data(config: SurfaceConfig, step: float) -> SurfaceConfig:
    """Return the settings, lengths that nobody set scaled up for a tracing grid coarser than 1 mm.

    Centerlines and radii of such data are not known any better, and the work grows with the inverse square of the step.
    """
    lengths = {"step", "min_radius", "max_error"} - config.model_fields_set
    scale = min(max(step, 1.0), _MOST_SCALE)
    return config.model_copy(update={name: scale * getattr(config, name) for name in lengths}) if scale > 1.0 else config


def quick_enough(graph: VesselGraph, config: SurfaceConfig, asked: SurfaceConfig) -> SurfaceConfig:
    """Return the settings, coarser where many metres of vessels would take minutes; unless someone set their fineness.

    The allowed distance grows with the smallest radius unless it was asked for: held at a twentieth of a millimetre it would
    have coarse triangles split again until they are as many as those of a fine grid.
    """
    if graph.n_edges == 0 or asked.model_fields_set & {"step", "min_radius", "max_blocks"}:
        return config
    length = np.linalg.norm(np.diff(graph.path_position, axis=0), axis=1)[graph.edge_of_point[1:] == graph.edge_of_point[:-1]]
    radius = graph.path_radius[1:][graph.edge_of_point[1:] == graph.edge_of_point[:-1]]
    min_radius = config.min_radius
    while min_radius * _COARSER <= COARSEST_MIN_RADIUS:
        drawn = np.fmax(radius, min_radius)
        step = min(max(config.step, min_radius / STEPS_PER_RADIUS), float(drawn.min()) / STEPS_PER_RADIUS)
        if _TRIANGLES_PER_STEP * float((2.0 * np.pi * drawn * length).sum()) <= _QUICK_TRIANGLES * step**2:
            break
        min_radius *= _COARSER
    if min_radius == config.min_radius:
        return config
    update: dict[str, float] = {"min_radius": min_radius, "step": max(config.step, min_radius / STEPS_PER_RADIUS)}
    if "enough_triangles" not in asked.model_fields_set:
        update["enough_triangles"] = _QUICK_TRIANGLES // 2
    if "max_error" not in asked.model_fields_set:
        update["max_error"] = config.max_error * min_radius / config.min_radius
    return config.model_copy(update=update)
