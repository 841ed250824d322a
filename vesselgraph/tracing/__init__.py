"""Stage 2: from a centerline heatmap to an over-complete vessel graph."""

from vesselgraph.tracing.links import BRIDGE, KEYPOINT, RIVULET, THINNING
from vesselgraph.tracing.stage import trace

__all__ = ["BRIDGE", "KEYPOINT", "RIVULET", "THINNING", "trace"]
