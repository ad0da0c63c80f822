"""The schema of the history as SQL files, and the functions that read these files. Does not connect to a database.

Used by the server: `stepwell_ingest.db.migrate` applies the files, and the parts of the server run the named queries.
Promises that files come in the order of their numbers, and that checksums do not depend on line endings.

    migrations/NNNN_name.sql   one-way: tables, types, indexes; applied once, never edited afterwards
    functions/NNN_name.sql     replaceable: applied again whenever one of them or a view changes
    views/NNN_name.sql         replaceable: applied after the functions, which they may use
    queries/MODULE.sql         named queries of one module; each starts with `-- name: NAME` and its purpose

Functions and views are numbered in tens, because Postgres looks up what the body of an SQL function or of a view names
when it is created: a file may use what files with lower numbers define. Only bodies in PL/pgSQL may name later files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

__all__ = ["Migration", "SqlFile", "functions", "migrations", "queries", "views"]

_NAME_MARK = "-- name:"


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One SQL file.

    Args:
        name: the file's name without `.sql`.
        sql: its text; lines end with a newline only.
        checksum: SHA-256 of `sql`, in hexadecimal.
    """

    name: str
    sql: str
    checksum: str


class Migration(SqlFile):
    """A file that is applied once and never edited afterwards."""

    __slots__ = ()


def migrations() -> list[Migration]:
    """Returns the migrations in the order to apply them.

    Raises:
        ValueError: a file is not named NNNN_name.sql, or two files have the same number.
    """
    return [Migration(file.name, file.sql, file.checksum) for file in _numbered("migrations", digits=4)]


def functions() -> list[SqlFile]:
    """Returns the files that define functions, in the order to apply them.

    Raises:
        ValueError: a file is not named NNN_name.sql, or two files have the same number.
    """
    return _numbered("functions", digits=3)


def views() -> list[SqlFile]:
    """Returns the files that define views, in the order to apply them; they may use the functions.

    Raises:
        ValueError: a file is not named NNN_name.sql, or two files have the same number.
    """
    return _numbered("views", digits=3)


def queries(module: str) -> dict[str, str]:
    """Returns the named queries of `queries/MODULE.sql` by name, without their descriptions.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a name is missing or is used twice, there is SQL before the first name, or a name has no SQL.
    """
    found: dict[str, list[str]] = {}
    body: list[str] | None = None
    for line in _text(resources.files(__name__).joinpath("queries", f"{module}.sql").read_bytes()).splitlines():
        if line.startswith(_NAME_MARK):
            name = line.removeprefix(_NAME_MARK).strip()
            if not name.isidentifier() or name in found:
                raise ValueError(f"queries/{module}.sql: the name {name!r} is no identifier, or comes twice")
            body = found[name] = []
        elif body is not None:
            # Comments above the first line of SQL describe the query; those within it stay.
            if body or not line.startswith("--"):
                body.append(line)
        elif line.strip() and not line.startswith("--"):
            raise ValueError(f"queries/{module}.sql: SQL before the first {_NAME_MARK!r}")
    out = {name: "\n".join(lines).strip() for name, lines in found.items()}
    if empty := [name for name, sql in out.items() if not sql]:
        raise ValueError(f"queries/{module}.sql: no SQL under {', '.join(empty)}")
    return out


def _numbered(folder: str, digits: int) -> list[SqlFile]:
    numbers: dict[str, str] = {}
    out = []
    for place in sorted(resources.files(__name__).joinpath(folder).iterdir(), key=lambda place: place.name):
        if not place.name.endswith(".sql"):
            continue
        name = place.name.removesuffix(".sql")
        number, _, rest = name.partition("_")
        if len(number) != digits or not number.isdecimal() or not rest:
            raise ValueError(f"{folder}/{name}.sql is not named {'N' * digits}_name.sql")
        if number in numbers:
            raise ValueError(f"{folder}/{name}.sql has the number of {numbers[number]}.sql")
        numbers[number] = name
        sql = _text(place.read_bytes())
        out.append(SqlFile(name, sql, hashlib.sha256(sql.encode()).hexdigest()))
    return out


def _text(data: bytes) -> str:
    # A checkout on Windows must not look like an edited migration.
    return data.decode().replace("\r\n", "\n")
