"""Signing in to the pages with a key: what the cookie opens, how it ends, and that no other site's page can use it."""

from __future__ import annotations

import asyncpg
import pytest

from fixtures.access import MakeKey, send
from fixtures.ingest import eventually
from stepwell.errors import OverloadedError
from stepwell_ingest.access.key import make_key
from stepwell_ingest.access.strangers import Strangers
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

SIGN_IN = "/v1/sign-in"


async def sign_in(worker: Worker, key: str, **headers: str) -> tuple[int, str]:
    """The status, and the Set-Cookie header."""
    status, _, answered = await send(worker, "POST", SIGN_IN, None, {"key": key}, **headers)
    return status, answered.get("Set-Cookie", "")


def cookie_of(header: str) -> str:
    return header.partition(";")[0]


async def test_cookie_stands_for_its_key(guarded: Worker, keys: MakeKey, pg: asyncpg.Connection) -> None:
    key = await keys("team/mnist", "reader")
    status, header = await sign_in(guarded, key)
    assert status == 200
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in header.split(";")}
    assert "Secure" not in header
    cookie = cookie_of(header)
    assert key[16:] not in cookie
    status, answer, _ = await send(guarded, "GET", SIGN_IN, Cookie=cookie)
    assert (status, answer) == (200, {"name": "key 'test'", "role": "reader", "entity": "team", "project": "mnist"})
    assert (await send(guarded, "GET", "/v1/projects", Cookie=cookie))[0] == 200
    assert (await send(guarded, "GET", "/v1/runs?path=team/other", Cookie=cookie))[0] == 403
    assert (await send(guarded, "PATCH", "/v1/runs/team/mnist/r", None, {"name": "x"}, Cookie=cookie))[0] == 403
    assert cookie.partition("=")[2].encode() not in await pg.fetchval("SELECT token FROM stepwell.sign_in")


async def test_cookie_is_secure_behind_tls(guarded: Worker, keys: MakeKey) -> None:
    host = guarded.url.removeprefix("http://")
    _, header = await sign_in(guarded, await keys("team"), Origin=f"https://{host}")
    assert "Secure" in header


async def test_wrong_key_is_not_signed_in(guarded: Worker) -> None:
    for key in (make_key().text, "stw_x", ""):
        status, header = await sign_in(guarded, key)
        assert (status, header) == (401, "")
    for body in (b"", b"[]", b"{", b'{"key": 5}'):
        status, _, _ = await send(guarded, "POST", SIGN_IN, None, body, Content_Type="application/json")
        assert status in (400, 401)


@pytest.mark.parametrize("cookie", ["", "x", "é", "a" * 5000])
async def test_invented_cookie_opens_nothing(guarded: Worker, cookie: str) -> None:
    assert (await send(guarded, "GET", SIGN_IN, Cookie=f"stepwell_sign_in={cookie}"))[0] == 401


async def test_signing_out_ends_the_cookie(guarded: Worker, keys: MakeKey) -> None:
    key = await keys("team")
    cookie, other = [cookie_of((await sign_in(guarded, key))[1]) for _ in range(2)]
    status, answer, headers = await send(guarded, "DELETE", SIGN_IN, Cookie=cookie)
    assert (status, answer) == (200, {"signed_out": True})
    assert "Max-Age=0" in headers["Set-Cookie"]
    assert (await send(guarded, "GET", SIGN_IN, Cookie=cookie))[0] == 401
    assert (await send(guarded, "GET", SIGN_IN, Cookie=other))[0] == 200


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE stepwell.api_key SET revoked_at = now()",
        "UPDATE stepwell.sign_in SET expires_at = now()",
        "DELETE FROM stepwell.sign_in",
    ],
)
async def test_cookie_ends_with_its_key_and_its_time(
    guarded: Worker, keys: MakeKey, pg: asyncpg.Connection, change: str
) -> None:
    cookie = cookie_of((await sign_in(guarded, await keys("team")))[1])
    assert (await send(guarded, "GET", SIGN_IN, Cookie=cookie))[0] == 200
    await pg.execute(change)

    async def ended() -> bool:
        return (await send(guarded, "GET", SIGN_IN, Cookie=cookie))[0] == 401

    await eventually(ended)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
async def test_page_of_another_site_cannot_use_the_cookie(
    guarded: Worker, keys: MakeKey, headers: dict[str, str]
) -> None:
    """Even if a browser sent it: SameSite=Strict says that it does not."""
    cookie = cookie_of((await sign_in(guarded, await keys("team", "admin")))[1])
    run = "/v1/runs/team/mnist/r"
    for method, path in (("GET", "/v1/projects"), ("PATCH", run), ("DELETE", run), ("GET", "/v1/stream")):
        body = {"name": "x"} if method == "PATCH" else None
        assert (await send(guarded, method, path, None, body, Cookie=cookie, **headers))[0] == 403
    if "Host" not in headers:
        for method in ("POST", "DELETE"):
            status, _, _ = await send(guarded, method, SIGN_IN, None, {"key": "x"}, Cookie=cookie, **headers)
            assert status == 403


async def test_unknown_keys_of_an_address_are_bounded(guarded: Worker, keys: MakeKey) -> None:
    known = await keys("team")
    assert (await send(guarded, "GET", SIGN_IN, known))[0] == 200
    statuses = [(await send(guarded, "GET", SIGN_IN, make_key().text))[0] for _ in range(150)]
    assert set(statuses) == {401, 503}
    assert statuses[:100] == [401] * 100
    assert (await send(guarded, "GET", SIGN_IN, known))[0] == 200  # its holder is not shut out


def test_bound_is_for_each_address_and_passes() -> None:
    now = 1000.0
    strangers = Strangers(lambda: now)
    for _ in range(100):
        strangers.check("a")
        strangers.count("a")
    with pytest.raises(OverloadedError, match="too many unknown API keys") as caught:
        strangers.check("a")
    strangers.check("b")
    now += caught.value.retry_after_s
    strangers.check("a")
