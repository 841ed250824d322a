"""The one-file HTML report and the pictures in it."""

from vesselgraph.report.figures import Picture, display_window, render_mip, render_slice
from vesselgraph.report.report import write_report
from vesselgraph.report.still import mesh_png, render_mesh_png

__all__ = ["Picture", "display_window", "mesh_png", "render_mesh_png", "render_mip", "render_slice", "write_report"]
