"""`stepwell status`: the server and the spools of this directory at a glance. Reads only; takes no lock.

Reads the server's /v1/status and /readyz and the segments and files below a directory; prints a small table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from stepwell.delivery.stored import stored_sessions
from stepwell.errors import AuthenticationError, Error, ForbiddenError, UnavailableError
from stepwell.files.blob_spool import FOLDER, directories_with_blobs
from stepwell.settings import resolve
from stepwell.settings.key_file import PLACES
from stepwell.settings.server_file import ServerFile, data_directory
from stepwell.spool import Spool
from stepwell.spool.lock import holder
from stepwell.spool.reader import FrameReader, segment_files
from stepwell.spool.segment import Segment, SpoolIdentity, read_head
from stepwell.terminal.command import Command
from stepwell.terminal.display import duration, number, size, table
from stepwell.transport.endpoint import Endpoint
from stepwell.transport.http import HttpClient

_PATIENCE_S = 10.0
_LARGEST = 20

ABOUT = """show the server, and what waits in the spools below a directory

The server is --url, else STEPWELL_URL, else the one that runs on this machine. With --sizes, its largest runs and
projects are shown, too. The exit code is 1 when the server is not ready."""


class Glance(NamedTuple):
    """A spool, as its files show it.

    Attributes:
        frames: the number of frames on the disk; some that the server has already may remain in the newest segment.
        next_seq: the seq after the last frame.
        holder: the live process that owns it, or None.
    """

    identity: SpoolIdentity
    frames: int
    next_seq: int
    stored_bytes: int
    holder: str | None


def glance(directory: Path) -> Glance | None:
    """Reads a spool without opening it. None: it was removed meanwhile, or is not readable."""
    with contextlib.suppress(OSError, Error):
        files = segment_files(directory)
        sizes = [path.stat().st_size for path in files]
        head = next((head for head in map(read_head, files) if head is not None), None)
        if head is None:
            return None
        last_head = read_head(files[-1])
        first = int(files[-1].stem)
        last = Segment(files[-1], first, 1 << 63, last_head.length if last_head else 0, sizes[-1])
        reader = FrameReader(last, head.identity.session)
        try:
            end, _ = reader.find_end()
        finally:
            reader.close()
        return Glance(head.identity, end - int(files[0].stem), end, sum(sizes), holder(directory))
    return None


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir", nargs="?", metavar="DIR", help="the directory of the spools; default STEPWELL_DIR, else .stepwell"
    )
    parser.add_argument(
        "--sizes", action="store_true", help="also show the largest runs and projects on the server (an estimate)"
    )
    parser.add_argument("--url", help="the server")
    parser.add_argument("--data", metavar="DIR", help="data directory of a server on this machine")


def run(options: argparse.Namespace) -> int:
    url = options.url or os.environ.get("STEPWELL_URL")
    if not url:
        with contextlib.suppress(Error):
            found = ServerFile.read(data_directory(options.data))
            url = found.url if found else None
    endpoint = resolve(_server_variables(), url=url).endpoint
    ready = _show_server(HttpClient(endpoint, _PATIENCE_S), options.sizes)
    root = Path(options.dir or os.environ.get("STEPWELL_DIR") or ".stepwell")
    _show_spools(root, endpoint if ready else None)
    _show_files(root)
    return 0 if ready else 1


def _server_variables() -> dict[str, str]:
    """The settings of the server only: a bad project name in the environment must not hide the server."""
    return {name: os.environ[name] for name in ("STEPWELL_API_KEY", "STEPWELL_CA_FILE", *PLACES) if name in os.environ}


def _show_server(client: HttpClient, sizes: bool) -> bool:
    url = client.endpoint.url
    try:
        about = client.get_json(("v1", "status"), {"sizes": ""} if sizes else None)
    except UnavailableError as error:
        print(f"server  {url}: unreachable ({error.detail})")
        print(
            "        Runs keep logged values in their spools until the server is back. `stepwell up` starts a server."
        )
        return False
    except (AuthenticationError, ForbiddenError) as error:
        about = error
    except Error:
        about = None
    if not isinstance(about, Error) and (not isinstance(about, dict) or "held_bytes" not in about):
        print(f"server  {url}: the answer does not come from a Stepwell server")
        return False
    ready = True
    try:
        client.get_json(("readyz",))
    except Error as error:
        ready = False
        print(f"server  {url}: not ready: {error.message}")
    else:
        print(f"server  {url}: ready")
    if isinstance(about, Error):
        print(f"        {about.message}; a key with the role admin on the whole server shows more")
        return ready
    print(
        f"        up for {duration(time.time() - about['started_at'])}, {number(about['streams'], 'stream')}, "
        f"{size(about['held_bytes'])} of {size(about['held_bytes_limit'])} held until COMMIT"
    )
    storage = about.get("storage")
    if isinstance(storage, dict):
        _show_storage(storage)
    elif sizes:
        print("history size unknown: Postgres did not answer in time")
    for name, key, noun in (("runs", "largest_runs", "run"), ("projects", "largest_projects", "project")):
        if sizes and about.get(key):
            _show_largest(name, noun, about[key])
    return ready


def _show_storage(storage: dict[str, Any]) -> None:
    points, waiting = storage["points"], storage["unsealed_points"]
    taken = size(storage["database_bytes"])
    print(f"history {taken} on disk, {number(storage['runs'], 'run')}, {number(points, 'point')}")
    text = f"        {number(waiting, 'point')} not sealed yet"
    if waiting and storage["seal_lag_s"] >= 1:
        text += f", for up to {duration(storage['seal_lag_s'])}"
    print(f"{text}; {storage['slots_used']} of {storage['slots']} hot slots in use")
    if storage["runs_to_sweep"]:
        print(f"        {number(storage['runs_to_sweep'], 'deleted run')} whose rows are not removed yet")


def _show_largest(title: str, noun: str, rows: list[dict[str, Any]]) -> None:
    print(f"{title:7} the largest, with the disk space that they take (estimated):")
    head = [noun, "points", "objects", "on disk", "files", "size of files"]
    cells = [
        [
            *(row[noun], f"{row['points']:,}", f"{row['objects']:,}", size(row["bytes"])),
            # missing from a server of an older version
            *((f"{row['files']:,}", size(row["file_bytes"])) if "files" in row else ("", "")),
        ]
        for row in rows[:_LARGEST]
    ]
    print("\n".join(f"        {line}" for line in table(head, cells, right=(1, 2, 3, 4, 5)).splitlines()))


def _show_spools(root: Path, endpoint: Endpoint | None) -> None:
    """Prints the spools below `root`, and how much of each the server has stored, if it answers."""
    found = [seen for seen in map(glance, Spool.discover(root)) if seen is not None]
    if not found:
        print(f"spools  none below {root}")
        return
    print(f"spools  below {root}:")
    sessions = [seen.identity.session for seen in found]
    stored = stored_sessions(endpoint, sessions, _PATIENCE_S) if endpoint is not None else {}
    rows = []
    for seen in found:
        known = stored.get(seen.identity.session)
        left = seen.frames if known is None else min(seen.frames, max(0, seen.next_seq - known.next_seq))
        does = "delivers it" if left else "removes it; the server has all of it"
        run = f"{seen.identity.entity}/{seen.identity.project}/{seen.identity.run}"
        holds = seen.holder or f"nobody: `stepwell sync` {does}"
        rows.append((run, seen.identity.writer, f"{seen.frames:,}", f"{left:,}", size(seen.stored_bytes), holds))
    head = ("run", "writer", "frames", "not stored", "on disk", "held by")
    print("\n".join(f"        {line}" for line in table(head, rows, right=(2, 3, 4)).splitlines()))


def _show_files(root: Path) -> None:
    """Prints the files that the server does not have; nothing if there are none."""
    rows = []
    for directory in directories_with_blobs(root):
        with contextlib.suppress(OSError):  # delivered meanwhile
            sizes = [path.stat().st_size for path in (directory / FOLDER).iterdir() if len(path.name) == 64]
            who = holder(directory) or "no process: `stepwell sync` delivers them"
            rows.append((str(directory.relative_to(root)), f"{len(sizes):,}", size(sum(sizes)), who))
    if rows:
        print(f"files   below {root}:")
        lines = table(("spool", "files", "on disk", "held by"), rows, right=(1, 2)).splitlines()
        print("\n".join(f"        {line}" for line in lines))


COMMAND = Command(ABOUT, configure, run)
