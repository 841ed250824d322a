"""Every kernel against the CPU on random volumes, none of whose sides is a multiple of a block or a brick."""

import dataclasses

import numpy as np
import pytest

from cuda_kernels import parity
from cuda_kernels.cases import Case, blobs, random_cases, section_case

SHAPES = [((9, 7, 11), 1), ((4, 13, 6), 2), ((3, 3, 3), 3)]


@pytest.mark.parametrize(("shape", "seed"), SHAPES, ids=str)
def test_kernels_agree_with_the_cpu(shape, seed):
    seen = []
    for case in random_cases(shape, seed):
        worst, agree = case.difference(case.on_cpu(), case.on_device())
        assert agree, f"{case.name}: {worst}"
        seen.append(case.name)
    assert seen == ["ridge filter", "foreground", "depth", "ridges", "thinning", "basins", "eikonal", "sampling", "sections"]


def test_sections_find_radii_at_all():
    (width,) = section_case(9, 0).on_device()
    assert np.isfinite(width).mean() > 0.5
    assert 1.0 < np.nanmedian(width) < 3.0


def test_blobs_are_the_same_for_the_same_seed():
    assert np.array_equal(blobs((4, 5, 6), 7), blobs((4, 5, 6), 7))
    assert not np.array_equal(blobs((4, 5, 6), 7), blobs((4, 5, 6), 8))


def one_case(result, tolerance=0.0, share=1.0):
    return Case("one", 4, lambda: (np.array([0.0, 1.0, 2.0, np.inf]),), lambda: (np.array(result),), tolerance, share)


@pytest.mark.parametrize(
    ("result", "tolerance", "share", "agree"),
    [
        ([0.0, 1.0, 2.0, np.inf], 0.0, 1.0, True),
        ([0.0, 1.0, 2.0, 7.0], 0.1, 1.0, False),
        ([0.0, 1.0, 2.1, np.inf], 0.1, 1.0, True),
        ([0.0, 1.0, 2.3, np.inf], 0.1, 1.0, False),
        ([0.0, 1.0, 2.3, np.inf], 0.1, 0.75, True),
        ([0.0, 1.0, np.nan, np.inf], 0.1, 1.0, False),
        ([0.0, 1.0, 2.0], 0.1, 1.0, False),
    ],
)
def test_what_counts_as_agreement(result, tolerance, share, agree):
    case = one_case(result, tolerance, share)
    assert case.difference(case.on_cpu(), case.on_device())[1] is agree


def test_parity_ends_with_1_on_a_mismatch(monkeypatch, capsys):
    def spoiled(shape, seed, share):
        first, *_ = random_cases((4, 5, 6), seed, share)
        yield first
        yield dataclasses.replace(first, name="spoiled", on_device=lambda: (first.on_device()[0] + np.float32(0.1),))

    monkeypatch.setattr("cuda_kernels.cases.random_cases", spoiled)
    assert parity.main(["--small"]) == 1
    printed = capsys.readouterr().out
    assert "spoiled" in printed
    assert "DIFFERS" in printed
    assert "1 of 2 agree" in printed
