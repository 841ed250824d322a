import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from vesselgraph.encoders.encoded import Encoded, FeatureMap
from vesselgraph.encoders.sampling import read_map, resampled_map, sample
from vesselgraph.errors import RangeError, ShapeError
from vesselgraph.space import Space


def oblique(seed):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return Space(rng.uniform(0.4, 3.0, 3), rng.uniform(-200, 200, 3), turn)


def linear_field(space, stride, offset, cells, coefficients):
    """Return a map whose cells hold a linear function of the world position of their centres."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in cells), indexing="ij"), axis=-1)
    world = space.to_world(index * np.asarray(stride) + np.asarray(offset))
    return torch.from_numpy(world @ coefficients[:3] + coefficients[3])[None, None]


@given(st.integers(0, 10_000))
def test_a_linear_field_is_read_exactly(seed):
    rng = np.random.default_rng(seed)
    space, cells = oblique(seed), tuple(int(n) for n in rng.integers(2, 6, 3))
    stride, offset = rng.uniform(1.0, 8.0, 3), rng.uniform(0.0, 4.0, 3)
    coefficients = rng.normal(size=4)
    shape = tuple(int(n) for n in np.ceil(offset + stride * np.asarray(cells)) + 1)
    data = linear_field(space, stride, offset, cells, coefficients)
    encoded = Encoded((FeatureMap(data, tuple(stride), tuple(offset)),), (space,), shape)
    inside = offset + rng.uniform(0.0, 1.0, (20, 3)) * stride * (np.asarray(cells) - 1)
    points = space.to_world(inside)
    assert np.allclose(sample(encoded, points).numpy()[:, 0], points @ coefficients[:3] + coefficients[3], atol=1e-4)


@given(st.integers(0, 10_000))
def test_equals_scipy_with_edges_held(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=tuple(rng.integers(1, 5, 3)))
    stride, offset = (1.0, 2.0, 4.0), (0.0, 0.5, 1.5)
    index = rng.uniform(-3.0, 25.0, (30, 3))
    got = read_map(FeatureMap(torch.from_numpy(values)[None, None], stride, offset), torch.from_numpy(index))
    cells = (index - np.asarray(offset)) / np.asarray(stride)
    wanted = map_coordinates(values, cells.T, order=1, mode="nearest")
    assert np.allclose(got.numpy()[:, 0], wanted, atol=1e-5)


def test_by_hand_two_maps_of_two_items():
    # Cells of 2 voxels: centres at 0.5 and 2.5; voxels are 1 mm.
    fine = torch.tensor([[[[[0.0, 10.0]]]], [[[[5.0, 7.0]]]]])
    coarse = torch.tensor([[[[[3.0]]]], [[[[4.0]]]]])
    spaces = (Space.axial(), Space.axial(origin=(100.0, 0.0, 0.0)))
    maps = (FeatureMap(fine, (1, 1, 2), (0, 0, 0.5)), FeatureMap(coarse, (1, 1, 4), (0, 0, 1.5)))
    encoded = Encoded(maps, spaces, (1, 1, 4))
    assert encoded.n_channels == 2
    assert sample(encoded, [[1.0, 0, 0], [3.4, 0, 0]]).tolist() == [[2.5, 3.0], [10.0, 3.0]]
    assert sample(encoded, [[101.5, 0, 0]], item=1).tolist() == [[6.0, 4.0]]


def test_no_points_give_no_rows():
    maps = (FeatureMap(torch.zeros(1, 7, 1, 1, 1), (1, 1, 1), (0, 0, 0)),)
    assert sample(Encoded(maps, (Space.axial(),), (1, 1, 1)), np.zeros((0, 3))).shape == (0, 7)


def test_half_precision_is_read_as_float32_and_gradients_flow():
    data = torch.ones(1, 2, 2, 2, 2, dtype=torch.float16, requires_grad=True)
    said = sample(Encoded((FeatureMap(data, (1, 1, 1), (0, 0, 0)),), (Space.axial(),), (2, 2, 2)), [[0.5, 0.5, 0.5]])
    said.sum().backward()
    assert said.dtype == torch.float32
    assert data.grad.sum() == pytest.approx(2.0)


@pytest.fixture
def small():
    return Encoded((FeatureMap(torch.zeros(1, 1, 2, 2, 2), (1, 1, 1), (0, 0, 0)),), (Space.axial(),), (2, 2, 2))


def test_points_outside_raise_with_their_numbers(small):
    with pytest.raises(RangeError, match=r"1 outside, the first \[1\]"):
        sample(small, [[0, 0, 0], [9, 0, 0], [-0.5, -0.5, 1.5]])
    assert sample(small, [[9, 0, 0]], outside="nearest").tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("points", "error", "said"),
    [
        ([1.0, 2.0, 3.0], ShapeError, "points of shape"),
        ([[1.0, 2.0]], ShapeError, "points of shape"),
        ([[np.nan, 0, 0]], RangeError, r"points \[0\] are not"),
    ],
)
def test_bad_points_raise(small, points, error, said):
    with pytest.raises(error, match=said):
        sample(small, points)


def test_an_item_that_is_not_there_raises(small):
    with pytest.raises(RangeError, match="an item below 1"):
        sample(small, [[0, 0, 0]], item=1)


def test_parts_that_do_not_fit_raise():
    one = FeatureMap(torch.zeros(2, 1, 1, 1, 1), (1, 1, 1), (0, 0, 0))
    with pytest.raises(ShapeError, match="one image per space"):
        Encoded((one,), (Space.axial(),), (1, 1, 1))
    with pytest.raises(ShapeError, match="tokens"):
        Encoded((one,), (Space.axial(),) * 2, (1, 1, 1), tokens=torch.zeros(2, 3, 4))
    with pytest.raises(ShapeError, match="a map"):
        FeatureMap(torch.zeros(1, 1, 1), (1, 1, 1), (0, 0, 0))


def test_a_map_on_other_cells_keeps_a_linear_field():
    data = torch.arange(5.0).view(1, 1, 1, 1, 5).expand(1, 1, 3, 4, 5)
    one = FeatureMap(data, (1, 1, 2), (0, 0, 0.5))
    # New centres at voxels 1.5, 4.5 and 7.5: cells 0.5, 2 and 3.5.
    got = resampled_map(one, (1, 1, 3), (0, 0, 1.5), (3, 4, 3))
    assert got.shape == (1, 1, 3, 4, 3)
    assert got[0, 0, 2, 3].tolist() == [0.5, 2.0, 3.5]
