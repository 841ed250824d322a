"""The order of blocks and threads changes no byte, and no thread touches what another one writes in the same launch."""

import numpy as np
import pytest
from numba import cuda

from cuda_kernels import device, eikonal
from cuda_kernels.cases import random_cases
from cuda_kernels.races import ConflictError, no_conflicts, other_order

SHAPE = (6, 5, 7)


@cuda.jit
def take_the_last(values, last):
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        last[0] = values[i]


@cuda.jit
def shift(values):
    for i in range(cuda.grid(1), values.size - 1, cuda.gridsize(1)):
        values[i] = values[i + 1]


@cuda.jit
def add_up(values, total):
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        cuda.atomic.add(total, 0, values[i])


@cuda.jit
def add_up_and_look(values, total):
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        cuda.atomic.add(total, 0, values[i])
        values[i] = total[0]


@cuda.jit
def mark(values, is_any):
    for _i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        is_any[0] = 1


def numbers():
    return cuda.to_device(np.arange(1, 9))


def one():
    return cuda.to_device(np.zeros(1, np.int64))


@pytest.mark.parametrize("kernel", [take_the_last, shift, add_up_and_look])
def test_conflicts_are_found(kernel):
    arguments = (numbers(),) if kernel is shift else (numbers(), one())
    with no_conflicts(), pytest.raises(ConflictError, match=kernel.fn.__name__):
        kernel[2, 2](*arguments)


@pytest.mark.parametrize("kernel", [add_up, mark])
def test_atomics_and_equal_stores_are_no_conflict(kernel):
    total = one()
    with no_conflicts():
        kernel[2, 2](numbers(), total)
    assert total.copy_to_host().tolist() == [36 if kernel is add_up else 1]


def test_another_order_shows_in_a_kernel_that_hangs_on_it():
    last = []
    for seed in (None, 0, 3):
        found = one()
        if seed is None:
            take_the_last[4, 1](numbers(), found)
        else:
            with other_order(seed):
                take_the_last[4, 1](numbers(), found)
        last.append(int(found.copy_to_host()[0]))
    assert last[0] == 8
    assert last[1] == 5


def results():
    return {case.name: [array.tobytes() for array in case.on_device()] for case in random_cases(SHAPE, 4)}


def test_the_order_of_blocks_changes_no_byte(monkeypatch):
    expected = results()
    monkeypatch.setattr(device, "_MAX_BLOCKS", 5)
    monkeypatch.setattr(eikonal, "_MOST_BLOCKS", 3)
    for seed in (0, 1):
        with other_order(seed):
            assert results() == expected


def test_no_kernel_has_a_conflict():
    expected = results()
    with no_conflicts():
        assert results() == expected
