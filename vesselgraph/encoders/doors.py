"""From a volume to its features in one call. Needs torch."""

from __future__ import annotations

import torch

from vesselgraph.encoders.encoded import Encoded, VolumeEncoder
from vesselgraph.encoders.placing import place
from vesselgraph.errors import BudgetError, InputError
from vesselgraph.volume import Volume


def encode_volume(encoder: VolumeEncoder, volume: Volume, *, max_memory_gb: float | None = None) -> Encoded:
    """Return the features of one volume, without gradients; the volume is turned and resampled as the card asks.

    Parameters
    ----------
    encoder : VolumeEncoder
    volume : Volume
        In the card's unit (HU for CT).
    max_memory_gb : float, optional
        Raise before any work if the maps alone would take more, 10^9 bytes.

    Raises
    ------
    RangeError
        The volume holds values that are not finite.
    InputError
        The card does not say what the network is fed.
    BudgetError
        The maps would take more memory than allowed.
    """
    if encoder.card.input is None:
        raise InputError("a card that says what the network is fed", f"{encoder.card.name} without input", "complete the card")
    placed = place(volume, encoder.card.input)
    if max_memory_gb is not None:
        needed = encoder.map_gigabytes(placed.shape)
        if needed > max_memory_gb:
            raise BudgetError(
                f"maps of at most {max_memory_gb:.3g} GB",
                f"{needed:.3g} GB for {encoder.card.name} on {placed.shape}",
                "crop the image, lower the scale, or keep half precision",
            )
    device = next(encoder.network.parameters()).device
    with torch.no_grad():
        return encoder.encode(torch.tensor(placed.array, device=device)[None, None], [placed.space])
