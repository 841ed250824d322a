"""Who judges: the rules, or a trained network where it knows the heat."""

from __future__ import annotations

from importlib import import_module

from vesselgraph.config import PruneConfig
from vesselgraph.errors import InputError
from vesselgraph.graph import VesselGraph
from vesselgraph.volume import Heatmap, Volume


def choose_judge(
    config: PruneConfig, graph: VesselGraph, image: Volume | None = None, heatmap: Heatmap | None = None
) -> tuple[str, str]:
    """Return ``"rules"`` or ``"learned"``, and the reason in a sentence.

    "auto" takes the learned judge where the heat is that of the very network whose graphs it learned from: heat of another
    source means something else.

    Parameters
    ----------
    config : PruneConfig
        ``method`` and ``weights``.
    graph : VesselGraph
        Over-complete, as traced.
    image, heatmap : optional
        What it was traced from.

    Raises
    ------
    CheckpointError
        The heat is that of a network, and the weights of the pruner are missing or damaged.

    Examples
    --------
    >>> choose_judge(PruneConfig(method="auto"), VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]]]))
    ('rules', 'The heat is not known to be that of a network.')
    """
    if config.method != "auto":
        return config.method, "As asked for."
    if heatmap is None or heatmap.source != "network":
        return "rules", "The heat is not known to be that of a network."
    # Loads torch and torch-geometric, which the rules do without; a network's heat has loaded torch already.
    card = import_module("vesselgraph.pruning.weights").read_card(config.weights)
    if heatmap.weights != card.heat_weights:
        return "rules", "The heat is that of another network than the learned pruner knows."
    if image is None or "contrast" not in graph.path_data:
        return "rules", "The graph was traced without an image, which the learned pruner looks at."
    return "learned", "The heat is that of the network the learned pruner was trained with."


def require_pruner(config: PruneConfig, heat: str = "") -> None:
    """Check that weights that are asked for are there, whole and for this heat, before work starts; nothing for the rules.

    With ``method`` "auto" only weights that are named: those shipped are there.

    Parameters
    ----------
    config : PruneConfig
        Method and weights.
    heat : str
        What the heat will be of: "ridge", "network", "mask", "file"; "auto" or empty: not known yet, checked when the graph is
        judged.

    Raises
    ------
    CheckpointError
        They are missing, damaged, or of another kind.
    InputError
        They were trained on graphs of other heat.
    """
    if config.method == "learned" or (config.method == "auto" and config.weights):
        card = import_module("vesselgraph.pruning.weights").load_pruner(config.weights)[1]
        if config.method == "learned" and heat not in {"", "auto", card.heat}:
            raise InputError(
                f"{card.heat} heat, on which the weights of the pruner were trained",
                f"heatmap.method or heatmap {heat!r}",
                f'set heatmap.method = "{card.heat}" or prune.method = "rules"',
            )
