"""Asks the server which frames of given sessions it has stored: a spool whose frames are all stored needs no delivery.

Stands between the commands that handle spools and the server. Attaching instead would create a new, empty writer for a
session whose writer another process has taken over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stepwell.errors import Error
from stepwell.transport.endpoint import Endpoint
from stepwell.transport.http import HttpClient

_AT_ONCE = 1000


class Stored(NamedTuple):
    """The server's answer about a session.

    Attributes:
        next_seq: the seq below which everything is stored.
        fenced: whether another process has taken the writer over.
        state: the state of the writer.
    """

    next_seq: int
    fenced: bool
    state: str

    def covers(self, next_seq: int, exit_code: int | None) -> bool:
        """Returns whether a spool that ends at `next_seq` has nothing left for the server: neither frames nor an exit
        code."""
        told = exit_code is None or self.fenced or self.state in ("finished", "failed")
        return self.next_seq >= next_seq and told


def stored_sessions(endpoint: Endpoint, sessions: Sequence[bytes], patience_s: float) -> dict[bytes, Stored]:
    """Asks the server about sessions; returns its answers by session. Sessions are left out if the server does not know
    them, or gives no valid answer about them within `patience_s`."""
    found: dict[bytes, Stored] = {}
    client = HttpClient(endpoint, patience_s)
    for start in range(0, len(sessions), _AT_ONCE):
        asked = [session.hex() for session in sessions[start : start + _AT_ONCE]]
        try:
            known = client.send_json("POST", ("v1", "sessions"), {"sessions": asked})["sessions"]
            for session in asked:
                if session in known:
                    it = known[session]
                    found[bytes.fromhex(session)] = Stored(int(it["next_seq"]), bool(it["fenced"]), str(it["state"]))
        except (Error, KeyError, TypeError, ValueError):  # unreachable, or of an older version
            break
    return found
