"""Requests that a page of another site sends through its visitor's browser: recognised, and refused.

A leaf of `api`, asked by the middleware in `app` before anything else, and so before a WebSocket is opened. A browser
that can reach the server sends it requests on behalf of any page. Three headers tell them apart, and no page can set
them: `Host` (a name of another site that resolves to this server), `Origin` and `Sec-Fetch-Site`. Programs such as the
SDK and curl send a Host at most.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web

from stepwell.errors import UsageError
from stepwell_ingest.api.access import ForbiddenError
from stepwell_ingest.config import Config

#: What a POST may contain. A form of another site has one of three other types; these make a browser ask first.
_TYPES = ("application/json", "application/octet-stream")
_READING = ("GET", "HEAD")
_CORP = "Cross-Origin-Resource-Policy"


class MediaTypeError(UsageError):
    """The body has a content type that the route does not take. Answered with status 415; no retry helps."""

    code = "media_type"


class Origins:
    """Which names of this server, and so which pages, are its own.

    Args:
        config: its address to listen on, and further names.
    """

    def __init__(self, config: Config) -> None:
        names = {"localhost", config.host, *filter(None, config.public_hosts.split(","))}
        if config.host in ("0.0.0.0", "::"):
            names |= {socket.gethostname(), socket.getfqdn()}
        self._names = frozenset(name.strip().lower().rstrip(".") for name in names)
        self._public = frozenset(name.strip().lower() for name in config.public_hosts.split(",") if name)

    def check(self, request: web.Request, *, public: bool) -> None:
        """Returns when a request does not come from a page of another site.

        Args:
            public: it asks for what reveals nothing; probes and scrapers use names of their own.

        Raises:
            ForbiddenError: its Host is no name of this server, or a page of another site has sent it.
            MediaTypeError: it is a POST with another content type than JSON or bytes.
        """
        headers = request.headers
        host = headers.get("Host")
        if host is not None and not public and not self._knows(_name_of(host)):
            raise ForbiddenError(
                "this server does not have that name",
                detail=f"Host: {host[:200]}",
                hint="start it with --public-host and the name by which clients and proxies reach it",
            )
        self._check_page(request.method, headers, host or "")
        if request.method == "POST" and request.content_type not in _TYPES:
            raise MediaTypeError(
                "this content type is not taken",
                detail=f"Content-Type: {headers.get('Content-Type', 'none')[:100]}",
                hint=f"send {' or '.join(_TYPES)}",
            )

    def _check_page(self, method: str, headers: Mapping[str, str], host: str) -> None:
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site", "none")
        if origin is not None:
            parts = urlsplit(origin)
            # A proxy in front may have rewritten Host, but browsers know it by a public name.
            ours = _same_place(parts.netloc, host, parts.scheme) or (parts.hostname or "") in self._public
            if not ours:
                raise _other_site(f"Origin: {origin[:200]}")
        elif site not in ("none", "same-origin"):
            # A link that somebody follows shows a page of ours, which the other site cannot look into.
            follows = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
            if not (follows and method in _READING):
                raise _other_site(f"Sec-Fetch-Site: {site[:40]}")

    def _knows(self, name: str) -> bool:
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # a name of another site can resolve to this server, but an address is nobody's name


async def keep_to_this_origin(_: web.Request, response: web.StreamResponse) -> None:
    """Marks an answer so that pages of other sites cannot embed it."""
    response.headers.setdefault(_CORP, "same-origin")


def _other_site(detail: str) -> ForbiddenError:
    return ForbiddenError(
        "a page of another site sent this request",
        detail=detail,
        hint="open the pages of this server under its own name; --public-host adds one",
    )


def _name_of(host: str) -> str:
    """The name or address in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _same_place(one: str, other: str, scheme: str) -> bool:
    default = {"http": ":80", "https": ":443"}.get(scheme)
    if default is None:
        return False
    return one.lower().removesuffix(default) == other.lower().removesuffix(default) != ""
