"""Small graphs whose heat is drawn by hand."""

import numpy as np

from vesselgraph import VesselGraph
from vesselgraph.config import PruneConfig

# Plain numbers, so that sums can be done by hand; the defaults are tuned and may change.
CONFIG = PruneConfig(min_heat=0.2, branch_cost=1.0, tree_cost=5.0, min_bridge_heat=0.05, loop_heat=0.5, piece_length=1000.0)


def drawn(*branches, bridges=()):
    """Graph of (polyline, radius, heat) branches, sampled every mm; radius and heat are numbers or one per corner."""
    paths, radii, heats = [], [], []
    for corners, radius, heat in branches:
        points = np.asarray(corners, dtype=float)
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        places = np.unique(np.concatenate([along, np.linspace(0.0, along[-1], int(np.ceil(along[-1])) + 1)]))
        paths.append(np.stack([np.interp(places, along, points[:, k]) for k in range(3)], axis=1))
        radii.append(np.interp(places, along, np.broadcast_to(radius, along.shape)))
        heats.append(np.interp(places, along, np.broadcast_to(heat, along.shape)))
    graph = VesselGraph.from_paths(paths, radii)
    heat = np.concatenate(heats)
    is_bridge = np.isin(np.arange(len(paths)), list(bridges))
    return graph.with_columns(
        edge={
            "generator": np.where(is_bridge, 2, 1),
            "gap_length": np.where(is_bridge, graph.edge_length, 0.0),
            "min_heat": np.array([values.min() for values in heats]),
            "mean_heat": np.array([values.mean() for values in heats]),
        },
        path={"heat": heat},
    )
