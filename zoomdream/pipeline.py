"""Stages of a render beside the dreaming: one makes ready what comes next, one puts away what is done."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

T = TypeVar("T")
QUEUE_DEPTH = 2  # items that are ready and wait, at most
_starting = threading.Lock()
"""Is held while threads that begin would get a thread count that is not meant for them."""


@dataclass(frozen=True)
class _End:
    """The last item: nothing more comes, or this went wrong."""

    error: BaseException | None = None


def take_thread_count() -> None:
    """Gives the calling thread the usual number of threads for its tensor operations, if it has none yet.

    A thread takes its count from the process with its first tensor operation. Where `prefetch` starts in
    another thread at that very moment, it would be a count of one; so a render calls this first.
    """
    with _starting:
        torch.get_num_threads()


def _start_with_one_thread(work: Callable[[], None], name: str) -> threading.Thread:
    """Starts a thread whose own tensor operations run on one thread, so that the others are left alone.

    `torch.set_num_threads` sets the count of the thread that calls it and the process's, which threads
    take when they begin. So another short thread puts the latter back, and the caller's is not touched.
    """
    is_set = threading.Event()
    count = 0

    def run() -> None:
        nonlocal count
        count = torch.get_num_threads()  # the process's
        torch.set_num_threads(1)
        is_set.set()
        work()

    worker = threading.Thread(target=run, name=name, daemon=True)
    take_thread_count()
    with _starting:
        worker.start()
        is_set.wait()
        restorer = threading.Thread(target=torch.set_num_threads, args=(count,))
        restorer.start()
        restorer.join()
    return worker


@contextmanager
def prefetch(items: Iterator[T], depth: int = QUEUE_DEPTH) -> Iterator[Iterator[T]]:
    """Yields the same items in the same order, up to `depth` of them made before they are asked for.

    An error comes where it would have come. At the end of the block, however it ends, nothing of it runs
    any more, and `items` is closed. They are made in a thread of their own, whose tensor operations use no
    others.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_End())
        except BaseException as error:
            put(_End(error))

    def take() -> Iterator[T]:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    worker = _start_with_one_thread(work, "prefetch")
    try:
        yield take()
    finally:
        stop.set()
        worker.join()
        close = getattr(items, "close", None)
        if close:
            close()


class BackgroundWorker:
    """Runs tasks one after another in a thread of its own.

    The first error of a task is raised by the next call, and no later task is run. depth: tasks that may
    wait; `submit` waits while there are more.
    """

    def __init__(self, depth: int = QUEUE_DEPTH) -> None:
        self._tasks: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                if self._error is None:
                    task()
            except BaseException as error:
                self._error = self._error or error
            finally:
                self._tasks.task_done()
        self._tasks.task_done()

    def submit(self, task: Callable[[], object]) -> None:
        """Has a task run soon."""
        self._raise_error()
        self._tasks.put(task)

    def flush(self) -> None:
        """Waits until all tasks submitted so far have run."""
        self._raise_error()
        self._tasks.join()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def cancel(self, error: BaseException) -> None:
        """Drops the tasks that have not begun; all later calls raise the error, or an earlier one."""
        self._error = self._error or error

    def stop(self, error: BaseException) -> None:
        """Cancels, and ends the thread."""
        self.cancel(error)
        if self._thread.is_alive():
            self._tasks.put(None)
            self._thread.join()
