"""The summary of a resumed run before this process continued it, as the server knows it.

Off the data path: `run.summary` loads it on first access, so that a thousand ranks that resume and never read their
summary cost the server nothing. Takes a run's settings; returns values by dot path.
"""

from __future__ import annotations

import logging
from typing import Any

from stepwell.errors import Error
from stepwell.settings import Settings

log = logging.getLogger("stepwell")

#: The server's spelling of numbers that JSON cannot express.
_NUMBERS = {"NaN", "Infinity", "-Infinity"}


def summary_before(settings: Settings) -> dict[str, Any]:
    """The run's summary on the server. Without an answer it is empty, and a warning says so."""
    from stepwell.api._http import Client  # needed only when the summary is read

    client = Client(settings.endpoint, settings.timeouts.resume_s)
    try:
        found = client.get_json(("v1", "runs", settings.entity, settings.project, settings.run_id, "summary"))
    except Error as error:
        log.warning("run.summary starts empty, because the server did not return the earlier summary. %s", error)
        return {}
    return {key: _value(value) for key, value in found.items()}


def _value(value: Any) -> Any:
    if isinstance(value, dict) and "_type" not in value:  # aggregates of define_metric: {"min": …}
        return {word: _value(item) for word, item in value.items()}
    return float(value) if isinstance(value, str) and value in _NUMBERS else value
