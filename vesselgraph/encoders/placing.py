"""Bringing a volume onto the grid an encoder was made for."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from vesselgraph.encoders.card import InputCard
from vesselgraph.errors import InputError, RangeError
from vesselgraph.resampling import resample
from vesselgraph.space import Space
from vesselgraph.volume import Volume

_SAME_SPACING = 0.01
# World LPS: x grows to Left, y to Posterior, z to Superior.
_WAYS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


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


def oriented(volume: Volume, code: str) -> Volume:
    """Return a view of a volume whose axes grow, as nearly as they can without resampling, to where ``code`` says.

    Parameters
    ----------
    volume : Volume
    code : str
        Three of L/R, P/A and S/I, one each, for planes, rows and columns.

    Raises
    ------
    InputError
        The code is none.

    Examples
    --------
    >>> import numpy as np
    >>> ct = Volume(np.arange(24).reshape(2, 3, 4), Space.axial())
    >>> turned = oriented(ct, "SRA")
    >>> turned.shape, int(turned.array[0, 0, 0])
    ((2, 4, 3), 11)
    """
    ways = [_WAYS.get(letter, (-1, 0)) for letter in code]
    if sorted(axis for axis, _ in ways) != [0, 1, 2]:
        raise InputError("three letters, one each of L/R, P/A and S/I", repr(code), "write for example SPL")
    direction = volume.space.direction
    # The assignment of array axes to the three wanted directions that agrees best.
    order = max(permutations(range(3)), key=lambda p: sum(abs(direction[w, a]) for (w, _), a in zip(ways, p, strict=True)))
    signs = [np.sign(direction[world, axis]) * way for (world, way), axis in zip(ways, order, strict=True)]
    array = volume.array.transpose(order)
    first = np.zeros(3)
    for new, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        if sign < 0:
            array = np.flip(array, new)
            first[axis] = volume.shape[axis] - 1
    space = Space(
        volume.space.spacing[list(order)],
        volume.space.to_world(first),
        direction[:, list(order)] * np.where(np.asarray(signs) < 0, -1.0, 1.0),
    )
    return Volume(array, space, volume.name)
