"""The schema of the history as SQL files, and their readers. Knows no database.

Stands beside the server: `stepwell_ingest.db.migrate` applies what comes out of here, the server's stations run the
named queries. Promises that files come in the order of their names, and that checksums do not depend on line endings.

    migrations/NNNN_name.sql   one-way: tables, types, indexes; applied once, never edited afterwards
    functions/*.sql            replaceable: applied again whenever one of them or a view changes
    views/*.sql                replaceable, after the functions
    queries/MODULE.sql         named queries of one module; each starts with `-- name: NAME` and its purpose
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
    """A file that is applied once."""

    __slots__ = ()


def migrations() -> list[Migration]:
    """The migrations in the order to apply them.

    Raises:
        ValueError: a file is not named NNNN_name.sql, or two have the same number.
    """
    numbers: dict[str, str] = {}
    out = []
    for file in _read("migrations"):
        number, _, rest = file.name.partition("_")
        if len(number) != 4 or not number.isdecimal() or not rest:
            raise ValueError(f"migrations/{file.name}.sql is not named NNNN_name.sql")
        if number in numbers:
            raise ValueError(f"migrations/{file.name}.sql has the number of {numbers[number]}.sql")
        numbers[number] = file.name
        out.append(Migration(file.name, file.sql, file.checksum))
    return out


def functions() -> list[SqlFile]:
    """The functions' files, in the order of their names."""
    return _read("functions")


def views() -> list[SqlFile]:
    """The views' files, in the order of their names; they may use the functions."""
    return _read("views")


def queries(module: str) -> dict[str, str]:
    """The named queries of `queries/MODULE.sql`, name to SQL, without the description.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a name is missing or comes twice, there is SQL before the first name, or a name has no SQL.
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


def _read(folder: str) -> list[SqlFile]:
    out = []
    for place in sorted(resources.files(__name__).joinpath(folder).iterdir(), key=lambda place: place.name):
        if place.name.endswith(".sql"):
            sql = _text(place.read_bytes())
            checksum = hashlib.sha256(sql.encode()).hexdigest()
            out.append(SqlFile(place.name.removesuffix(".sql"), sql, checksum))
    return out


def _text(data: bytes) -> str:
    # A checkout on Windows must not look like an edited migration.
    return data.decode().replace("\r\n", "\n")
