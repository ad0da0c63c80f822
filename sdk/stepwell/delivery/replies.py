"""Parses the server's replies: JSON objects, errors, lists of refused frames.

Sits between the socket and the stream. Receives messages from the server's address, where a proxy may answer instead;
returns values with checked types, or raises a retryable error, because a proxy's nonsense must not end a delivery.
Pure.
"""

from __future__ import annotations

from typing import Any

import orjson

from stepwell.errors import Error, RejectionError, UnavailableError, from_dict

#: A process that stored something this recently may still be alive.
_LIVING_S = 60.0
#: The longest pace that is accepted from a server; a longer one is shortened to this.
_MOST_PACE_MS = 10_000


def refusals(reply: dict[str, Any]) -> dict[int, RejectionError]:
    """The frames that a reply lists as refused: the reason of each, by seq.

    Raises:
        UnavailableError: the list is invalid.
    """
    refused = {}
    try:
        for item in reply.get("rejected", ()):
            reason = error_of(item)
            refused[int(item["seq"])] = reason if isinstance(reason, RejectionError) else RejectionError(str(reason))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnavailableError("the server's list of rejections is invalid", detail=f"{reply!r:.200}") from error
    return refused


def error_of(reply: dict[str, Any]) -> Error:
    """The error that a reply describes, or a retryable one if the description is invalid."""
    try:
        return from_dict(reply)
    except (TypeError, ValueError):
        return UnavailableError("the server sent a malformed error message", detail=f"{reply!r:.200}")


def pace_s(reply: dict[str, Any]) -> float:
    """The time for which the server advises to gather rows while a frame is in flight; 0 without valid advice."""
    pace_ms = reply.get("pace_ms")
    return min(pace_ms, _MOST_PACE_MS) / 1000 if type(pace_ms) is int and pace_ms > 0 else 0.0


def not_a_server(detail: str) -> UnavailableError:
    """The error for an answer that does not come from a Stepwell server but, for example, from a proxy."""
    return UnavailableError("the answer from the server's address does not come from a Stepwell server", detail=detail)


def control(message: str | bytes) -> dict[str, Any]:
    """The JSON object in a message.

    Raises:
        UnavailableError: the message is not a JSON object, so it does not belong to the protocol.
    """
    try:
        reply = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise UnavailableError("the server sent a message that is not JSON", detail=str(error)) from error
    if not isinstance(reply, dict):
        raise UnavailableError("the server sent a message that is not a JSON object", detail=f"{reply!r:.100}")
    return reply


def attach_warnings(attach: dict[str, Any], reply: dict[str, Any]) -> list[str]:
    """The warnings, at most one, after a live process has attached: it logs as another writer than it asked for, or it
    may hide earlier steps.

    Args:
        attach: the message.
        reply: the server's first answer to it.
    """
    if attach.get("late"):
        return []
    asked, given, run = attach.get("writer"), reply.get("writer"), attach.get("run")
    earlier = reply.get("earlier")
    if not isinstance(earlier, dict):  # an older server, or nothing to warn about
        earlier = {}
    if isinstance(given, str) and given != asked:
        if earlier.get("beside") is True:
            return [
                f"another program is logging as writer {asked} of run {run}, so this program logs as "
                f"writer {given}, and supersedes nothing. To continue that writer instead, use init(resume='allow')"
            ]
        return [f"a process that started later logs as writer {asked}, so this process logs as writer {given}"]
    last_step, moved_s = earlier.get("last_step"), earlier.get("moved_s")
    if not isinstance(last_step, int):
        return []
    text = (
        f"run {run} exists, and writer {asked} has logged up to step {last_step}. This process replaces those points "
        "from its first step on; they stay in the view history_superseded. To continue after them, use "
        "init(resume='allow'); to keep both, give this run another id, or this process another writer"
    )
    if isinstance(moved_s, int | float) and moved_s < _LIVING_S:
        text += f". CAUTION: a process logged as this writer {moved_s:.0f} s ago; if it still runs, it is refused now"
    return [text]
