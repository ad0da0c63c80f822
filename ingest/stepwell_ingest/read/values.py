"""Converts values of any query to text and to JSON. Pure.

Receives values as asyncpg returns them, for `stepwell sql` (`commands/sql.py`) and `POST /v1/sql` (`api/sql.py`).
Promises that integers keep all digits, and that NaN and infinities become strings in JSON, which has no numbers for
them. A `numeric` with a fraction becomes a float64.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import orjson

#: Integers beyond it are not exact in programs that read JSON numbers as float64, such as browsers.
_MAX_EXACT = 2**53


def as_text(value: Any) -> str:
    """A value as one line of text, similar to psql's output."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(as_json(value))
    if isinstance(value, datetime):
        return value.isoformat(sep=" ").replace("+00:00", "+00")
    if isinstance(value, (bytes, bytearray)):
        return "\\x" + value.hex()
    if isinstance(value, (list, tuple, dict, Mapping)):
        return json.dumps(as_json(value), ensure_ascii=False)
    return str(value)


def as_json(value: Any) -> Any:
    """A value that `json.dumps` accepts; integers keep all digits."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Decimal):
        # sum() over bigint is numeric: it becomes a JSON number, which is exact if the sum is whole.
        if not value.is_finite():
            return str(value)
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return as_text(value)


def as_safe_json(value: Any) -> Any:
    """A value that `orjson.dumps` accepts; integers beyond 2^53 become strings. An `orjson.Fragment` is kept."""
    if isinstance(value, orjson.Fragment):
        return value
    if isinstance(value, (list, tuple)):
        return [as_safe_json(item) for item in value]
    if hasattr(value, "items"):
        return {str(key): as_safe_json(item) for key, item in value.items()}
    found = as_json(value)
    if isinstance(found, int) and not -_MAX_EXACT <= found <= _MAX_EXACT:
        return str(found)
    return found
