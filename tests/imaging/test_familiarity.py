"""How strange an image is: by hand, by rank, and through a trained classifier."""

import numpy as np
import pytest
import torch

from tests.imaging.small import backbone_of, image_of, recipe, write_cases
from vesselgraph.imaging.classifier import Classifier
from vesselgraph.imaging.familiarity import N_REFERENCES, Familiarity
from vesselgraph.imaging.results import Limits
from vesselgraph.imaging.training import train_classifier
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def drawn(n, seed=0, width=6):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, width)) * np.array([4.0, 2.0, 1.0, 0.3, 0.3, 0.3])[:width], dtype=torch.float32)


def fitted(n=200, n_axes=3):
    known = Familiarity(6, n_axes)
    known.fit(drawn(n))
    return known


def test_distance_by_hand():
    known = Familiarity(3, n_axes=1)
    # Variance 2 * 9 / 3 = 6 along the first axis; 2 * 1 / 3 beyond it, spread over two channels.
    known.fit(torch.tensor([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]]))
    assert known.distance(torch.tensor([[6.0, 0, 0], [0, 0, 2]])).tolist() == pytest.approx([36 / 6, 4 / (1 / 3)], rel=1e-4)


def test_images_of_the_same_kind_are_as_strange_as_their_rank_says():
    share = fitted().strangeness(drawn(2000, seed=1))
    for level in (0.5, 0.9, 0.95):
        assert float((share > level).float().mean()) == pytest.approx(1 - level, abs=0.05)


def test_far_images_are_stranger_than_all_and_turning_changes_nothing():
    known = fitted(20)
    assert known.strangeness(torch.full((1, 6), 30.0)).item() == pytest.approx(20 / 21)
    turn = torch.tensor(np.linalg.qr(np.random.default_rng(4).normal(size=(6, 6)))[0], dtype=torch.float32)
    other = Familiarity(6, 3)
    other.fit(drawn(20) @ turn)
    new = drawn(5, seed=2)
    torch.testing.assert_close(other.distance(new @ turn), known.distance(new), rtol=1e-3, atol=1e-3)


def test_many_images_keep_evenly_spaced_ranks():
    known = fitted(1000)
    assert known.reference.isfinite().all()
    assert len(known.reference) == N_REFERENCES
    assert (known.reference.diff() >= 0).all()


def test_of_too_few_images_nothing_is_said():
    assert fitted(2).strangeness(drawn(1)).isnan().all()


def test_limits_refer_what_is_doubtful_strange_or_unknown():
    assert Limits().mark(1.0, 1.0) == ""
    assert [Limits(uncertainty=0.5).mark(u, 1.0) for u in (0.4, 0.6)] == ["no", "yes"]
    assert [Limits(strangeness=0.9).mark(0.0, s) for s in (0.9, 0.95, float("nan"))] == ["no", "yes", "yes"]


@pytest.mark.parametrize("plugin", [{}, {"adapter": "lora", "rank": 2}], ids=["bare", "lora"])
def test_a_classifier_tells_images_of_another_kind(tmp_path, plugin):
    config = recipe(write_cases(tmp_path, n=24), n_epochs=1, plugin=plugin)
    backbone = backbone_of()
    weights = train_classifier(config, tmp_path / "run", backbone=backbone).weights
    classifier = Classifier(backbone)
    classifier.load(weights)
    usual = [classifier.classify(image_of(100 + n, bright=n % 2 == 1)).strangeness for n in range(8)]
    stripes = np.tile((np.arange(16) % 4 < 2).astype(np.float32), (3, 16, 1))
    strange = classifier.classify(Volume(stripes, Space.axial((3.0, 1.0, 1.0)))).strangeness
    assert strange == pytest.approx(16 / 17)
    assert np.mean(usual) < 0.9
