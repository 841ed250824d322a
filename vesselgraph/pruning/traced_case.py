"""Traced graphs with their truth on disk: what the learned pruner is fitted to and measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import InputError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.io.atomic import atomic_path
from vesselgraph.space import Space
from vesselgraph.volume import Volume

LAYOUT = 2
"""Raised when the file or the features change, so that what was kept from earlier is not used."""

_AXES = ("node", "edge", "path")
_PLACE = ("spacing", "origin", "direction")
_ARRAYS = ("node_position", "node_radius", "edge_nodes", "path_offset", "path_position", "path_radius")


@dataclass(frozen=True, eq=False)
class TracedCase:
    """The pieces of one over-complete graph with everything known about them.

    Attributes
    ----------
    pieces, truth : VesselGraph
        Candidates, every edge a piece; all true vessels, with the edge columns ``tree`` and ``visibility_<phase>``.
    region : Volume
        bool: where vessels were looked for.
    features : (P, F) float32
        See :func:`~vesselgraph.pruning.features.piece_features`.
    names : tuple of str
        Of the features.
    link, relation : (2, K) int64, (K, R) float32
        See :class:`~vesselgraph.pruning.branch_graph.BranchGraph`.
    """

    pieces: VesselGraph
    truth: VesselGraph
    region: Volume
    features: NDArray[np.float32]
    names: tuple[str, ...]
    link: IntArray
    relation: NDArray[np.float32]

    def features_of(self, groups: Sequence[str]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """Return the features of some groups and their names.

        Raises
        ------
        InputError
            A group was not measured.
        """
        chosen = [k for k, name in enumerate(self.names) if name.partition(".")[0] in groups]
        missing = set(groups) - {self.names[k].partition(".")[0] for k in chosen}
        if missing:
            raise InputError("feature groups that were measured", ", ".join(sorted(missing)), "make the graphs again")
        return self.features[:, chosen], tuple(self.names[k] for k in chosen)

    def save(self, path: Path) -> None:
        """Write everything into one archive, whole or not at all."""
        stored: dict[str, Any] = {
            "features": self.features,
            "names": np.array(self.names),
            "link": self.link,
            "relation": self.relation,
            "region": np.packbits(self.region.array.astype(np.bool_)),
            "shape": np.array(self.region.shape),
            **{f"space:{name}": getattr(self.region.space, name) for name in _PLACE},
            **_packed("pieces", self.pieces),
            **_packed("truth", self.truth),
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **stored)

    @classmethod
    def load(cls, path: Path) -> TracedCase:
        """Return a graph that :meth:`save` wrote."""
        with np.load(path) as stored:
            names = tuple(str(name) for name in stored["names"])
            pieces, truth = (_unpacked(name, stored) for name in ("pieces", "truth"))
            shape = stored["shape"]
            inside = np.unpackbits(stored["region"], count=int(np.prod(shape))).reshape(shape).astype(np.bool_)
            region = Volume(inside, Space(*(stored[f"space:{name}"] for name in _PLACE)), "region")
            return cls(pieces, truth, region, stored["features"], names, stored["link"], stored["relation"])


def _packed(prefix: str, graph: VesselGraph) -> dict[str, Any]:
    arrays = {f"{prefix}:{name}": getattr(graph, name) for name in _ARRAYS}
    for axis in _AXES:
        arrays |= {f"{prefix}:{axis}:{name}": column for name, column in getattr(graph, f"{axis}_data").items()}
    return arrays


def _unpacked(prefix: str, stored: Any) -> VesselGraph:
    columns: dict[str, dict[str, Any]] = {axis: {} for axis in _AXES}
    for name in stored.files:
        owner, _, rest = name.partition(":")
        axis, sign, column = rest.partition(":")
        if owner == prefix and sign:
            columns[axis][column] = stored[name]
    arrays = {name: stored[f"{prefix}:{name}"] for name in _ARRAYS}
    return VesselGraph(**arrays, node_data=columns["node"], edge_data=columns["edge"], path_data=columns["path"])
