"""Explains in plain words why a server could not be reached."""

from __future__ import annotations

import socket
import ssl

from stepwell.errors import Error, UnavailableError, harmless
from stepwell.terminal.display import reason


class LostError(UnavailableError):
    """A connection could not be opened, or has ended."""


class RefusedError(UnavailableError):
    """The server answers, but refuses this client or its key. Trying again helps once somebody has changed that."""


def in_plain_words(error: BaseException | None) -> str:
    """The reason in one line; None: no error is known."""
    match error:
        case None:
            return "no answer"
        case Error():
            return error.message + (f" ({error.detail})" if error.detail else "")
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLCertVerificationError():
            return untrusted(error)
        case socket.gaierror():
            return "the name of the host cannot be resolved"
        case ssl.SSLError():
            return "it does not speak TLS; should its URL begin with http://?"
        case _:
            return harmless(reason(error))


def untrusted(error: BaseException) -> str:
    """The reason for a certificate that cannot be verified."""
    text = getattr(error, "verify_message", "") or str(error)
    return f"its certificate is not trusted: {text}; STEPWELL_CA_FILE names the authority"
