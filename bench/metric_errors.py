"""What each metric says about six typical errors, each made alone in the true graph of a phantom.

Nothing is traced here: a perfect prediction scores 1 (or 0 for errors and distances), so every cell is the answer of one metric
to one error. The table stands in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import harness
import numpy as np
from scipy.spatial import cKDTree

from vesselgraph.edit import split_edges, subset
from vesselgraph.graph import VesselGraph
from vesselgraph.metrics import evaluate_graphs, figures
from vesselgraph.morphology import generation, mean_radius
from vesselgraph.topology import grow_forest

Make = Callable[[VesselGraph], VesselGraph]

GAP, SPUR, SHIFT, BESIDE, THIN = 4.0, 8.0, 1.5, 0.8, 1.0
N_SPURS, N_DOUBLED = 20, 10
COLUMNS = {
    "F1 1 mm": "centerline.1.f1",
    "F1 2 mm": "centerline.2.f1",
    "nearest 2 mm": "nearest.2.f1",
    "F1 0.5 r": "adaptive.0.5.f1",
    "branch": "branch.f1",
    "bifurc.": "bifurcation.f1",
    "clDice": "cldice",
    "b0 err": "betti.error.0",
    "b1 err": "betti.error.1",
    "APLS": "apls.score",
    "mover mm": "street_mover",
    "gFPR": "netmets.gfpr",
    "gFNR": "netmets.gfnr",
    "cFPR": "netmets.cfpr",
    "cFNR": "netmets.cfnr",
    "DIADEM": "diadem.score_with_excess",
    "identity": "identity.matched_accuracy",
    "Rivulet": "rivulet.f1",
}


def main() -> None:
    args = harness.arguments("What the metrics say about typical errors.")
    rows = {name: [] for name in ERRORS}
    for seed in args.seeds:
        truth = _numbered(harness.phantom_of(seed, small=args.small).graph)
        for name, make in ERRORS.items():
            scores = figures(evaluate_graphs(make(truth), truth))
            rows[name].append({column: scores[key] for column, key in COLUMNS.items()})
    table = [{"error": name} | {c: float(np.mean([row[c] for row in rows[name]])) for c in COLUMNS} for name in ERRORS]
    harness.print_table(f"Mean of {len(args.seeds)} phantoms", table)
    harness.finish(args, "metric_errors", {"rows": table})


def _numbered(graph: VesselGraph) -> VesselGraph:
    """Return the graph with its trees as the only branch column."""
    return replace(graph, edge_data={"tree_id": graph.edge_data["tree_id"]})


def nothing(truth: VesselGraph) -> VesselGraph:
    """Return the truth."""
    return truth


def gap(truth: VesselGraph) -> VesselGraph:
    """Return the graph without 4 mm in the middle of the branch that feeds the most vessel after the first fork."""
    forest = grow_forest(truth.edge_nodes, truth.edge_length, truth.n_nodes, np.flatnonzero(truth.node_data["root"]))
    fed = np.zeros(truth.n_nodes)
    for node in forest.order[::-1].tolist():
        if forest.parent_node[node] >= 0:
            fed[forest.parent_node[node]] += fed[node] + truth.edge_length[forest.parent_edge[node]]
    after_fork = (generation(truth) == 2) & (truth.edge_length > 2 * GAP)
    candidates = np.flatnonzero(after_fork if after_fork.any() else truth.edge_length > 2 * GAP)
    edge = int(candidates[np.argmax(fed[truth.edge_nodes[candidates]].min(axis=1))])
    path, radius = truth.path(edge), truth.radius_along(edge)
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    stops = (arc[-1] - GAP) / 2, (arc[-1] + GAP) / 2
    cut = [np.array([np.interp(s, arc, path[:, i]) for i in range(3)]) for s in stops]
    wide = [float(np.interp(s, arc, radius)) for s in stops]
    before, after = arc < stops[0], arc > stops[1]
    pieces = [
        (np.vstack([path[before], cut[0]]), np.append(radius[before], wide[0])),
        (np.vstack([cut[1], path[after]]), np.insert(radius[after], 0, wide[1])),
    ]
    kept = subset(truth, edges=np.arange(truth.n_edges) != edge, drop_isolated=False)[0]
    return _with(kept, pieces, [truth.edge_data["tree_id"][edge]] * 2)


def spurs(truth: VesselGraph) -> VesselGraph:
    """Return the graph with false side branches of 8 mm in the middle of 20 of its branches, straight away from them."""
    rng = np.random.default_rng(0)
    edges = np.sort(rng.choice(truth.n_edges, min(N_SPURS, truth.n_edges), replace=False))
    middles = (truth.path_offset[edges] + truth.path_offset[edges + 1]) // 2
    cut = split_edges(truth, at=middles)[0]
    along = truth.path_position[middles + 1] - truth.path_position[middles - 1]
    aside = np.cross(along, rng.normal(size=along.shape))
    aside *= SPUR / np.linalg.norm(aside, axis=1, keepdims=True)
    pieces = [(np.stack([p, p + h]), np.ones(2)) for p, h in zip(truth.path_position[middles], aside, strict=True)]
    return _with(cut, pieces, np.zeros(len(pieces), int))


def merged(truth: VesselGraph) -> VesselGraph:
    """Return the graph with its two trees joined where their nodes come nearest, as one tree."""
    tree = np.zeros(truth.n_nodes, int)
    tree[truth.edge_nodes.ravel()] = np.repeat(truth.edge_data["tree_id"], 2)
    one, other = np.flatnonzero(tree == 1), np.flatnonzero(tree == 2)
    distance, partner = cKDTree(truth.node_position[other]).query(truth.node_position[one])
    ends = truth.node_position[[one[distance.argmin()], other[partner[distance.argmin()]]]]
    joined = _with(truth, [(ends, np.ones(2))], [1])
    return joined.with_columns(edge={"tree_id": np.ones(joined.n_edges, int)})


def shifted(truth: VesselGraph) -> VesselGraph:
    """Return the graph 1.5 mm off."""
    shift = SHIFT * np.array([2.0, 1.0, 2.0]) / 3.0
    return replace(truth, node_position=truth.node_position + shift, path_position=truth.path_position + shift)


def without_thin(truth: VesselGraph) -> VesselGraph:
    """Return the graph without its end branches thinner than 1 mm radius."""
    is_end = (truth.degree[truth.edge_nodes] == 1).any(axis=1)
    return subset(truth, edges=~(is_end & (mean_radius(truth) < THIN)), drop_isolated=True)[0]


def doubled(truth: VesselGraph) -> VesselGraph:
    """Return the graph with its ten longest branches drawn a second time, 0.8 mm aside."""
    longest = np.argsort(-truth.edge_length, kind="stable")[:N_DOUBLED].tolist()
    aside = np.array([0.0, 0.0, BESIDE])
    pieces = [(truth.path(edge) + aside, truth.radius_along(edge)) for edge in longest]
    return _with(truth, pieces, truth.edge_data["tree_id"][longest])


def _with(graph: VesselGraph, pieces: list[tuple[np.ndarray, np.ndarray]], tree_id: object) -> VesselGraph:
    """Return the graph with more branches; their ends join nodes at the same position."""
    paths = [graph.path(edge) for edge in range(graph.n_edges)] + [path for path, _ in pieces]
    radii = [graph.radius_along(edge) for edge in range(graph.n_edges)] + [radius for _, radius in pieces]
    return VesselGraph.from_paths(paths, radii, edge_data={"tree_id": np.append(graph.edge_data["tree_id"], tree_id)})


ERRORS: dict[str, Make] = {
    "none": nothing,
    "gap of 4 mm in a main branch": gap,
    "20 spurs of 8 mm": spurs,
    "two trees joined": merged,
    "shifted by 1.5 mm": shifted,
    "end branches under 1 mm missing": without_thin,
    "10 branches doubled, 0.8 mm aside": doubled,
}

if __name__ == "__main__":
    main()
