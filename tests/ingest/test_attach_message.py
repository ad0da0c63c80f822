"""The attach message: every invalid field is named, and valid messages can be stored."""

from __future__ import annotations

from typing import Any

import asyncpg
import orjson
import pytest

from fixtures.ingest import Client, Session, post
from stepwell.errors import DataError, Error, UsageError
from stepwell_ingest.api.attach import parse_attach
from stepwell_ingest.server.worker import Worker


def message(**more: Any) -> bytes:
    return orjson.dumps(Session(id=bytes(range(16))).attach(**more))


def test_valid_message_is_accepted() -> None:
    request = parse_attach(message(info={"config": {"lr": 0.1}}))
    names = ("team", "mnist", "run-1", "0")
    assert request == (*names, bytes(range(16)), False, {"config": {"lr": 0.1}}, None, None, None, None, None, 0.0)
    assert parse_attach(message(late=True)).late


@pytest.mark.parametrize("word", ["allow", "must", "never"])
def test_resume_fields_are_accepted(word: str) -> None:
    assert parse_attach(message(resume=word)).resume == word
    request = parse_attach(message(rewind_to=0, fork_run="parent", fork_step=2**63 - 2, from_seq=7))
    assert (request.rewind_to, request.fork_run, request.fork_step, request.from_seq) == (0, "parent", 2**63 - 2, 7)


@pytest.mark.parametrize("value", ["auto", "ALLOW", True, 1, [], {}])
def test_resume_is_validated(value: object) -> None:
    with pytest.raises(DataError, match="'resume' must be one of allow, must, never"):
        parse_attach(message(resume=value))


@pytest.mark.parametrize("field", ["rewind_to", "fork_step", "from_seq"])
@pytest.mark.parametrize("value", [-1, 2**63 - 1, True, 1.0, "5", [5]])
def test_step_range_is_validated(field: str, value: object) -> None:
    with pytest.raises(DataError, match=rf"'{field}' must be a number from 0 to 2\^63 − 2"):
        parse_attach(message(fork_run="parent", **{"fork_step": 1, field: value}))


def test_age_is_optional() -> None:
    assert parse_attach(message()).age_s == parse_attach(message(age_s=None)).age_s == 0.0
    assert [parse_attach(message(age_s=age)).age_s for age in (0, 0.25, 3600, 10**10)] == [0, 0.25, 3600, 10**10]


@pytest.mark.parametrize("value", [-1, -0.001, 10**10 + 1, 1e300, True, "5", [5]])
def test_age_is_a_number(value: object) -> None:
    with pytest.raises(DataError, match="'age_s' must be a number of seconds from 0 to 10,000,000,000"):
        parse_attach(message(age_s=value))


@pytest.mark.parametrize("field", [{"fork_run": "parent"}, {"fork_step": 5}])
def test_fork_needs_parent_and_step(field: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="'fork_run' and 'fork_step' must be given together"):
        parse_attach(message(**field))


@pytest.mark.parametrize("value", [5, True, "a\0b", "line\nbreak", ["x"]])
def test_parent_run_id_is_validated(value: object) -> None:
    with pytest.raises(DataError, match="'fork_run' must be the id of a run"):
        parse_attach(message(fork_run=value, fork_step=1))


@pytest.mark.parametrize("field", ["entity", "project", "run", "writer"])
@pytest.mark.parametrize("value", [None, 5, "", "x" * 257, "a\0b", "line\nbreak", "\x1b[1m", ["x"]])
def test_names_have_1_to_256_printable_characters(field: str, value: object) -> None:
    with pytest.raises(DataError, match=f"'{field}' must be 1 to 256 printable characters") as caught:
        parse_attach(message(**{field: value}))
    assert caught.value.detail == f"it is {str(value)[:80]!r}"


@pytest.mark.parametrize("field", ["entity", "project", "run", "writer"])
def test_names_are_limited_in_bytes(field: str) -> None:
    assert parse_attach(message(**{field: "漢" * 256}))
    with pytest.raises(DataError, match=f"'{field}' must be .* and 768 bytes of UTF-8 at most"):
        parse_attach(message(**{field: "🦊" * 193}))


@pytest.mark.parametrize("value", [None, 5, "", "abc", "zz" * 16, "ab" * 15, "ab" * 17])
def test_session_is_32_hex_digits(value: object) -> None:
    with pytest.raises(DataError, match="'session' must be 32 hexadecimal digits"):
        parse_attach(message(session=value))


@pytest.mark.parametrize("value", [None, 5, "text", [1], {"a": "b\0c"}, {"\0": 1}])
def test_info_is_an_object_without_nul(value: object) -> None:
    with pytest.raises(DataError, match="'info' must be an object without NUL characters"):
        parse_attach(message(info=value))


@pytest.mark.parametrize("value", [None, 5, "text", [1]])
def test_config_is_an_object(value: object) -> None:
    with pytest.raises(DataError, match="'config' in 'info' must be an object"):
        parse_attach(message(info={"config": value}))


@pytest.mark.parametrize(
    ("raw", "kind", "text"),
    [
        (b"", DataError, "the attach message is not JSON"),
        (b"\xff", DataError, "the attach message is not JSON"),
        (b"[]", UsageError, r"the first message must be an attach message \(got \[\]\)"),
        (b'{"type": "finish"}', UsageError, "the first message must be an attach message"),
        (b'{"type": "attach"}', UsageError, "protocol version None is not supported"),
        (message(protocol=2), UsageError, r"protocol version 2 is not supported \(this server supports version 1\)"),
    ],
)
def test_other_messages_are_refused(raw: bytes, kind: type[Error], text: str) -> None:
    with pytest.raises(kind, match=text):
        parse_attach(raw)


@pytest.mark.db
async def test_stream_and_post_report_the_error(worker: Worker) -> None:
    session = Session(run="a\nb")
    async with Client(worker) as client:
        error = await client.attach(session)
        assert (error["type"], error["code"], error["retryable"]) == ("error", "data", False)
        assert error["message"] == "'run' must be 1 to 256 printable characters, and 768 bytes of UTF-8 at most"
        assert (await client.hear())["type"] == "closed"
    status, reply, _ = await post(worker, "/v1/attach", session.attach())
    assert (status, reply["error"]["message"]) == (400, error["message"])


@pytest.mark.db
async def test_longest_names_can_be_stored(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    # No repeated characters, so that compression cannot make an index entry fit.
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
