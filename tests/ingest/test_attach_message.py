"""The attach message: every field that is wrong is named, and what passes can be stored."""

from __future__ import annotations

from typing import Any

import asyncpg
import orjson
import pytest

from fixtures.ingest import Client, Session, post
from stepwell.errors import DataError, Error, UsageError
from stepwell_ingest.api.attach import parse_attach
from stepwell_ingest.worker import Worker


def message(**more: Any) -> bytes:
    return orjson.dumps(Session(id=bytes(range(16))).attach(**more))


def test_a_good_message_is_taken_as_it_is() -> None:
    request = parse_attach(message(info={"config": {"lr": 0.1}}))
    assert request == ("team", "mnist", "run-1", "0", bytes(range(16)), False, {"config": {"lr": 0.1}})
    assert parse_attach(message(late=True)).late


@pytest.mark.parametrize("field", ["entity", "project", "run", "writer"])
@pytest.mark.parametrize("value", [None, 5, "", "x" * 257, "a\0b", "line\nbreak", "\x1b[1m", ["x"]])
def test_a_name_is_1_to_256_printable_characters(field: str, value: object) -> None:
    with pytest.raises(DataError, match=f"'{field}' must be 1 to 256 printable characters") as caught:
        parse_attach(message(**{field: value}))
    assert caught.value.detail == f"it is {str(value)[:80]!r}"


@pytest.mark.parametrize("field", ["entity", "project", "run", "writer"])
def test_a_name_may_be_long_but_not_in_bytes(field: str) -> None:
    assert parse_attach(message(**{field: "漢" * 256}))
    with pytest.raises(DataError, match=f"'{field}' must have 768 bytes of UTF-8 at most"):
        parse_attach(message(**{field: "🦊" * 193}))


@pytest.mark.parametrize("value", [None, 5, "", "abc", "zz" * 16, "ab" * 15, "ab" * 17])
def test_a_session_is_32_hexadecimal_digits(value: object) -> None:
    with pytest.raises(DataError, match="'session' must be 32 hexadecimal digits"):
        parse_attach(message(session=value))


@pytest.mark.parametrize("value", [None, 5, "text", [1], {"a": "b\0c"}, {"\0": 1}])
def test_info_is_an_object_without_nul(value: object) -> None:
    with pytest.raises(DataError, match="'info' must be an object without NUL characters"):
        parse_attach(message(info=value))


@pytest.mark.parametrize("value", [None, 5, "text", [1]])
def test_the_config_in_info_is_an_object(value: object) -> None:
    with pytest.raises(DataError, match="'config' in 'info' must be an object"):
        parse_attach(message(info={"config": value}))


@pytest.mark.parametrize(
    ("raw", "kind", "text"),
    [
        (b"", DataError, "the attach message is not JSON"),
        (b"\xff", DataError, "the attach message is not JSON"),
        (b"[]", UsageError, r"the first message must be an attach message \(it is \[\]\)"),
        (b'{"type": "finish"}', UsageError, "the first message must be an attach message"),
        (b'{"type": "attach"}', UsageError, "protocol version None is not known here"),
        (message(protocol=2), UsageError, r"protocol version 2 is not known here \(this server speaks version 1\)"),
    ],
)
def test_what_is_no_attach_message_of_this_version_is_refused(raw: bytes, kind: type[Error], text: str) -> None:
    with pytest.raises(kind, match=text):
        parse_attach(raw)


@pytest.mark.db
async def test_stream_and_post_say_what_is_wrong(worker: Worker) -> None:
    session = Session(run="a\nb")
    async with Client(worker) as client:
        error = await client.attach(session)
        assert (error["type"], error["code"], error["retryable"]) == ("error", "data", False)
        assert error["message"] == "'run' must be 1 to 256 printable characters"
        assert (await client.hear())["type"] == "closed"
    status, reply, _ = await post(worker, "/v1/attach", session.attach())
    assert (status, reply["error"]["message"]) == (400, error["message"])


@pytest.mark.db
async def test_the_longest_names_can_be_stored(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    # No two characters alike, so that no compression helps an index entry to fit.
    names = ["".join(chr(0x4E00 + 256 * n + i) for i in range(256)) for n in range(4)]
    session = Session(entity=names[0], project=names[1], run=names[2], writer=names[3])
    async with Client(any_worker) as client:
        assert (await client.attach(session))["writer"] == names[3]
        assert (await client.attach(Session(**vars(session) | {"id": bytes(16)}), late=True))["writer"] == (
            f"{names[3]}+00000000"
        )
        assert (await client.exchange(make_first(bytes(16))))["stored"] == 1
    row = await any_pg.fetchrow("SELECT DISTINCT entity, project, run FROM stepwell.history")
    assert list(row) == names[:3]


def make_first(session: bytes) -> bytes:
    return Session(id=session).frame()
