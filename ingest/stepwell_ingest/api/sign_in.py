"""The handlers of POST, GET and DELETE /v1/sign-in: they sign a browser in with an API key, say who is signed in, and
sign out.

The cookie is for browsers: scripts of a page cannot read it, no other site's page sends it (SameSite=Strict, and
`api/origin.py`), and its token is worth nothing elsewhere.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson
from aiohttp import web

from stepwell.errors import AuthenticationError, DataError
from stepwell_ingest.access.keyring import Keyring
from stepwell_ingest.access.rights import LOCAL, Principal
from stepwell_ingest.access.sign_ins import LASTS_S, SignIns
from stepwell_ingest.api.access import COOKIE, PRINCIPAL
from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.query import Query

_MAX_BYTES = 4096


class SignInServices(Protocol):
    """The services that these routes need."""

    @property
    def keyring(self) -> Keyring: ...
    @property
    def sign_ins(self) -> SignIns: ...


async def post_sign_in(services: SignInServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Signs in with the key of the JSON body.

    Raises:
        DataError: the body has no key.
        AuthenticationError: the key is not valid.
        OverloadedError: too many unknown keys came from the client's address.
    """
    if not services.keyring.required:
        return json_response(_shown(LOCAL))
    principal = await services.keyring.identify(await _key(request), request.remote or "")
    answer = json_response(_shown(principal))
    answer.set_cookie(
        COOKIE,
        await services.sign_ins.begin(principal),
        max_age=LASTS_S,
        path="/",
        # Origin, which browsers send with each POST, tells whether they use TLS, which a proxy may have removed.
        secure=request.headers.get("Origin", "").startswith("https://"),
        httponly=True,
        samesite="Strict",
    )
    return answer


async def get_sign_in(services: SignInServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Answers who is signed in, with a cookie or by a key."""
    return json_response(_shown(request[PRINCIPAL]))


async def delete_sign_in(services: SignInServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Signs out; if nobody is signed in, nothing happens."""
    token = request.cookies.get(COOKIE)
    if token is not None and services.keyring.required:
        await services.sign_ins.end(token)
    answer = json_response({"signed_out": token is not None})
    answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
    return answer


def _shown(principal: Principal) -> dict[str, Any]:
    scope = principal.scope
    role = principal.role or "admin"
    return {"name": principal.name, "role": role, "entity": scope.entity, "project": scope.project}


async def _key(request: web.Request) -> str:
    raw = bytearray()
    async for piece in request.content.iter_any():
        raw += piece
        if len(raw) > _MAX_BYTES:
            raise DataError("the body is too large", detail=f"the limit is {_MAX_BYTES} bytes")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DataError("the body must be JSON", detail=str(error), hint='{"key": "stw_…"}') from error
    key = body.get("key") if isinstance(body, dict) else None
    if not isinstance(key, str) or not key:
        raise AuthenticationError("no API key was given", hint='{"key": "stw_…"}')
    return key
