"""Colours of the report: one for every tree or name, one scale for radius and score; the same in pictures and the 3-D view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_N_NUMBERED = 7

# Okabe and Ito's colours, told apart with every common colour blindness and bright enough on grey; 0 is "in no tree". After the
# numbered trees come the named ones: portal, hepatic, artery.
TREE_COLOURS: tuple[str, ...] = (
    "#9aa0a6",
    "#e69f00",
    "#56b4e9",
    "#2fbf8f",
    "#f0e442",
    "#3d8bd0",
    "#e0631f",
    "#d67fb0",
    "#3f8ef0",
    "#b07ae0",
    "#e5493d",
)

# Nine anchors of viridis (matplotlib, CC0), dark to bright.
SCALE_COLOURS: tuple[str, ...] = (
    "#440154",
    "#472d7b",
    "#3b528b",
    "#2c728e",
    "#21918c",
    "#28ae80",
    "#5ec962",
    "#addc30",
    "#fde725",
)


def tree_colour_index(tree_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place in ``TREE_COLOURS`` of each tree id; ids <= 0 are grey, high ids begin again after the grey.

    Examples
    --------
    >>> tree_colour_index(np.array([0, 1, 7, 8])).tolist()
    [0, 1, 7, 1]
    """
    return np.where(tree_id <= 0, 0, (tree_id - 1) % _N_NUMBERED + 1)


def named_colour_index(name: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place in ``TREE_COLOURS`` of each name (1 portal, 2 hepatic, 3 artery); others are grey.

    Examples
    --------
    >>> named_colour_index(np.array([0, 1, 3, 9])).tolist()
    [0, 8, 10, 0]
    """
    is_known = (name > 0) & (name < len(TREE_COLOURS) - _N_NUMBERED)
    return np.where(is_known, name + _N_NUMBERED, 0)


def rgb(colours: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return hex colours as (n, 3) bytes.

    Examples
    --------
    >>> rgb(("#ff0010",)).tolist()
    [[255, 0, 16]]
    """
    return np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours], dtype=np.uint8)
