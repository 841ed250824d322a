"""The learned pruner: it learns what it can, links matter where they must, and probabilities mean what they say."""

import numpy as np
import pytest
import torch

from vesselgraph.errors import ConfigError, InputError
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruning.attention import BranchAttention, Zhang2020
from vesselgraph.pruning.branch_graph import RELATIONS
from vesselgraph.pruning.learning import PrunerCase, best_temperature, calibration_error, fit_pruner, make_model

FAST = TrainPrunerConfig(width=16, n_layers=2, n_heads=2, n_epochs=30, rate=1e-2, dropout=0.0, feature_noise=0.0)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def chain_case(seed, *, by_parent=False, n=60):
    """Return a chain of pieces; a piece is real if its own first feature is positive, or its parent's is."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 3)).astype(np.float32)
    parent, child = np.arange(n - 1), np.arange(1, n)
    link = np.stack([parent, child])
    relation = np.zeros((n - 1, len(RELATIONS)), np.float32)
    relation[:, 0] = 1.0
    presence = (features[:, 0] > 0).astype(np.float32)
    if by_parent:
        presence[1:] = presence[:-1].copy()
    return PrunerCase(features, link, relation, presence, np.ones(n, np.float32))


def accuracy(fit, case):
    return float(np.mean((fit.presence(case) > 0.5) == (case.presence > 0.5)))


def test_it_learns_what_a_piece_says_about_itself():
    training, validation = [chain_case(s) for s in range(6)], [chain_case(s) for s in (10, 11)]
    fit = fit_pruner(training, validation, FAST, kind="perceptron")
    assert accuracy(fit, chain_case(20)) > 0.93
    assert fit.curve[-1]["validation"] < 0.6 * fit.curve[0]["validation"]


def test_attention_learns_from_the_parent_and_a_perceptron_cannot():
    training = [chain_case(s, by_parent=True) for s in range(8)]
    validation, test = [chain_case(s, by_parent=True) for s in (10, 11)], chain_case(20, by_parent=True, n=200)
    assert accuracy(fit_pruner(training, validation, FAST), test) > 0.9
    assert accuracy(fit_pruner(training, validation, FAST, kind="perceptron"), test) < 0.7


def test_the_same_seed_gives_the_same_weights():
    runs = [fit_pruner([chain_case(0)], [chain_case(1)], FAST.model_copy(update={"n_epochs": 3})) for _ in range(2)]
    for one, other in zip(runs[0].model.state_dict().values(), runs[1].model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_piece_that_is_partly_real_is_said_to_be():
    case = chain_case(3, n=200)
    half = PrunerCase(case.features, case.link, case.relation, np.full(200, 0.3, np.float32), case.length)
    assert fit_pruner([half], [half], FAST).presence(half).mean() == pytest.approx(0.3, abs=0.03)


def test_a_perceptron_does_not_look_at_links():
    case = chain_case(0)
    model = make_model("perceptron", 3, FAST).eval()
    inputs = torch.from_numpy(case.features), torch.from_numpy(case.link), torch.from_numpy(case.relation)
    alone = torch.zeros((2, 0), dtype=torch.int64), torch.zeros((0, len(RELATIONS)))
    torch.testing.assert_close(model(*inputs), model(inputs[0], *alone))


def test_the_published_baseline_ignores_near_pieces():
    case = chain_case(0)
    near = case.relation.copy()
    near[:, RELATIONS.index("near")] = 1.0
    torch.manual_seed(0)
    model = Zhang2020(3).eval()
    inputs = torch.from_numpy(case.features), torch.from_numpy(case.link)
    alone = model(inputs[0], torch.zeros((2, 0), dtype=torch.int64), torch.zeros((0, len(RELATIONS))))
    torch.testing.assert_close(model(*inputs, torch.from_numpy(near)), alone)
    assert not torch.allclose(model(*inputs, torch.from_numpy(case.relation)), alone)


def test_numbering_of_pieces_does_not_matter():
    case = chain_case(0)
    model = make_model("attention", 3, FAST).eval()
    order = np.random.default_rng(0).permutation(len(case.features))
    place = np.argsort(order)
    here = model(torch.from_numpy(case.features), torch.from_numpy(case.link), torch.from_numpy(case.relation))
    there = model(torch.from_numpy(case.features[order]), torch.from_numpy(place[case.link]), torch.from_numpy(case.relation))
    torch.testing.assert_close(here[order], there, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(true_temperature):
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20_000)
    presence = (rng.random(20_000) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    found = best_temperature((logit * true_temperature).astype(np.float32), presence, np.ones(20_000, np.float32))
    assert found == pytest.approx(true_temperature, rel=0.06)


def test_calibration_error_by_hand():
    probability = np.array([0.9, 0.9, 0.1, 0.1], np.float32)
    presence = np.array([1.0, 0.0, 0.0, 0.0], np.float32)
    error, table = calibration_error(probability, presence, np.array([1.0, 1.0, 1.0, 1.0], np.float32), n_bins=10)
    assert error == pytest.approx(0.5 * 0.4 + 0.5 * 0.1, abs=1e-6)
    assert [round(row["share"], 3) for row in table] == [0.5, 0.5]


def test_bad_requests_are_refused():
    with pytest.raises(InputError, match="training and validation cases"):
        fit_pruner([], [chain_case(0)])
    with pytest.raises(InputError, match="a model among"):
        make_model("forest", 3, FAST)
    with pytest.raises(ConfigError, match="multiple of 4 heads"):
        BranchAttention(3, width=30, n_heads=4)
