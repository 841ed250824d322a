"""The learned verdict: a trained network says how present each piece is, the best forest of presence stays.

Importing this module loads torch.
"""

from __future__ import annotations

import numpy as np

from vesselgraph.config import PruneConfig
from vesselgraph.encoders.source import source_of
from vesselgraph.errors import CheckpointError, InputError
from vesselgraph.graph import VesselGraph
from vesselgraph.progress import Progress, silent
from vesselgraph.pruning.branch_graph import build_branch_graph
from vesselgraph.pruning.decision import keep_like_rules, keep_present
from vesselgraph.pruning.features import GROUPS, piece_features
from vesselgraph.pruning.learning import PrunerCase
from vesselgraph.pruning.surroundings import measure_surroundings
from vesselgraph.pruning.weights import PrunerCard, load_pruner
from vesselgraph.volume import Heatmap, Volume

KEPT, ABSENT, APART = "kept", "judged not real", "judged real, but not worth its place"
TUNNEL = "loop around no hole"


def judge_learned(
    graph: VesselGraph,
    config: PruneConfig,
    *,
    image: Volume | None = None,
    organ: Volume | None = None,
    heatmap: Heatmap | None = None,
    progress: Progress = silent,
) -> VesselGraph:
    """Return the graph, long branches cut into pieces, with the learned verdict on every piece.

    Parameters
    ----------
    graph : VesselGraph
        Over-complete, as traced.
    config : PruneConfig
        ``weights``, those of an encoder, ``min_presence``, ``least_recall`` and the costs are used.
    image, organ, heatmap : optional
        What the graph was traced from; needed as far as the weights were trained with features of them.
    progress : Progress
        Called with the step and its done fraction.

    Returns
    -------
    graph : VesselGraph
        Edge columns ``presence`` (calibrated probability of being real), ``score`` (the same), ``keep`` and ``reason``; with
        weights that tell evidence also ``uncertainty``, the share of the opinion that no evidence covers.

    Raises
    ------
    CheckpointError
        The weights are missing or damaged, or were trained on other features.
    InputError
        What the features are measured on is missing, or the graph comes from another kind of heat.
    """
    fit, card = load_pruner(config.weights)
    _require_same_heat(graph, heatmap, card)
    progress("weigh branches", 0.0)
    branches = build_branch_graph(graph, card.settings.piece_length)
    pieces = branches.pieces
    wanted = {name.partition(".")[0] for name in card.features}
    encoded = None
    if card.encoder is not None and image is not None:
        encoded = source_of(card.encoder, config.encoder_weights, config.feature_folder).look(image)
    surroundings = measure_surroundings(image, organ, heatmap, encoded=encoded)
    features, names = piece_features(branches, surroundings, [group for group in GROUPS if group in wanted])
    if names != card.features:
        other = sorted(set(names) ^ set(card.features))[:5]
        raise CheckpointError(
            "weights for the features of this version",
            f"others ({', '.join(other) or 'in other order'}) in {config.weights or 'the package'}",
            "train them again",
        )
    progress("weigh branches", 0.5)
    unknown = np.zeros(pieces.n_edges, np.float32)
    case = PrunerCase(features, branches.link, branches.relation, unknown, pieces.edge_length.astype(np.float32))
    presence = fit.presence(case)
    if config.min_presence is None:
        threshold = card.min_presence
        decision = keep_like_rules(pieces, presence, config, threshold)
    else:
        threshold = config.min_presence
        decision = keep_present(pieces, presence, config, threshold)
    keep = decision.keep
    reason = np.select([keep, decision.tunnel, presence < threshold], [KEPT, TUNNEL, ABSENT], default=APART)
    progress("weigh branches", 1.0)
    columns = {"presence": presence, "score": presence.copy(), "keep": keep, "reason": reason.astype(np.str_)}
    uncertainty = fit.uncertainty(case)
    if uncertainty is not None:
        columns["uncertainty"] = uncertainty
    return pieces.with_columns(edge=columns)


def _require_same_heat(graph: VesselGraph, heatmap: Heatmap | None, card: PrunerCard) -> None:
    got = "a mask" if "wall_step" in graph.edge_data else heatmap.source if heatmap is not None else card.heat
    if got != card.heat:
        raise InputError(
            f"a graph traced from {card.heat} heat, on which these weights were trained",
            f"one from {got}",
            'set prune.method = "rules", or use weights for this kind of heat',
        )
    if heatmap is not None and heatmap.weights != card.heat_weights:
        raise InputError(
            f"a heatmap of the network with which this pruner was trained, SHA-256 {card.heat_weights[:12]}...",
            f"one of a network with {heatmap.weights[:12]}...",
            "train the pruner again for this network (`vesselgraph train pruner`), or name its weights in prune.weights",
        )
