"""Features of a graph's branches: what an encoder says along each centreline. Needs torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vesselgraph.encoders.encoded import Encoded
from vesselgraph.encoders.sampling import sample
from vesselgraph.graph import VesselGraph

PARTS = ("mean", "max", "first", "last")
"""What is told of each channel: along the centreline, and at its two ends in the order of the edge's points."""


def branch_features(
    encoded: Encoded, graph: VesselGraph, *, item: int = 0, outside: Literal["raise", "nearest"] = "raise"
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the features of every edge, (n_edges, 4 x channels of all maps), and their names: map, channel, part.

    Mean and largest value along the points of the centreline, each point counting alike, then the values at its first and its
    last point. Cells are millimetres to centimetres wide: this tells what a branch runs through, not its shape.

    Parameters
    ----------
    encoded : Encoded
    graph : VesselGraph
        In the same world as the image; a graph without edges gives no rows.
    item : int
        Which image of the batch.
    outside : {"raise", "nearest"}
        What to do with points outside of the image.

    Raises
    ------
    RangeError
        A point lies outside of the image, or there is no such item.
    """
    channels = [f"{one.name or number}.{c}" for number, one in enumerate(encoded.maps) for c in range(one.data.shape[1])]
    names = tuple(f"{channel}.{part}" for part in PARTS for channel in channels)
    if not graph.n_edges:
        return np.zeros((0, len(names)), np.float32), names
    values = sample(encoded, graph.path_position, item=item, outside=outside).detach().cpu().numpy()
    first, last = graph.path_offset[:-1], graph.path_offset[1:] - 1
    mean = np.add.reduceat(values, first, axis=0, dtype=np.float64) / np.diff(graph.path_offset)[:, None]
    largest = np.maximum.reduceat(values, first, axis=0)
    return np.concatenate([mean, largest, values[first], values[last]], axis=1).astype(np.float32), names
