"""API keys: their form, who is refused and what it is told, and how soon a revoked key stops working."""

from __future__ import annotations

import base64
import re

import asyncpg
import pytest

from fixtures.access import MakeKey, send
from fixtures.ingest import Client, Session, eventually
from stepwell_ingest.access.key import Key, make_key, parse_key
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

PROJECTS = "/v1/projects"


def test_key_is_read_as_it_was_made() -> None:
    made = make_key()
    assert re.fullmatch(r"stw_[0-9A-Za-z]{50}", made.text)
    assert parse_key(made.text) == made
    assert len(made.digest) == 32
    assert made.secret not in repr(made)
    assert make_key() != made


def test_form_is_pinned() -> None:
    """Keys that are in use must stay valid."""
    made = Key("0123456789ab", "0123456789abcdefghijklmnopqrstuv")
    assert made.text == "stw_0123456789ab0123456789abcdefghijklmnopqrstuv162cPH"


@pytest.mark.parametrize("at", [4, 15, 16, 40, 53])
def test_mistyped_key_is_no_key(at: int) -> None:
    text = make_key().text
    assert parse_key(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]) is None


async def test_request_without_a_key_is_refused(guarded: Worker) -> None:
    status, answer, headers = await send(guarded, "GET", PROJECTS)
    assert (status, answer["error"]["code"]) == (401, "unauthenticated")
    assert answer["error"]["message"] == "this server requires an API key"
    assert "stepwell login" in answer["error"]["hint"]
    assert headers["WWW-Authenticate"].startswith("Bearer")


async def test_mistyped_key_is_refused_without_postgres(guarded: Worker, pg: asyncpg.Connection, keys: MakeKey) -> None:
    text = await keys("team")
    await pg.execute("ALTER TABLE stepwell.api_key RENAME TO renamed")
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    for given in (wrong, text[:-1], "stw_", "secret", "stw_" + "é" * 50):
        status, answer, _ = await send(guarded, "GET", PROJECTS, given)
        assert (status, answer["error"]["message"]) == (401, "the API key is not valid")
    assert (await send(guarded, "GET", PROJECTS, text))[0] == 503


async def test_unknown_key_and_wrong_secret_are_refused_alike(guarded: Worker, keys: MakeKey) -> None:
    known = parse_key(await keys("team"))
    assert known is not None
    for stranger in (make_key(), Key(known.id, make_key().secret)):
        status, answer, _ = await send(guarded, "GET", PROJECTS, stranger.text)
        assert (status, answer["error"]["message"]) == (401, "the server does not know this API key")
        assert stranger.secret not in str(answer)


@pytest.mark.parametrize("form", ["Bearer {}", "bearer  {}", "Basic {}"])
async def test_key_comes_as_bearer_or_as_password(guarded: Worker, keys: MakeKey, form: str) -> None:
    text = await keys("team", "reader")
    given = base64.b64encode(f"anybody:{text}".encode()).decode() if form.startswith("Basic") else text
    assert (await send(guarded, "GET", PROJECTS, Authorization=form.format(given)))[0] == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic", "Basic !!!", "Basic /w==", "Digest x", "x" * 9000]
)
async def test_other_headers_are_no_key(guarded: Worker, header: str) -> None:
    assert (await send(guarded, "GET", PROJECTS, Authorization=header))[0] == 401


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("revoked_at = clock_timestamp()", "the API key was revoked"),
        ("expires_at = clock_timestamp()", "the API key has expired"),
    ],
)
async def test_revoked_and_expired_keys_are_refused(
    guarded: Worker, keys: MakeKey, pg: asyncpg.Connection, change: str, said: str
) -> None:
    text = await keys("team")
    assert (await send(guarded, "GET", PROJECTS, text))[0] == 200
    await pg.execute(f"UPDATE stepwell.api_key SET {change}")

    async def refused() -> bool:
        return (await send(guarded, "GET", PROJECTS, text))[0] == 401

    await eventually(refused)
    assert (await send(guarded, "GET", PROJECTS, text))[1]["error"]["message"] == said


async def test_open_stream_ends_when_its_key_is_revoked(guarded: Worker, keys: MakeKey, pg: asyncpg.Connection) -> None:
    text, other = await keys("team"), await keys("team")
    mine, theirs = Session(), Session(run="run-2")
    async with Client(guarded, text) as client, Client(guarded, other) as kept:
        assert (await client.attach(mine))["type"] == "attached"
        assert (await kept.attach(theirs))["type"] == "attached"
        await pg.execute("UPDATE stepwell.api_key SET revoked_at = now() WHERE key_id = $1", text[4:16])
        assert (await client.hear())["type"] == "closed"
        assert (await kept.exchange(theirs.frame()))["stored"] == 1


async def test_use_of_a_key_is_recorded_once_a_minute(guarded: Worker, keys: MakeKey, pg: asyncpg.Connection) -> None:
    text = await keys("team")
    await keys("team")
    for _ in range(3):
        assert (await send(guarded, "GET", PROJECTS, text))[0] == 200
    used = await pg.fetch("SELECT key_id, last_used_at FROM stepwell.api_key WHERE last_used_at IS NOT NULL")
    assert [row["key_id"] for row in used] == [text[4:16]]
    await send(guarded, "GET", PROJECTS, text)
    again = await pg.fetchval("SELECT max(last_used_at) FROM stepwell.api_key")
    assert again == used[0]["last_used_at"]


async def test_only_digests_are_stored_and_readers_see_none(
    guarded: Worker, keys: MakeKey, pg: asyncpg.Connection
) -> None:
    text = await keys(None, "admin")
    row = await pg.fetchrow("SELECT * FROM stepwell.api_key")
    assert text[16:48] not in str(dict(row))
    for table in ("api_key", "audit"):
        status, answer, _ = await send(guarded, "POST", "/v1/sql", text, {"query": f"SELECT * FROM {table}"})
        assert (status, "permission denied" in str(answer)) == (400, True), answer


async def test_key_of_a_server_without_keys_is_ignored(worker: Worker) -> None:
    assert (await send(worker, "GET", PROJECTS, "anything"))[0] == 200
