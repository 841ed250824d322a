import numpy as np
import pytest
import torch

from tests.imaging.small import backbone_of, image_of
from tests.imaging.test_plugin import config_of, stirred
from vesselgraph.encoders.loading import random_encoder
from vesselgraph.errors import InputError
from vesselgraph.imaging.classifier import Classifier
from vesselgraph.imaging.heat import heat_of, log_odds
from vesselgraph.imaging.looking import Backbone, as_images, prepared, summarise
from vesselgraph.imaging.pictures import overlay_png
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.imaging.weights import make_plugin
from vesselgraph.imaging_config import PluginConfig


def made(family, **plugin):
    backbone, config = backbone_of(family), config_of(**plugin)
    return backbone, stirred(make_plugin(backbone, config, ("a", "b"), ("",))).eval(), config


def test_attention_is_weighted_by_slice():
    backbone, plugin, config = made("clip")
    volume = prepared(image_of(1), config, backbone)
    with torch.no_grad():
        tokens = summarise(backbone, volume)
        weights = plugin(plugin.batch([{"": tokens}])).slice_weights[""][0]
        looked = torch.cat([one.attention for one in backbone.encoder.looks(as_images(backbone, volume)[:, 0], attention=True)])
    heat = heat_of(backbone, plugin, {"": tokens}, "", volume, kind="attention", label=0)
    wanted = looked * weights[:, None, None]
    # At the centre of a cell the heat is that of the cell: patches of 8 pixels, so half way between pixels 3 and 4.
    seen = heat.array[:, 3:5, 3:5].mean((1, 2)) / heat.array[:, 11:13, 3:5].mean((1, 2))
    assert np.allclose(seen, (wanted[:, 0, 0] / wanted[:, 1, 0]).numpy(), rtol=0.2)
    per_slice = heat.array.max((1, 2)) / heat.array.max()
    assert np.allclose(per_slice, (wanted.amax((1, 2)) / wanted.max()).numpy(), atol=1e-5)
    assert (float(heat.array.min()) >= 0.0, float(heat.array.max())) == (True, 1.0)


@pytest.mark.parametrize("family", ["siglip", "convnext", "sam", "clip"])
def test_gradients_by_slice_are_grad_cam_of_the_whole(family):
    """The change of the log odds with the last map, taken in one go through everything, gives the same channel weights."""
    backbone, plugin, config = made(family)
    side = 32 if family == "convnext" else 16
    volume = prepared(image_of(1, side=side, depth=2), config, backbone)
    images = as_images(backbone, volume)[:, 0].clone().requires_grad_(True)
    seen = list(backbone.encoder.looks(images))
    assert len(seen) == 1
    tokens = seen[0].summary
    score = log_odds(plugin, plugin(plugin.batch([{"": tokens}])).raw)[0, 1]
    root = seen[0].root if seen[0].root is not None else seen[0].maps[-1]
    change = torch.autograd.grad(score, root)[0]
    if seen[0].root is not None:
        change = backbone.encoder.tower._grid(change, *seen[0].maps[-1].shape[2:])
    cam = (seen[0].maps[-1] * change.mean((2, 3), keepdim=True)).sum(1).relu().detach()
    heat = heat_of(backbone, plugin, {"": tokens.detach()}, "", volume, kind="gradient", label=1)
    if float(cam.max()) == 0:
        assert float(heat.array.max()) == 0
        return
    per_slice = (cam.amax((1, 2)) / cam.max()).numpy()
    assert np.allclose(heat.array.max((1, 2)), per_slice, atol=0.05 if family in {"clip", "sam"} else 1e-4)


def test_heat_of_a_mean_is_grad_cam_and_keeps_no_graph(monkeypatch):
    """The mean of a map changes evenly with it, so nothing has to be kept of the way there."""
    torch.manual_seed(0)
    backbone = Backbone(random_encoder("efficientnet-lite0", seed=0), "lite", "", "")
    config = config_of()
    plugin = stirred(make_plugin(backbone, config, ("a", "b"), ("",))).eval()
    volume = prepared(image_of(1, side=64, depth=3), config, backbone)
    images = as_images(backbone, volume)[:, 0].clone().requires_grad_(True)
    seen = next(backbone.encoder.looks(images))
    score = log_odds(plugin, plugin(plugin.batch([{"": seen.summary}])).raw)[0, 1]
    change = torch.autograd.grad(score, seen.maps[-1])[0]
    cam = (seen.maps[-1] * change.mean((2, 3), keepdim=True)).sum(1).relu().detach()
    tower, graphs = backbone.encoder.tower, []
    plain = tower.slope
    monkeypatch.setattr(tower, "slope", lambda seen, way: graphs.append(seen.maps[-1].requires_grad) or plain(seen, way))
    heat = heat_of(backbone, plugin, {"": seen.summary.detach()}, "", volume, kind="auto", label=1)
    assert graphs == [False]
    assert float(cam.max()) > 0
    assert np.allclose(heat.array.max((1, 2)), (cam.amax((1, 2)) / cam.max()).numpy(), atol=1e-4)


def test_log_odds_are_those_of_the_probability():
    for head in ("evidence", "focal"):
        plugin = TaskPlugin(4, ("a", "b"), PluginConfig(head=head))
        raw = torch.randn(3, 2, plugin.n_numbers)
        p = plugin.opinion(raw).probability
        assert torch.allclose(log_odds(plugin, raw), torch.logit(p), atol=1e-5)


def test_heat_lies_on_the_image_and_can_be_drawn():
    backbone, plugin, config = made("clip")
    classifier = Classifier(backbone)
    classifier.add("task", plugin, config)
    said = classifier.classify(image_of(1), heat="gradient", heat_label="b")
    assert said.heat[""].is_on_grid_of(said.shown[""])
    assert said.heat_label == "b"
    assert overlay_png(said.shown[""], said.heat[""], (0.0, 1.0)).startswith(b"\x89PNG")
    assert classifier.classify(image_of(1)).heat == {}
    with pytest.raises(InputError, match="label 'c'"):
        classifier.classify(image_of(1), heat_label="c")


def test_attention_of_a_network_without_a_class_token_raises():
    backbone, plugin, config = made("convnext")
    classifier = Classifier(backbone)
    classifier.add("task", plugin, config)
    with pytest.raises(InputError, match="an encoder with a class token; got convnext"):
        classifier.classify(image_of(1, side=32), heat="attention")


def test_showing_attention_does_not_change_later_answers():
    backbone, plugin, config = made("clip")
    classifier = Classifier(backbone)
    classifier.add("task", plugin, config)
    before = classifier.classify(image_of(1)).probability
    classifier.classify(image_of(1), heat="attention")
    assert (classifier.classify(image_of(1)).probability == before).all()


def test_a_network_of_volumes_pools_its_cells():
    encoder = random_encoder("segresnet-16", seed=0)
    backbone, config = Backbone(encoder, "segresnet-16", encoder.card.digest(), "random"), config_of()
    plugin = stirred(make_plugin(backbone, config, ("a",), ("",)))
    classifier = Classifier(backbone)
    classifier.add("task", plugin, config)
    said = classifier.classify(image_of(1, side=16, depth=16), heat="auto")
    # One cell for 8 voxels along each axis.
    assert said.slice_weights[""].shape == (8,)
    assert float(said.slice_weights[""].sum()) == pytest.approx(1.0)
    assert said.heat[""].shape == (16, 16, 16)
    with pytest.raises(InputError, match="a class token"):
        classifier.classify(image_of(1, side=16, depth=16), heat="attention")
