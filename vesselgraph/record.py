"""What the record of a run says of its inputs and of what the stages made, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vesselgraph.config import SurfaceConfig
from vesselgraph.graph import VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.provenance import digest_path, digest_volume
from vesselgraph.pruning.naming import TREE_NAMES, UNKNOWN
from vesselgraph.region import Region
from vesselgraph.surface import check_surface
from vesselgraph.topology import component_labels, n_loops
from vesselgraph.volume import Heatmap, PhaseSet, Volume


def describe_inputs(volumes: Mapping[str, Volume | None], sources: Mapping[str, str | Path]) -> dict[str, Any]:
    """Return grid and digests of the inputs by name, with the files they were read from."""
    inputs = {
        name: {
            "shape": list(volume.shape),
            "dtype": str(volume.array.dtype),
            "space": volume.space.to_dict(),
            "sha256_values": digest_volume(volume),
        }
        for name, volume in volumes.items()
        if volume is not None
    }
    for name, path in sources.items():
        inputs.setdefault(name, {}).update(path=Path(path).name, sha256_files=digest_path(path))
    return inputs


def describe_result(
    phases: PhaseSet | None,
    region: Region,
    heatmap: Heatmap,
    judged: VesselGraph,
    graph: VesselGraph,
    mesh: Mesh,
    drawn: SurfaceConfig,
) -> dict[str, Any]:
    """Return what the stages made, ready for JSON; the keys are described in ``docs/results.md``."""
    heat = heatmap.heat
    return {
        "phases": {} if phases is None else {name: dict(phases.quality.get(name, {})) for name in phases},
        "region": {
            "kind": region.kind,
            "confidence": region.confidence,
            "note": region.note,
            "measurements": dict(region.measurements),
        },
        "heatmap": {"source": heatmap.source, "shape": list(heat.shape), "space": heat.space.to_dict()},
        "candidates": describe_graph(judged),
        "graph": describe_graph(graph),
        "named": named_vessels(graph),
        "dropped": dropped_branches(judged),
        "surface": {
            "n_points": mesh.n_points,
            "n_faces": mesh.n_faces,
            "step": drawn.step,
            "min_radius": drawn.min_radius,
            **_plain(asdict(check_surface(mesh, graph, drawn))),
        },
    }


def describe_graph(graph: VesselGraph) -> dict[str, int | float]:
    """Return the counts of a graph: nodes, branches, rooted trees, pieces, independent loops, and its length in mm.

    Examples
    --------
    >>> ring = VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 0]]])
    >>> describe_graph(ring)["n_loops"]
    1
    """
    trees = graph.edge_data.get("tree_id", np.zeros(0, np.int64))
    return {
        "n_nodes": graph.n_nodes,
        "n_branches": graph.n_edges,
        "n_trees": len(np.unique(trees[trees > 0])),
        "n_pieces": len(np.unique(component_labels(graph.edge_nodes, graph.n_nodes))),
        "n_loops": n_loops(graph.edge_nodes, graph.n_nodes),
        "length": round(graph.length, 3),
    }


def named_vessels(graph: VesselGraph) -> dict[str, dict[str, int | float]]:
    """Return branches and their length in mm by name (portal, hepatic, artery, not named); empty if nothing was named."""
    names = graph.edge_data.get("tree")
    if names is None or names.dtype.kind not in "iu":
        return {}
    rows = {name: names == value for value, name in (*TREE_NAMES.items(), (UNKNOWN, "not named"))}
    return {
        name: {"n_branches": int(mine.sum()), "length": round(float(graph.edge_length[mine].sum()), 3)}
        for name, mine in rows.items()
        if mine.any()
    }


def dropped_branches(judged: VesselGraph) -> dict[str, dict[str, int | float]]:
    """Return why candidate branches were cut: reason to number of branches and their length in mm, the longest first."""
    if judged.n_edges == 0:
        return {}
    cut = ~judged.edge_data["keep"].astype(bool)
    reasons, length = judged.edge_data["reason"], judged.edge_length
    rows = {str(reason): cut & (reasons == reason) for reason in np.unique(reasons[cut])}
    ordered = sorted(rows, key=lambda reason: -float(length[rows[reason]].sum()))
    return {
        reason: {"n_branches": int(rows[reason].sum()), "length": round(float(length[rows[reason]].sum()), 3)}
        for reason in ordered
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}
