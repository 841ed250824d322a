"""Phases by path, by volume and by series; what goes wrong names the phase."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesselgraph.errors import InputError
from vesselgraph.io import read_phases, write_image
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def small(seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).integers(-100, 200, (6, 6, 6)).astype(np.int16)
    return Volume(array, Space.axial((5.0, 5.0, 5.0)))


def test_one_phase_is_kept_as_it_is(tmp_path: Path) -> None:
    write_image(small(), tmp_path / "a.nii.gz")
    said: list[str] = []
    phases = read_phases({"late": tmp_path / "a.nii.gz"}, progress=lambda step, _: said.append(step))
    assert list(phases) == ["late"]
    assert phases["late"].name == "late"
    assert np.array_equal(phases["late"].array, small().array)
    assert phases.quality == {}
    assert phases.warnings == ()
    assert said == ["read late"]


def test_a_volume_may_stand_for_its_path() -> None:
    assert read_phases({"portal": small()}).reference.is_on_grid_of(small())


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected phase 'portal': a readable image file; got .*gone"):
        read_phases({"portal": tmp_path / "gone.nii"})
    with pytest.raises(InputError, match="at least one phase"):
        read_phases({})
