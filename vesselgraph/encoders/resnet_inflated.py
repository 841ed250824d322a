"""The 3-D ResNet of the Merlin and Astra chest-CT models: a 2-D ResNet whose kernels were inflated along the planes.

Own code of the published layout; key names are those of the published weights. Needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1x1, 3x3x3 and 1x1x1 convolutions beside a short cut; the middle one takes the stride.

    Parameters
    ----------
    n_in, width : int
        Channels of the input and of the middle; four times the width come out.
    stride : int
        Along all three axes.
    """

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = width * _EXPANSION
        self.conv1 = nn.Conv3d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(n_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv3d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm3d(n_out))

    def forward(self, values: Tensor) -> Tensor:
        """Return (batch, 4 width, ...)."""
        inner = functional.relu(self.bn1(self.conv1(values)))
        inner = functional.relu(self.bn2(self.conv2(inner)))
        return functional.relu(self.bn3(self.conv3(inner)) + self.downsample(values))


class InflatedResNet(nn.Module):
    """3-D ResNet with bottlenecks, without head.

    The stem takes three equal channels, halves rows and columns, then all axes; three of the four stages halve all axes. Cells
    of the four stages are 2, 4, 8, 16 planes by 4, 8, 16, 32 rows and columns.

    Parameters
    ----------
    depths : sequence of int
        Blocks of the four stages; (3, 8, 36, 3) is ResNet-152.
    width : int
        Channels of the stem.

    References
    ----------
    He et al., "Deep residual learning", CVPR 2016, table 1; Carreira and Zisserman, "Quo vadis", CVPR 2017, section 2.4
    (inflation); Blankemeier et al., Merlin, arXiv 2406.06512.
    """

    def __init__(self, depths: Sequence[int] = (3, 8, 36, 3), width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), padding=(1, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.act = nn.ReLU()
        self.maxpool = nn.MaxPool3d(3, 2, padding=1)
        n_in = width
        for stage, depth in enumerate(depths):
            blocks = []
            for block in range(depth):
                blocks.append(Bottleneck(n_in, width << stage, 2 if stage and not block else 1))
                n_in = (width << stage) * _EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
