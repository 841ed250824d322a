"""Every encoder the project knows, by name. Light: loads no torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from vesselgraph.encoders import cards_2d, cards_3d, cards_listed, cards_segmentation, cards_zoo
from vesselgraph.encoders.card import EncoderCard
from vesselgraph.errors import InputError

_ALL = (*cards_2d.ALL, *cards_3d.ALL, *cards_listed.ALL, *cards_segmentation.ALL, *cards_zoo.ALL)

CARDS: Mapping[str, EncoderCard] = MappingProxyType({card.name: card for card in _ALL})
"""Cards by name, in the order they are listed."""


def find_card(name: str) -> EncoderCard:
    """Return the card of a named encoder.

    Raises
    ------
    InputError
        There is none of this name.

    Examples
    --------
    >>> find_card("dinov2-base").maps[-1].channels
    768
    """
    if name not in CARDS:
        near = difflib.get_close_matches(name, CARDS, 3)
        raise InputError("the name of an encoder", repr(name), f"did you mean {' or '.join(near)}?" if near else _LIST)
    return CARDS[name]


_LIST = "list them with `vesselgraph encoders list`"
