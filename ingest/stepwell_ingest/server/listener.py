"""The listening socket of a worker, bound before anything else is created."""

from __future__ import annotations

import socket

from stepwell.errors import SettingError


def listen(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """Binds a socket to `host` and `port`.

    Args:
        host: an address of this machine, or a name that resolves to one; the first address is taken.
        port: the port; 0 picks a free one.
        reuse_port: whether other processes may bind the port as well.

    Raises:
        SettingError: the address or the port cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise cannot_listen(host, port, error) from error
    return listener


def cannot_listen(host: str, port: int, error: OSError) -> SettingError:
    """The error that explains a failed bind to the user who started the server."""
    return SettingError(
        f"cannot listen on {host} port {port}",
        detail=error.strerror or str(error),
        hint="is a Stepwell server running already? Choose another port with --port, or --port 0 for a free one",
    )
