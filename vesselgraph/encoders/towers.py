"""Networks that look at one slice: what they are asked and what they answer.

A tower takes images (n, channels, rows, columns), already scaled, whose sides fit it, and gives feature maps, one summary per
image and, where it has one, the attention of that summary. Needs torch; transformers is loaded when one of its models is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vesselgraph.errors import BackendUnavailableError, InputError

Reading = Literal["tokens", "maps", "neck", "pyramid", "davit"]


class Seen(NamedTuple):
    """The answer of a tower: maps (n, channels, rows, columns), summary (n, channels), attention (n, rows, columns) or None.

    ``root`` is what the last map is a view of, where it is one: gradients of the summary reach the root, not the view.
    """

    maps: tuple[Tensor, ...]
    summary: Tensor
    attention: Tensor | None
    root: Tensor | None = None


class TransformersTower(nn.Module):
    """A vision model of the transformers library.

    Parameters
    ----------
    network : nn.Module
        The model, without head.
    reading : {"tokens", "maps", "neck", "pyramid", "davit"}
        How its answer is read: token sequences after each layer; channel-first maps of each stage; one map after the neck of
        SAM; the feature pyramid of SAM 2 and 3; the stages of Florence-2's DaViT.
    taps : sequence of int
        Layers or stages whose maps are given, 0-based; not used by "neck".
    n_prefix : int
        Tokens before the patches (class token and registers).
    patch : int
        Side of a patch in pixels.
    arguments : mapping
        Passed to every call, such as ``interpolate_pos_encoding``.
    """

    slope_needs_graph = True

    def __init__(
        self,
        network: nn.Module,
        reading: Reading,
        *,
        taps: Sequence[int] = (),
        n_prefix: int = 0,
        patch: int = 1,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.reading, self.taps = network, reading, tuple(taps)
        self.n_prefix, self.patch, self.arguments = n_prefix, patch, dict(arguments or {})

    @property
    def has_attention(self) -> bool:
        """Whether there is a class token whose attention can be shown."""
        return self.reading == "tokens" and self.n_prefix > 0

    def forward(self, images: Tensor, attention: bool = False) -> Seen:
        """Return what the model sees in images (n, channels, rows, columns)."""
        if self.reading == "tokens":
            return self._read_tokens(images, attention)
        if self.reading == "neck":
            said = self.network(images).last_hidden_state
            return Seen((said,), said.mean((2, 3)), None)
        if self.reading == "davit":
            stages = self._davit_stages(images)
            return Seen(stages, stages[-1].mean((2, 3)), None)
        said = self.network(images, output_hidden_states=self.reading == "maps")
        if self.reading == "maps":
            # The first hidden state is the image itself.
            return Seen(tuple(said.hidden_states[tap + 1] for tap in self.taps), said.pooler_output, None)
        maps = tuple(said.fpn_hidden_states[tap] for tap in self.taps)
        return Seen(maps, maps[-1].mean((2, 3)), None)

    def slope(self, seen: Seen, direction: Tensor) -> Tensor:
        """Return how the summaries, along directions (n, channels), change with the last map, (n, channels, rows, columns).

        The images must have been looked at with gradients on (``slope_needs_graph``).
        """
        along = (seen.summary * direction).sum()
        if seen.root is None:
            return torch.autograd.grad(along, seen.maps[-1])[0]
        return self._grid(torch.autograd.grad(along, seen.root)[0], seen.maps[-1].shape[2], seen.maps[-1].shape[3])

    def _read_tokens(self, images: Tensor, attention: bool) -> Seen:
        if not attention:
            return self._read_layers(images, attention=False)
        # Only the plain implementation gives its weights away; another one rounds differently, so it is put back.
        network: Any = self.network
        before = network.config._attn_implementation
        network.set_attn_implementation("eager")
        try:
            return self._read_layers(images, attention=True)
        finally:
            network.set_attn_implementation(before)

    def _read_layers(self, images: Tensor, *, attention: bool) -> Seen:
        rows, columns = images.shape[2] // self.patch, images.shape[3] // self.patch
        more = dict(self.arguments)
        if more.pop("in_order", False):
            # A masked autoencoder shuffles its patches unless it is told an order.
            more["noise"] = torch.arange(rows * columns, dtype=torch.float32, device=images.device).expand(len(images), -1)
        said = self.network(images, output_hidden_states=True, output_attentions=attention, **more)
        maps = tuple(self._grid(said.hidden_states[tap + 1], rows, columns) for tap in self.taps)
        if self.n_prefix:
            summary = said.last_hidden_state[:, 0]
        else:
            summary = said.pooler_output if said.get("pooler_output") is not None else said.last_hidden_state.mean(1)
        looked = None
        if attention and self.n_prefix:
            looked = said.attentions[-1][:, :, 0, self.n_prefix :].mean(1).view(len(images), rows, columns)
        return Seen(maps, summary, looked, said.hidden_states[self.taps[-1] + 1])

    def _davit_stages(self, values: Tensor) -> tuple[Tensor, ...]:
        network: Any = self.network
        stages = []
        for shrink, blocks in zip(network.convs, network.blocks, strict=True):
            values = shrink(values)
            for block in blocks:
                values = block(values)
            stages.append(values)
        return tuple(stages)

    def _grid(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        return tokens[:, self.n_prefix :].transpose(1, 2).unflatten(2, (rows, columns))


def transformers_tower(config: Mapping[str, Any]) -> TransformersTower:
    """Return the tower of a card's ``config``, with random weights.

    Parameters
    ----------
    config : mapping
        ``model``, ``settings`` and ``make``: class of transformers, the values of its configuration (nested ``backbone_config``
        and ``backbone`` class name where there is one), and other arguments of the class; ``reading``, ``taps``,
        ``n_prefix``, ``patch`` and ``arguments`` as in :class:`TransformersTower`.

    Raises
    ------
    BackendUnavailableError
        The transformers library is not installed.
    InputError
        The installed version has no such model.
    """
    try:
        import transformers
    except ImportError as error:
        raise BackendUnavailableError(
            "the transformers library",
            "none",
            'install it with pip install "vesselgraph[encoders]"',
        ) from error
    settings = dict(config["settings"])
    made = config["model"]
    if not hasattr(transformers, made):
        raise InputError(f"a model of transformers {transformers.__version__}", made, "install the version in requirements/")
    if "backbone" in config:
        settings["backbone_config"] = getattr(transformers, config["backbone"])(**settings["backbone_config"])
    model, more = getattr(transformers, made), config.get("make", {})
    names = ("reading", "taps", "n_prefix", "patch", "arguments")
    return TransformersTower(
        model(model.config_class(**settings), **more), **{key: config[key] for key in names if key in config}
    )


class ChainTower(nn.Module):
    """A 2-D convolutional network whose stages are called one after the other.

    Parameters
    ----------
    network : nn.Module
    chain : sequence of str
        Dotted names of its parts, in the order they are called.
    taps : sequence of str
        Names of ``chain`` whose answers are the maps.
    """

    has_attention = False
    # The summary is the mean of the last map, so how it changes with it is known beforehand.
    slope_needs_graph = False

    def __init__(self, network: nn.Module, chain: Sequence[str], taps: Sequence[str]) -> None:
        super().__init__()
        self.network, self.chain, self.taps = network, tuple(chain), tuple(taps)

    def forward(self, images: Tensor, attention: bool = False) -> Seen:
        """Return what the network sees; there is no attention to show."""
        del attention
        maps = run_chain(self.network, self.chain, self.taps, images)
        return Seen(maps, maps[-1].mean((2, 3)), None)

    def slope(self, seen: Seen, direction: Tensor) -> Tensor:
        """Return how the summaries, along directions (n, channels), change with the last map: evenly, as they are its mean."""
        last = seen.maps[-1]
        return (direction / (last.shape[2] * last.shape[3]))[..., None, None].expand_as(last)


def run_chain(network: nn.Module, chain: Sequence[str], taps: Sequence[str], images: Tensor) -> tuple[Tensor, ...]:
    """Return the answers of the tapped parts of a network whose parts are called one after the other."""
    maps: list[Tensor] = []
    values = images
    for name in chain:
        values = network.get_submodule(name)(values)
        if name in taps:
            maps.append(values)
    return tuple(maps)
