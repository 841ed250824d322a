"""From the vectors of slices to one vector of an image. Needs torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vesselgraph.errors import InputError, ShapeError


class QueryPool(nn.Module):
    """Attention of one learned query over any number of vectors: ``softmax(H q / sqrt(d))``-weighted mean of ``H``.

    The order of the vectors does not matter, and those that are not there have no part in it.

    Parameters
    ----------
    width : int
        Channels of the vectors.

    References
    ----------
    AnyMC3D, arXiv 2512.12887, as summarised by others; at the start the query is near zero, so pooling starts as the mean.

    Notes
    -----
    A step moves the score of a slice by about the rate times the root of the width. Learned as fast as the head, the query of a
    wide encoder settles on single slices within some dozen steps, by chance where cases are few; it has a rate of its own.

    Examples
    --------
    >>> pooled, weights = QueryPool(4)(torch.ones(1, 3, 4), torch.tensor([[True, True, False]]))
    >>> pooled.shape, [round(weight, 5) for weight in weights[0].tolist()]
    (torch.Size([1, 4]), [0.5, 0.5, 0.0])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.query, std=0.02)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled vectors (batch, channels) and the weight of each token (batch, n)."""
        _check(tokens, mask)
        weights = masked_softmax(tokens @ self.query / math.sqrt(len(self.query)), mask)
        return torch.einsum("bn,bnc->bc", weights, tokens), weights


class FixedPool(nn.Module):
    """Pooling that learns nothing: the mean, the largest value of each channel, or the last vector.

    Parameters
    ----------
    kind : {"mean", "max", "last"}
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled vectors (batch, channels) and the weight of each token (batch, n); of "max" its channels won."""
        _check(tokens, mask)
        if self.kind == "max":
            best, where = tokens.masked_fill(~mask[..., None], -torch.inf).max(1)
            return best, torch.zeros_like(mask, dtype=tokens.dtype).scatter_add(1, where, torch.ones_like(best)) / best.shape[1]
        if self.kind == "mean":
            weights = mask.to(tokens.dtype)
        else:
            last = mask.shape[1] - 1 - mask.flip(1).to(torch.int64).argmax(1)
            weights = nn.functional.one_hot(last, mask.shape[1]).to(tokens.dtype)
        weights = weights / weights.sum(1, keepdim=True)
        return torch.einsum("bn,bnc->bc", weights, tokens), weights


def make_pool(kind: str, width: int) -> QueryPool | FixedPool:
    """Return the pooling of a name.

    Raises
    ------
    InputError
        There is none of this name.
    """
    if kind == "query":
        return QueryPool(width)
    if kind in {"mean", "max", "last"}:
        return FixedPool(kind)
    raise InputError("a pooling of query, mean, max or last", repr(kind), "choose one")


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the softmax over the last axis of the scores that are there; the others get exactly 0."""
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)


def _check(tokens: Tensor, mask: Tensor) -> None:
    if tokens.ndim != 3 or tokens.shape[:2] != mask.shape:
        raise ShapeError(
            "tokens (batch, n, channels) and their mask", f"{tuple(tokens.shape)}, {tuple(mask.shape)}", "stack them"
        )
    if not bool(mask.any(1).all()):
        raise ShapeError("at least one slice in every image", "an image without slices", "leave it out")
