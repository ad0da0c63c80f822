"""Launches Postgres: run as a script, it drops root, ties its life to its parent's and executes the program.

Usage: `launch.py PARENT_PID UID GID DEATH_SIGNAL PROGRAM [ARGUMENT …]`; a UID below 0 keeps the user. The program
replaces this process, so its pid is the one that the parent knows. Promises that on Linux the program receives
DEATH_SIGNAL when the parent dies, however it dies. Needs only the standard library, since it runs with `python -I -S`.

It is a script and not a `preexec_fn`, which may deadlock once numpy's threads run; Python 3.12 warns about that.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(arguments: list[str]) -> None:
    """Replaces this process with the program named in `arguments`.

    Raises:
        OSError: the user cannot be changed, or the program cannot be started.
        SystemExit: the parent died meanwhile.
    """
    parent, uid, gid, death_signal = (int(text) for text in arguments[:4])
    program = arguments[4:]
    # Loaded while still root: a Python below /root cannot be read afterwards.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if prctl is not None:
        # Set after setuid, which clears it.
        prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        # For a parent that died before prctl, no signal is sent.
        if os.getppid() != parent:
            sys.exit(f"the parent process {parent} has ended")
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
