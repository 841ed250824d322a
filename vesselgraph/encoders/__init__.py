"""Image encoders behind one protocol: features of whole volumes, readable at any place of the patient.

Names are loaded on first use; cards and the registry load no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesselgraph.encoders.branches import branch_features as branch_features
    from vesselgraph.encoders.card import EncoderCard as EncoderCard
    from vesselgraph.encoders.doors import encode_volume as encode_volume
    from vesselgraph.encoders.encoded import Encoded as Encoded
    from vesselgraph.encoders.encoded import FeatureMap as FeatureMap
    from vesselgraph.encoders.encoded import VolumeEncoder as VolumeEncoder
    from vesselgraph.encoders.loading import load_encoder as load_encoder
    from vesselgraph.encoders.loading import make_encoder as make_encoder
    from vesselgraph.encoders.loading import random_encoder as random_encoder
    from vesselgraph.encoders.registry import CARDS as CARDS
    from vesselgraph.encoders.registry import find_card as find_card
    from vesselgraph.encoders.sampling import sample as sample

_HOME = {
    "CARDS": "registry",
    "Encoded": "encoded",
    "EncoderCard": "card",
    "FeatureMap": "encoded",
    "VolumeEncoder": "encoded",
    "branch_features": "branches",
    "encode_volume": "doors",
    "find_card": "registry",
    "load_encoder": "loading",
    "make_encoder": "loading",
    "random_encoder": "loading",
    "sample": "sampling",
}
__all__ = [
    "CARDS",
    "Encoded",
    "EncoderCard",
    "FeatureMap",
    "VolumeEncoder",
    "branch_features",
    "encode_volume",
    "find_card",
    "load_encoder",
    "make_encoder",
    "random_encoder",
    "sample",
]


def __getattr__(name: str) -> Any:
    """Return a public name, loading its module when it is first asked for.

    Raises
    ------
    AttributeError
        There is no such name.
    """
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
