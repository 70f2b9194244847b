"""Sizes of pictures: width before height, wherever a size has a name.

Tensors and arrays have rows first: `Size.of` reads their shape, and `size.shape` is what torch and numpy
are given. OpenCV, Pillow, ffmpeg and all that a person writes or reads have the width first, as a Size.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol


class Shaped(Protocol):
    """A tensor or an array."""

    @property
    def shape(self) -> Sequence[int]: ...


class Size(NamedTuple):
    """Width and height in pixels, always in this order."""

    width: int
    height: int

    @classmethod
    def of(cls, picture: Shaped) -> "Size":
        """The size of a tensor or array whose last two axes are rows and columns."""
        height, width = picture.shape[-2:]
        return cls(width, height)

    @classmethod
    def of_channels_last(cls, pixels: Shaped) -> "Size":
        """The size of an array (H, W, C)."""
        height, width, _ = pixels.shape
        return cls(width, height)

    @classmethod
    def square(cls, side: int) -> "Size":
        """The size with two equal sides."""
        return cls(side, side)

    @classmethod
    def rounded(
        cls, width: float | Fraction, height: float | Fraction, *, least: int = 1, multiple: int = 1
    ) -> "Size":
        """Rounds each side to the nearest multiple of so many px, and to at least `least`."""
        sides = (max(least, round(side / multiple) * multiple) for side in (width, height))
        return cls(*sides)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width): the order of tensors and arrays."""
        return self.height, self.width

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.width * self.height

    @property
    def longer(self) -> int:
        """The longer side."""
        return max(self)

    @property
    def shorter(self) -> int:
        """The shorter side."""
        return min(self)

    def scaled(self, factor: float | Fraction, *, least: int = 1, multiple: int = 1) -> "Size":
        """Multiplies both sides by a factor and rounds them as `rounded` does."""
        return self.rounded(
            self.width * factor, self.height * factor, least=least, multiple=multiple
        )

    def within(self, longest: int, *, least: int = 1, multiple: int = 1) -> "Size":
        """Shrinks to `longest` px on the longer side; a smaller size is only rounded, never enlarged."""
        return self.scaled(min(1.0, longest / self.longer), least=least, multiple=multiple)

    def between(self, shortest: int, longest: int) -> "Size":
        """Shrinks to `longest` px on the longer side, but leaves `shortest` px or more on the shorter.

        One that has less is enlarged.
        """
        share = max(min(1.0, longest / self.longer), shortest / self.shorter)
        return self.scaled(share, least=shortest)

    def covering(self, other: "Size") -> "Size":
        """Scales until it just covers another size, and keeps the shape."""
        return self.scaled(max(other.width / self.width, other.height / self.height))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"
