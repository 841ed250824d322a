"""Draw what a frozen image network makes of a slice: its maps, each with its three main components as red, green and blue.

    python examples/pictures_of_features.py CT.nii.gz OUT.png

ImageNet weights; the middle slice is shown. Without arguments it takes a small generated CT.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import vesselgraph as vg
from vesselgraph.config import PhantomConfig
from vesselgraph.encoders import encode_volume, load_encoder


def colours(features: np.ndarray) -> np.ndarray:
    """Return (rows, columns, 3) in [0, 1]: the main components of (channels, rows, columns), each over its middle 96 %."""
    cells = features.reshape(len(features), -1).T
    cells = cells - cells.mean(0)
    main = cells @ np.linalg.svd(cells, full_matrices=False)[2][:3].T
    low, high = np.percentile(main, (2, 98), axis=0)
    return np.clip((main - low) / (high - low), 0, 1).reshape(*features.shape[1:], 3)


def main(ct: vg.Volume, out: Path) -> int:
    middle = ct.shape[0] // 2
    one = ct.crop((middle, 0, 0), (middle + 1, *ct.shape[1:]))
    encoded = encode_volume(load_encoder("efficientnet-lite0"), one)
    figure = Figure(figsize=(3 * (1 + len(encoded.maps)), 3.3), dpi=110, layout="constrained")
    axes = figure.subplots(1, 1 + len(encoded.maps))
    axes[0].imshow(one.array[0], cmap="gray", vmin=-160, vmax=240)
    axes[0].set_title("CT, -160 to 240 HU")
    for axis, seen in zip(axes[1:], encoded.maps, strict=True):
        axis.imshow(colours(seen.data[0, :, 0].numpy()), interpolation="nearest")
        axis.set_title(f"{seen.name}: {seen.data.shape[1]} channels, cell {seen.stride[1]:g}")
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(out)
    return len(encoded.maps)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(vg.read_image(sys.argv[1]), Path(sys.argv[2]))
    else:
        phantom = vg.make_phantom(PhantomConfig(shape=(48, 96, 96), n_tips=6))
        with tempfile.TemporaryDirectory() as scratch:
            assert main(phantom.image, Path(scratch) / "maps.png") == 4
            assert (Path(scratch) / "maps.png").stat().st_size > 10_000
