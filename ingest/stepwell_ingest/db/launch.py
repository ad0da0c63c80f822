"""The last step before Postgres: run as a script, it gives up root, ties itself to its parent and becomes the program.

Comes in: `launch.py PARENT_PID UID GID DEATH_SIGNAL PROGRAM [ARGUMENT …]`; a UID below 0 keeps the user. Goes out: the
program, in this very process, so its pid is the one the parent knows. Promises that on Linux the program gets
DEATH_SIGNAL when the parent dies, however it dies. Needs the standard library only: it runs with `python -I -S`.

A script, not a `preexec_fn`: that one may deadlock once numpy's threads run, and Python 3.12 warns about it.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(arguments: list[str]) -> None:
    """Become the program named in `arguments`.

    Raises:
        OSError: the user cannot be changed, or the program cannot be started.
        SystemExit: the parent died meanwhile.
    """
    parent, uid, gid, death_signal = (int(text) for text in arguments[:4])
    program = arguments[4:]
    # Loaded as root: a Python below /root cannot be read afterwards.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if prctl is not None:
        # After setuid, which clears it.
        prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        # A parent that died before prctl sends nothing any more.
        if os.getppid() != parent:
            sys.exit(f"the parent process {parent} has ended")
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
