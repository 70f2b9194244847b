"""Collects what pocket learns from: photographs that come with packages, and pictures drawn by chance.

Nothing is downloaded. Pictures are uint8 arrays (H, W, 3), RGB.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from zoomdream.errors import UsageError
from zoomdream.size import Size

Picture = NDArray[np.uint8]
Rng = np.random.Generator
LEARNT = (  # scikit-image's bundled photographs that training sees
    "astronaut", "camera", "coins", "hubble_deep_field", "immunohistochemistry", "moon",
    "retina", "rocket", "brick", "grass", "gravel", "stereo_motorcycle",
)  # fmt: skip
UNSEEN = ("coffee", "cat")  # those that it does not see; `evaluate` looks at them


def photographs(
    folder: Path | None, names: Sequence[str] = LEARNT, longest: int = 768
) -> list[Picture]:
    """Reads scikit-image's photographs, and those in `folder`, at most `longest` pixels on a side.

    Raises UsageError without scikit-image.
    """
    try:
        from skimage import data
    except ImportError:
        raise UsageError(
            'to train, scikit-image is needed: pip install "zoomdream[pocket]"'
        ) from None
    pictures: list[Picture] = []
    for name in names:
        loaded = getattr(data, name)()  # of a stereo pair both, and how far things are
        views = loaded[:2] if isinstance(loaded, tuple) else (loaded,)
        pictures += [np.dstack([p] * 3) if p.ndim == 2 else p[..., :3].copy() for p in views]
    for path in sorted(folder.iterdir()) if folder else []:
        if (bgr := cv2.imread(str(path), cv2.IMREAD_COLOR)) is not None:
            pictures.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8))
    return [_shrink(picture, longest) for picture in pictures]


def _shrink(picture: Picture, longest: int) -> Picture:
    size = Size.of_channels_last(picture).within(longest)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def draw_picture(rng: Rng, size: int = 320) -> Picture:
    """Draws a picture by chance: a background with some dozens of motifs on it."""
    canvas = _clouds(rng, size)
    motifs: list[Callable[[Rng, Picture], None]] = [
        _eye, _spiral, _scales, _stripes, _blob, _strands, _box,
    ]  # fmt: skip
    kinds = rng.choice(len(motifs), size=rng.integers(1, 4), replace=False)
    for _ in range(rng.integers(5, 40)):
        motifs[rng.choice(kinds)](rng, canvas)
    sigma = rng.choice([0.0, 0.0, 0.7, 1.5])
    return cv2.GaussianBlur(canvas, (0, 0), sigma).astype(np.uint8) if sigma else canvas


def _colour(rng: Rng) -> tuple[int, int, int]:
    r, g, b = rng.integers(0, 256, 3)
    return int(r), int(g), int(b)


def _place(rng: Rng, canvas: Picture) -> tuple[tuple[int, int], int]:
    size = canvas.shape[0]
    x, y = rng.integers(0, size, 2)
    return (int(x), int(y)), int(size * np.exp(rng.uniform(np.log(0.02), np.log(0.3))))


def _clouds(rng: Rng, size: int) -> Picture:
    """Draws 1/f noise, in colours mixed by chance."""
    fy, fx = np.fft.fftfreq(size)[:, None, None], np.fft.rfftfreq(size)[None, :, None]
    fall = np.maximum(np.hypot(fx, fy), 1 / size) ** -rng.uniform(0.8, 2.0)
    shape = (size, size // 2 + 1, 3)
    waves = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) * fall
    planes = np.fft.irfft2(waves, s=(size, size), axes=(0, 1))
    planes = planes / planes.std() @ rng.normal(size=(3, 3)) * rng.uniform(10, 50)
    clouds: Picture = np.clip(planes + rng.uniform(40, 215, 3), 0, 255).astype(np.uint8)
    return clouds


def _eye(rng: Rng, canvas: Picture) -> None:
    at, radius = _place(rng, canvas)
    lid = (max(radius, 3), max(int(radius * rng.uniform(0.4, 1)), 2))
    cv2.ellipse(canvas, at, lid, rng.uniform(0, 180), 0, 360, _colour(rng), -1, cv2.LINE_AA)
    for share in (0.7, 0.6, 0.3):
        cv2.circle(canvas, at, max(int(lid[1] * share), 1), _colour(rng), -1, cv2.LINE_AA)
    glint = (at[0] - lid[1] // 5, at[1] - lid[1] // 5)
    cv2.circle(canvas, glint, max(lid[1] // 8, 1), (255, 255, 255), -1, cv2.LINE_AA)


def _spiral(rng: Rng, canvas: Picture) -> None:
    at, radius = _place(rng, canvas)
    turn = np.linspace(0, rng.uniform(2, 6) * 2 * np.pi, 200)
    away = radius * turn / turn[-1]
    points = np.stack([at[0] + away * np.cos(turn), at[1] + away * np.sin(turn)], 1)
    cv2.polylines(
        canvas, [points.astype(np.int32)], False, _colour(rng), max(radius // 12, 1), cv2.LINE_AA
    )


def _scales(rng: Rng, canvas: Picture) -> None:
    at, radius = _place(rng, canvas)
    step, fill, rim = max(radius // 4, 4), _colour(rng), _colour(rng)
    for row, y in enumerate(range(at[1] - radius, at[1] + radius, max(step // 2, 2))):
        for x in range(at[0] - radius + row % 2 * step // 2, at[0] + radius, step):
            cv2.circle(canvas, (x, y), step // 2, fill, -1, cv2.LINE_AA)
            cv2.circle(canvas, (x, y), step // 2, rim, 1, cv2.LINE_AA)


def _stripes(rng: Rng, canvas: Picture) -> None:
    at, radius = _place(rng, canvas)
    angle, step = rng.uniform(0, np.pi), max(int(radius * rng.uniform(0.08, 0.4)), 2)
    along = np.array([np.cos(angle), np.sin(angle)])
    across, colour = np.array([-along[1], along[0]]), _colour(rng)
    for offset in range(-radius, radius, step):
        middle = np.array(at) + across * offset
        start, end = middle - along * radius, middle + along * radius
        ends = tuple(map(int, start)), tuple(map(int, end))
        cv2.line(canvas, ends[0], ends[1], colour, max(step // 2, 1), cv2.LINE_AA)


def _blob(rng: Rng, canvas: Picture) -> None:
    at, radius = _place(rng, canvas)
    turn = np.linspace(0, 2 * np.pi, 60)
    away = np.full_like(turn, radius)
    for wave in range(2, 7):
        away += radius * 0.3 / wave * np.cos(wave * turn + rng.uniform(0, 6.3))
    points = np.stack([at[0] + away * np.cos(turn), at[1] + away * np.sin(turn)], 1)
    cv2.fillPoly(canvas, [points.astype(np.int32)], _colour(rng), cv2.LINE_AA)


def _strands(rng: Rng, canvas: Picture) -> None:
    """Draws fur, grass, hair: many short lines with about one direction."""
    at, radius = _place(rng, canvas)
    angle, colour = rng.uniform(0, 2 * np.pi), np.array(_colour(rng))
    for _ in range(60):
        x, y = np.array(at) + rng.normal(size=2) * radius / 2
        bend = angle + rng.normal() * 0.3
        end = (int(x + radius * np.cos(bend) / 2), int(y + radius * np.sin(bend) / 2))
        shade = np.clip(colour + rng.normal() * 40, 0, 255)
        cv2.line(canvas, (int(x), int(y)), end, tuple(map(float, shade)), 1, cv2.LINE_AA)


def _box(rng: Rng, canvas: Picture) -> None:
    """Draws walls and windows: a turned rectangle, with a grid on it."""
    at, radius = _place(rng, canvas)
    sides = (radius * rng.uniform(0.5, 2), radius * rng.uniform(0.5, 2))
    corners = cv2.boxPoints((at, sides, rng.normal() * 15)).astype(np.float64)
    cv2.fillPoly(canvas, [corners.astype(np.int32)], _colour(rng), cv2.LINE_AA)
    rim, parts = _colour(rng), rng.integers(1, 6)
    for part in np.arange(parts + 1) / parts:
        for a, b, c, d in ((0, 1, 3, 2), (1, 2, 0, 3)):
            start = corners[a] * (1 - part) + corners[b] * part
            end = corners[c] * (1 - part) + corners[d] * part
            cv2.line(
                canvas, tuple(map(int, start)), tuple(map(int, end)), rim, 1, cv2.LINE_AA
            )  # fmt: skip
