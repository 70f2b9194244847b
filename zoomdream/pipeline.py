"""Stages beside the dreaming: what comes next is made ready, and what is done put away, each in a thread."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

T = TypeVar("T")
QUEUE_DEPTH = 2  # things that are ready and wait, at most


@dataclass(frozen=True)
class _End:
    """The last thing: nothing more comes, or this went wrong."""

    error: BaseException | None = None


@contextmanager
def prefetch(things: Iterator[T], depth: int = QUEUE_DEPTH) -> Iterator[Iterator[T]]:
    """The same things in the same order, up to `depth` of them made before they are asked for.

    An error comes where it would have come. At the end of the block, however it ends, nothing of it runs
    any more, and `things` is closed. They are made on one thread, so that those who work have the others.
    """
    line: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(thing: Any) -> bool:
        while not stop.is_set():
            try:
                line.put(thing, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    threads, alone = torch.get_num_threads(), threading.Event()

    def work() -> None:
        torch.set_num_threads(1)  # of this thread, and of all that begin later
        alone.set()
        try:
            for thing in things:
                if not put(thing):
                    return
            put(_End())
        except BaseException as error:
            put(_End(error))

    def taken() -> Iterator[T]:
        while not isinstance(thing := line.get(), _End):
            yield thing
        if thing.error is not None:
            raise thing.error

    worker = threading.Thread(target=work, name="ahead", daemon=True)
    worker.start()
    alone.wait()
    torch.set_num_threads(threads)  # which those that begin later get again
    try:
        yield taken()
    finally:
        stop.set()
        worker.join()
        close = getattr(things, "close", None)
        if close:
            close()


class BackgroundWorker:
    """Does what it is given, one after another, in a thread of its own, up to `depth` things late.

    What goes wrong there is raised by the next call here; nothing that was given later is done then.
    """

    def __init__(self, depth: int = QUEUE_DEPTH) -> None:
        self._line: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._worker = threading.Thread(target=self._work, name="behind", daemon=True)
        self._worker.start()

    def _work(self) -> None:
        while (task := self._line.get()) is not None:
            try:
                if self._error is None:
                    task()
            except BaseException as error:
                self._error = self._error or error
            finally:
                self._line.task_done()
        self._line.task_done()

    def do(self, task: Callable[[], object]) -> None:
        """Has something done soon."""
        self._complain()
        self._line.put(task)

    def settle(self) -> None:
        """Waits until all that was given is done."""
        self._complain()
        self._line.join()
        self._complain()

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error

    def refuse(self, error: BaseException) -> None:
        """What has not been begun is no longer done, and all later calls raise the error."""
        self._error = self._error or error

    def stop(self, error: BaseException) -> None:
        """Refuses, and ends the thread."""
        self.refuse(error)
        if self._worker.is_alive():
            self._line.put(None)
            self._worker.join()
