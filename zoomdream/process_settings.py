"""Settings of the whole process: set while somebody needs them, and put back after the last one.

Two renders may run in two threads, so each of these is counted: the first to enter sets it, the last to
leave puts it back.
"""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache

from zoomdream.errors import UsageError


class ProcessSetting:
    """Something of the process that is changed within a `with` block, in any number of threads at once."""

    def __init__(self, change: Callable[[], Callable[[], object]]) -> None:
        """change: makes the change, and gives the function that undoes it."""
        self._change = change
        self._lock = threading.Lock()
        self._users = 0
        self._undo: Callable[[], object] | None = None

    @property
    def active(self) -> bool:
        """Whether the change is made at present, in this thread or another."""
        return self._users > 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._undo = self._change()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._undo is not None:
                self._undo()
                self._undo = None


def _exact_cudnn() -> Callable[[], None]:
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.deterministic, cudnn.benchmark = True, False
    cudnn.allow_tf32 = matmul.allow_tf32 = False

    def undo() -> None:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before

    return undo


exact_cudnn = ProcessSetting(_exact_cudnn)
"""The same seed gives the same pixels on a GPU, and float32 has all of its bits (no TF32)."""


# --- Memory that was freed ----------------------------------------------------------------------------

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # as malloc.h has them
_DEFAULT_THRESHOLD, _DEFAULT_MMAP_MAX = 128 * 1024, 1 << 16  # glibc's own


@cache
def _mallopt() -> Callable[[int, int], int] | None:
    """glibc's mallopt(3); None where there is another library."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        function: Callable[[int, int], int] = ctypes.CDLL(None).mallopt
        return function
    return None


def _keep_freed() -> Callable[[], None]:
    tune = _mallopt()
    if tune and tune(_MMAP_THRESHOLD, 1 << 25):  # more than this it does not take
        tune(_TRIM_THRESHOLD, (1 << 31) - 1)

    def undo() -> None:
        if tune:
            tune(_MMAP_THRESHOLD, _DEFAULT_THRESHOLD)
            tune(_TRIM_THRESHOLD, _DEFAULT_THRESHOLD)

    return undo


def _keep_large() -> Callable[[], None]:
    tune = _mallopt()
    if tune:
        tune(_MMAP_MAX, 0)

    def undo() -> None:
        if tune:
            tune(_MMAP_MAX, _DEFAULT_MMAP_MAX)

    return undo


freed_memory_kept = ProcessSetting(_keep_freed)
"""Freed memory stays with the process: a tenth of a step was the system handing it out anew."""

large_blocks = ProcessSetting(_keep_large)
"""Freed blocks of any size stay with the process."""


@contextlib.contextmanager
def large_blocks_kept(on: bool) -> Iterator[None]:
    """Keeps freed blocks of any size with the process, if `on`: a quarter of a step of 2048x2048 px.

    Where sizes change from step to step, as those of tiles do, such blocks would come to lie in pieces,
    and twice the memory be held.
    """
    with large_blocks if on else contextlib.nullcontext():
        yield


# --- Forked processes ----------------------------------------------------------------------------------

_cuda_used_by: int | None = None  # the process that had started CUDA when it forked


def survive_forks() -> None:
    """Lets processes that are forked from this one compute, on one thread, instead of waiting for ever.

    Torch and OpenCV share their work out to threads that a fork does not copy, so a child would wait for
    them. Torch's own data loaders compute on one thread for the same reason.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_note_cuda, after_in_child=_compute_on_one_thread)
    if _is_forked_worker():
        _compute_on_one_thread()


def check_cuda_after_fork() -> None:
    """Raises UsageError in a process that was forked after CUDA was started, where CUDA cannot be used."""
    if _cuda_used_by not in (None, os.getpid()):
        raise UsageError(
            "device: a GPU that was used before cannot be used after a fork: start processes by "
            '`multiprocessing.get_context("spawn")`, or load the network for `device=cpu` here'
        )


def _note_cuda() -> None:
    global _cuda_used_by
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        _cuda_used_by = os.getpid()


def _compute_on_one_thread() -> None:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    if cv2 := sys.modules.get("cv2"):
        cv2.setNumThreads(0)  # 1 would wait for its threads to end


def _is_forked_worker() -> bool:
    """Whether this is a forked process of `multiprocessing`, as far as that says."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is None or multiprocessing.parent_process() is None:
        return False
    process = multiprocessing.current_process()
    by_default = isinstance(process, multiprocessing.Process)
    kind = multiprocessing.get_start_method() if by_default else type(process).__name__
    return kind in ("fork", "ForkProcess")
