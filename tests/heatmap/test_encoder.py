import numpy as np
import pytest
import torch

from vesselgraph.config import TileConfig
from vesselgraph.encoders import encode_volume, sample
from vesselgraph.errors import CheckpointError
from vesselgraph.heatmap.encoder import heatmap_encoder
from vesselgraph.heatmap.network import HeatmapNetwork, normalise
from vesselgraph.heatmap.weights import Card, save_weights
from vesselgraph.space import Space
from vesselgraph.volume import Volume


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    network = HeatmapNetwork((4, 8, 16), n_groups=2)
    save_weights(network, Card(widths=(4, 8, 16), n_groups=2, step=1.0, sigma=1.5), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def image_of(*shape, seed=0):
    values = np.random.default_rng(seed).normal(100, 150, shape).astype(np.float32)
    return Volume(values, Space.axial(origin=(5.0, -3.0, 2.0)))


def test_features_are_those_of_the_network(weights):
    encoder, image = heatmap_encoder(weights, phase="portal"), image_of(8, 12, 16)
    encoded = encode_volume(encoder, image)
    assert [tuple(one.data.shape[1:]) for one in encoded.maps] == [
        (4, 8, 12, 16),
        (4, 8, 12, 16),
        (8, 4, 6, 8),
        (16, 2, 3, 4),
    ]
    with torch.no_grad():
        direct = encoder.network({"portal": normalise(torch.tensor(image.array)[None, None])})
    assert torch.allclose(encoded.maps[0].data, direct.features, atol=1e-4)
    there = image.space.to_world([[3, 4, 5]])
    assert torch.allclose(sample(encoded, there)[0, :4], encoded.maps[0].data[0, :, 3, 4, 5])


def test_the_phase_is_told_to_the_network(weights):
    image = image_of(8, 8, 8)
    one, other = (encode_volume(heatmap_encoder(weights, phase=name), image).maps[0].data for name in ("portal", "arterial"))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("level", [2, 3])
def test_cells_lie_where_the_card_says(weights, level):
    """With even kernels a single bright voxel shows most in the cell at its place, and alike on both sides of it."""
    encoder = heatmap_encoder(weights)
    with torch.no_grad():
        for value in encoder.network.parameters():
            if value.ndim == 5:
                value.fill_(1.0 / value[0].numel())
    array = np.full((33, 33, 33), 100.0, np.float32)
    array[16, 16, 16] = 400.0
    seen = encode_volume(encoder, Volume(array, Space.axial())).maps[level].data[0, 0]
    cell = int(16 / encoder.card.maps[level].stride[0])
    assert float(seen[cell, cell, cell]) == float(seen.max())
    assert torch.allclose(seen[cell - 1, cell, cell], seen[cell + 1, cell, cell], rtol=1e-4)


def test_it_is_frozen_and_resampled_to_its_step(weights):
    encoder = heatmap_encoder(weights, config=TileConfig(tile=8, margin=4))
    assert not any(value.requires_grad for value in encoder.network.parameters())
    coarse = Volume(image_of(4, 8, 8).array, Space.axial((2.0, 1.0, 1.0)))
    assert encode_volume(encoder, coarse).shape == (8, 8, 8)


def test_missing_weights_raise(tmp_path):
    with pytest.raises(CheckpointError, match="got nothing at"):
        heatmap_encoder(tmp_path / "none.safetensors")
