"""Features along centrelines: exact on a field that is linear in space."""

import numpy as np
import pytest
import torch

from vesselgraph.encoders.branches import PARTS, branch_features
from vesselgraph.encoders.encoded import Encoded, FeatureMap
from vesselgraph.errors import RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.space import Space


def encoded() -> Encoded:
    """Return a map of 2 mm cells whose channels are the world x and minus y of their centres, on 16 mm."""
    index = np.stack(np.meshgrid(*(2.0 * np.arange(8) + 0.5,) * 3, indexing="ij"), -1)
    world = Space.axial().to_world(index.reshape(-1, 3)).reshape(8, 8, 8, 3)
    data = torch.tensor(np.stack([world[..., 0], -world[..., 1]])[None], dtype=torch.float32)
    return Encoded((FeatureMap(data, (2.0,) * 3, (0.5,) * 3, "place"),), (Space.axial(),), (16, 16, 16))


def graph() -> VesselGraph:
    return VesselGraph.from_paths(
        [np.array([[2.0, 2, 2], [4, 2, 2], [9, 5, 2]]), np.array([[9.0, 5, 2], [3, 11, 4]])], [np.ones(3), np.ones(2)]
    )


def test_mean_largest_and_ends_of_each_branch() -> None:
    values, names = branch_features(encoded(), graph())
    assert names == tuple(f"place.{c}.{part}" for part in PARTS for c in (0, 1))
    expected = [[5, -3, 9, -2, 2, -2, 9, -5], [6, -8, 9, -5, 9, -5, 3, -11]]
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_a_graph_without_branches_has_no_rows() -> None:
    empty = VesselGraph.from_paths([], [])
    values, names = branch_features(encoded(), empty)
    assert values.shape == (0, len(names))


def test_a_branch_that_leaves_the_image_is_named() -> None:
    shifted = VesselGraph.from_paths([np.array([[2.0, 2, 2], [40, 2, 2]])], [np.ones(2)])
    with pytest.raises(RangeError, match=r"1 outside, the first \[1\]"):
        branch_features(encoded(), shifted)
    values, _ = branch_features(encoded(), shifted, outside="nearest")
    assert values[0, 2] == pytest.approx(14.5)
