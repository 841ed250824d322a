"""Whether what was found also belongs to the right tree: portal, hepatic, artery, or simply tree 1, 2, 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vesselgraph.graph import VesselGraph
from vesselgraph.metrics.matching import Pairs, match_nearest_first, plain_value
from vesselgraph.metrics.sampling import Samples

IDENTITY_COLUMNS = ("tree", "tree_id")
TREE_NUMBERS = {"portal": "1", "hepatic": "2", "artery": "3"}
UNKNOWN = "0"

Labels = NDArray[np.str_]


@dataclass(frozen=True)
class IdentityScore:
    """Share of the length that is in both graphs and has the right tree.

    Parameters
    ----------
    accuracy : float
        With labels as they are: for names such as 1 portal, 2 hepatic, 3 artery.
    matched_accuracy : float
        After the best one-to-one renaming of the predicted labels: for trees that are only numbered. A tree in two pieces
        loses the smaller one, two trees in one lose the smaller.
    length : float, mm
        Length of the true branches with a label that was found at all; both shares are NaN if it is 0.
    confusion : mapping of true label to mapping of predicted label to length (mm)
        Predicted label "0" is unknown, and wrong.
    """

    accuracy: float
    matched_accuracy: float
    length: float
    confusion: Mapping[str, Mapping[str, float]]

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON; undefined is None."""
        return {
            "accuracy": plain_value(self.accuracy),
            "matched_accuracy": plain_value(self.matched_accuracy),
            "length": self.length,
            "confusion": {true: dict(row) for true, row in self.confusion.items()},
        }


def tree_labels(graph: VesselGraph, column: str | None = None) -> Labels | None:
    """Return the tree of each branch as text, (E,), from a branch column: the named one, else ``tree`` or ``tree_id``.

    Numbers and names are one vocabulary: portal is "1", hepatic "2", artery "3"; other names stay as they are, "" is "0" =
    unknown. None if the graph has no such column of whole numbers or text.
    """
    names = IDENTITY_COLUMNS if column is None else (column,)
    found = next((graph.edge_data[name] for name in names if name in graph.edge_data), None)
    if found is None or found.dtype.kind not in "iuU":
        return None
    numbers = TREE_NUMBERS | {"": UNKNOWN}
    values, inverse = np.unique(found, return_inverse=True)
    return np.array([numbers.get(str(value), str(value)) for value in values], dtype=np.str_)[inverse]


def score_identity(pairs: Pairs, ours: Samples, theirs: Samples, our_labels: Labels, their_labels: Labels) -> IdentityScore:
    """Return how much of the found length has the right tree.

    Parameters
    ----------
    pairs : Pairs
        Points of both within the tolerance: each true point is compared with the nearest free predicted one.
    ours, theirs : Samples
        Predicted and true points.
    our_labels, their_labels : (E,) text
        Tree of each branch; "0" = unknown. True points without a label are left out.
    """
    partner = match_nearest_first(pairs)
    found = np.flatnonzero(partner >= 0)
    true, label = their_labels[theirs.edge[partner[found]]], our_labels[ours.edge[found]]
    known = true != UNKNOWN
    true, label, weight = true[known], label[known], theirs.weight[partner[found]][known]
    rows, row = np.unique(true, return_inverse=True)
    columns, column = np.unique(label, return_inverse=True)
    table = np.zeros((len(rows), len(columns)))
    np.add.at(table, (row, column), weight)
    total = float(weight.sum())
    if not total:
        return IdentityScore(np.nan, np.nan, 0.0, {})
    named = columns != UNKNOWN
    best = table[:, named][linear_sum_assignment(table[:, named], maximize=True)].sum()
    confusion = {str(t): {str(c): float(table[i, j]) for j, c in enumerate(columns) if table[i, j]} for i, t in enumerate(rows)}
    return IdentityScore(float(weight[true == label].sum()) / total, float(best) / total, total, confusion)
