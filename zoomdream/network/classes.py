"""ImageNet's thousand classes, by name and by number."""

from functools import cache

from zoomdream.errors import UsageError, nearest

CLASS = "class"
"""The layer of a classifier's answers, whatever the network calls it."""


@cache
def class_names() -> tuple[str, ...]:
    """ImageNet's 1000 classes, in the order of every classifier's channels."""
    from torchvision.models import SqueezeNet1_0_Weights

    return tuple(SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"])


def class_number(name: str) -> int:
    """The channel of an ImageNet class; case, hyphens and underscores do not matter.

    Raises UsageError with the nearest names, or with the numbers where two classes share a name.
    """
    names = class_names()
    numbers = [n for n, known in enumerate(names) if known == name] or [
        n for n, known in enumerate(names) if _plain(known) == _plain(name)
    ]
    if not numbers:
        raise UsageError(f'ImageNet has no class "{name}": {_nearest_class(name)}')
    if len(numbers) > 1:
        both = " and class ".join(map(str, numbers))
        raise UsageError(f'"{name}" is class {both}: say class:{numbers[0]}')
    return numbers[0]


def _plain(name: str) -> str:
    return name.lower().replace("-", " ").replace("_", " ").replace("'", "")


def _nearest_class(name: str) -> str:
    """Suggests classes that have the word, before those that are only spelt alike."""
    word = _plain(name)
    having = [known for known in class_names() if word in _plain(known)]
    if word and having:
        return f"did you mean {' or '.join(having[:4])}?"
    return nearest(name, class_names())
