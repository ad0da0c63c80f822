"""Addresses on which a server listens: trial binds, and the URLs at which clients reach it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from stepwell.errors import SettingError
from stepwell_ingest.server.listener import cannot_listen


@contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """The port to listen on, after a trial bind, so that a taken port is found before Postgres starts.

    It stays reserved for the duration of the block. So if `port` is 0, all workers get the same port, including those
    that replace others later.

    Raises:
        SettingError: the address or the port cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(address)
            # On some systems, bind alone succeeds beside a listener that has SO_REUSEPORT set.
            attempt.listen(1)
    except socket.gaierror as error:
        raise SettingError(
            f"the name {host} cannot be resolved to an address",
            detail=error.strerror,
            hint="give an address of this machine; with 0.0.0.0, the server listens on all IPv4 addresses",
        ) from error
    except OSError as error:
        raise cannot_listen(host, port, error) from error
    with socket.socket(family) as holder:
        # REUSEADDR also permits a port on which connections of an earlier program are still in TIME_WAIT.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            holder.bind(address)
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        yield holder.getsockname()[1]


def bind_once(host: str, port: int) -> int:
    """Binds a socket for a moment; returns its port, which is a free one if `port` is 0.

    Raises:
        OSError: the address cannot be used.
    """
    family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attempt.bind(where)
        attempt.listen(1)
        found: int = attempt.getsockname()[1]
        return found


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def local_url(url: str) -> str:
    """The URL for clients on this machine."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def remote_url(url: str) -> str:
    """The URL for clients on other machines."""
    name = socket.gethostname()
    return url.replace("//0.0.0.0:", f"//{name}:").replace("//[::]:", f"//{name}:")
