"""vesselgraph: from contrast CT to the graph of its vessels, and to closed meshes, tables and reports.

Names are loaded on first use: ``import vesselgraph`` loads neither torch nor vtk.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesselgraph.config import PipelineConfig as PipelineConfig
    from vesselgraph.errors import VesselGraphError as VesselGraphError
    from vesselgraph.graph import VesselGraph as VesselGraph
    from vesselgraph.heatmap import predict_heatmap as predict_heatmap
    from vesselgraph.heatmap.targets import clear_graph as clear_graph
    from vesselgraph.io import list_series as list_series
    from vesselgraph.io import read_graph as read_graph
    from vesselgraph.io import read_heatmap as read_heatmap
    from vesselgraph.io import read_image as read_image
    from vesselgraph.io import read_mask as read_mask
    from vesselgraph.io import read_mesh as read_mesh
    from vesselgraph.io import read_phases as read_phases
    from vesselgraph.io import write_branch_table as write_branch_table
    from vesselgraph.io import write_dicom_series as write_dicom_series
    from vesselgraph.io import write_graph as write_graph
    from vesselgraph.io import write_image as write_image
    from vesselgraph.io import write_mesh as write_mesh
    from vesselgraph.mesh import Mesh as Mesh
    from vesselgraph.metrics import compare_graphs as compare_graphs
    from vesselgraph.metrics import evaluate_graphs as evaluate_graphs
    from vesselgraph.metrics import skeleton_graph as skeleton_graph
    from vesselgraph.phantom import make_phantom as make_phantom
    from vesselgraph.phantom import make_study as make_study
    from vesselgraph.pipeline import Reconstruction as Reconstruction
    from vesselgraph.pipeline import reconstruct as reconstruct
    from vesselgraph.pruning import judge as judge
    from vesselgraph.pruning import prune as prune
    from vesselgraph.region import estimate_region as estimate_region
    from vesselgraph.region import region_from_mask as region_from_mask
    from vesselgraph.registration import register_phases as register_phases
    from vesselgraph.report import write_report as write_report
    from vesselgraph.resampling import resample_like as resample_like
    from vesselgraph.results import check_folder as check_folder
    from vesselgraph.results import write_results as write_results
    from vesselgraph.space import Space as Space
    from vesselgraph.surface import build_surface as build_surface
    from vesselgraph.surface import check_surface as check_surface
    from vesselgraph.tracing import trace as trace
    from vesselgraph.volume import Heatmap as Heatmap
    from vesselgraph.volume import PhaseSet as PhaseSet
    from vesselgraph.volume import Volume as Volume

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
    "clear_graph": "vesselgraph.heatmap.targets",
    "compare_graphs": "vesselgraph.metrics",
    "estimate_region": "vesselgraph.region",
    "evaluate_graphs": "vesselgraph.metrics",
    "judge": "vesselgraph.pruning",
    "list_series": "vesselgraph.io",
    "make_phantom": "vesselgraph.phantom",
    "make_study": "vesselgraph.phantom",
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
    "skeleton_graph": "vesselgraph.metrics",
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
