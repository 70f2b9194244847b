"""Settings of the whole process that make dreaming quicker: how freed memory is handled."""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from functools import cache


def keep_memory() -> None:
    """Lets freed memory stay with this process: a tenth of a step was the system handing it out anew.

    By glibc's mallopt(3), where there is one; elsewhere nothing changes.
    """
    if (tune := _mallopt()) and tune(_MMAP_THRESHOLD, 1 << 25):  # more than this it does not take
        tune(_TRIM_THRESHOLD, (1 << 31) - 1)


@contextlib.contextmanager
def large_blocks_kept(on: bool) -> Iterator[None]:
    """The same for blocks of any size, within the `with` block: a quarter of a step of 2048x2048 px.

    Where sizes change from step to step, as those of tiles do, such blocks would come to lie in pieces,
    and twice the memory be held.
    """
    tune = _mallopt() if on else None
    if tune:
        tune(_MMAP_MAX, 0)
    try:
        yield
    finally:
        if tune:
            tune(_MMAP_MAX, 1 << 16)  # as it was


@cache
def _mallopt() -> Callable[[int, int], int] | None:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        found: Callable[[int, int], int] = ctypes.CDLL(None).mallopt
        return found
    return None


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # as malloc.h has them
