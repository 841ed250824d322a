"""The heatmap network on OpenVINO instead of PyTorch: the same function of the same weights, compiled for the CPU at hand.

Loaded only when it is asked for: it needs torch, and the optional package openvino.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from vesselgraph.errors import BackendUnavailableError, ConfigError, InputError, OutputError
from vesselgraph.heatmap.network import HeatmapNetwork, Output, phase_index, require_fitting
from vesselgraph.heatmap.weights import load_network

_OUTPUTS = Output._fields


def require_openvino() -> Any:
    """Return the package openvino.

    Raises
    ------
    BackendUnavailableError
        It is not installed, or cannot be loaded on this machine.
    """
    try:
        return import_module("openvino")
    except (ImportError, OSError) as error:
        raise BackendUnavailableError(
            "the package openvino, which heatmap.backend = openvino needs",
            str(error).splitlines()[0],
            'pip install "vesselgraph[openvino]", or set heatmap.backend = torch',
        ) from error


class OpenVinoNetwork:
    """A heatmap network that OpenVINO runs on the CPU, in float32.

    Called as the network itself is. A model is compiled when phases of new names or a new shape come first (2 s of
    processor time); it holds one box, so boxes go one by one and any number of them shares one model. As many threads are
    used as PyTorch would use.

    Parameters
    ----------
    network : HeatmapNetwork
        On the CPU and in evaluation mode; one that sees no encoder.

    Raises
    ------
    BackendUnavailableError
        openvino is not installed.
    ConfigError
        The network sees the features of an encoder, or lies on another device.
    """

    def __init__(self, network: HeatmapNetwork) -> None:
        self._openvino = require_openvino()
        device = next(network.parameters()).device.type
        if network.maps or device != "cpu":
            found = "one that sees an encoder" if network.maps else f"the device {device}"
            raise ConfigError("a network on the CPU that sees no encoder", found, "set heatmap.backend = torch")
        self.network = network
        self._core = self._openvino.Core()
        self._compiled: dict[tuple[tuple[str, ...], tuple[int, ...]], Any] = {}

    def __call__(self, phases: Mapping[str, Tensor]) -> Output:
        """Return what the network answers, see :meth:`HeatmapNetwork.forward`; largest difference a few thousandths of a logit.

        Raises
        ------
        InputError
            No phase was given.
        ShapeError
            Phases differ in shape, or a side is no multiple of the network's.
        """
        require_fitting(phases, self.network.multiple)
        names = _ordered(phases)
        shape = tuple(phases[names[0]].shape[2:])
        if (names, shape) not in self._compiled:
            settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1"}
            model = convert(self.network, names, shape)
            self._compiled[names, shape] = self._core.compile_model(model, "CPU", settings)
        compiled = self._compiled[names, shape]
        said = []
        for one in range(len(phases[names[0]])):
            given = [np.ascontiguousarray(phases[name][one : one + 1].numpy()) for name in names]
            # The engine writes the next answer into the same memory.
            said.append([torch.from_numpy(np.array(part)) for part in compiled(given).values()])
        return Output(*(torch.cat(parts) for parts in zip(*said, strict=True)))


def convert(network: HeatmapNetwork, names: tuple[str, ...], sides: tuple[int, ...]) -> Any:
    """Return an OpenVINO model of a network for phases of these names and one box.

    Its inputs are called by ``names``, (1, 1, planes, rows, columns) each, normalised
    (:func:`~vesselgraph.heatmap.network.normalise`); its outputs as :class:`~vesselgraph.heatmap.network.Output` is, heat and
    identity as logits.

    Raises
    ------
    BackendUnavailableError
        openvino is not installed.
    """
    openvino = require_openvino()
    shape = (1, 1, *sides)
    examples = tuple(torch.zeros(shape) for _ in names)
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        # That sides are taken as plain numbers is what a fixed shape means.
        warnings.filterwarnings("ignore", category=TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        model = openvino.convert_model(
            _Named(network, names), example_input=examples, input=[openvino.PartialShape(shape)] * len(names)
        )
    for port, name in zip((*model.inputs, *model.outputs), (*names, *_OUTPUTS), strict=True):
        port.get_tensor().set_names({name})
    return model


def export_openvino(
    path: str | Path, *, weights: str | Path = "", phases: tuple[str, ...] = ("portal",), window: int = 64
) -> Path:
    """Write the heatmap network as an OpenVINO model for use by other programs; return the path of its .xml.

    Parameters
    ----------
    path : path
        Ends in .xml; the weights go beside it as .bin, in float32.
    weights : path, optional
        The .safetensors file; the shipped one if left out.
    phases : tuple of str
        The names of the phases the model takes, its inputs; see :func:`convert`.
    window : int
        Side of the box it takes, voxels of the step of the card.

    Raises
    ------
    BackendUnavailableError
        openvino is not installed.
    CheckpointError
        The weights are missing or damaged.
    ConfigError
        The network sees the features of an encoder.
    InputError
        No phase is named, one is named twice, or the side is no multiple of the network's.
    OutputError
        The file cannot be written.
    """
    network = load_network(weights)[0]
    names = _ordered(dict.fromkeys(phases))
    if not names or len(names) < len(phases) or window < network.multiple or window % network.multiple:
        raise InputError(
            f"different names of phases, and a side that is a multiple of {network.multiple}",
            f"{', '.join(phases) or 'no phase'} and {window}",
            "correct the phases or the window",
        )
    engine = OpenVinoNetwork(network)
    path = Path(path)
    if path.suffix != ".xml" or not path.parent.is_dir():
        raise OutputError("a path that ends in .xml, in a folder that is there", str(path), "correct the path")
    try:
        require_openvino().save_model(convert(engine.network, names, (window,) * 3), path, compress_to_fp16=False)
    except (RuntimeError, OSError) as error:
        raise OutputError(f"to write {path}", str(error).splitlines()[0], "check the path and its rights") from error
    return path


def _ordered(phases: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(sorted(phases, key=lambda name: (phase_index(name), name)))


class _Named(nn.Module):
    """The network with phases by place instead of by name, as tracing wants them."""

    def __init__(self, network: HeatmapNetwork, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(dict(zip(self.names, images, strict=True))))
