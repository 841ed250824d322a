"""Stage 3: from an over-complete graph to the branches that are believed."""

from vesselgraph.pruning.choice import choose_judge, require_pruner
from vesselgraph.pruning.planted import Planted, plant
from vesselgraph.pruning.stage import judge, prune

__all__ = ["Planted", "choose_judge", "judge", "plant", "prune", "require_pruner"]
