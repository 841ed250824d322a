"""The network: any phases in any order, and what it refuses."""

from __future__ import annotations

import itertools

import pytest
import torch

from vesselgraph.errors import InputError, ShapeError
from vesselgraph.heatmap.network import PHASES, HeatmapNetwork, normalise, phase_index


@pytest.fixture(scope="module")
def network() -> HeatmapNetwork:
    torch.manual_seed(0)
    return HeatmapNetwork((4, 8, 8), n_groups=2).eval()


def images(*names: str, side: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn((2, 1, side, side, side), generator=generator) for name in names}


def test_the_order_of_phases_changes_no_bit(network: HeatmapNetwork) -> None:
    given = images("native", "arterial", "portal", "delayed", "mystery")
    with torch.inference_mode():
        first = network(given)
        for names in itertools.islice(itertools.permutations(given), 0, 120, 7):
            again = network({name: given[name] for name in names})
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("names", [("portal",), ("arterial", "delayed"), ("native", "arterial", "portal", "delayed")])
def test_every_subset_of_phases_is_answered(network: HeatmapNetwork, names: tuple[str, ...]) -> None:
    with torch.inference_mode():
        output = network(images(*names))
    assert [part.shape[1] for part in output] == [1, 1, 3, 4]
    assert all(part.shape[2:] == (8, 8, 8) and torch.isfinite(part).all() for part in output)


def test_a_missing_phase_is_not_a_phase_of_zeros(network: HeatmapNetwork) -> None:
    given = images("portal")
    with torch.inference_mode():
        alone = network(given).heat
        filled = network({**given, "arterial": torch.zeros_like(given["portal"])}).heat
    assert not torch.allclose(alone, filled)


def test_a_phase_name_changes_the_answer_and_other_names_count_as_unknown(network: HeatmapNetwork) -> None:
    image = images("portal")["portal"]
    with torch.inference_mode():
        portal, unknown, other = (network({name: image}).heat for name in ("portal", "unknown", "T1 late"))
    assert not torch.allclose(portal, unknown)
    assert torch.equal(unknown, other)


def test_every_parameter_learns_from_two_phases() -> None:
    network = HeatmapNetwork((4, 8), n_groups=2)
    sum(part.square().mean() for part in network(images("portal", "native"))).backward()
    gradients = {name: value.grad for name, value in network.named_parameters()}
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())
    used = gradients["fusion.embedding.weight"].abs().sum(1) > 0
    assert [name for name, is_used in zip(PHASES, used, strict=True) if is_used] == ["native", "portal"]


def test_channels_last_changes_nothing_but_rounding(network: HeatmapNetwork) -> None:
    given = images("portal")
    with torch.inference_mode():
        plain = network(given).heat
        network.channels_last()
        moved = network({"portal": given["portal"].contiguous(memory_format=torch.channels_last_3d)}).heat
    torch.testing.assert_close(plain, moved, atol=1e-4, rtol=1e-4)


def test_a_fresh_network_sees_little_heat(network: HeatmapNetwork) -> None:
    with torch.inference_mode():
        heat = network(images("portal")).heat.sigmoid()
    assert float(heat.mean()) < 0.3


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, InputError, "at least one phase"),
        (images("portal", side=6), ShapeError, "multiples of 4"),
        ({**images("portal"), **images("native", side=12)}, ShapeError, "one shape"),
        ({"portal": torch.zeros(8, 8, 8)}, ShapeError, "batch, 1"),
    ],
)
def test_wrong_input_is_refused(
    network: HeatmapNetwork, given: dict[str, torch.Tensor], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        network(given)


def test_groups_must_divide_the_widths() -> None:
    with pytest.raises(InputError, match="divide"):
        HeatmapNetwork((6, 8), n_groups=4)


def test_values_are_scaled_and_cut() -> None:
    values = normalise(torch.tensor([-1000.0, 0.0, 100.0, 150.0, 3000.0]))
    assert values.tolist() == [-3.0, -1.0, 0.0, 0.5, 4.0]


def test_phase_names() -> None:
    assert [phase_index(name) for name in PHASES] == [0, 1, 2, 3, 4]
    assert phase_index("") == 4
