"""The login of psql, dashboards and notebooks for the embedded Postgres: `stepwell up --listen-sql HOST:PORT`.

Receives the address and the data directory; returns what the cluster and the workers need to know. The password is kept
in the file `sql-password` of the data directory, which only its owner can read; Postgres and the workers get a SCRAM
verifier, from which the password cannot be recovered. Promises that there is no way to listen without a password.
"""

from __future__ import annotations

import argparse
import base64
import errno
import hashlib
import hmac
import os
import secrets
import socket
import stat
from dataclasses import dataclass, field
from pathlib import Path

from stepwell.errors import SettingError
from stepwell_ingest.commands.addresses import bind_once
from stepwell_ingest.db.cluster import Listen

ROLE = "stepwell_sql"
FILE = "sql-password"
_SHORTEST = 12
_LONGEST = 1024
_ITERATIONS = 4096  # the default of Postgres


@dataclass(frozen=True, slots=True)
class SqlLogin:
    """The login of SQL clients.

    Attributes:
        listen: where Postgres listens, and for whom.
        file: the file with the password.
        verifier: what Postgres stores instead of the password.
    """

    listen: Listen
    file: Path
    verifier: str = field(repr=False)


def address(text: str) -> tuple[str, int]:
    """Parses HOST:PORT of the command line; an IPv6 address is in brackets.

    Raises:
        argparse.ArgumentTypeError: the text has another form.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError("must be HOST:PORT, such as 127.0.0.1:5433; port 0 chooses a free one")
    return host, int(port)


def sql_login(host: str, port: int, data: Path) -> SqlLogin:
    """Checks the address, and reads or makes the password.

    Raises:
        SettingError: the address cannot be used, or the file with the password is not safe or has no good one.
    """
    try:
        port = bind_once(host, port)
    except OSError as error:
        raise SettingError(
            f"Postgres cannot listen on {host} port {port}",
            detail=error.strerror or str(error),
            hint="choose another address with --listen-sql; port 0 chooses a free one",
        ) from error
    file = data / FILE
    return SqlLogin(Listen(host, port, ROLE), file, scram_verifier(_password(file)))


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """The form in which Postgres stores a password for SCRAM-SHA-256 (RFC 5803)."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    shown = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{shown[0]}${shown[1]}:{shown[2]}"


def _password(file: Path) -> str:
    """The password in the file, or a new one if there is no file."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return _new_password(file)
    except OSError as error:
        detail = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise SettingError(f"the password in {file} cannot be read", detail=detail) from error
    with os.fdopen(descriptor, "rb") as opened:
        about = os.fstat(opened.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_mode & 0o077 or about.st_uid != os.geteuid():
            raise SettingError(
                f"others could read or change the password in {file}",
                detail=f"its mode is {stat.S_IMODE(about.st_mode):o}, its owner is uid {about.st_uid}",
                hint=f"chmod 600 {file}, as the user of `stepwell up`",
            )
        text = opened.read(_LONGEST).decode("latin-1").rstrip("\r\n")
    if len(text) < _SHORTEST or not text.isascii() or not text.isprintable():
        raise SettingError(
            f"{file} has no password of {_SHORTEST} or more printable ASCII characters",
            hint="write one into it, or remove the file: then `stepwell up` makes a password",
        )
    return text


def _new_password(file: Path) -> str:
    password = secrets.token_urlsafe(24)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(password + "\n")
    except OSError as error:
        raise SettingError(f"the password could not be written to {file}", detail=error.strerror) from error
    return password


def shown_url(login: SqlLogin, database: str) -> str:
    """The URL for clients, without the password."""
    host = login.listen.host
    if host in ("0.0.0.0", "::", "*"):
        host = socket.gethostname()
    return f"postgresql://{ROLE}@{f'[{host}]' if ':' in host else host}:{login.listen.port}/{database}"
