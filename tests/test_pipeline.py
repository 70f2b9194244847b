"""What is made ahead, or put away behind, keeps its order, its errors come up, and nothing of it stays."""

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from zoomdream.pipeline import BackgroundWorker, prefetch


def running() -> bool:
    return any(thread.name in ("ahead", "behind") for thread in threading.enumerate())


class Source:
    """Counts, and tells what became of it."""

    def __init__(self, length: int, fails_at: int = -1) -> None:
        self.made, self.closed = 0, False
        self.items = self._items(length, fails_at)

    def _items(self, length: int, fails_at: int) -> Iterator[int]:
        try:
            for number in range(length):
                if number == fails_at:
                    raise ValueError(f"at {number}")
                self.made += 1
                yield number
        finally:
            self.closed = True


def test_the_same_things_in_the_same_order() -> None:
    source = Source(50)
    with prefetch(source.items) as things:
        assert list(things) == list(range(50))
    assert source.closed
    assert not running()


def test_so_many_are_made_before_they_are_asked_for() -> None:
    source = Source(50)
    with prefetch(source.items, depth=3) as things:
        assert next(things) == 0
        time.sleep(0.5)
        assert source.made == 5  # one taken, three that wait, one in hand
    assert source.closed
    assert not running()


def test_an_error_comes_where_it_would_have_come() -> None:
    source = Source(50, fails_at=7)
    taken = []
    with pytest.raises(ValueError, match="at 7"), prefetch(source.items) as things:
        for thing in things:
            taken.append(thing)  # noqa: PERF402 (what was taken before the error)
    assert taken == list(range(7))
    assert not running()


def test_nothing_stays_when_the_work_ends_early() -> None:
    source = Source(50)
    with pytest.raises(KeyError), prefetch(source.items) as things:
        next(things)
        raise KeyError
    assert source.closed
    assert source.made < 10
    assert not running()


def test_other_threads_keep_theirs() -> None:
    """What is made ahead is made on one thread; nobody else is."""
    before = torch.get_num_threads()
    inside: list[int] = []

    def one() -> Iterator[int]:
        inside.append(torch.get_num_threads())
        yield 1

    with prefetch(one()) as things:
        list(things)
    fresh: list[int] = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert inside == [1]
    assert fresh == [before]
    assert torch.get_num_threads() == before


def test_what_is_given_is_done_in_order_while_one_goes_on() -> None:
    done: list[int] = []
    gate = threading.Event()
    worker = BackgroundWorker(depth=3)
    worker.do(gate.wait)
    for number in range(3):
        worker.do(partial(done.append, number))
    assert done == []
    gate.set()
    worker.settle()
    assert done == [0, 1, 2]
    worker.stop(KeyError())
    assert not running()


def test_an_error_behind_comes_with_the_next_call_and_ends_it() -> None:
    done: list[int] = []

    def fail() -> None:
        raise ValueError("behind")

    worker = BackgroundWorker()
    worker.do(fail)
    with pytest.raises(ValueError, match="behind"):
        worker.settle()
    with pytest.raises(ValueError, match="behind"):
        worker.do(lambda: done.append(1))
    worker.stop(KeyError())
    assert done == []
    assert not running()


def test_what_was_not_begun_when_it_ends_is_not_done() -> None:
    done: list[int] = []
    gate, begun = threading.Event(), threading.Event()
    worker = BackgroundWorker()
    worker.do(begun.set)
    worker.do(gate.wait)
    begun.wait()
    worker.do(lambda: done.append(1))
    threading.Timer(0.2, gate.set).start()
    worker.stop(KeyError("no longer"))
    assert done == []
    with pytest.raises(KeyError, match="no longer"):
        worker.do(lambda: done.append(2))
    with pytest.raises(KeyError, match="no longer"):
        worker.settle()
    assert not running()
