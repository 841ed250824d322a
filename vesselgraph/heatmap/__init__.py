"""Stage 1: from images to a centerline heatmap."""

from vesselgraph.heatmap.stage import predict_heatmap, require_network

__all__ = ["predict_heatmap", "require_network"]
