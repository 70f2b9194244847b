"""Records work on a GPU once, as a CUDA graph, and replays it."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

TIMES_BEFORE_RECORDING = 3  # calls with tensors of the same shapes that come before a recording
MOST_RECORDINGS = 16  # at a time
Work = Callable[..., list[Tensor]]
Recorder = Callable[[Work, list[Tensor]], Work]
"""Makes of work and its tensors the same work, replayed from a recording."""


class Replay:
    """Calls work on tensors, on a GPU from a recording (a CUDA graph); elsewhere it just calls it.

    To launch the hundreds of small kernels of a step takes a processor longer than it takes the GPU to run
    them. Work may be recorded whose kernels follow from its name and its tensors' shapes and types alone;
    whatever else it reads must stay at its address. The tensors that it gives are overwritten by the next
    call. Not for several threads at once.
    """

    def __init__(self, device: torch.device, record: Recorder | None = None) -> None:
        """record: how to record; else as CUDA graphs on a GPU, and elsewhere not at all."""
        self._record = record or (_cuda_recorder() if device.type == "cuda" else None)
        self._calls: dict[Hashable, int] = {}  # by name and kinds of tensors
        self._recordings: dict[Hashable, Work] = {}

    @property
    def on(self) -> bool:
        """Whether anything is recorded."""
        return self._record is not None

    @property
    def recordings(self) -> int:
        """How many recordings it keeps."""
        return len(self._recordings)

    def __call__(self, name: Hashable, work: Work, *tensors: Tensor) -> list[Tensor]:
        """Gives what `work(*tensors)` gives."""
        if self._record is None:
            return work(*tensors)
        key = name, *((tensor.shape, tensor.dtype) for tensor in tensors)
        if key not in self._recordings:
            calls = self._calls[key] = self._calls.get(key, 0) + 1
            if calls <= TIMES_BEFORE_RECORDING or len(self._recordings) >= MOST_RECORDINGS:
                return work(*tensors)
            try:
                self._recordings[key] = self._record(work, list(tensors))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # some operation cannot be recorded on this GPU
                self.forget()
                self._record = None
                return work(*tensors)
        return self._recordings[key](*tensors)

    def forget(self) -> None:
        """Frees the memory of all recordings."""
        self._recordings.clear()
        self._calls.clear()


def _cuda_recorder() -> Recorder:
    """Records CUDA graphs that share memory: the results of one are read before the next is replayed."""
    pool = torch.cuda.graph_pool_handle()

    def record(work: Work, tensors: list[Tensor]) -> Work:
        inputs = [tensor.clone() for tensor in tensors]
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                outputs = work(*inputs)
        except BaseException:
            torch.cuda.set_stream(stream)  # torch leaves the one that it was recording on
            raise

        def replay(*tensors: Tensor) -> list[Tensor]:
            for recorded, current in zip(inputs, tensors, strict=True):
                recorded.copy_(current)
            graph.replay()
            return outputs

        return replay

    return record
