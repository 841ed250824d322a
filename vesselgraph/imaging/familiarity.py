"""How strange an image is to a task: the distance of its vectors from those it learned from. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

N_REFERENCES = 256
"""Distances of training images that are kept, as evenly spaced ranks where there are more."""

_N_FOLDS = 5
_LEAST = 1e-6


class Familiarity(nn.Module):
    """Where the images a task learned from lie, as a Gaussian with a few long axes, and how far out their like may be.

    An image is its mean vector. Its distance is that of Mahalanobis under probabilistic principal components: along the axes
    over their variance, beyond them over what is left on average. No label and nothing learned by gradients has a part in it.

    Parameters
    ----------
    width : int
        Channels of the vectors.
    n_axes : int
        At most half as many as images are used.

    References
    ----------
    Tipping and Bishop, "Probabilistic principal component analysis", J. R. Stat. Soc. B 1999, section 3.2; distances in the
    space of features as a measure of novelty: Lee et al., arXiv 1807.03888, section 2.1 (there by class; here without). The
    share of held-out images that are less strange is a conformal rank: Vovk et al., "Algorithmic learning in a random world",
    2005, section 2.2.
    """

    centre: Tensor
    axes: Tensor
    variance: Tensor
    rest: Tensor
    reference: Tensor

    def __init__(self, width: int, n_axes: int = 16) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("axes", torch.zeros(min(n_axes, width), width))
        self.register_buffer("variance", torch.ones(min(n_axes, width)))
        self.register_buffer("rest", torch.ones(()))
        self.register_buffer("reference", torch.full((N_REFERENCES,), torch.inf))

    def fit(self, vectors: Tensor) -> None:
        """Learn from the vectors (n, width) of the training images; of fewer than three nothing is learned.

        The reference distances are those of images held out from the fit, in five folds: an image is nearer to a Gaussian
        that it was itself fitted with.
        """
        if len(vectors) < 3:
            return
        fold = torch.arange(len(vectors)) % min(_N_FOLDS, len(vectors))
        held = []
        for number in fold.unique().tolist():
            self._fit(vectors[fold != number])
            held.append(self.distance(vectors[fold == number]))
        self._fit(vectors)
        sorted_ = torch.cat(held).sort().values
        if len(sorted_) > N_REFERENCES:
            sorted_ = sorted_[torch.linspace(0, len(sorted_) - 1, N_REFERENCES).round().long()]
        self.reference.fill_(torch.inf)
        self.reference[: len(sorted_)] = sorted_

    def distance(self, vectors: Tensor) -> Tensor:
        """Return the squared distance of vectors (n, width), (n,)."""
        away = vectors - self.centre
        along = away @ self.axes.T
        beyond = (away.square().sum(1) - along.square().sum(1)).clamp(min=0.0)
        return (along.square() / self.variance).sum(1) + beyond / self.rest

    def strangeness(self, vectors: Tensor) -> Tensor:
        """Return which share of held-out training images are less strange, (n,), never quite 1; NaN if nothing was learned.

        Of images like those it learned from, a share of ``1 - s`` is expected above ``s``.
        """
        known = self.reference[self.reference.isfinite()]
        if not len(known):
            return torch.full((len(vectors),), torch.nan)
        return (known < self.distance(vectors)[:, None]).sum(1) / (len(known) + 1)

    def _fit(self, vectors: Tensor) -> None:
        self.centre.copy_(vectors.mean(0))
        _, size, axes = torch.linalg.svd(vectors - self.centre, full_matrices=False)
        variance = size.square() / max(len(vectors) - 1, 1)
        n_axes = min(len(self.variance), len(vectors) // 2)
        self.axes.zero_()
        self.variance.fill_(1.0)
        self.axes[:n_axes] = axes[:n_axes]
        self.variance[:n_axes] = variance[:n_axes].clamp(min=_LEAST)
        left = max(vectors.shape[1] - n_axes, 1)
        self.rest.copy_((variance[n_axes:].sum() / left).clamp(min=_LEAST))
