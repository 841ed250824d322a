import multiprocessing
import threading
import time
from itertools import chain

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from vesselgraph.threads import run_parts


@pytest.fixture(autouse=True)
def two_threads():
    before = get_num_threads()
    set_num_threads(min(2, before))
    yield
    set_num_threads(before)


def squares(n: int, part: int | None = None) -> list[list[int]]:
    return run_parts(lambda begin, end: [i * i for i in range(begin, end)], n, part)


@pytest.mark.parametrize(("n", "part"), [(0, None), (1, None), (17, None), (17, 4), (17, 100)])
def test_parts_cover_the_range_once_and_come_in_order(n, part):
    assert list(chain(*squares(n, part))) == [i * i for i in range(n)]


def test_progress_is_told_after_each_part_in_order():
    told = []
    run_parts(lambda *_: None, 10, 4, lambda step, share: told.append((step, round(share, 3))), "count")
    assert told == [("count", 0.333), ("count", 0.667), ("count", 1.0)]


def test_parts_of_parts_end():
    answers = run_parts(lambda begin, end: squares(end - begin, 1), 8, 2)
    assert answers == [[[0], [1]]] * 4


def test_two_callers_at_once_get_their_own_answers():
    answers = {}
    callers = [threading.Thread(target=lambda n=n: answers.__setitem__(n, list(chain(*squares(n, 3))))) for n in (20, 30)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert answers == {n: [i * i for i in range(n)] for n in (20, 30)}


def test_after_an_error_nobody_writes_any_more():
    written = np.zeros(40, np.int64)

    def kernel(begin: int, end: int) -> None:
        if begin == 0:
            raise ValueError("the first part fails")
        time.sleep(0.02)
        written[begin:end] = 1

    with pytest.raises(ValueError, match="the first part fails"):
        run_parts(kernel, 40, 1)
    at_once = written.copy()
    time.sleep(0.1)
    assert np.array_equal(written, at_once)
    assert not written.all()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    squares(20, 1)
    child = multiprocessing.get_context("fork").Process(target=squares, args=(20, 1))
    child.start()
    child.join(30)
    assert child.exitcode == 0
