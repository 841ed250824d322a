"""vesselgraph: from contrast CT to the graph of its vessels, and to closed meshes, tables and reports.

Names are loaded on first use: ``import vesselgraph`` loads neither torch nor vtk.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Heatmap": "vesselgraph.volume",
    "Mesh": "vesselgraph.mesh",
    "PhaseSet": "vesselgraph.volume",
    "PipelineConfig": "vesselgraph.config",
    "Reconstruction": "vesselgraph.pipeline",
    "Space": "vesselgraph.space",
    "VesselGraph": "vesselgraph.graph",
    "VesselGraphError": "vesselgraph.errors",
    "Volume": "vesselgraph.volume",
    "build_surface": "vesselgraph.surface",
    "check_folder": "vesselgraph.results",
    "check_surface": "vesselgraph.surface",
    "compare_graphs": "vesselgraph.metrics",
    "estimate_region": "vesselgraph.region",
    "judge": "vesselgraph.pruning",
    "list_series": "vesselgraph.io",
    "make_phantom": "vesselgraph.phantom",
    "predict_heatmap": "vesselgraph.heatmap",
    "prune": "vesselgraph.pruning",
    "read_graph": "vesselgraph.io",
    "read_heatmap": "vesselgraph.io",
    "read_image": "vesselgraph.io",
    "read_mask": "vesselgraph.io",
    "read_mesh": "vesselgraph.io",
    "read_phases": "vesselgraph.io",
    "reconstruct": "vesselgraph.pipeline",
    "region_from_mask": "vesselgraph.region",
    "register_phases": "vesselgraph.registration",
    "resample_like": "vesselgraph.resampling",
    "trace": "vesselgraph.tracing",
    "write_branch_table": "vesselgraph.io",
    "write_dicom_series": "vesselgraph.io",
    "write_graph": "vesselgraph.io",
    "write_image": "vesselgraph.io",
    "write_mesh": "vesselgraph.io",
    "write_report": "vesselgraph.report",
    "write_results": "vesselgraph.results",
}

__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import the home module of a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'vesselgraph' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names without loading them."""
    return __all__
