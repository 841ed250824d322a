import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from vesselgraph.errors import InputError, ShapeError
from vesselgraph.imaging.pooling import QueryPool, make_pool


def drawn(n, width=6, seed=0):
    return torch.randn(2, n, width, generator=torch.Generator().manual_seed(seed))


def moved(pool):
    with torch.no_grad():
        pool.query.normal_(generator=torch.Generator().manual_seed(5))
    return pool


@given(st.integers(1, 9), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_query_pooling_is_scaled_dot_product_attention(n, seed):
    pool, tokens = moved(QueryPool(6)), drawn(n, seed=seed)
    query = pool.query.expand(2, 1, 6)
    wanted = scaled_dot_product_attention(query, tokens, tokens)[:, 0]
    assert torch.allclose(pool(tokens, torch.ones(2, n, dtype=torch.bool))[0], wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["query", "mean", "max"])
def test_the_order_of_slices_does_not_matter(kind):
    pool, tokens, order = make_pool(kind, 6), drawn(7), torch.randperm(7)
    mask = torch.ones(2, 7, dtype=torch.bool)
    pooled, weights = pool(tokens, mask)
    again, shuffled = pool(tokens[:, order], mask)
    assert torch.allclose(pooled, again, atol=1e-6)
    assert torch.allclose(weights[:, order], shuffled, atol=1e-6)


@pytest.mark.parametrize("kind", ["query", "mean", "max", "last"])
def test_padded_slices_have_no_part(kind):
    pool, tokens = make_pool(kind, 6), drawn(5)
    whole, _ = pool(tokens, torch.ones(2, 5, dtype=torch.bool))
    padded = torch.cat([tokens, torch.full((2, 3, 6), 1e3)], 1)
    mask = torch.arange(8).expand(2, 8) < 5
    pooled, weights = pool(padded, mask)
    assert torch.equal(pooled, whole) or torch.allclose(pooled, whole, atol=1e-6)
    assert weights[:, 5:].abs().max() == 0
    assert torch.allclose(weights.sum(1), torch.ones(2))


def test_fixed_poolings_by_hand():
    tokens = torch.tensor([[[1.0, 5.0], [3.0, 1.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert make_pool("mean", 2)(tokens, mask)[0].tolist() == [[2.0, 3.0]]
    assert make_pool("last", 2)(tokens, mask)[0].tolist() == [[3.0, 1.0]]
    pooled, weights = make_pool("max", 2)(tokens, mask)
    assert (pooled.tolist(), weights.tolist()) == ([[3.0, 5.0]], [[0.5, 0.5]])


def test_bad_poolings_raise():
    with pytest.raises(InputError, match="query, mean, max or last"):
        make_pool("median", 4)
    with pytest.raises(ShapeError, match="an image without slices"):
        QueryPool(6)(drawn(3), torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ShapeError, match="and their mask"):
        QueryPool(6)(drawn(3), torch.ones(2, 4, dtype=torch.bool))
