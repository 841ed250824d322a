"""Adapters that can be put onto a shared encoder and taken off again, one set a task. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from vesselgraph.encoders.adapters import add_lora, add_molre, matching_modules, share_inputs
from vesselgraph.encoders.card import EncoderCard
from vesselgraph.errors import ConfigError
from vesselgraph.imaging_config import PluginConfig

# Behind the number of a block, so that the attention of a pooling head is left alone.
_ATTENTION = r"(.*\.)?\d+\.(attention|self_attn|attn)\.(q_proj|k_proj|v_proj|o_proj|out_proj|qkv|proj)"


def adapted_layers(network: nn.Module, card: EncoderCard, config: PluginConfig) -> tuple[str, int]:
    """Return the expression of the layers a task adapts, and how many it must fit.

    For transformers: the attention projections of every layer and the patch embedding (AnyMC3D); for convolutional networks:
    the 1 x 1 convolutions. ``config.layers`` names others.

    Raises
    ------
    ConfigError
        The encoder has no such layers, or the number that goes with an expression is missing.
    """
    if config.layers:
        if not config.n_layers:
            raise ConfigError("plugin.n_layers with plugin.layers", "0", "say how many layers the expression fits")
        return config.layers, config.n_layers
    attention = matching_modules(network, _ATTENTION)
    n_blocks = int(card.config.get("n_blocks", card.config.get("settings", {}).get("num_hidden_layers", 0)))
    if attention and n_blocks:
        patches = matching_modules(network, ".*", (nn.Conv2d,))[:1] if config.adapter == "lora" else []
        # Either four projections a block or a fused one with its output; anything else is a name that was not foreseen.
        n_found = 4 if len(attention) == 4 * n_blocks else 2
        wanted = n_found * n_blocks + len(patches)
        return "|".join([f"({_ATTENTION})", *(name.replace(".", r"\.") for name in patches)]), wanted
    pointwise = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d) and set(module.kernel_size) == {1} and module.groups == 1
    ]
    if not pointwise or config.adapter != "lora":
        raise ConfigError(
            f"layers of {card.name} that adapter {config.adapter} knows", "none", "set plugin.layers and plugin.n_layers"
        )
    return "|".join(name.replace(".", r"\.") for name in pointwise), len(pointwise)


def make_adapters(network: nn.Module, card: EncoderCard, config: PluginConfig) -> dict[str, nn.Module]:
    """Return new adapters for a network that has none, by the names of the layers they stand beside; the network stays bare.

    Each holds the layer it stands beside, shared with the network and frozen.

    Raises
    ------
    ConfigError
        The encoder has no layers that can be adapted so.
    InputError
        The expression fits another number of layers.
    BackendUnavailableError
        PEFT is not installed.
    """
    if config.adapter == "none" or config.place == "tokens":
        return {}
    pattern, n_modules = adapted_layers(network, card, config)
    if config.adapter == "lora":
        kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
        names = add_lora(network, pattern, n_modules=n_modules, rank=config.rank, alpha=config.alpha, kinds=kinds)
        if config.fused:
            share_inputs(network, names)
    else:
        names = add_molre(
            network, pattern, n_modules=n_modules, n_experts=config.n_experts, rank=config.rank, alpha=config.alpha
        )
    made = {name: network.get_submodule(name) for name in names}
    # PEFT leaves a note on the network that it carries adapters, which it does not from here on.
    vars(network).pop("peft_config", None)
    for name, module in made.items():
        _put(network, name, base_of(module))
    return made


def base_of(adapter: nn.Module) -> nn.Module:
    """Return the frozen layer an adapter stands beside."""
    found = getattr(adapter, "base_layer", None)
    base = adapter.base if found is None else found
    assert isinstance(base, nn.Module)
    return base


@contextmanager
def adapted(network: nn.Module, adapters: Mapping[str, nn.Module]) -> Iterator[None]:
    """Put adapters onto a network for as long as the body runs; afterwards the network is as it was, object for object."""
    before = {name: network.get_submodule(name) for name in adapters}
    try:
        for name, module in adapters.items():
            _put(network, name, module)
        yield
    finally:
        for name, module in before.items():
            _put(network, name, module)


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    home, _, last = name.rpartition(".")
    setattr(network.get_submodule(home), last, module)
