"""The API keys that one worker knows: a small cache of the table `api_key`, and the requests that each key has open.

Receives keys as text; returns principals. A mistyped key is refused by its checksum, without Postgres. An answer of
Postgres about an id, even that there is no such key, is used for `FRESH_S`; digests are compared in constant time.
Requests of a key that has been revoked or has expired are ended within about `WATCH_S`, streams included, so streams
need not look up the key for each frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import asyncpg

from stepwell.errors import AuthenticationError, Error
from stepwell_ingest.access.key import PREFIX, parse_key
from stepwell_ingest.access.rights import Principal, Role, Scope
from stepwell_ingest.access.strangers import Strangers
from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

log = logging.getLogger(__name__)

#: How long an answer of Postgres about a key is used.
FRESH_S = 2.0
#: How often the keys of open requests are looked up.
WATCH_S = 2.0
#: The shortest interval at which the use of a key is recorded.
_NOTE_S = 60.0
_CACHED = 10_000
_HINT = (
    "`stepwell login` stores a key for this server, and STEPWELL_API_KEY passes one to a process; "
    "`stepwell keys create` on the server makes one"
)


@dataclass(frozen=True, slots=True)
class _Known:
    """The answer of Postgres for the id of a key.

    Attributes:
        at: the monotonic time of the answer, in seconds.
        digest: the digest of the key; None: there is no such key.
        principal: the principal of the key; None: there is no such key.
        refusal: why the key is not accepted any more; None: it is accepted.
    """

    at: float
    digest: bytes | None = None
    principal: Principal | None = None
    refusal: str | None = None


class Keyring:
    """The keys of one worker.

    Args:
        pool: connections to Postgres.
        required: whether requests need a key.
    """

    def __init__(self, pool: asyncpg.Pool, *, required: bool) -> None:
        self.required = required
        self._pool = pool
        self._sql = queries("access")
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._open: dict[str, set[asyncio.Transport]] = {}
        self._strangers = Strangers()

    async def identify(self, text: str | None, address: str) -> Principal:
        """The principal of a key.

        Args:
            text: the key as the client sent it; None: it sent none.
            address: the address of the client.

        Raises:
            AuthenticationError: the key is missing, mistyped, unknown, revoked or expired.
            OverloadedError: too many unknown keys came from this address.
            UnavailableError: Postgres does not answer.
        """
        if text is None:
            raise AuthenticationError("this server requires an API key", hint=_HINT)
        key = parse_key(text)
        if key is None:
            detail = (
                "its checksum is wrong: is the key complete?"
                if text.startswith(PREFIX)
                else f"keys begin with {PREFIX}"
            )
            raise AuthenticationError("the API key is not valid", detail=detail, hint=_HINT)
        if key.id not in self._noted:  # not accepted before
            self._strangers.check(address)
        known = await self._fresh(key.id)
        if known.digest is None or not hmac.compare_digest(known.digest, key.digest):
            self._strangers.count(address)
            raise AuthenticationError("the server does not know this API key", detail=f"id {key.id}", hint=_HINT)
        return await self._accepted(key.id, known)

    async def principal_of(self, key_id: str) -> Principal:
        """The principal of a key that was accepted before; raises the same errors as `identify`."""
        return await self._accepted(key_id, await self._fresh(key_id))

    async def _fresh(self, key_id: str) -> _Known:
        known = self._known.get(key_id)
        if known is None or time.monotonic() - known.at > FRESH_S:
            await self._ask(key_id)
            known = self._known[key_id]
        return known

    async def _accepted(self, key_id: str, known: _Known) -> Principal:
        if known.principal is None or known.refusal is not None:
            reason = known.refusal or "no longer exists"
            raise AuthenticationError(f"the API key {reason}", detail=f"id {key_id}", hint=_HINT)
        await self._note(key_id)
        return known.principal

    @contextlib.contextmanager
    def holding(self, principal: Principal, transport: asyncio.Transport | None) -> Iterator[None]:
        """For the duration of a request: its connection is closed when the key of the principal ceases to be valid."""
        key_id = principal.key_id
        if key_id is None or transport is None:
            yield
            return
        transports = self._open.setdefault(key_id, set())
        transports.add(transport)
        try:
            yield
        finally:
            transports.discard(transport)
            if not transports and self._open.get(key_id) is transports:
                del self._open[key_id]

    async def run(self) -> None:
        """Ends the requests of keys that are not valid any more, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            ids = list(self._open)
            if not ids:
                continue
            try:
                await self._look_up(ids)
            except Error as error:
                log.warning("keys could not be checked; trying again: %s", error)
                continue
            for key_id in ids:
                known = self._known.get(key_id)
                if known is not None and (known.digest is None or known.refusal is not None):
                    for transport in tuple(self._open.get(key_id, ())):
                        transport.abort()

    async def _ask(self, key_id: str) -> None:
        """Looks up an id; concurrent callers wait for the same answer."""
        task = self._asking.get(key_id)
        if task is None:
            task = self._asking[key_id] = asyncio.create_task(self._look_up([key_id]))
            task.add_done_callback(lambda _: self._asking.pop(key_id, None))
        await asyncio.shield(task)

    async def _look_up(self, ids: Sequence[str]) -> None:
        with postgres_errors("look up a key"):
            rows = await self._pool.fetch(self._sql["find_keys"], list(ids))
        now, found = time.monotonic(), {row["key_id"]: row for row in rows}
        for key_id in ids:
            row = found.get(key_id)
            self._known[key_id] = _Known(now) if row is None else _known(now, row)
            self._known.move_to_end(key_id)
        while len(self._known) > max(_CACHED, len(ids)):
            self._known.popitem(last=False)

    async def _note(self, key_id: str) -> None:
        """Records that a key was used, at most once a minute."""
        now = time.monotonic()
        if now - self._noted.get(key_id, -_NOTE_S) < _NOTE_S:
            return
        self._noted[key_id] = now
        if len(self._noted) > _CACHED:
            self._noted.popitem(last=False)
        try:
            with postgres_errors("record the use of a key"):
                await self._pool.execute(self._sql["note_use"], key_id)
        except Error as error:
            log.warning("%s", error)


def _known(now: float, row: asyncpg.Record) -> _Known:
    scope = Scope(row["entity"], row["project"])
    principal = Principal(f"key {row['name']!r}", Role(row["role"]), scope, row["key_id"])
    return _Known(now, row["digest"], principal, row["refusal"])
