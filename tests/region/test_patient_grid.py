import numpy as np
import pytest

from vesselgraph.region.patient_grid import to_patient_grid
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def turned(angle_deg):
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    return turn @ Space.axial().direction


@pytest.mark.parametrize("angle", [0.0, 25.0, 90.0, 180.0])
@pytest.mark.parametrize("spacing", [(5.0, 0.7, 0.7), (1.3, 1.3, 1.3), (2.0, 4.0, 1.0)])
def test_values_stay_at_their_world_place(angle, spacing):
    """A field that is linear in world coordinates survives block means and interpolation exactly."""
    space = Space(np.array(spacing), np.array([-40.0, 30.0, 700.0]), turned(angle))
    shape = tuple(int(90.0 / s) for s in spacing)
    world = space.to_world(np.stack(np.indices(shape), axis=-1))
    weights = np.array([2.0, -3.0, 0.5])
    grid = to_patient_grid(Volume((world @ weights).astype(np.float32), space), 3.0)
    where = grid.space.to_world(np.stack(np.indices(grid.hu.shape), axis=-1))
    inner = space.to_index(where)
    deep = ((inner > 8.0 / np.array(spacing)) & (inner < np.array(shape) - 1 - 8.0 / np.array(spacing))).all(axis=-1)
    assert deep.sum() > 1000
    np.testing.assert_allclose(grid.hu[deep], (where @ weights)[deep], atol=0.05)
    assert grid.covered[deep].all()


def test_an_aligned_image_is_covered_to_its_corners():
    grid = to_patient_grid(Volume(np.full((17, 31, 40), 50, dtype=np.int16), Space.axial((5.0, 0.9, 0.9))), 3.0)
    assert grid.covered.all()
    np.testing.assert_allclose(grid.hu, 50.0)


def test_corners_beyond_an_oblique_image_are_air_and_not_covered():
    space = Space(np.ones(3), np.zeros(3), turned(45.0))
    grid = to_patient_grid(Volume(np.full((30, 60, 60), 50, dtype=np.int16), space), 3.0)
    assert not grid.covered[:, 0, 0].any()
    assert (grid.hu[~grid.covered] == -1024.0).all()
    assert grid.covered.mean() == pytest.approx(0.5, abs=0.12)


def test_what_is_not_finite_counts_as_air():
    values = np.full((12, 12, 12), 50.0)
    values[:6] = np.nan
    grid = to_patient_grid(Volume(values, Space.axial()), 3.0)
    assert grid.hu[0].max() == -1024.0
    assert grid.hu[-1].min() == 50.0


def test_block_means_take_noise_away():
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 30.0, (60, 60, 60)).astype(np.float32)
    grid = to_patient_grid(Volume(noise, Space.axial()), 3.0)
    assert grid.hu.std() == pytest.approx(30.0 / np.sqrt(27.0), rel=0.05)
