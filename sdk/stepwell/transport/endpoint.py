"""One server as clients see it: its address, the way to reach it, and the headers of each request.

An `Endpoint` is created once from the server's URL, the API key and the environment. The blocking client
(`transport/http.py`) and the WebSocket (`transport/websocket.py`) are built from it, so that path prefix, credentials,
proxy and TLS are decided here and nowhere else. Opens no connection.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from stepwell.errors import SettingError

_PORTS = {"http": 80, "https": 443}
_URL_HINT = "use http://host:8770 or https://host/prefix; STEPWELL_URL sets it"


#: URLs in a text, including git's form with credentials.
_URL_IN_TEXT = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+|(?<![^\s='\"])[^\s:/@='\"]+:[^\s/@]+@[^\s:/@]+:[^\s'\"]+"
)
_PASSWORD = re.compile(r"(\bpassword=)('(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE)


class Proxy(NamedTuple):
    """An HTTP proxy. `headers` go to the proxy only."""

    host: str
    port: int
    headers: Mapping[str, str]

    @property
    def url(self) -> str:
        """The URL without credentials."""
        return f"http://{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach one server.

    Attributes:
        scheme: "http" or "https".
        host, port: the address at which it listens.
        prefix: the path under which it is mounted: "" or "/prefix".
        headers: sent with each request; they may hold the key, so they are left out of `repr`.
        proxy: the proxy through which the server is reached; None: a direct connection.
        tls: the TLS context that checks its certificate; None without TLS.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: Proxy | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        url: str,
        *,
        authorization: str | None = None,
        ca_file: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Endpoint:
        """The endpoint at `url`.

        Args:
            url: http or https, with or without port, path prefix, and name and password.
            authorization: the Authorization header; None: made from the name and password in `url`, if any.
            ca_file: PEM file of the certificate authorities to trust; None: those of the system.
            environment: the source of HTTP_PROXY, HTTPS_PROXY and NO_PROXY (also in lower case).

        Raises:
            SettingError: the URL or the proxy is invalid, or the CA file cannot be read.
        """
        scheme, host, port, parts = _parsed(url, "the server's URL", tuple(_PORTS), _URL_HINT)
        if parts.query or parts.fragment:
            raise SettingError(
                "the server's URL must not have a query or a fragment", detail=shown(url), hint=_URL_HINT
            )
        headers = {"User-Agent": "stepwell"}
        if authorization := authorization or _basic(parts):
            headers["Authorization"] = authorization
        return cls(
            scheme,
            host,
            port,
            parts.path.rstrip("/"),
            MappingProxyType(headers),
            _proxy(scheme, host, port, environment),
            _tls(ca_file) if scheme == "https" else None,
        )

    @property
    def request_headers(self) -> dict[str, str]:
        """The headers of each request; they include those for a proxy that sees requests."""
        return {**self.headers, **(self.proxy.headers if self.proxy and self.tls is None else {})}

    @property
    def url(self) -> str:
        """Scheme, host, port and prefix: no credentials, so it may be shown and stored."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{_bracketed(self.host)}{port}{self.prefix}"

    def __str__(self) -> str:
        return self.url


def authorization(url: str, api_key: str | None) -> str | None:
    """The Authorization header for a server: from the API key, else from the name and password in `url`.

    Raises:
        SettingError: both are given, although there is only one such header; or the key is not valid in a header.
    """
    given = _basic(_parsed(url, "the server's URL", tuple(_PORTS), _URL_HINT)[3])
    if not api_key:
        return given
    if given is not None:
        raise SettingError(
            "the server's URL holds a name and password, but there is also an API key",
            detail=shown(url),
            hint="both need the Authorization header: unset STEPWELL_API_KEY, or take name and password out of the URL",
        )
    if not api_key.isascii() or not api_key.isprintable() or api_key != api_key.strip():
        raise SettingError(
            "the API key holds a character that is not allowed in a header",
            detail=f"{len(api_key)} characters",
            hint="check STEPWELL_API_KEY: is there a line break at its end?",
        )
    return f"Bearer {api_key}"


