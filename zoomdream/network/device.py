"""Where to compute, and in which precision."""

from dataclasses import dataclass
from typing import get_args

import torch

from zoomdream.errors import UsageError
from zoomdream.process_settings import check_cuda_after_fork
from zoomdream.settings.definitions import RenderJob


@dataclass(frozen=True)
class Place:
    """A device and a precision to compute in, and why they were chosen."""

    device: torch.device
    dtype: torch.dtype
    why: str


def choose_place(device: str | torch.device = "auto", precision: str = "auto") -> Place:
    """Chooses a device and a precision: the GPU if there is one, and the fastest that looks the same.

    device: `auto`, `cuda`, `mps` or `cpu`, or torch's device of that name, without a number. precision:
    `auto`, `fp32`, `bf16` or `fp16`. Raises UsageError for any other, and for a device that this machine has
    not.
    """
    device = str(device) if isinstance(device, torch.device) else device
    _check_choice("device", device)
    _check_choice("precision", precision)
    if device in ("auto", "cuda"):
        check_cuda_after_fork()
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    why = "as asked"
    if device == "auto":
        device = next(name for name, is_available in available.items() if is_available)
        why = "no GPU was found" if device == "cpu" else "a GPU was found"
    elif not available[device]:
        raise UsageError(f"there is no {device} device here: use `device=auto`")
    if precision == "auto":
        precision = _best_precision(device)
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return Place(torch.device(device), types[precision], why)


def _check_choice(setting: str, value: object) -> None:
    """Raises UsageError for a value that a job's setting of that name has not."""
    *choices, last = get_args(RenderJob.model_fields[setting].annotation)
    if not isinstance(value, str) or value not in (*choices, last):
        raise UsageError(f'{setting} "{value}" is none of {", ".join(choices)} and {last}')


def _best_precision(device: str) -> str:
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device == "cpu" and _cpu_bf16() else "fp32"


def _cpu_bf16() -> bool:
    """Whether this processor multiplies bfloat16 natively; elsewhere it would be slower."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(check() or tiles())
