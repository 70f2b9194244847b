"""JSON Schema of preset files, for editors."""

import json

from zoomdream.settings.easing import EASES
from zoomdream.settings.fields import traits_of
from zoomdream.settings.model import SECTIONS, RenderJob
from zoomdream.settings.paths import WHERE


def preset_schema() -> str:
    """JSON Schema of preset files, for editors."""
    document = RenderJob.model_json_schema()
    number_or_schedule = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Keyframes"}]}
    for kind in SECTIONS.values():
        properties = document["$defs"][kind.__name__]
        for name in (n for n, field in kind.model_fields.items() if traits_of(field).changes):
            old = properties["properties"][name]
            about = {key: old.pop(key) for key in ("description", "default", "title") if key in old}
            properties["properties"][name] = {**about, "anyOf": [old, *number_or_schedule["anyOf"]]}
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
    for name in WHERE:
        del document["properties"][name]
    return json.dumps(document, indent=2)
