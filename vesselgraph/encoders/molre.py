"""MoLRE: a mixture of low-rank experts beside a frozen layer, mixed by a soft gate that no label teaches. Needs torch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vesselgraph.errors import InputError, ShapeError


class Router(nn.Module):
    """A two-layer perceptron with softmax: one share per expert and routing unit (a slice, or a volume).

    Parameters
    ----------
    width : int
        Channels of a routing unit's vector.
    n_experts : int
    hidden : int
        Width between the layers.

    Examples
    --------
    >>> gates = Router(8, 3, 4)(torch.zeros(2, 5, 8))
    >>> gates.shape, bool(torch.allclose(gates.sum(-1), torch.ones(2, 5)))
    (torch.Size([2, 5, 3]), True)
    """

    def __init__(self, width: int, n_experts: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, n_experts)

    def forward(self, units: Tensor) -> Tensor:
        """Return the shares of the experts (..., n_experts) for units (..., width); they sum to one."""
        return self.outer(nn.functional.gelu(self.inner(units))).softmax(-1)


class MoLRELinear(nn.Module):
    """A frozen linear layer plus K low-rank experts: ``W x + b + alpha / rank * sum_k g_k B_k A_k x``.

    ``B`` starts at zero, so at first the layer answers as the frozen one, bit for bit. With one expert it is LoRA.

    Parameters
    ----------
    base : nn.Linear
        Frozen here.
    n_experts, rank : int
    alpha : float
        The experts are scaled by ``alpha / rank``.
    router_hidden : int
        Width of the router; 0: a quarter of the input, at least 1.

    Raises
    ------
    InputError
        There is no expert, or the rank is not in 1..min(in, out).

    Notes
    -----
    The paper's own text could not be read. Known from a summary of it: the sum over experts, K = 6, rank 8, a two-layer router
    with softmax, routing per slice before the pooling of slices in 2-D and per pooled volume in 3-D, less than 0.5 % more
    parameters. Not known, hence ours: which layers, alpha, the router's width, no balancing term.

    References
    ----------
    MoLRE, arXiv 2603.00675 (summary only); Hu et al., LoRA, arXiv 2106.09685, section 4.
    """

    def __init__(self, base: nn.Linear, n_experts: int = 6, rank: int = 8, alpha: float = 16.0, router_hidden: int = 0) -> None:
        super().__init__()
        if n_experts < 1 or not 1 <= rank <= min(base.in_features, base.out_features):
            raise InputError(
                f"at least one expert and a rank of 1 to {min(base.in_features, base.out_features)}",
                f"{n_experts} experts of rank {rank}",
                "change them",
            )
        self.base = base.requires_grad_(False)
        self.n_experts, self.rank, self.scaling = n_experts, rank, alpha / rank
        like: dict[str, Any] = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.down = nn.Parameter(torch.empty(n_experts, rank, base.in_features, **like))
        self.up = nn.Parameter(torch.zeros(n_experts, base.out_features, rank, **like))
        for one in self.down.detach():
            nn.init.kaiming_uniform_(one, a=math.sqrt(5.0))
        self.router = Router(base.in_features, n_experts, router_hidden or max(1, base.in_features // 4)).to(**like)

    def forward(self, values: Tensor, units: Tensor | None = None) -> Tensor:
        """Return (..., out) of values (..., in).

        Parameters
        ----------
        values : (n, ..., in)
        units : (n, in), optional
            What each item is routed by; left out: the mean of its values over all axes but the first and the last.

        Raises
        ------
        ShapeError
            The units are not one vector per item.
        """
        gates = self.gates(values, units)
        gates = gates.view(len(values), *(1,) * (values.ndim - 2), self.n_experts)
        inner = torch.einsum("...i,kri->...kr", values, self.down) * gates[..., None]
        return self.base(values) + torch.einsum("...kr,kor->...o", inner, self.up) * self.scaling

    def gates(self, values: Tensor, units: Tensor | None = None) -> Tensor:
        """Return the share of each expert for each item, (n, n_experts).

        Raises
        ------
        ShapeError
            The units are not one vector per item.
        """
        if units is None:
            units = values.flatten(1, -2).mean(1) if values.ndim > 2 else values
        if units.shape != (len(values), self.base.in_features):
            raise ShapeError(
                f"routing units of shape ({len(values)}, {self.base.in_features})", f"{tuple(units.shape)}", "one per item"
            )
        return self.router(units)

    def merged(self, gates: Tensor | None = None) -> nn.Linear:
        """Return a plain linear layer with the experts added in, for fixed ``gates`` (n_experts,).

        Raises
        ------
        InputError
            There are several experts and no gates: one layer cannot stand for a mixture that changes with its input.
        """
        if gates is None:
            if self.n_experts > 1:
                raise InputError("fixed gates", f"none for {self.n_experts} experts", "pass the shares of the experts")
            gates = self.up.new_ones(1)
        plain = nn.Linear(self.base.in_features, self.base.out_features, self.base.bias is not None)
        change = torch.einsum("k,kor,kri->oi", gates, self.up, self.down) * self.scaling
        with torch.no_grad():
            plain.weight.copy_(self.base.weight + change)
            if self.base.bias is not None:
                plain.bias.copy_(self.base.bias)
        return plain.to(self.base.weight.device, self.base.weight.dtype)


def gate_load(gates: Tensor) -> tuple[Tensor, float]:
    """Return the mean share of each expert, (n_experts,), and the mean entropy of the gates in units of an even mixture's.

    Entropy 1: all experts alike everywhere; 0: one expert at a time.

    Examples
    --------
    >>> load, entropy = gate_load(torch.eye(2))
    >>> load.tolist(), entropy
    ([0.5, 0.5], 0.0)
    """
    flat = gates.detach().flatten(0, -2)
    entropy = torch.special.entr(flat).sum(-1).mean() / math.log(max(flat.shape[-1], 2))
    return flat.mean(0), float(entropy)
