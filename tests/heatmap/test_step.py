"""The step of the tracing grid and the smallest radius: rules by the image's spacing, and what is asked for."""

import numpy as np
import pytest

from vesselgraph.config import HeatmapConfig
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.space import Space
from vesselgraph.volume import Volume


@pytest.mark.parametrize(
    ("spacing", "step", "radius"),
    [
        ((1.6, 0.57, 0.57), 1.0, 1.0),
        ((0.7, 0.7, 0.7), 1.0, 1.0),
        ((0.4, 0.4, 0.4), 0.6, 0.6),
        ((0.5, 0.2, 0.2), 0.75, 0.75),
        ((0.2, 0.2, 0.2), 0.6, 0.6),
        ((5.0, 0.8, 0.8), 1.0, 1.0),
        ((3.0, 2.0, 2.0), 2.0, 1.0),
    ],
)
def test_step_follows_an_image_that_is_finer_than_usual_along_every_axis(spacing, step, radius):
    config = HeatmapConfig()
    assert config.step_for(spacing) == pytest.approx(step)
    assert config.smallest_radius(config.step_for(spacing)) == pytest.approx(radius)


def test_what_is_asked_for_counts_but_no_detail_is_invented():
    config = HeatmapConfig(step=0.5, min_radius=2.0)
    assert config.step_for((0.4, 0.4, 0.4)) == 0.5
    assert config.step_for((0.8, 0.8, 0.9)) == 0.8
    assert config.smallest_radius(0.5) == 2.0


def test_thin_vessel_of_a_fine_image_is_seen_on_a_finer_grid():
    array = np.random.default_rng(0).normal(100, 8, (60, 60, 60))
    index = np.stack(np.indices(array.shape), axis=-1) * 0.4
    array[np.linalg.norm(index[..., 1:] - 12.0, axis=-1) < 0.7] = 180
    heatmap = predict_heatmap(Volume(array.astype(np.float32), Space.axial((0.4, 0.4, 0.4))))
    assert heatmap.heat.space.spacing.tolist() == pytest.approx([0.6] * 3)
    middle = heatmap.heat.array[5:-5, 19:21, 19:21].max(axis=(1, 2))
    assert (middle > 0.5).all()
