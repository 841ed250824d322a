"""Stage 2: from a centerline heatmap to an over-complete vessel graph."""

from vesselgraph.tracing.stage import BRIDGE, THINNING, trace

__all__ = ["BRIDGE", "THINNING", "trace"]
