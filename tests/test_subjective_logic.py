import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Beta, Dirichlet, kl_divergence

from vesselgraph.errors import RangeError, ShapeError
from vesselgraph.subjective_logic import divergence_from_even, evidence_loss, evidence_of, opinion

amounts = st.floats(0.0, 200.0)


@given(amounts, amounts)
def test_masses_sum_to_one_and_the_probability_is_the_mean_of_the_beta(plus, minus):
    said = opinion(torch.tensor([plus, minus], dtype=torch.float64))
    assert float(said.belief + said.disbelief + said.uncertainty) == pytest.approx(1.0)
    assert float(said.probability) == pytest.approx(float(Beta(plus + 1.0, minus + 1.0).mean), rel=1e-5)
    assert float(said.uncertainty) == pytest.approx(2.0 / (plus + minus + 2.0))


@given(amounts, amounts, st.booleans())
def test_fit_is_the_two_class_dirichlet_form_and_the_expected_squared_error(plus, minus, positive):
    """Half of Sensoy's sum over the two classes, which are mirror images, and a numeric integral over the Beta distribution."""
    evidence = torch.tensor([plus, minus], dtype=torch.float64)
    ours = float(evidence_loss(evidence, torch.tensor(float(positive), dtype=torch.float64), 0.0))
    alpha = evidence + 1.0
    truth = torch.tensor([float(positive), 1.0 - float(positive)], dtype=torch.float64)
    mean = alpha / alpha.sum()
    dirichlet = ((truth - mean) ** 2 + mean * (1.0 - mean) / (alpha.sum() + 1.0)).sum() / 2.0
    assert ours == pytest.approx(float(dirichlet), rel=1e-9)
    variance = Dirichlet(alpha).variance[0]
    assert ours == pytest.approx(float((truth[0] - mean[0]) ** 2 + variance), rel=1e-6)


@given(st.floats(1.0, 500.0))
def test_divergence_is_that_of_torch(b):
    one = torch.tensor(1.0, dtype=torch.float64)
    wanted = kl_divergence(Beta(one, one * b), Beta(one, one))
    assert float(divergence_from_even(one * b)) == pytest.approx(float(wanted), abs=1e-9)
    mirrored = kl_divergence(Beta(one * b, one), Beta(one, one))
    assert float(mirrored) == pytest.approx(float(wanted), abs=1e-9)


def test_only_misleading_evidence_is_pulled_back():
    right, wrong = torch.tensor([9.0, 0.0]), torch.tensor([0.0, 9.0])
    yes = torch.tensor(1.0)
    assert float(evidence_loss(right, yes, 1.0)) == float(evidence_loss(right, yes, 0.0))
    assert float(evidence_loss(wrong, yes, 1.0)) > float(evidence_loss(wrong, yes, 0.0)) + 1.0


def test_evidence_is_never_negative():
    assert bool((evidence_of(torch.linspace(-50, 50, 101)) >= 0).all())
    with pytest.raises(RangeError, match="evidence of at least 0; got -1"):
        opinion(torch.tensor([-1.0, 2.0]))
    with pytest.raises(ShapeError, match="two numbers a label"):
        evidence_loss(torch.zeros(3), torch.tensor(0.0), 0.1)
