"""Describes preset files as a JSON Schema, for editors."""

import json

from zoomdream.settings.definitions import SECTIONS, RenderJob
from zoomdream.settings.easing import EASES
from zoomdream.settings.setting_paths import NOT_IN_PRESETS
from zoomdream.settings.traits import traits_of


def preset_schema() -> str:
    """Writes the JSON Schema of preset files."""
    document = RenderJob.model_json_schema()
    number_or_schedule = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Keyframes"}]}
    for kind in SECTIONS.values():
        properties = document["$defs"][kind.__name__]
        for name in (n for n, field in kind.model_fields.items() if traits_of(field).changes):
            plain = properties["properties"][name]
            labels = {k: plain.pop(k) for k in ("description", "default", "title") if k in plain}
            either = [plain, *number_or_schedule["anyOf"]]
            properties["properties"][name] = {**labels, "anyOf": either}
    weight = {"anyOf": [{"type": "number"}, *number_or_schedule["anyOf"]]}
    document["$defs"]["DreamSpec"]["properties"]["layers"] |= {
        "type": ["array", "object"], "items": {"type": "string"}, "additionalProperties": weight,
    }  # fmt: skip
    document["$defs"]["Keyframes"] = {
        "type": "object",
        "description": "time (4s, 120f, 50%, 8b) = number or expression",
        "properties": {"ease": {"enum": list(EASES)}, "per": {"enum": ["second", "frame"]}},
        "patternProperties": {r"^-?[0-9.]+\s*(s|f|%|b|)$": {"type": ["number", "string"]}},
        "additionalProperties": False,
    }
    for name in NOT_IN_PRESETS:
        del document["properties"][name]
    return json.dumps(document, indent=2)
