"""Recognises and refuses requests that a page of another site sends through its visitor's browser.

The middleware in `app` calls this before anything else, so also before a WebSocket is opened. A browser that can reach
the server sends it requests on behalf of any page. Three headers that no page can set show where a request comes from:
`Host` (another site's name may resolve to this server), `Origin` and `Sec-Fetch-Site`. Programs such as the SDK and
curl send at most `Host`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web

from stepwell.errors import ForbiddenError, UsageError
from stepwell_ingest.config import Config

#: The content types of a POST. A form of another site can send three other types only; before a page of another site
#: sends one of these, its browser asks the server for permission.
_TYPES = ("application/json", "application/octet-stream")
_READING = ("GET", "HEAD")
_CORP = "Cross-Origin-Resource-Policy"


class MediaTypeError(UsageError):
    """The body has a content type that the route does not accept. Answered with status 415; no retry helps."""

    code = "media_type"


class Origins:
    """The names of this server, by which its own pages are recognised.

    Args:
        config: the address to listen on, and further names.
    """

    def __init__(self, config: Config) -> None:
        names = {"localhost", config.host, *filter(None, config.public_hosts.split(","))}
        if config.host in ("0.0.0.0", "::"):
            names |= {socket.gethostname(), socket.getfqdn()}
        self._names = frozenset(name.strip().lower().rstrip(".") for name in names)
        self._public = frozenset(name.strip().lower() for name in config.public_hosts.split(",") if name)

    def check(self, request: web.Request, *, public: bool) -> None:
        """Checks that a request does not come from a page of another site.

        Args:
            public: whether the route is public; probes and scrapers may use any name of the server.

        Raises:
            ForbiddenError: the request's Host is not a name of this server, or a page of another site sent the request.
            MediaTypeError: the request is a POST with a content type other than JSON or bytes.
        """
        headers = request.headers
        host = headers.get("Host")
        if host is not None and not public and not self._knows(_name_of(host)):
            raise ForbiddenError(
                "the Host header of the request names another host than this server",
                detail=f"Host: {host[:200]}",
                hint="start the server with --public-host and the name by which clients and proxies reach it",
            )
        self._check_page(request.method, headers, host or "")
        if request.method == "POST" and request.content_type not in _TYPES:
            raise MediaTypeError(
                "unsupported content type",
                detail=f"Content-Type: {headers.get('Content-Type', 'none')[:100]}",
                hint=f"send {' or '.join(_TYPES)}",
            )

    def _check_page(self, method: str, headers: Mapping[str, str], host: str) -> None:
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site", "none")
        if origin is not None:
            parts = urlsplit(origin)
            # A reverse proxy may have rewritten Host, but browsers know the server by a public name.
            ours = _same_place(parts.netloc, host, parts.scheme) or (parts.hostname or "") in self._public
            if not ours:
                raise _other_site(f"Origin: {origin[:200]}")
        elif site not in ("none", "same-origin"):
            # Following a link opens a page of this server, which the other site cannot read.
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
        return True  # another site's name may resolve to this server, but an IP address belongs to no site


async def keep_to_this_origin(_: web.Request, response: web.StreamResponse) -> None:
    """Adds the headers that keep pages of other sites from embedding an answer."""
    response.headers.setdefault(_CORP, "same-origin")


def _other_site(detail: str) -> ForbiddenError:
    return ForbiddenError(
        "a page of another site sent this request",
        detail=detail,
        hint="open the pages of this server under its own name; --public-host adds a name",
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
