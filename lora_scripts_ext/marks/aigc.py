"""The implicit label of GB 45438-2025 (annex E): a JSON object in the file's XMP."""

from __future__ import annotations

import json
from typing import Any

from .label import Label

NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
PREFIX = "TC260"
PROPERTY = "AIGC"
#: in the order of the standard
FIELDS = (
    "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2",
)  # fmt: skip
# 1: is made by AI; 2: may be; 3: is suspected to be.
_IS = "1"


def text(label: Label) -> str:
    """The JSON of a label; whoever makes an image is the first who passes it on."""
    values = (
        _IS,
        label.producer,
        label.produce_id,
        "",
        label.propagator or label.producer,
        label.propagate_id or label.produce_id,
        "",
    )
    fields = dict(zip(FIELDS, values, strict=True))
    return json.dumps({PROPERTY: fields} if label.outer_key else fields, separators=(",", ":"))


def fields(text: str) -> dict[str, str] | None:
    """The fields of a label, with or without the outer key; None where the text is no such label."""
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict) and isinstance(content.get(PROPERTY), dict):
        content = content[PROPERTY]
    if not isinstance(content, dict) or FIELDS[0] not in content:
        return None
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}
