"""What one task adds to a frozen encoder: adapters, pooling over slices, a head, and a decoder while it learns. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vesselgraph.encoders.card import EncoderCard
from vesselgraph.encoders.molre import MoLRELinear
from vesselgraph.errors import ConfigError
from vesselgraph.imaging.adapting import base_of, make_adapters
from vesselgraph.imaging.decoder import PixelDecoder
from vesselgraph.imaging.familiarity import Familiarity
from vesselgraph.imaging.pooling import QueryPool, make_pool
from vesselgraph.imaging_config import PluginConfig
from vesselgraph.subjective_logic import Opinion, evidence_of, opinion

Tokens = tuple[Tensor, Tensor]
"""Vectors (batch, n, channels) and their mask (batch, n), True where there is one."""


class Answer(NamedTuple):
    """What a plugin says of a batch: raw answers (batch, labels, numbers a label), slice weights by view, view weights."""

    raw: Tensor
    slice_weights: dict[str, Tensor]
    view_weights: Tensor


class ViewPlugin(nn.Module):
    """The part of a plugin that looks at one view: scaling, experts on the slices' vectors, and pooling.

    Parameters
    ----------
    width : int
        Channels of the encoder's vectors.
    config : PluginConfig
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, config: PluginConfig) -> None:
        super().__init__()
        # Channels of an encoder differ in size by orders; their spread over the training cases is taken off first.
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.experts: MoLRELinear | None = None
        if config.adapter != "none" and config.place == "tokens":
            # A single expert needs no choice, hence the smallest router.
            n_experts, hidden = (config.n_experts, 0) if config.adapter == "molre" else (1, 1)
            self.experts = MoLRELinear(_identity(width), n_experts, config.rank, config.alpha, hidden)
        self.pool = make_pool(config.pooling, width)
        self.familiarity = Familiarity(width)

    def set_scaling(self, tokens: Sequence[Tensor]) -> None:
        """Take mean and deviation of each channel from the vectors (n, channels) of the training cases."""
        joined = torch.cat(list(tokens))
        self.mean.copy_(joined.mean(0))
        self.deviation.copy_(joined.std(0, correction=0).clamp(min=1e-6))

    def set_familiarity(self, tokens: Sequence[Tensor]) -> None:
        """Learn where the training images lie, from their vectors (n, channels) as the plugin sees them."""
        self.familiarity.fit(torch.stack([self.scaled(one).mean(0) for one in tokens]))

    def strangeness(self, tokens: Tensor) -> float:
        """Return how strange an image of vectors (n, channels) is, 0 to 1; NaN where too few were learned from."""
        return float(self.familiarity.strangeness(self.scaled(tokens).mean(0, keepdim=True))[0])

    def scaled(self, tokens: Tensor) -> Tensor:
        """Return vectors (..., channels) as the pooling sees them, but for the experts."""
        return (tokens - self.mean) / self.deviation

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled vectors (batch, channels) and the weight of each slice (batch, n)."""
        values = self.scaled(tokens)
        if self.experts is not None:
            values = self.experts(values.flatten(0, 1)).view_as(values)
        pooled, weights = self.pool(values, mask)
        return pooled, weights


class TaskPlugin(nn.Module):
    """Everything one task adds to a frozen encoder.

    Each view (such as a contrast phase) has adapters and a query of its own; with several views a second query pools them, over
    those that are there.

    Parameters
    ----------
    width : int
        Channels of the encoder's vectors.
    labels : sequence of str
    config : PluginConfig
    views : sequence of str
        Names of the views.

    Raises
    ------
    ConfigError
        There is no label or no view.
    """

    def __init__(self, width: int, labels: Sequence[str], config: PluginConfig, views: Sequence[str] = ("",)) -> None:
        super().__init__()
        if not labels or not views:
            raise ConfigError("at least one label and one view", f"{list(labels)}, {list(views)}", "name them in the manifest")
        self.labels, self.view_names, self.config, self.width = tuple(labels), tuple(views), config, width
        self.views = nn.ModuleList([ViewPlugin(width, config) for _ in views])
        self.view_pool = QueryPool(width) if len(views) > 1 else None
        self.n_numbers = 2 if config.head == "evidence" else 1
        self.head = nn.Linear(width, len(labels) * self.n_numbers)
        self.adapters: dict[str, dict[str, nn.Module]] = {name: {} for name in views}
        self.decoder: PixelDecoder | None = None

    def add_adapters(self, network: nn.Module, card: EncoderCard) -> None:
        """Make adapters for the encoder's layers, one set a view; the encoder itself stays bare.

        Raises
        ------
        ConfigError
            The encoder has no layers that can be adapted so.
        """
        self.adapters = {name: make_adapters(network, card, self.config) for name in self.view_names}

    def add_decoder(self, channels: int, width: int) -> None:
        """Add the branch of the pixel supervision; it is no part of what is saved."""
        self.decoder = PixelDecoder(channels, width)

    def forward(self, views: Mapping[str, Tokens]) -> Answer:
        """Return the answers for a batch; a view may be all masked for a case as long as another one is there."""
        batch, device = next(iter(views.values()))[1].shape[0], self.head.weight.device
        pooled = torch.zeros(batch, len(self.view_names), self.width, device=device)
        present = torch.zeros(batch, len(self.view_names), dtype=torch.bool, device=device)
        slice_weights = {}
        for number, (name, part) in enumerate(zip(self.view_names, self.views, strict=True)):
            if name not in views:
                continue
            tokens, mask = views[name]
            there = mask.any(1)
            weights = torch.zeros(mask.shape, device=device)
            if bool(there.any()):
                seen, weights_there = part(tokens[there], mask[there])
                pooled = pooled.index_put((there.nonzero()[:, 0], torch.tensor(number, device=device)), seen)
                weights = weights.index_put((there.nonzero()[:, 0],), weights_there)
            present[:, number], slice_weights[name] = there, weights
        if self.view_pool is None:
            return Answer(self._head(pooled[:, 0]), slice_weights, present.float())
        joined, view_weights = self.view_pool(pooled, present)
        return Answer(self._head(joined), slice_weights, view_weights)

    def batch(self, cases: Sequence[Mapping[str, Tensor | None]]) -> dict[str, Tokens]:
        """Return the vectors of several cases by view, (n, channels) each or None where missing, as padded batches."""
        device = self.head.weight.device
        return {name: stacked([case[name] for case in cases], self.width, device) for name in self.view_names}

    def opinion(self, raw: Tensor) -> Opinion:
        """Return probability and uncertainty of raw answers (batch, labels, numbers).

        A focal head has no evidence: its uncertainty is ``1 - 2 |p - 0.5|``, which says no more than the probability does.
        """
        if self.config.head == "evidence":
            return opinion(evidence_of(raw))
        p = raw[..., 0].sigmoid()
        u = 1.0 - 2.0 * (p - 0.5).abs()
        return Opinion(p, u, p - u / 2.0, 1.0 - p - u / 2.0)

    def strangeness(self, views: Mapping[str, Tensor | None]) -> float:
        """Return how strange a case is: that of its strangest view, from 0 to 1; NaN where too few were learned from."""
        found = []
        for name, part in zip(self.view_names, self.views, strict=True):
            tokens = views.get(name)
            if tokens is not None:
                found.append(part.strangeness(tokens.to(self.head.weight.device)))  # type: ignore[operator]
        return max(found) if found else math.nan

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield everything that learns, by name, each once: plugin, adapters, and the decoder if there is one."""
        seen: set[int] = set()
        for name, value in self.named_parameters():
            if value.requires_grad:
                yield name, value
        for view, adapters in self.adapters.items():
            for layer, module in adapters.items():
                frozen = {id(one) for one in base_of(module).parameters()}
                for name, value in module.named_parameters():
                    if id(value) not in frozen | seen:
                        seen.add(id(value))
                        yield f"adapters.{view}.{layer}.{name}", value

    def state(self) -> dict[str, Tensor]:
        """Return what is saved: scaling and everything that learned but the decoder."""
        kept = {name: value.detach() for name, value in self.trained() if not name.startswith("decoder.")}
        return kept | dict(self.named_buffers())

    def n_trained(self) -> int:
        """Return the number of parameters that learn, the decoder's aside."""
        return sum(value.numel() for name, value in self.trained() if not name.startswith("decoder."))

    def _head(self, pooled: Tensor) -> Tensor:
        # Over the root of the width, as the pooling's scores: else one step moves wide encoders' answers by whole units.
        return self.head(pooled / math.sqrt(self.width)).unflatten(1, (len(self.labels), self.n_numbers))


def _identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width, bias=False)
    nn.init.eye_(layer.weight)
    return layer


def stacked(tokens: Sequence[Tensor | None], width: int, device: torch.device | None = None) -> Tokens:
    """Return vectors (n, channels) of several cases, None where a view is missing, as one padded batch with its mask."""
    longest = max([1, *(len(one) for one in tokens if one is not None)])
    given = [torch.zeros(0, width, device=device) if one is None else one.to(device) for one in tokens]
    padded = torch.stack([functional.pad(one, (0, 0, 0, longest - len(one))) for one in given])
    mask = torch.tensor([[n < len(one) for n in range(longest)] for one in given], device=device)
    return padded, mask
