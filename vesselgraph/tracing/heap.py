"""A 4-ary heap of numbered items whose keys can be lowered: three plain arrays, keys, items, place of each item (-1: out)."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True, inline="always")
def heap_push(keys, items, place, size, key, item):  # type: ignore[no-untyped-def]
    """Put an item into a 4-ary heap, or lower its key if it is there; return the new size. ``place`` is -1 outside."""
    i = place[item]
    if i < 0:
        i = size
        size += 1
    while i > 0:
        parent = (i - 1) >> 2
        if keys[parent] <= key:
            break
        keys[i], items[i] = keys[parent], items[parent]
        place[items[i]] = i
        i = parent
    keys[i], items[i] = key, item
    place[item] = i
    return size


@njit(cache=True, nogil=True, inline="always")
def heap_pop(keys, items, place, size):  # type: ignore[no-untyped-def]
    """Take the item with the lowest key out of a heap that is not empty; return the item and the new size."""
    top = items[0]
    place[top] = -1
    size -= 1
    if size == 0:
        return top, size
    key, item = keys[size], items[size]
    i = 0
    while True:
        child = 4 * i + 1
        if child >= size:
            break
        best = child
        for c in range(child + 1, min(child + 4, size)):
            if keys[c] < keys[best]:
                best = c
        if key <= keys[best]:
            break
        keys[i], items[i] = keys[best], items[best]
        place[items[i]] = i
        i = best
    keys[i], items[i] = key, item
    place[item] = i
    return top, size
