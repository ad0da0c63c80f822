"""`stepwell open`: opens the page of a run, a project or the whole server in a browser.

Asks the server for the run or project, so that a mistyped name gets an answer here and not an empty page; prints the
URL, and starts a browser if this machine has one that can show the page.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import sys
import webbrowser
from urllib.parse import urlsplit

from stepwell.api import Api
from stepwell.errors import NotFoundError
from stepwell.terminal.command import Command

ABOUT = """open the page of a run or project in the browser

Without PATH, it opens the list of all projects. With --print, or if this machine has no browser, the URL is only
printed.

  stepwell open mnist                  a project
  stepwell open mnist/lrxqv2k8         a run of this project, by its id or display name
  stepwell open team/mnist/lrxqv2k8    the same with the entity"""

#: A browser of a terminal cannot show the pages, so one is only started on a desktop, or if the user has named it.
_DESKTOP = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", metavar="PATH", help="[ENTITY/]PROJECT, or [ENTITY/]PROJECT/RUN")
    parser.add_argument("--url", help="the server; default STEPWELL_URL, else the one that runs on this machine")
    parser.add_argument("--print", action="store_true", help="print the URL, and start no browser")


def run(options: argparse.Namespace) -> int:
    api = Api({"base_url": options.url} if options.url else None)
    url = _page(api, options.path)
    print(url, flush=True)
    if options.print:
        return 0
    here = sys.platform in ("darwin", "win32") or any(map(os.environ.get, _DESKTOP))
    if not (here and webbrowser.open(url)):
        print("No browser could be started on this machine. " + _way(url), file=sys.stderr)
    return 0


def _page(api: Api, path: str | None) -> str:
    """The URL for `path`.

    Raises:
        NotFoundError: there is no such run or project.
        UnavailableError: the server cannot be reached.
    """
    parts = [part for part in (path or "").split("/") if part]
    if not parts:
        len(api.projects())  # the server answers
        return f"{api.settings['base_url']}/"
    entity, name = [api.entity, *parts][-2:]
    found = (
        next((project for project in api.projects(entity) if project.name == name), None) if len(parts) < 3 else None
    )
    if found is not None:
        return found.url
    try:
        return api.run("/".join(parts)).url
    except NotFoundError as error:
        if len(parts) == 1:  # a run could only be meant in the default project, which the user may never have named
            names = ", ".join(project.name for project in list(api.projects(entity))[:10])
            raise NotFoundError(
                f"there is no project {name}",
                hint=f"the newest projects are {names}; name a run as PROJECT/RUN"
                if names
                else f"the entity {entity} has no projects",
            ) from error
        raise


def _way(url: str) -> str:
    """A sentence that says how to open a page of this machine on another one."""
    where = urlsplit(url)
    server = os.environ.get("SSH_CONNECTION", "").split()[2:3]
    if not server or where.hostname not in ("127.0.0.1", "localhost", "::1"):
        return "Open the address on another machine."
    user = ""
    with contextlib.suppress(OSError, KeyError, ImportError):  # an account without a name
        user = f"{getpass.getuser()}@"
    return (
        "The server listens only on this machine. On your own machine, run\n"
        f"  ssh -N -L {where.port}:{where.hostname}:{where.port} {user}{server[0]}\nand open the address there."
    )


COMMAND = Command(ABOUT, configure, run)
