"""Rows of a query that the server runs: what `Api.sql` returns.

Receives the JSON of `POST /v1/sql`. Returns a dict for each row, with the numbers of Python: JSON cannot express NaN,
and integers beyond 2^53 are sent as strings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwell.api._http import Client
from stepwell.errors import CommError, UsageError, from_dict


def _number(value: Any) -> int | float:
    return value if not isinstance(value, str) else int(value) if value.lstrip("-").isdigit() else float(value)


_AS_PYTHON: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid", "numeric"), _number),
    **dict.fromkeys(("float4", "float8"), float),
}


def ask(client: Client, query: str, timeout_s: float | None) -> list[dict[str, Any]]:
    """Runs a query; see `Api.sql`.

    Raises:
        UsageError, UnavailableError: as `Api.sql`.
        CommError: the answer does not come from a Stepwell server.
    """
    body: dict[str, Any] = {"query": query} | ({} if timeout_s is None else {"timeout_s": timeout_s})
    answer = client.send_json("POST", ("v1", "sql"), body)
    try:
        if "error" in answer:  # after the first rows
            raise from_dict(answer["error"])
        names = [column["name"] for column in answer["columns"]]
        kinds = [_AS_PYTHON.get(column["type"]) for column in answer["columns"]]
        rows, truncated = answer["rows"], answer["truncated"]
    except (KeyError, TypeError) as error:
        raise CommError("the server's answer is not the result of a query", hint=client.hint) from error
    if truncated:
        raise UsageError(
            f"the query returns more than the {len(rows):,} rows that one answer of the server holds",
            hint="add LIMIT, or aggregate in the query",
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two columns are called {twice[0]!r}", hint="name one of them with AS")
    return [
        {
            name: kind(value) if kind and value is not None else value
            for name, kind, value in zip(names, kinds, row, strict=True)
        }
        for row in rows
    ]
