"""Stage 3: from an over-complete graph to the branches that are believed."""

from vesselgraph.pruning.stage import judge, prune, require_pruner

__all__ = ["judge", "prune", "require_pruner"]
