"""Adapting frozen encoders: LoRA through PEFT, MoLRE of our own; only what was added is trained, saved and loaded.

Needs torch; PEFT is loaded when LoRA is asked for.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vesselgraph.encoders.molre import MoLRELinear
from vesselgraph.errors import BackendUnavailableError, CheckpointError, InputError
from vesselgraph.io.atomic import atomic_path


def matching_modules(network: nn.Module, pattern: str, kinds: tuple[type[nn.Module], ...] = (nn.Linear,)) -> list[str]:
    """Return the dotted names of the modules whose whole name fits a regular expression and whose type is one of ``kinds``.

    Raises
    ------
    InputError
        The expression is none.

    Examples
    --------
    >>> matching_modules(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), "[02]")
    ['0', '2']
    """
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise InputError("a regular expression", f"{pattern!r}: {error}", "escape dots as \\.") from error
    return [name for name, module in network.named_modules() if wanted.fullmatch(name) and isinstance(module, kinds)]


def add_lora(
    network: nn.Module,
    pattern: str,
    *,
    n_modules: int,
    rank: int,
    alpha: float,
    kinds: tuple[type[nn.Module], ...] = (nn.Linear,),
    name: str = "default",
) -> list[str]:
    """Put LoRA beside chosen layers of a network, in place; everything else is frozen. Return the names of the layers.

    Parameters
    ----------
    network : nn.Module
        Such as an encoder's ``network``.
    pattern : str
        Regular expression for the whole dotted name, e.g. ``r".*attention[.](q|k|v|o)_proj"``.
    n_modules : int
        How many layers it must fit: names of layers change between versions of libraries, and a pattern that fits fewer
        would adapt less without a word.
    rank, alpha : int, float
        The change is scaled by ``alpha / rank``.
    kinds : tuple of types
        Linear and convolutional layers are known to PEFT.
    name : str
        Of the adapter; several can live on one network.

    Raises
    ------
    InputError
        The pattern fits another number of layers.
    BackendUnavailableError
        PEFT is not installed.
    """
    names = _counted(network, pattern, n_modules, kinds)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise BackendUnavailableError(
            "the peft library",
            "none",
            'install it with pip install "vesselgraph[encoders]"',
        ) from error
    network.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names), network, adapter_name=name)
    return names


def share_inputs(network: nn.Module, names: list[str]) -> int:
    """Let query, key and value of each attention share the inner half ``A`` of their LoRA, in place; return how many were tied.

    The three see the same input, so this is LoRA on one layer that makes all three: a third of the inner parameters.

    Parameters
    ----------
    network : nn.Module
        With LoRA on ``names``, as :func:`add_lora` leaves it.
    names : list of str
        Layers whose last part begins with q, k or v and ends in ``_proj`` are tied; others stay as they are.
    """
    n_tied = 0
    for name in names:
        home, _, last = name.rpartition(".")
        if last not in {"k_proj", "v_proj"} or f"{home}.q_proj" not in names:
            continue
        ours, first = (network.get_submodule(f"{home}.{one}") for one in (last, "q_proj"))
        for key, inner in first.lora_A.items():  # type: ignore[union-attr,operator]
            ours.lora_A[key] = inner  # type: ignore[operator]
        n_tied += 1
    return n_tied


def merge_lora(network: nn.Module) -> int:
    """Add LoRA's changes to the layers they stand beside and take LoRA out, in place; return the number of layers."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = [(name, module) for name, module in network.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in found:
        module.merge(safe_merge=True)
        _replace(network, name, module.get_base_layer())
    return len(found)


def add_molre(
    network: nn.Module, pattern: str, *, n_modules: int, n_experts: int = 6, rank: int = 8, alpha: float = 16.0
) -> list[str]:
    """Put low-rank experts beside chosen linear layers of a network, in place; everything else is frozen.

    Each item of the layer's input (a slice, for an encoder of slices) is routed by the mean of its tokens; for other routing
    units call :class:`~vesselgraph.encoders.molre.MoLRELinear` directly. Returns the names of the layers.

    Convolutions are refused: a mean over places is no token of theirs, and no publication says how they are to be routed.

    Raises
    ------
    InputError
        The pattern fits another number of layers than ``n_modules``, or convolutions.
    """
    convolutions = matching_modules(network, pattern, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    if convolutions:
        raise InputError(
            "linear layers for low-rank experts",
            f"{len(convolutions)} convolutions, {convolutions[:5]}",
            "use add_lora inside convolutions; experts can stand on the vectors of cells, before pooling",
        )
    names = _counted(network, pattern, n_modules, (nn.Linear,))
    network.requires_grad_(False)
    for name in names:
        base = network.get_submodule(name)
        assert isinstance(base, nn.Linear)
        _replace(network, name, MoLRELinear(base, n_experts, rank, alpha))
    return names


def adapter_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return what is trained of a network: the parameters that take gradients, by name."""
    return {name: value.detach() for name, value in network.named_parameters() if value.requires_grad}


def save_adapter(network: nn.Module, path: str | Path, *, encoder_digest: str) -> None:
    """Write what is trained of a network, and for which encoder, into one safetensors file.

    Raises
    ------
    InputError
        Nothing of the network is trained.
    OutputError
        The place cannot be written.
    """
    state = {name: value.cpu().contiguous() for name, value in adapter_state(network).items()}
    if not state:
        raise InputError("a network with adapters", "one that is frozen altogether", "add adapters first")
    with atomic_path(path) as temporary:
        save_file(state, temporary, {"encoder": encoder_digest})


def load_adapter(network: nn.Module, path: str | Path, *, encoder_digest: str) -> None:
    """Fill the adapters of a network from a file; the same adapters must have been added before.

    Raises
    ------
    CheckpointError
        The file is unreadable, is of another encoder, or has other names or shapes.
    """
    wanted = adapter_state(network)
    try:
        state = load_file(path)
        made_for = _metadata(path).get("encoder", "")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            "a file of adapters",
            str(error),
            f"check {path}",
        ) from error
    if made_for != encoder_digest:
        raise CheckpointError(
            f"adapters of encoder {encoder_digest}",
            f"those of {made_for or 'none'}",
            "use that encoder",
        )
    shapes, given = ({name: value.shape for name, value in one.items()} for one in (wanted, state))
    others = sorted({name for name, _ in shapes.items() ^ given.items()})
    if others:
        raise CheckpointError(
            f"the {len(wanted)} adapter tensors of this network",
            f"{len(others)} that differ, {others[:5]}",
            "add the same adapters before loading",
        )
    with torch.no_grad():
        for name, value in state.items():
            wanted[name].copy_(value)


def _metadata(path: str | Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _counted(network: nn.Module, pattern: str, n_modules: int, kinds: tuple[type[nn.Module], ...]) -> list[str]:
    names = matching_modules(network, pattern, kinds)
    if not names or len(names) != n_modules:
        near = [name for name, module in network.named_modules() if isinstance(module, kinds)][:5]
        raise InputError(
            f"{n_modules} layers that fit {pattern!r}",
            f"{len(names)}, {names[:5]}",
            f"layers of this kind are called like {near}",
        )
    for name in names:
        if isinstance(network.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention):
            raise InputError(
                "layers that are called", f"{name}, whose weight nn.MultiheadAttention reads past it", "adapt other layers"
            )
    return names


def _replace(network: nn.Module, name: str, module: Any) -> None:
    home, _, last = name.rpartition(".")
    setattr(network.get_submodule(home), last, module)