def shown(url: str) -> str:
    """`url` without its name and password, for display and for storage.

    Also accepts git's form of URLs: `name:secret@host:path` becomes `host:path`. The plain user `git` stays.
    """
    scheme, mark, rest = url.rpartition("://")
    authority, slash, path = rest.partition("/")
    port = authority.rpartition(":")[2]
    if mark and "@" not in authority and port != authority and not port.isdecimal() and not port.endswith("]"):
        authority, slash, path = rest, "", ""  # an unquoted slash within a password
    user, at, host = authority.rpartition("@")
    if not at or (not mark and user == "git"):
        return url
    return f"{scheme}{mark}{host}{slash}{path}"


def masked(text: str) -> str:
    """`text`, such as an argument of a command, without names and passwords in URLs, and without passwords in DSNs."""
    text = _URL_IN_TEXT.sub(lambda found: shown(found.group()), text)
    return _PASSWORD.sub(r"\1***", text)


def has_password(url: str) -> bool:
    """Whether a URL, or a Postgres DSN in any of its forms, holds a password."""
    try:
        return urlsplit(url).password is not None or _PASSWORD.search(url) is not None
    except ValueError:  # not a URL, which the code that uses it reports
        return False


def _parsed(url: str, what: str, schemes: tuple[str, ...], hint: str) -> tuple[str, str, int, SplitResult]:
    """Splits a URL into scheme, host, port, and the rest.

    Raises:
        SettingError: one of them is invalid.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna" if not host.isascii() else "ascii")
    except (ValueError, UnicodeError) as error:  # an invalid port, or unbalanced brackets
        raise SettingError(f"{what} is invalid", detail=f"{shown(url)}: {error}", hint=hint) from error
    if parts.scheme not in schemes:
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        raise SettingError(f"{what} must begin with {expected}", detail=repr(shown(url)), hint=hint)
    if not host or len(host) > 253 or any(char.isspace() or not char.isprintable() for char in url) or "\\" in url:
        raise SettingError(f"{what} names no host", detail=repr(shown(url)), hint=hint)
    if ":" not in host and any(not label or len(label) > 63 for label in host.rstrip(".").split(".")):
        raise SettingError(f"{what} names an invalid host", detail=repr(shown(url)), hint=hint)
    if port == 0:
        raise SettingError(f"{what} has port 0, on which nothing can listen", detail=shown(url), hint=hint)
    return parts.scheme, host, port or _PORTS.get(parts.scheme, 80), parts


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None and parts.password is None:
        return None
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _proxy(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a server. As in Go and browsers, connections to this machine never use one."""
    url = _variable(environment, f"{scheme}_proxy")
    if not url or host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    if any(_excludes(entry.strip(), host, port) for entry in _variable(environment, "no_proxy").split(",")):
        return None
    name = f"{scheme}_proxy".upper()
    hint = f"unset {name}, or name the server's host in NO_PROXY"
    _, proxy_host, proxy_port, parts = _parsed(url if "://" in url else f"http://{url}", name, ("http",), hint)
    credentials = _basic(parts)
    return Proxy(proxy_host, proxy_port, {"Proxy-Authorization": credentials} if credentials else {})


def _excludes(entry: str, host: str, port: int) -> bool:
    """Returns whether an entry of NO_PROXY matches the server: `*`, a host (with or without port), a domain, or a
    network."""
    if entry == "*":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal():
        if int(wanted) != port:
            return False
        entry = name
    entry = entry.strip("[]").lstrip(".").lower()
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            "the file of certificate authorities cannot be used",
            detail=f"{ca_file}: {error.strerror or error}",
            hint="set STEPWELL_CA_FILE to a PEM file with the certificate of the authority that signed the server's "
            "certificate",
        ) from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
