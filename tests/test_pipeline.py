"""Items that are prefetched, and tasks in the background, keep their order; errors come up, nothing stays."""

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from zoomdream.pipeline import BackgroundWorker, prefetch, take_thread_count


def running() -> bool:
    return any(thread.name in ("prefetch", "background") for thread in threading.enumerate())


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


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Three threads for tensor operations, in this thread and in those that begin."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def fresh_thread_count() -> int:
    """The number of threads that tensor operations use in a thread that begins now."""
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return counts[0]


@pytest.mark.usefixtures("three_threads")
def test_prefetching_uses_one_thread_and_leaves_others_their_counts() -> None:
    inside: list[int] = []

    def one() -> Iterator[int]:
        inside.append(torch.get_num_threads())
        yield 1

    with prefetch(one()) as items:
        list(items)
        assert torch.get_num_threads() == fresh_thread_count() == 3
    assert inside == [1]
    assert torch.get_num_threads() == fresh_thread_count() == 3


@pytest.mark.usefixtures("three_threads")
def test_two_that_start_at_once_leave_each_other_their_thread_counts() -> None:
    counts: list[int] = []

    def render(together: threading.Barrier) -> None:
        together.wait()
        with prefetch(iter(range(3))) as items:
            list(items)
        counts.append(torch.get_num_threads())

    for _ in range(100):
        together = threading.Barrier(2)
        threads = [threading.Thread(target=render, args=(together,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == 200 * [3]
    assert torch.get_num_threads() == fresh_thread_count() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_thread_with_a_count_of_its_own_keeps_it() -> None:
    set_number, go_on = threading.Event(), threading.Event()

    def set_count() -> None:
        torch.set_num_threads(5)  # of threads that begin, too
        set_number.set()
        go_on.wait()

    other = threading.Thread(target=set_count)
    other.start()
    set_number.wait()
    with prefetch(iter(range(3))) as items:
        list(items)
    assert torch.get_num_threads() == 3
    assert fresh_thread_count() == 5
    go_on.set()
    other.join()


@pytest.mark.usefixtures("three_threads")
def test_a_thread_takes_its_count_while_others_start() -> None:
    counts: list[int] = []

    def take() -> None:
        take_thread_count()
        counts.append(torch.get_num_threads())

    for _ in range(50):
        other = threading.Thread(target=take)
        other.start()
        with prefetch(iter(range(3))) as items:
            list(items)
        other.join()
    assert counts == 50 * [3]


def test_what_is_given_is_done_in_order_while_one_goes_on() -> None:
    done: list[int] = []
    gate = threading.Event()
    worker = BackgroundWorker(depth=3)
    worker.submit(gate.wait)
    for number in range(3):
        worker.submit(partial(done.append, number))
    assert done == []
    gate.set()
    worker.flush()
    assert done == [0, 1, 2]
    worker.stop(KeyError())
    assert not running()


def test_an_error_behind_comes_with_the_next_call_and_ends_it() -> None:
    done: list[int] = []

    def fail() -> None:
        raise ValueError("behind")

    worker = BackgroundWorker()
    worker.submit(fail)
    with pytest.raises(ValueError, match="behind"):
        worker.flush()
    with pytest.raises(ValueError, match="behind"):
        worker.submit(lambda: done.append(1))
    worker.stop(KeyError())
    assert done == []
    assert not running()


def test_what_was_not_begun_when_it_ends_is_not_done() -> None:
    done: list[int] = []
    gate, begun = threading.Event(), threading.Event()
    worker = BackgroundWorker()
    worker.submit(begun.set)
    worker.submit(gate.wait)
    begun.wait()
    worker.submit(lambda: done.append(1))
    threading.Timer(0.2, gate.set).start()
    worker.stop(KeyError("no longer"))
    assert done == []
    with pytest.raises(KeyError, match="no longer"):
        worker.submit(lambda: done.append(2))
    with pytest.raises(KeyError, match="no longer"):
        worker.flush()
    assert not running()
