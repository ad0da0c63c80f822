"""`stepwell login`: asks for an API key, checks it with the server, and stores it where the SDK finds it.

The key is read from the terminal without an echo, or from stdin, and never from the command line, which all users of
the machine can see.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import sys

from stepwell.errors import AuthenticationError, Error, SettingError
from stepwell.settings import resolve
from stepwell.settings.key_file import store_key
from stepwell.settings.server_file import ServerFile, data_directory
from stepwell.terminal.command import Command
from stepwell.transport.http import HttpClient

_PATIENCE_S = 10.0

ABOUT = """store an API key of this user for a server

  stepwell login                        asks for the key of the server at STEPWELL_URL
  stepwell login --url https://logs.example.org < key
  stepwell login --remove               forgets the key of this server

The key is stored in ~/.config/stepwell/keys.json, which only you can read. If STEPWELL_API_KEY is set, it is used
instead. `stepwell keys create` on the server makes keys."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the server; default STEPWELL_URL, else the one that runs on this machine")
    parser.add_argument("--remove", action="store_true", help="remove the stored key of this server")


def run(options: argparse.Namespace) -> int:
    url = options.url or os.environ.get("STEPWELL_URL")
    if not url:
        with contextlib.suppress(Error):
            found = ServerFile.read(data_directory())
            url = found.url if found else None
    variables = {name: os.environ[name] for name in ("STEPWELL_CA_FILE",) if name in os.environ}
    endpoint = resolve(variables, url=url).endpoint
    if options.remove:
        path = store_key(endpoint.url, None, os.environ)
        print(f"{path} now holds no key for {endpoint.url}")
        return 0
    if "Authorization" not in endpoint.headers and _answers(HttpClient(endpoint, _PATIENCE_S)):
        print(f"the server at {endpoint.url} requires no key")
        return 0
    key = _key(endpoint.url)
    try:
        checked = HttpClient(resolve(variables, url=endpoint.url, api_key=key).endpoint, _PATIENCE_S)
        checked.get_json(("v1", "projects"))
    except AuthenticationError as error:
        detail = ": ".join(filter(None, (error.message, error.detail)))
        raise SettingError(
            f"{endpoint.url} refuses this key, so it was not stored",
            detail=detail,
            hint="is the key complete? `stepwell keys list` on the server shows ids and states",
        ) from error
    path = store_key(endpoint.url, key, os.environ)
    print(f"{endpoint.url} accepts the key; it is stored in {path}")
    if os.environ.get("STEPWELL_API_KEY"):
        print("STEPWELL_API_KEY is set, and is used instead of the stored key")
    return 0


def _answers(client: HttpClient) -> bool:
    try:
        client.get_json(("v1", "projects"))
    except AuthenticationError:
        return False
    return True


def _key(url: str) -> str:
    given = getpass.getpass(f"API key of {url}: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not given.strip():
        raise SettingError("no key was given", hint="type it at the prompt, or give it on stdin")
    return given.strip()


COMMAND = Command(ABOUT, configure, run)
