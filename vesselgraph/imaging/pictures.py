"""Heat over the image it belongs to, as PNG."""

from __future__ import annotations

import io

import numpy as np

from vesselgraph.volume import Volume

_N_SLICES = 4


def overlay_png(image: Volume, heat: Volume, window: tuple[float, float]) -> bytes:
    """Return a PNG of the four planes with the most heat, in order: the image above, with the heat over it below.

    Grey runs over ``window``, the encoder's, so that what is seen is what it saw; heat below a tenth is clear.
    """
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    hottest = heat.array.max(axis=(1, 2))
    planes = np.sort(np.argsort(-hottest, kind="stable")[:_N_SLICES])
    low, high = window
    tall = image.shape[1] * image.space.spacing[1] / (image.shape[2] * image.space.spacing[2])
    figure = Figure(figsize=(2.4 * len(planes), 2 * 2.4 * float(tall) + 0.4), dpi=110, layout="constrained")
    axes = figure.subplots(2, len(planes), squeeze=False)
    across = {"aspect": float(image.space.spacing[1] / image.space.spacing[2]), "interpolation": "nearest"}
    for column, plane in enumerate(planes):
        for axis in axes[:, column]:
            axis.imshow(image.array[plane], cmap="gray", vmin=low, vmax=high, **across)
            axis.set_axis_off()
        values = heat.array[plane]
        axes[1, column].imshow(
            np.ma.masked_less(values, 0.1), cmap=plt.get_cmap("inferno"), vmin=0, vmax=1, alpha=0.55, **across
        )
        axes[0, column].set_title(f"plane {plane}", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
