"""`python -m faults.zygote`: imports everything once, then forks a child for each program it is told to run.

    in, a line of JSON each     {"start": N, "program": {…}, "log": path} · {"tell": pid, "line": text}
    out                         {"event": "started", "start": N, "pid"} · {"event": "exited", "pid", "status"}, and
                                what the children say (`faults.events`)

A child has a pipe as its stdin and its log file as stdout and stderr. When stdin of the zygote ends, all children are
killed. The zygote has no threads, so a fork is equivalent to a new process, and 30 times as fast.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import traceback
from typing import Any, NoReturn

import uvloop  # noqa: F401 - imported once, for all children

from faults import events, programs
from stepwell_ingest.server import worker_process  # noqa: F401 - likewise

_POLL_S = 0.01


def main() -> None:
    events.use(os.dup(1))
    stdins: dict[int, int] = {}
    buffer = b""
    while True:
        if select.select([0], [], [], _POLL_S)[0]:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                _obey(json.loads(line), stdins)
        _reap(stdins)
    for pid in stdins:
        os.kill(pid, signal.SIGKILL)
    while stdins:
        _reap(stdins)


def _obey(order: dict[str, Any], stdins: dict[int, int]) -> None:
    if "tell" in order:
        if order["tell"] in stdins:
            with contextlib.suppress(BrokenPipeError):  # it has died, which `_reap` will report
                os.write(stdins[order["tell"]], order["line"].encode() + b"\n")
        return
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        for descriptor in (theirs, *stdins.values()):
            os.close(descriptor)
        _become(order["program"], ours, order["log"])
    os.close(ours)
    stdins[pid] = theirs
    events.say("started", start=order["start"], child=pid)


def _become(program: dict[str, Any], stdin: int, log: str) -> NoReturn:
    status = 70
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # dies with the zygote
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        status = programs.decode_program(program).main()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - the process ends; the error is in its log and its status
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _reap(stdins: dict[int, int]) -> None:
    while stdins:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        os.close(stdins.pop(pid))
        events.say("exited", child=pid, status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
