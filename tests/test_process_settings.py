"""Settings of the whole process: counted, shared by threads, and put back."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

import zoomdream as zd
from tests.conftest import ROOT
from zoomdream.process_settings import ProcessSetting, exact_cudnn, large_blocks, large_blocks_kept


class Counted:
    """Something to be changed, which counts how often it is changed and put back."""

    def __init__(self) -> None:
        self.changes = self.undone = 0

    def __call__(self) -> Callable[[], None]:
        self.changes += 1

        def undo() -> None:
            self.undone += 1

        return undo

    @property
    def counts(self) -> tuple[int, int]:
        return self.changes, self.undone


def test_nested_use_changes_once_and_puts_back_last() -> None:
    change = Counted()
    setting = ProcessSetting(change)
    assert change.counts == (0, 0)
    assert not setting.active
    with setting:
        with setting:
            assert change.counts == (1, 0)
        assert change.counts == (1, 0)
        assert setting.active
    assert change.counts == (1, 1)
    assert not setting.active
    with setting:
        assert change.counts == (2, 1)
    assert change.counts == (2, 2)


def test_two_threads_share_a_change() -> None:
    """The first to enter makes it; it stays until the other has left, too."""
    change = Counted()
    setting = ProcessSetting(change)
    entered, leave = threading.Event(), threading.Event()

    def use() -> None:
        with setting:
            entered.set()
            assert leave.wait(10)

    other = threading.Thread(target=use)
    with setting:
        other.start()
        assert entered.wait(10)
    assert change.counts == (1, 0)
    assert setting.active
    leave.set()
    other.join(10)
    assert change.counts == (1, 1)


def test_many_threads_never_see_it_undone() -> None:
    values: list[int] = []

    def change() -> Callable[[], None]:
        values.append(1)
        return values.clear

    setting = ProcessSetting(change)
    seen: list[list[int]] = []

    def use() -> None:
        for _ in range(200):
            with setting:
                seen.append(list(values))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [[1]] * 800
    assert values == []


def test_it_is_put_back_after_an_error() -> None:
    change = Counted()
    setting = ProcessSetting(change)
    with pytest.raises(ZeroDivisionError), setting, setting:
        raise ZeroDivisionError
    assert change.counts == (1, 1)
    assert not setting.active


def test_a_change_that_fails_is_tried_again() -> None:
    outcomes = iter((False, True))
    undone: list[bool] = []

    def change() -> Callable[[], None]:
        if not next(outcomes):
            raise OSError("not now")
        return lambda: undone.append(True)

    setting = ProcessSetting(change)
    with pytest.raises(OSError, match="not now"), setting:
        pass
    assert not setting.active
    with setting:
        assert setting.active
    assert undone == [True]


def test_exact_cudnn_puts_flags_back() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.allow_tf32
    with exact_cudnn:
        assert (cudnn.deterministic, cudnn.allow_tf32) == (True, False)
    assert (cudnn.deterministic, cudnn.allow_tf32) == before


def test_large_blocks_are_kept_only_where_that_is_on() -> None:
    with large_blocks_kept(False):
        assert not large_blocks.active
    with large_blocks_kept(True):
        assert large_blocks.active
    assert not large_blocks.active


ON_THE_HEAP = """
import ctypes, pathlib
from zoomdream.process_settings import large_blocks_kept
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
def on_the_heap(megabytes):
    address = library.malloc(ctypes.c_size_t(megabytes << 20))
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= address < last:
            return line.endswith("[heap]")
print(on_the_heap(64))
with large_blocks_kept(True):
    print(on_the_heap(64))
print(on_the_heap(64))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_large_blocks_come_from_the_heap_while_they_are_kept() -> None:
    """Blocks of the heap stay with the process when they are freed; others are unmapped at once."""
    out = subprocess.run(
        [sys.executable, "-c", ON_THE_HEAP], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert out.split() == ["False", "True", "False"]


def dream_and_count() -> tuple[float, int]:
    picture = np.full((96, 96, 3), 99, np.uint8)
    cv2.GaussianBlur(np.zeros((512, 512, 3), np.float32), (0, 0), 2)
    dreamt = zd.dream(picture, steps=1, octaves=1)
    return float(np.abs(dreamt.astype(int) - picture).mean()), torch.get_num_threads()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_process_dreams_on_one_thread() -> None:
    here, threads = dream_and_count()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        there, one = pool.apply_async(dream_and_count).get(timeout=60)
        pool.terminate()
    assert there == pytest.approx(here, abs=0.1)
    assert one == 1
    assert torch.get_num_threads() == threads


def test_a_forked_process_is_told_that_cuda_is_lost() -> None:
    """Where there is no GPU, torch is made to say that one was in use."""
    code = (
        "import os, torch, zoomdream as zd\n"
        "from zoomdream.network.device import choose_place\n"
        "torch.cuda.is_initialized = lambda: True\n"
        "choose_place()\n"
        "child = os.fork()\n"
        "if child: os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "choose_place('cpu')\n"
        "try: choose_place()\n"
        "except zd.UsageError as error: assert 'get_context(\"spawn\")' in str(error)\n"
        "else: os._exit(9)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 0
