"""Trees named by the user: a root that is called portal, hepatic or artery names everything that grows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from vesselgraph.edit import given_roots, merge_degree_two, root_points, root_trees, roots_of_branches
from vesselgraph.errors import InputError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.pruning.contacts import doubled
from vesselgraph.pruning.naming import TREE_NAMES, UNKNOWN
from vesselgraph.space import FloatArray
from vesselgraph.volume import Volume

_NUMBER = {name: value for value, name in TREE_NAMES.items()}
UNNAMED = ""
"""Name of a root of which no tree is told."""


@dataclass(frozen=True)
class Planted:
    """Where the user says that trees start, and what they are.

    Attributes
    ----------
    points : (P, 3)
        World LPS, mm.
    point_trees : (P,)
        1 portal, 2 hepatic, 3 artery, 0 not told.
    labels : Volume or None
        Each value but 0 is a tree whose root lies there.
    label_trees : mapping of a label's value to 1, 2 or 3
        Values that are left out have no name.
    """

    points: FloatArray
    point_trees: IntArray
    labels: Volume | None
    label_trees: Mapping[int, int]

    @classmethod
    def of(
        cls,
        roots: ArrayLike | Mapping[str, ArrayLike] | None,
        labels: Volume | None,
        label_names: Mapping[int, str] | None,
        bounds: FloatArray | None = None,
    ) -> Planted:
        """Return what a user gave, checked: see :func:`vesselgraph.reconstruct`.

        Raises
        ------
        InputError
            An unknown name, a name for a label that is not in the image, names without labels, or bad places: see
            :func:`vesselgraph.edit.root_points`.
        """
        by_name = roots if isinstance(roots, Mapping) else {UNNAMED: roots}
        numbers = [UNKNOWN if name == UNNAMED else _number(name) for name in by_name]
        places = [root_points(where, bounds) for where in by_name.values()]
        trees = np.repeat(np.array(numbers, np.int64), [len(where) for where in places])
        named = {int(value): _number(name) for value, name in (label_names or {}).items()}
        present = set() if labels is None else set(np.unique(labels.array).tolist()) - {0}
        missing = sorted(set(named) - present)
        if missing:
            there = ", ".join(f"{value:g}" for value in sorted(present)) or "no labels"
            raise InputError(f"root labels of the value {missing[0]}", there, "name values that the label image holds")
        return cls(np.concatenate([root_points(None), *places]), trees, labels, named)

    def names(self) -> dict[str, list[str]]:
        """Return the name of each point and of each label that has one, for the record; "" where none was told."""
        labels = [f"{value} {TREE_NAMES[tree]}" for value, tree in sorted(self.label_trees.items())]
        return {"roots": [TREE_NAMES.get(int(tree), UNNAMED) for tree in self.point_trees], "labels": labels}

    def trees(self) -> Sequence[int]:
        """Return the number of the tree of every given root, in the order of :func:`vesselgraph.edit.given_roots`."""
        values = [] if self.labels is None else [v for v in np.unique(self.labels.array).tolist() if v != 0]
        return [*self.point_trees.tolist(), *(self.label_trees.get(int(value), UNKNOWN) for value in values)]


def _number(name: str) -> int:
    if name not in _NUMBER:
        raise InputError(f"a tree called {', '.join(_NUMBER)}", repr(name), "use one of these names, or none")
    return _NUMBER[name]


def plant(graph: VesselGraph, planted: Planted, *, organ: Volume | None = None) -> VesselGraph:
    """Return the graph with the user's roots, and the names of theirs on every branch that grows from one.

    Parameters
    ----------
    graph : VesselGraph
        Pruned.
    planted : Planted
        What the user said.
    organ : Volume, optional
        As of :func:`vesselgraph.edit.find_roots`.

    Returns
    -------
    graph : VesselGraph
        That of :func:`vesselgraph.edit.root_trees`. If a root has a name: a branch belongs to the root it is nearer to along
        the vessels, and takes its name (edge column ``tree``) with ``tree_confidence`` 1; branches of other roots keep what
        they had. Where different names then meet, the node is doubled (node column ``contact``).

    Raises
    ------
    InputError
        As :func:`vesselgraph.edit.find_roots`; or roots of two names are the same node.

    Examples
    --------
    >>> line = VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]], [[9, 0, 0], [30, 0, 0]]])
    >>> graph = plant(line, Planted.of({"portal": [0, 0, 0], "hepatic": [30, 0, 0]}, None, None))
    >>> graph.edge_data["tree"].tolist(), graph.node_data["contact"].tolist()
    ([1, 2], [False, True, True, False])
    """
    rooted = root_trees(graph, points=planted.points, labels=planted.labels, organ=organ)
    trees = planted.trees()
    if not any(trees):
        return rooted
    own = np.full(rooted.n_nodes, UNKNOWN)
    for node, value in zip(given_roots(rooted, points=planted.points, labels=planted.labels), trees, strict=True):
        if value and own[node] not in (UNKNOWN, value):
            raise InputError(
                "roots of different trees at different ends",
                f"{TREE_NAMES[int(own[node])]} and {TREE_NAMES[value]} both at {rooted.node_position[node].round(1).tolist()}",
                "give places nearer to the two vessels; they may be joined in this graph",
            )
        own[node] = max(value, own[node])
    said = own[roots_of_branches(rooted)]
    before = rooted.edge_data.get("tree", np.zeros(rooted.n_edges, np.int64))
    sure = rooted.edge_data.get("tree_confidence", np.zeros(rooted.n_edges))
    tree = np.where(said == UNKNOWN, before, said)
    named = rooted.with_columns(edge={"tree": tree, "tree_confidence": np.where(said == UNKNOWN, sure, 1.0)})
    contact = named.node_data.get("contact", np.zeros(named.n_nodes, np.bool_)).astype(bool)
    apart = doubled(named.with_columns(node={"touched": contact}), tree)
    columns = dict(apart.node_data)
    # Of a root at which another tree ends, that end is none.
    starts = np.isin(np.arange(apart.n_nodes), apart.edge_nodes[:, 0])
    columns["root"] = columns["root"] & (starts | ~columns["contact"])
    columns["contact"] = columns["contact"] | columns.pop("touched")
    return merge_degree_two(replace(apart, node_data=columns))[0]
