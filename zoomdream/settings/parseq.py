"""Reads Parseq's manifests, which say what Deforum's fields are at each frame."""

import json
from collections.abc import Mapping
from typing import Any

from zoomdream.errors import UsageError

_NAMES = {  # that differ from Deforum's
    "noise_schedule": "noise",
    "contrast_schedule": "contrast",
    "amount_schedule": "antiblur_amount",
    "fov_schedule": "fov",
}


def is_address(manifest: Any) -> bool:
    """Tells whether a manifest is not given, but where it is on the network."""
    return isinstance(manifest, str) and manifest.strip().startswith("http")


def read_parseq(manifest: Any, fields: Mapping[str, bool], use_deltas: bool) -> dict[str, Any]:
    """Reads a manifest, JSON or what it holds: Deforum's fields by frame, and max_frames and fps.

    fields: those to be read, and whether each is a motion, which is taken from its `_delta`, what it
    changes in a frame, where use_deltas says so. Raises UsageError.
    """
    try:
        content = json.loads(manifest) if isinstance(manifest, str) else manifest
        frames = {int(frame["frame"]): frame for frame in content["rendered_frames"]}
        names = {
            field: _NAMES.get(field, field) + "_delta" * (use_deltas and moves)
            for field, moves in fields.items()
        }
        read: dict[str, Any] = {
            field: {n: frame[name] for n, frame in frames.items() if frame.get(name) is not None}
            for field, name in names.items()
            if next(iter(frames.values())).get(name) is not None
        }
        fps = (content.get("options") or {}).get("output_fps")
    except (ValueError, TypeError, KeyError, StopIteration, AttributeError, RecursionError):
        raise UsageError("this is no manifest of Parseq's, with rendered_frames in it") from None
    return {**read, "max_frames": len(frames), **({"fps": fps} if fps else {})}
