"""Spools on a file system without mmap and locks, as some NFS, Lustre and FUSE mounts are: spools need neither.

A shim disables them in every process here: the calls exist, and fail as they do there. A spool uses only O_EXCL,
append, rename and unlink.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.commands import Server
from fixtures.programs import script

pytestmark = pytest.mark.db

SHIM = """
import errno, mmap, types
def refuse(code):
    def call(*arguments, **named):
        raise OSError(code, os.strerror(code))
    return call
fcntl = types.ModuleType("fcntl")
import fcntl as real
fcntl.__dict__.update({name: value for name, value in vars(real).items() if name.isupper()})
for name in ("fcntl", "flock", "lockf", "ioctl"):
    setattr(fcntl, name, refuse(errno.ENOLCK))
sys.modules["fcntl"] = fcntl
mmap.mmap = refuse(errno.ENODEV)
os.lockf = refuse(errno.ENOLCK)
for name in ("link", "symlink", "setxattr", "posix_fallocate", "sendfile"):
    if hasattr(os, name):
        setattr(os, name, refuse(errno.EOPNOTSUPP))
"""
LOG = """
    run = stepwell.init("shared", id="r", mode="offline", dir=sys.argv[1])
    for step in range(1000):
        run.log({"loss": step / 7, "note": "text"})
"""


def test_run_and_sync_without_mmap_and_locks(tmp_path: Path, server: Server) -> None:
    _run(LOG + "    run.finish()", tmp_path)
    delivered = _run(
        """
        from stepwell import cli
        sys.exit(cli.main(["sync", sys.argv[1], "--url", sys.argv[2]]))
        """,
        tmp_path,
        server.url,
    )
    assert "1 delivered (2,000 values" in delivered
    assert list(tmp_path.iterdir()) == []


def test_spool_owner_is_known_without_locks(tmp_path: Path) -> None:
    """A second process is refused the spool while the first is alive, and gets it afterwards."""
    code = """
    import subprocess
    from pathlib import Path
    from stepwell.spool import Spool
    opening = (
        "import sys; from pathlib import Path; from stepwell.spool import Spool; "
        "spool = Spool.open(Path(sys.argv[1])); print(spool.pending_frames > 0); spool.close()"
    )
    def ask():
        command = [sys.executable, "-c", opening, run.spool_directory]
        return subprocess.run(command, capture_output=True, text=True)
    assert run.flush(durable=False)
    refused = ask()
    assert "SpoolLockedError" in refused.stderr and str(os.getpid()) in refused.stderr, refused
    run.finish()
    assert ask().stdout == "True\\n"
    """
    _run(LOG + code, tmp_path)


def _run(code: str, *arguments: object) -> str:
    return script(SHIM + code.replace("\n    ", "\n"), *arguments).stdout
