"""The name of the user of a command, for the audit log."""

from __future__ import annotations

import getpass


def actor(command: str) -> str:
    """The user of this machine and the command."""
    try:
        return f"{getpass.getuser()} (stepwell {command})"
    except (KeyError, OSError):  # a container's user without an entry
        return f"stepwell {command}"
