"""JSON, written fast."""

import json
from typing import Any

import orjson


def dumps(value: Any) -> bytes:
    """The value as JSON in UTF-8; by Python's own writer where it holds a whole number of more than
    64 bits, which orjson refuses."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
