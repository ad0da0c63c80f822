"""The people who are signed in to the pages: which key the cookie of a browser stands for.

The keyring decides whether that key is still valid, so revoking a key ends its sign-ins as well. The cookie holds a
random token; Postgres has its SHA-256. Answers of Postgres are used for `FRESH_S`.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
import time
from collections import OrderedDict

import asyncpg

from stepwell.errors import AuthenticationError
from stepwell_ingest.access.keyring import FRESH_S, Keyring
from stepwell_ingest.access.rights import Principal
from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

#: How long a sign-in lasts at most, in seconds.
LASTS_S = 30 * 86400
_CACHED = 10_000
_TOKEN_BYTES = 32


class SignIns:
    """The sign-ins that one worker knows.

    Args:
        pool: connections to Postgres.
        keyring: the keys.
    """

    def __init__(self, pool: asyncpg.Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring
        self._sql = queries("access")
        self._known: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    async def begin(self, principal: Principal) -> str:
        """Signs the principal of a key in; returns the token for the cookie.

        Raises:
            UnavailableError: Postgres does not answer.
        """
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with postgres_errors("record a sign-in"):
            lasts = datetime.timedelta(seconds=LASTS_S)
            await self._pool.execute(self._sql["sign_in"], _digest(token), principal.key_id, lasts)
        return token

    async def find(self, token: str) -> Principal:
        """The principal that has signed in with this token.

        Raises:
            AuthenticationError: the sign-in has ended, or its key is not valid any more.
            UnavailableError: Postgres does not answer.
        """
        digest = _digest(token)
        at, key_id = self._known.get(digest, (0.0, ""))
        if not key_id or time.monotonic() - at > FRESH_S:
            with postgres_errors("look a sign-in up"):
                found = await self._pool.fetchval(self._sql["signed_in"], digest)
            if found is None:
                self._known.pop(digest, None)
                raise AuthenticationError("you are not signed in any more", hint="sign in again with an API key")
            key_id = str(found)
            self._known[digest] = (time.monotonic(), key_id)
            self._known.move_to_end(digest)
            if len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return await self._keyring.principal_of(key_id)

    async def end(self, token: str) -> None:
        """Signs out; other workers notice within `FRESH_S`.

        Raises:
            UnavailableError: Postgres does not answer.
        """
        digest = _digest(token)
        self._known.pop(digest, None)
        with postgres_errors("record a sign-out"):
            await self._pool.execute(self._sql["sign_out"], digest)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
