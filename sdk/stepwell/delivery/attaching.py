"""Prepares an attach message for a stream. A message that is too large for the stream is sent by POST first.

Called by the stream for each connection. Receives the message as a dict; returns the text to send.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from stepwell import wire
from stepwell.delivery.replies import error_of, not_a_server
from stepwell.values.text import dump

if TYPE_CHECKING:
    from stepwell.transport.websocket import AsyncClient


async def attach_text(client: AsyncClient, message: Mapping[str, Any]) -> str:
    """Returns the text of `message` for the stream; after a POST, the text has an empty `info`.

    Raises:
        Error: the server has refused the message.
        UnavailableError: the answer to the POST does not come from a Stepwell server.
    """
    text = dump(message)
    if len(text) > wire.MAX_MESSAGE_BYTES:  # a large config
        status, raw = await client.post("/v1/attach", text, max_reply_bytes=wire.MAX_FRAME_BYTES)
        _check_answer(status, raw)
        text = dump({**message, "info": {}})
    return text.decode()


def _check_answer(status: int, raw: bytes) -> None:
    try:
        reply = orjson.loads(raw)
        refusal = None if status == 200 else reply["error"]
        known = reply["type"] == "attached" if refusal is None else "code" in refusal
    except (orjson.JSONDecodeError, KeyError, TypeError):
        known, refusal = False, None
    if not known:  # a proxy, perhaps
        raise not_a_server(f"status {status}, {raw[:100]!r}")
    if refusal is not None:
        raise error_of(refusal)
