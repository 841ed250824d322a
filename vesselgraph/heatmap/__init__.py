"""Stage 1: from images to a centerline heatmap."""

from vesselgraph.heatmap.stage import choose_method, predict_heatmap, require_network

__all__ = ["choose_method", "predict_heatmap", "require_network"]
