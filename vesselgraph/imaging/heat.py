"""Where an answer comes from: attention of the class token weighted by slice, or Grad-CAM where there is none. Needs torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vesselgraph.encoders.encoded import FeatureMap, Triple
from vesselgraph.encoders.sampling import resampled_map
from vesselgraph.encoders.slices import SliceEncoder
from vesselgraph.errors import InputError
from vesselgraph.imaging.looking import Backbone, as_images, encode
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.volume import Volume

HeatKind = Literal["auto", "attention", "gradient"]


def log_odds(plugin: TaskPlugin, raw: Tensor) -> Tensor:
    """Return the logit of the probability of raw answers (batch, labels, numbers), (batch, labels)."""
    if plugin.config.head == "evidence":
        evidence = functional.softplus(raw) + 1.0
        return evidence[..., 0].log() - evidence[..., 1].log()
    return raw[..., 0]


def heat_of(
    backbone: Backbone,
    plugin: TaskPlugin,
    views: dict[str, Tensor | None],
    view: str,
    volume: Volume,
    *,
    kind: HeatKind,
    label: int,
) -> Volume:
    """Return where in a prepared image of one view the answer to one label comes from, in [0, 1], on the image's grid.

    The adapters of the view must be on the network.

    Parameters
    ----------
    backbone, plugin : Backbone, TaskPlugin
    views : mapping of view to (n, channels) or None
        The vectors of the case, as pooled.
    view : str
    volume : Volume
        The prepared image of that view.
    kind : {"auto", "attention", "gradient"}
        "attention": where the class token of each slice looks, averaged over heads, times the slice's weight; it is the same
        for all labels. "gradient": Grad-CAM of the label. "auto": the first where there is a class token.
    label : int

    Raises
    ------
    InputError
        Attention is asked of an encoder without a class token.

    References
    ----------
    AnyMC3D, arXiv 2512.12887, as summarised by others; Selvaraju et al., Grad-CAM, arXiv 1610.02391, section 3.
    """
    encoder = backbone.encoder
    has_attention = isinstance(encoder, SliceEncoder) and encoder.tower.has_attention
    if kind == "attention" and not has_attention:
        raise InputError("an encoder with a class token", backbone.name, 'use kind = "gradient"')
    slope, weights = _slope(plugin, views, view, label)
    if isinstance(encoder, SliceEncoder):
        if has_attention and kind != "gradient":
            cells = _attention(encoder, as_images(backbone, volume)[:, 0], weights[: volume.shape[0]])
        else:
            cells = _slice_gradients(encoder, as_images(backbone, volume)[:, 0], slope[: volume.shape[0]])
        stride, offset = encoder.cells(-1, volume.shape[1], volume.shape[2])
    else:
        with torch.no_grad():
            last = encode(backbone, volume).maps[-1]
        # The tokens are the cells of the last map.
        channel = slope.mean(0).view(-1, 1, 1, 1)
        cells, stride, offset = (last.data[0] * channel).sum(0).relu(), last.stride, last.offset
    return _on_grid(cells, stride, offset, volume)


def _slope(plugin: TaskPlugin, views: dict[str, Tensor | None], view: str, label: int) -> tuple[Tensor, Tensor]:
    """Return how a label's log odds change with each vector of a view, (n, channels), and the weight of each, (n,)."""
    leaves = {name: None if one is None else one.detach().clone().requires_grad_(True) for name, one in views.items()}
    answer = plugin(plugin.batch([leaves]))
    wanted = leaves[view]
    assert wanted is not None
    slope = torch.autograd.grad(log_odds(plugin, answer.raw)[0, label], wanted)[0]
    return slope, answer.slice_weights[view][0, : len(wanted)].detach()


def _attention(encoder: SliceEncoder, volumes: Tensor, weights: Tensor) -> Tensor:
    with torch.no_grad():
        parts = [one.attention for one in encoder.looks(volumes, attention=True) if one.attention is not None]
    return torch.cat(parts) * weights[:, None, None]


def _slice_gradients(encoder: SliceEncoder, volumes: Tensor, slope: Tensor) -> Tensor:
    parts, first = [], 0
    needs_graph = encoder.tower.slope_needs_graph
    with torch.set_grad_enabled(needs_graph):
        # A leaf that takes gradients, so that there is a graph although every weight is frozen.
        for seen in encoder.looks(volumes.clone().requires_grad_(True) if needs_graph else volumes):
            n = len(seen.summary)
            change = encoder.tower.slope(seen, slope[first : first + n])
            channel = change.detach().mean((2, 3), keepdim=True)
            parts.append((seen.maps[-1].detach() * channel).sum(1).relu())
            first += n
    return torch.cat(parts)


def _on_grid(cells: Tensor, stride: Triple, offset: Triple, volume: Volume) -> Volume:
    one = FeatureMap(cells.detach().float().cpu()[None, None], stride, offset)
    heat = resampled_map(one, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), volume.shape)[0, 0].numpy()
    most = float(heat.max())
    return volume.with_array((heat / most if most > 0 else heat).astype(np.float32), "heat")
