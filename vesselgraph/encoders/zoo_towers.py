"""Networks of timm and open_clip that look at one slice. Needs torch; the library is loaded when one of its models is made.

Both are one optional extra (``zoo``): they need a torchvision of the same release as torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from vesselgraph.encoders.card import EncoderCard
from vesselgraph.encoders.towers import Seen
from vesselgraph.errors import BackendUnavailableError, InputError

_OPEN_CLIP = {"VisionTransformer": "open_clip.transformer", "ModifiedResNet": "open_clip.modified_resnet"}


class HookedTower(nn.Module, ABC):
    """A network of which named parts are listened to while it looks at images.

    Parameters
    ----------
    network : nn.Module
    taps : sequence of str
        Dotted names of the parts whose answers are the maps: sequences of tokens, or maps.
    n_prefix : int
        Tokens before the patches (class token and registers); 0: none of them stands for the image.
    patch : int
        Side of a patch in pixels, where answers are tokens.
    attention : str
        Dotted name of the last attention, whose class token is shown.
    """

    slope_needs_graph = True

    def __init__(
        self, network: nn.Module, *, taps: Sequence[str], n_prefix: int = 0, patch: int = 1, attention: str = ""
    ) -> None:
        super().__init__()
        self.network, self.taps, self.n_prefix, self.patch = network, tuple(taps), n_prefix, patch
        self.attention = attention

    @property
    def has_attention(self) -> bool:
        """Whether there is a class token whose attention can be shown."""
        return bool(self.attention)

    def forward(self, images: Tensor, attention: bool = False) -> Seen:
        """Return what the network sees in images (n, channels, rows, columns)."""
        rows, columns = images.shape[2] // self.patch, images.shape[3] // self.patch
        heard: dict[str, Tensor] = {}
        handles = [self.network.get_submodule(tap).register_forward_hook(_keep(heard, tap)) for tap in self.taps]
        looked: list[Tensor] = []
        try:
            if attention and self.attention:
                with self.showing(self.network.get_submodule(self.attention), looked):
                    summary = self.summary(images)
            else:
                summary = self.summary(images)
        finally:
            for handle in handles:
                handle.remove()
        maps = tuple(self._grid(heard[tap], rows, columns) for tap in self.taps)
        share = looked[0][:, 0, self.n_prefix :].view(len(images), rows, columns) if looked else None
        return Seen(maps, summary, share, heard[self.taps[-1]])

    def slope(self, seen: Seen, direction: Tensor) -> Tensor:
        """Return how the summaries, along directions (n, channels), change with the last map, (n, channels, rows, columns).

        The images must have been looked at with gradients on.
        """
        assert seen.root is not None
        along = (seen.summary * direction).sum()
        return self._grid(torch.autograd.grad(along, seen.root)[0], seen.maps[-1].shape[2], seen.maps[-1].shape[3])

    @abstractmethod
    def summary(self, images: Tensor) -> Tensor:
        """Let the network look at images and return one vector for each."""

    @abstractmethod
    def showing(self, attention: nn.Module, looked: list[Tensor]) -> AbstractContextManager[None]:
        """Add the mean attention of the heads, (n, tokens, tokens), to ``looked`` while the body runs."""

    def _grid(self, values: Tensor, rows: int, columns: int) -> Tensor:
        return values if values.ndim == 4 else values[:, self.n_prefix :].transpose(1, 2).unflatten(2, (rows, columns))


class TimmTower(HookedTower):
    """A model of timm without its classifier."""

    def summary(self, images: Tensor) -> Tensor:
        """Return the class token after the last norm; without one, what the model's own head would pool."""
        network: Any = self.network
        last = network.forward_features(images)
        return last[:, 0] if self.n_prefix else network.forward_head(last, pre_logits=True)

    @contextmanager
    def showing(self, attention: nn.Module, looked: list[Tensor]) -> Iterator[None]:
        """Listen to the weights on their way into the dropout, which only the plain implementation takes them through."""
        part: Any = attention
        before = part.fused_attn
        part.fused_attn = False
        handle = part.attn_drop.register_forward_pre_hook(lambda _layer, given: looked.append(given[0].mean(1)))
        try:
            yield
        finally:
            handle.remove()
            part.fused_attn = before


class OpenClipTower(HookedTower):
    """An image tower of open_clip, without what brings images and words together."""

    def summary(self, images: Tensor) -> Tensor:
        """Return the class token after the last norm, or the mean of the last map."""
        said: Tensor = self.network(images)
        return said if said.ndim == 2 else said.mean((2, 3))

    @contextmanager
    def showing(self, attention: nn.Module, looked: list[Tensor]) -> Iterator[None]:
        """Ask the attention, torch's own, for its weights, which open_clip does not."""
        handles = [
            attention.register_forward_pre_hook(
                lambda _layer, given, more: (given, {**more, "need_weights": True}), with_kwargs=True
            ),
            attention.register_forward_hook(lambda _layer, _given, said: looked.append(said[1])),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def timm_tower(card: EncoderCard) -> TimmTower:
    """Return the tower of a card's ``config`` (``model`` and ``settings`` of ``timm.create_model``), with random weights.

    Raises
    ------
    BackendUnavailableError
        timm is not installed, or not beside a torchvision it can use.
    InputError
        The installed version has no such model.
    """
    timm = _library("timm")
    if not timm.is_model(card.config["model"]):
        raise InputError(f"a model of timm {timm.__version__}", card.config["model"], "install the newest version of timm")
    network = timm.create_model(card.config["model"], pretrained=False, num_classes=0, **card.config["settings"])
    return TimmTower(network, **_listening(card.config))


def open_clip_tower(card: EncoderCard) -> OpenClipTower:
    """Return the tower of a card's ``config`` (``model`` and ``settings``, a network class of open_clip), with random weights.

    The projection to the space of words, and attention pooling, are left out.

    Raises
    ------
    BackendUnavailableError
        open_clip is not installed, or not beside a torchvision it can use.
    """
    _library("open_clip")
    made = card.config["model"]
    network: Any = getattr(import_module(_OPEN_CLIP[made]), made)(**card.config["settings"])
    if made == "ModifiedResNet":
        network.attnpool = nn.Identity()
    else:
        network.proj = None
    return OpenClipTower(network, **_listening(card.config))


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except (ImportError, RuntimeError) as error:
        # Beside a torchvision of another release, the import fails with a RuntimeError.
        raise BackendUnavailableError(
            f"the library {name}, with a torchvision of torch's own release",
            f"{(str(error).splitlines() or [type(error).__name__])[0]} (torch {torch.__version__})",
            'install it with pip install "vesselgraph[zoo]", in an environment where torch and torchvision fit each other',
        ) from error


def _listening(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in ("taps", "n_prefix", "patch", "attention") if name in config}


def _keep(heard: dict[str, Tensor], tap: str) -> Any:
    def hook(_: nn.Module, given: tuple[Any, ...], said: Tensor) -> None:
        del given
        heard[tap] = said

    return hook
