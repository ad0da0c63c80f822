"""Explains in plain words why a server could not be reached."""

from __future__ import annotations

import socket
import ssl

import aiohttp

from stepwell.errors import Error, harmless
from stepwell.terminal.display import reason

_STATUSES = {
    401: "it refuses the API key (status 401); STEPWELL_API_KEY sets it",
    403: "it refuses this client (status 403)",
    407: "the proxy requires a name and password (status 407)",
}


def in_plain_words(error: BaseException | None) -> str:
    """The reason in one line; None: no error is known."""
    match error:
        case None:
            return "no answer"
        case Error():
            return error.message + (f" ({error.detail})" if error.detail else "")
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            cause = getattr(error, "certificate_error", error)
            text = getattr(cause, "verify_message", "") or str(cause)
            return f"its certificate is not trusted: {text}; STEPWELL_CA_FILE names the authority"
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return "the name of the host cannot be resolved"
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return "it does not speak TLS; does its URL begin with http://?"
        case aiohttp.ClientResponseError() if error.status in _STATUSES:
            return _STATUSES[error.status]
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refuses the connection (status {error.status})"
        case aiohttp.ClientResponseError() if error.status >= 500:
            return f"it, or a proxy before it, answers with status {error.status}"
        case aiohttp.ClientResponseError():
            return f"the answer does not come from a Stepwell server (status {error.status})"
        case aiohttp.ClientConnectorError():
            return reason(error.os_error)
        case _:
            return harmless(reason(error))
