"""Asking for memory ahead changes nothing, is harmless outside of an array, and becomes an instruction."""

import re

import numpy as np
from numba import njit

from vesselgraph.tracing.prefetch import prefetch


@njit
def _ask(values, place):
    prefetch(values, place)
    return values.sum()


def test_no_place_is_touched_or_refused() -> None:
    values = np.arange(5.0)
    assert [_ask(values, place) for place in (0, 4, -1, 10**12)] == [10.0] * 4
    np.testing.assert_array_equal(values, np.arange(5.0))


def test_it_becomes_an_instruction() -> None:
    _ask(np.zeros(1, np.uint64), np.uint64(0))
    # An instruction of its own: names of functions hold the word as well.
    assert all(re.search(r"^\s+(prefetch\w+|prfm)\s", code, re.MULTILINE) for code in _ask.inspect_asm().values())
