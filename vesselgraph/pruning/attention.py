"""The graph attention network that says which pieces of branches are real, and the models it is measured against.

Importing this module loads torch and torch-geometric.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv

from vesselgraph.errors import ConfigError
from vesselgraph.pruning.branch_graph import RELATIONS


class BranchAttention(nn.Module):
    """Residual graph attention over pieces of branches, on top of logistic regression.

    What the attention says is added to what a linear function of the features says, and begins as nothing.
    Shapes: P pieces, F features, K links, R relations.

    Parameters
    ----------
    n_features : int
        F.
    width : int
        Channels between layers.
    n_layers : int
        Attention layers, each followed by a two-layer perceptron; 0 gives a perceptron that sees every piece alone.
    n_heads : int
        Attention heads; ``width`` is a multiple of it.
    dropout : float
        In the perceptrons and on the attention.
    n_numbers : int
        Told of each piece: 1, a logit; 2, what evidence for and against is made of.

    References
    ----------
    Brody, Alon, Yahav, "How attentive are graph attention networks?", ICLR 2022, for the attention (GATv2). Vaswani et al.
    (2017) for the residual block with its normalisation before each part.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        n_features: int,
        width: int = 64,
        n_layers: int = 4,
        n_heads: int = 4,
        dropout: float = 0.1,
        n_numbers: int = 1,
    ) -> None:
        super().__init__()
        if width % n_heads:
            raise ConfigError(f"a width that is a multiple of {n_heads} heads", f"{width}", "change width or n_heads")
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.inlet = nn.Sequential(nn.Linear(n_features, width), nn.GELU(), nn.Linear(width, width))
        self.attend = nn.ModuleList(
            GATv2Conv(width, width // n_heads, n_heads, dropout=dropout, edge_dim=len(RELATIONS), residual=False)
            for _ in range(n_layers)
        )
        self.before_attend = nn.ModuleList(nn.LayerNorm(width) for _ in range(n_layers))
        n_blocks = max(n_layers, 2)
        self.think = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
            )
            for _ in range(n_blocks)
        )
        last = nn.Linear(width, n_numbers)
        nn.init.zeros_(last.weight)
        self.outlet = nn.Sequential(nn.LayerNorm(width), last)
        self.linear = nn.Linear(n_features, n_numbers)

    def fit_scale(self, feats_PF: Tensor) -> None:
        """Set the standardisation of the features from those of the training set."""
        self.mean.copy_(feats_PF.mean(dim=0))
        self.scale.copy_(feats_PF.std(dim=0).clamp_min(1e-3))

    def forward(self, feats_PF: Tensor, link_2K: Tensor, relation_KR: Tensor) -> Tensor:
        """Return the logits of presence, (P,); with two numbers a piece, (P, 2)."""
        even = ((feats_PF - self.mean) / self.scale).clamp(-6.0, 6.0)
        x = self.inlet(even)
        for i, think in enumerate(self.think):
            if i < len(self.attend):
                x = x + self.attend[i](self.before_attend[i](x), link_2K, relation_KR)
            x = x + think(x)
        out: Tensor = self.outlet(x) + self.linear(even)
        return out[:, 0] if out.shape[1] == 1 else out


class Zhang2020(nn.Module):
    """The published baseline as far as it is known: two attention layers over pieces that share an end.

    8 heads of 8 units, then one head; ELU; dropout 0.6 on inputs and on the attention; no edge features. The features are the
    3 x 3 x 3 block of the heatmap at the middle of the piece (27 numbers), or any others.

    References
    ----------
    Zhang et al., "Graph attention network based pruning for reconstructing 3D liver vessel morphology from contrasted CT
    images", arXiv 2003.07999; layer sizes from the first author's public code of 2019, which may differ from the paper's.
    """

    def __init__(self, n_features: int, dropout: float = 0.6) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.first = GATConv(n_features, 8, heads=8, dropout=dropout)
        self.second = GATConv(64, 1, heads=1, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def fit_scale(self, feats_PF: Tensor) -> None:
        """Leave the features as they are: the baseline has no standardisation."""

    def forward(self, feats_PF: Tensor, link_2K: Tensor, relation_KR: Tensor) -> Tensor:
        """Return the logits of presence, (P,). ``relation_KR`` chooses the links of shared ends."""
        shared = link_2K[:, relation_KR[:, RELATIONS.index("near")] < 0.5]
        x = nn.functional.elu(self.first(self.dropout(feats_PF), shared))
        out: Tensor = self.second(self.dropout(x), shared)
        return out[:, 0]
