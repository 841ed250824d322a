"""Bringing a volume onto the grid an encoder was made for."""

from __future__ import annotations

import numpy as np

from vesselgraph.encoders.card import InputCard
from vesselgraph.errors import RangeError
from vesselgraph.resampling import resample
from vesselgraph.volume import Volume, oriented

_SAME_SPACING = 0.01


def place(volume: Volume, card: InputCard) -> Volume:
    """Return a volume as the card asks for it: its axes turned, then resampled to the card's spacing; float32.

    World positions stay. A volume that is right already is only converted.

    Raises
    ------
    RangeError
        The volume holds values that are not finite.
    """
    array = volume.array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        n_wrong = int((~np.isfinite(array)).sum())
        raise RangeError("finite image values", f"{n_wrong} that are NaN or infinite", "fill them first, e.g. with -1024 HU")
    turned = oriented(volume, card.orientation) if card.orientation else volume
    if card.spacing is not None:
        wanted = np.asarray(card.spacing)
        if np.abs(wanted / turned.space.spacing - 1.0).max() > _SAME_SPACING:
            shape = tuple(int(n) for n in np.maximum(1, np.round(turned.extent / wanted)))
            return resample(turned, turned.space.rescaled(wanted), shape)  # type: ignore[arg-type]
    return turned.with_array(np.ascontiguousarray(turned.array, dtype=np.float32))
