"""Who may reach a server without a key: the options `--require-keys` and `--without-keys` of `stepwell up`.

On a loopback address, only users of this machine reach the port, so keys are needed only with `--require-keys`. On any
other address, `stepwell up` does not start without one of the two options.
"""

from __future__ import annotations

import argparse

from stepwell.errors import SettingError
from stepwell_ingest.commands.addresses import is_loopback, remote_url


def configure(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--require-keys",
        action="store_true",
        help="requests need an API key (`stepwell keys create`); see docs/access.md",
    )
    chosen.add_argument(
        "--without-keys",
        action="store_true",
        help="let everybody who reaches the port read, log and delete; for servers behind a proxy that checks callers",
    )


def check(options: argparse.Namespace) -> None:
    """Checks that one of the options was given, if other machines can reach the server.

    Raises:
        SettingError: the address is not a loopback one, and neither option was given.
    """
    if not is_loopback(options.host) and not options.require_keys and not options.without_keys:
        raise SettingError(
            f"on {options.host}, everybody who reaches the port could read, log and delete",
            hint="add --require-keys, and make keys with `stepwell keys create` (docs/access.md); listen on 127.0.0.1; "
            "or, behind a proxy that checks callers, add --without-keys",
        )


def lines(options: argparse.Namespace, url: str) -> list[str]:
    """The lines about access at the end of what `stepwell up` prints once it is ready."""
    others = f"On other machines: export STEPWELL_URL={remote_url(url)}"
    if options.require_keys:
        return [
            *("", "Requests need an API key. In another terminal, as the same user:"),
            "  stepwell keys create --server --role admin     # for you; then `stepwell login`",
            "  stepwell keys create ENTITY                    # for the nodes that log to its projects",
            *(() if is_loopback(options.host) else (others,)),
        ]
    if is_loopback(options.host):
        return []
    return [
        *(
            "",
            "WARNING: no key is required (--without-keys). Everybody who reaches this port can read, log to and delete",
        ),
        f"every run, so let only a proxy that checks callers reach it. {others}",
    ]
