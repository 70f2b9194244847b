"""Work that a GPU does again from a recording (a CUDA graph)."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

TIMES_BEFORE_RECORDING = (
    3  # times that tensors of the same shapes have come before their work is recorded
)
MOST_RECORDINGS = 16  # at a time
Work = Callable[..., list[Tensor]]


class Replay:
    """Work on tensors that a GPU does again from a recording, a CUDA graph; other devices just do it.

    To launch the hundreds of small kernels of a step takes a processor longer than it takes the GPU to
    do them. Work may be recorded whose kernels follow from its name and its tensors' kinds alone, and
    what else it reads must stay where it is. What it gives is written over by the next.
    """

    def __init__(
        self, device: torch.device, record: Callable[[Work, list[Tensor]], Work] | None = None
    ) -> None:
        """record: makes of work and tensors the same work, played from a recording."""
        self._record = record or (_recorder() if device.type == "cuda" else None)
        self._times: dict[Hashable, int] = {}
        self._played: dict[Hashable, Work] = {}  # what was recorded, by name and kinds of tensors

    @property
    def on(self) -> bool:
        """Whether anything is recorded here."""
        return self._record is not None

    def __call__(self, name: Hashable, work: Work, *given: Tensor) -> list[Tensor]:
        """What `work(*given)` gives."""
        if self._record is None:
            return work(*given)
        key = name, *((part.shape, part.dtype) for part in given)
        if key not in self._played:
            times = self._times[key] = self._times.get(key, 0) + 1
            if times <= TIMES_BEFORE_RECORDING or len(self._played) >= MOST_RECORDINGS:
                return work(*given)
            try:
                self._played[key] = self._record(work, list(given))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # something in it cannot be recorded here
                self.forget()
                self._record = None
                return work(*given)
        return self._played[key](*given)

    def forget(self) -> None:
        """Gives the memory of all recordings back."""
        self._played.clear()
        self._times.clear()


def _recorder() -> Callable[[Work, list[Tensor]], Work]:
    """Records CUDA graphs, which share their memory: one is read before the next is played."""
    pool = torch.cuda.graph_pool_handle()

    def record(work: Work, given: list[Tensor]) -> Work:
        held = [part.clone() for part in given]
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                made = work(*held)
        except BaseException:
            torch.cuda.set_stream(before)  # which torch leaves where it was recording
            raise

        def play(*given: Tensor) -> list[Tensor]:
            for old, new in zip(held, given, strict=True):
                old.copy_(new)
            graph.replay()
            return made

        return play

    return record
