"""EfficientNet-Lite0 without head, with the padding of the TensorFlow weights it is published with. Needs torch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_EPSILON = 1e-3
# Repeats, kernel, stride, expansion and channels of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280


class SameConv(nn.Conv2d):
    """A convolution padded so that ``ceil(side / stride)`` comes out; an odd rest goes to the lower right, as in TensorFlow.

    With even sides and stride 2 the centre of the first cell therefore lies one pixel in, not at 0.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return (n, channels, ceil(rows / stride), ceil(columns / stride))."""
        pads: list[int] = []
        for side, kernel, stride in reversed(list(zip(values.shape[2:], self.kernel_size, self.stride, strict=True))):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(values, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


class InvertedBlock(nn.Module):
    """Widen, filter each channel by itself, narrow; added to the input where the shape stays.

    Parameters
    ----------
    n_in, n_out, kernel, stride, expansion : int
        Channels in and out, side of the filter, its stride, factor of widening.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = n_in * expansion
        self.expand = nn.Sequential()
        if expansion != 1:
            self.expand = nn.Sequential(nn.Conv2d(n_in, wide, 1, bias=False), nn.BatchNorm2d(wide, _EPSILON), nn.ReLU6())
        self.depthwise = nn.Sequential(
            SameConv(wide, wide, kernel, stride, groups=wide, bias=False), nn.BatchNorm2d(wide, _EPSILON), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(wide, n_out, 1, bias=False), nn.BatchNorm2d(n_out, _EPSILON))
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, values: Tensor) -> Tensor:
        """Return (n, n_out, ...)."""
        said = self.project(self.depthwise(self.expand(values)))
        return values + said if self.is_residual else said


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its last convolution; parts ``stem``, ``blocks.0`` to ``blocks.15``, ``head``.

    References
    ----------
    Tan and Le, "EfficientNet", ICML 2019, table 1; the Lite variants drop squeeze-and-excitation and use ReLU6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv(3, _STEM, 3, 2, bias=False), nn.BatchNorm2d(_STEM, _EPSILON), nn.ReLU6())
        blocks, n_in = [], _STEM
        for repeats, kernel, stride, expansion, n_out in _STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedBlock(n_in, n_out, kernel, 1 if repeat else stride, expansion))
                n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Conv2d(n_in, _HEAD, 1, bias=False), nn.BatchNorm2d(_HEAD, _EPSILON), nn.ReLU6())


_PARTS = {
    "_expand_conv.": "expand.0.",
    "_bn0.": "expand.1.",
    "_depthwise_conv.": "depthwise.0.",
    "_bn1.": "depthwise.1.",
    "_project_conv.": "project.0.",
    "_bn2.": "project.1.",
}
_ENDS = {"_conv_stem.": "stem.0.", "_bn0.": "stem.1.", "_conv_head.": "head.0.", "_bn1.": "head.1."}


def own_names(keys: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return published weights by the key names of :class:`EfficientNetLite0`; names it does not know stay as they are."""
    return {_own_name(key): value for key, value in keys.items()}


def _own_name(key: str) -> str:
    if key.startswith("_blocks."):
        _, number, rest = key.split(".", 2)
        part, _, last = rest.partition(".")
        return f"blocks.{number}.{_PARTS.get(part + '.', part + '.')}{last}"
    part, _, last = key.partition(".")
    return f"{_ENDS.get(part + '.', part + '.')}{last}"
