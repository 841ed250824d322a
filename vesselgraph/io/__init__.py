"""Files in and out: images, heatmaps, graphs and meshes; every reader names what it refuses, every writer is all or nothing.

Names are loaded on first use: reading an image does not load vtk.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "SeriesInfo": "vesselgraph.io.dicom",
    "atomic_folder": "vesselgraph.io.atomic",
    "atomic_path": "vesselgraph.io.atomic",
    "list_series": "vesselgraph.io.dicom",
    "read_branch_table": "vesselgraph.io.graphs",
    "read_graph": "vesselgraph.io.graphs",
    "read_heatmap": "vesselgraph.io.images",
    "read_image": "vesselgraph.io.images",
    "read_mask": "vesselgraph.io.images",
    "read_mesh": "vesselgraph.io.meshes",
    "read_phases": "vesselgraph.io.phases",
    "write_branch_table": "vesselgraph.io.graphs",
    "write_dicom_series": "vesselgraph.io.dicom_write",
    "write_graph": "vesselgraph.io.graphs",
    "write_image": "vesselgraph.io.images",
    "write_mesh": "vesselgraph.io.meshes",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Import the home module of a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'vesselgraph.io' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names without loading them."""
    return __all__
