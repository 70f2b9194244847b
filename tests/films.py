"""Clips made on the spot: moving photographs, sprites, cuts, and every kind of timing and sound."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zoomdream.files import shipped
from zoomdream.media.ffmpeg import ffmpeg_path
from zoomdream.media.frame import Flow, Frame, resize
from zoomdream.media.image_reader import read_still
from zoomdream.size import Size

Frames = NDArray[np.uint8]  # (N, H, W, 3)
SMALL = Size(64, 48)


def run(*arguments: object) -> None:
    """Runs ffmpeg, which has to succeed."""
    subprocess.run(
        [ffmpeg_path(), "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)],
        check=True,
        capture_output=True,
    )


def write(frames: Sequence[Frame] | Frames, path: Path, fps: object = 24, *options: object) -> Path:
    """Writes a film of frames, lossless in RGB unless the options say otherwise."""
    if not isinstance(frames, np.ndarray):
        frames = np.concatenate([as_bytes(frame) for frame in frames])
    _, height, width, _ = frames.shape
    encoding = options or ("-c:v", "libx264rgb", "-qp", "0")
    subprocess.run(
        [ffmpeg_path(), "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
         "-s", f"{width}x{height}", "-r", str(fps), "-i", "-", *map(str, encoding), str(path)],
        input=frames.tobytes(), check=True, capture_output=True,
    )  # fmt: skip
    return path


def as_bytes(frame: Frame) -> Frames:
    """Rounds Frames to 8 bits."""
    frames: Frames = (frame * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return frames


def counting(length: int, size: Size = SMALL) -> Frames:
    """Frames whose brightness is their number times four; the top left corner is red."""
    frames = np.zeros((length, *size.shape, 3), np.uint8)
    frames += (np.arange(length, dtype=np.uint8) * 4 % 252)[:, None, None, None]
    frames[:, :16, :16] = (250, 0, 0)
    return frames


def number(frame: Frame) -> int:
    """Which of `counting` it is."""
    return round(float(frame[..., -12:, -12:].mean()) * 255 / 4)


def photograph(size: Size) -> Frame:
    """The sample photograph, stretched to a size."""
    photo = read_still(shipped("sample.jpg"))
    return resize(photo, size).clamp(0, 1)


def panning(length: int, size: Size, step: int = 2) -> list[Frame]:
    """A photograph that the camera goes across, `step` whole pixels a frame to the right."""
    whole = photograph(Size(size.width + step * length, size.height))
    return [whole[..., step * n : step * n + size.width].contiguous() for n in range(length)]


def sprite(length: int, size: Size, step: int = 3, side: int = 24) -> list[Frame]:
    """A striped square that passes in front of a photograph that stands still."""
    back = photograph(size)
    rows = torch.linspace(0, 12, side).sin()[:, None] * 0.4 + 0.5
    square = torch.stack(
        [rows * torch.ones(side), rows.T * torch.ones(side, 1), torch.ones(side, side) * 0.2]
    )
    frames, top = [], size.height // 2 - side // 2
    for n in range(length):
        frame, left = back.clone(), 8 + step * n
        frame[0, :, top : top + side, left : left + side] = square
        frames.append(frame)
    return frames


def uncovered(number: int, size: Size, step: int = 3, side: int = 24) -> torch.Tensor:
    """(H, W), where the sprite of the frame before has just left the background."""
    bare = torch.zeros(size.shape, dtype=torch.bool)
    top, left = size.height // 2 - side // 2, 8 + step * (number - 1)
    bare[top : top + side, left : left + step] = True
    return bare


def shift(size: Size, x: float, y: float = 0.0) -> Flow:
    """The flow of a picture that moves as a whole."""
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, *size.shape).contiguous()
