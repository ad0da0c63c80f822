"""The caller of a request: takes the API key, or the cookie of the pages, from its headers, and looks it up.

The middleware in `app` calls `identify` before a handler runs, and then checks the right that the route needs
(`access.rights`). Where only the attach message names the project, the handler checks the right again.
"""

from __future__ import annotations

import base64
import binascii

from aiohttp import web

from stepwell_ingest.access.keyring import Keyring
from stepwell_ingest.access.rights import ANONYMOUS, LOCAL, Principal, Right
from stepwell_ingest.access.sign_ins import SignIns

#: The key under which the middleware stores the principal of a request.
PRINCIPAL = web.RequestKey("principal", Principal)


#: The cookie of people who are signed in to the pages.
COOKIE = "stepwell_sign_in"


async def identify(keyring: Keyring, sign_ins: SignIns, request: web.Request, right: Right) -> Principal:
    """The sender of `request`: the local user on a server without keys, else the principal of its key or cookie.

    Args:
        right: the right that the route needs. For public routes, the key is ignored.

    Raises:
        AuthenticationError: the request has no key, or one that is unknown, revoked or expired.
        OverloadedError: too many unknown keys came from the caller's address.
        UnavailableError: Postgres does not answer.
    """
    if not keyring.required:
        return LOCAL
    if right is Right.PUBLIC:
        return ANONYMOUS
    header, token = request.headers.get("Authorization"), request.cookies.get(COOKIE)
    if header is None and token is not None:
        return await sign_ins.find(token)
    return await keyring.identify(_key_of(header), request.remote or "")


def _key_of(header: str | None) -> str | None:
    """The key in an Authorization header: `Bearer KEY`, or `Basic` with the key as password, since some
    programs know only names and passwords."""
    scheme, _, value = (header or "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().rpartition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return None
