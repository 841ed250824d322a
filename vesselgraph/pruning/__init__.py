"""Stage 3: from an over-complete graph to the branches that are believed."""

from vesselgraph.pruning.stage import judge, prune

__all__ = ["judge", "prune"]
