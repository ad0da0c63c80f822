"""Compiles filters in Mongo's syntax, which W&B's `Api.runs` accepts, to SQL.

Receives untrusted JSON; returns a condition and its arguments. The contents of a filter reach Postgres as arguments,
never as SQL: names of fields come from the table below, operators from a match statement. As in Mongo, a field that a
run lacks matches $ne, $nin, $not, $exists: false and a comparison with null, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from stepwell.errors import UsageError

Type = Literal["text", "float8", "timestamptz", "jsonb"]

#: The name in a filter → the column of the query `runs`, and its type. A new column is one more line.
FIELDS: dict[str, tuple[str, Type]] = {
    "name": ("run", "text"),
    "id": ("run", "text"),
    "display_name": ("display_name", "text"),
    "displayName": ("display_name", "text"),
    "state": ("state", "text"),
    "notes": ("notes", "text"),
    "tags": ("tags", "jsonb"),
    "group": ("run_group", "text"),
    "job_type": ("job_type", "text"),
    "jobType": ("job_type", "text"),
    "host": ("host", "text"),
    "username": ("username", "text"),
    "created_at": ("created_at", "timestamptz"),
    "createdAt": ("created_at", "timestamptz"),
    "heartbeat_at": ("heartbeat_at", "timestamptz"),
    "heartbeatAt": ("heartbeat_at", "timestamptz"),
    "finished_at": ("finished_at", "timestamptz"),
    "archived_at": ("archived_at", "timestamptz"),
    "duration": ("duration_s", "float8"),
    "last_step": ("last_step", "float8"),
    "exit_code": ("exit_code", "float8"),
}
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_OPERATORS = ("$eq", "$ne", *_COMPARISONS, "$in", "$nin", "$exists", "$regex", "$not")
_KNOWN = f"fields are {', '.join(FIELDS)}, config.<key>, summary_metrics.<key>"
_PLACES = ("config", "summary_metrics", "summary")
_MAX_DEPTH = 20
_MAX_ARGUMENTS = 1000


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the rows of the query `runs`.

    Attributes:
        parts: SQL; None stands for the next argument.
        arguments: in their order.
        costly: whether it may take Postgres long even for few runs, because it has a regular expression.
        fields: the names of the fields that it compares.
    """

    parts: tuple[str | None, ...]
    arguments: list[Any]
    costly: bool = False
    fields: tuple[str, ...] = ()

    def sql_from(self, first: int) -> str:
        """The SQL with arguments from $first on."""
        out, number = [], first
        for part in self.parts:
            out.append(f"${number}" if part is None else part)
            number += part is None
        return "".join(out)


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list of runs.

    Attributes:
        name: the requested field, with its sign.
        sql: the SQL of its value; `$$` stands for the only argument.
        type: Postgres' type of the value.
        descending: whether the largest value comes first.
        arguments: the argument, if the SQL has one.
    """

    name: str
    sql: str
    type: str
    descending: bool
    arguments: list[Any] = field(default_factory=list)


def compile_filter(given: str | Mapping[str, Any] | None) -> Condition:
    """The condition that a filter describes; without a filter, every run matches.

    Raises:
        UsageError: the filter is not JSON, or has an invalid field, operator or value, which the error names.
    """
    filters: Any = given or {}
    if isinstance(filters, str):
        try:
            filters = orjson.loads(filters)
        except orjson.JSONDecodeError as error:
            raise UsageError("filters must be JSON", detail=str(error), hint='{"state": "finished"}') from error
    compiler = _Compiler()
    compiler.query(filters, 0)
    return Condition(tuple(compiler.parts), compiler.arguments, compiler.costly, tuple(compiler.fields))


def parse_order(text: str) -> Order:
    """Parses "+created_at", "-heartbeat_at", "-summary_metrics.loss" or "+config.lr.value"; ascending without a sign.

    Raises:
        UsageError: there is no such field.
    """
    name = text.lstrip("+-")
    descending = text.startswith("-")
    if name in FIELDS:
        column, kind = FIELDS[name]
        return Order(text, f"r.{column}", kind, descending)
    place, _, key = name.partition(".")
    if place == "config" and key:
        path = key.removesuffix(".value").split(".")
        # One argument for both readings: a key that contains dots, or a path.
        sql = "coalesce(r.config -> array_to_string($$::text[], '.'), r.config #> $$::text[])"
        return Order(text, sql, "jsonb", descending, [path])
    if place in ("summary_metrics", "summary") and key:
        sql = "SELECT s.value FROM stepwell.summary s WHERE s.run_id = r.run_id AND s.key = $$::text"
        return Order(text, sql, "jsonb", descending, [key])
    raise UsageError(f"runs cannot be ordered by {text[:80]!r}", hint=f'"+created_at", "-created_at"; {_KNOWN}')


class _Compiler:
    """Builds the parts and arguments of a condition while it walks a filter."""

    def __init__(self) -> None:
        self.costly = False
        self.parts: list[str | None] = []
        self.arguments: list[Any] = []
        self.fields: dict[str, None] = {}

    def query(self, query: Any, depth: int) -> None:
        """Adds the condition that all entries of a filter hold."""
        if not isinstance(query, dict):
            raise UsageError("a filter must be an object", detail=repr(query)[:80], hint='{"state": "finished"}')
        if depth > _MAX_DEPTH:
            raise UsageError(f"a filter may be {_MAX_DEPTH} levels deep at most")
        self._each(query.items(), " AND ", "true", lambda item: self._entry(item[0], item[1], depth))

    def _entry(self, name: str, value: Any, depth: int) -> None:
        match name:
            case "$and" | "$or" | "$nor":
                if not isinstance(value, list) or not value:
                    raise UsageError(f"{name} takes a list of filters", detail=repr(value)[:80])
                self._put("NOT " if name == "$nor" else "")
                word = " AND " if name == "$and" else " OR "
                self._each(value, word, "true", lambda item: self.query(item, depth + 1))
            case "$not":
                self._put("NOT ")
                self.query(value, depth + 1)
            case _ if name.startswith("$"):
                raise UsageError(f"a filter cannot begin with {name[:40]!r}", hint="$and, $or, $nor, $not, or a field")
            case _:
                self._field(name, value, depth)

    def _field(self, name: str, value: Any, depth: int) -> None:
        operations = value if isinstance(value, dict) and any(key.startswith("$") for key in value) else {"$eq": value}
        if depth > _MAX_DEPTH:
            raise UsageError(f"a filter may be {_MAX_DEPTH} levels deep at most")
        self._each(operations.items(), " AND ", "true", lambda item: self._operation(name, item[0], item[1], depth))

    def _operation(self, name: str, operator: str, value: Any, depth: int) -> None:
        match operator:
            case "$eq":
                self._equal(name, value)
            case "$ne":
                self._put("NOT ")
                self._equal(name, value)
            case "$in" | "$nin":
                if not isinstance(value, list):
                    raise UsageError(f"{operator} takes a list", detail=f"{name}: {value!r}"[:120])
                self._put("NOT " if operator == "$nin" else "")
                self._each(value, " OR ", "false", lambda item: self._equal(name, item))
            case "$exists":
                self._put("(")
                self._value(name)
                self._put(" IS NOT NULL)" if value else " IS NULL)")
            case "$not":
                if not isinstance(value, dict):
                    raise UsageError("$not takes an object of operators", detail=f"{name}: {value!r}"[:120])
                self._put("NOT ")
                self._field(name, value, depth + 1)
            case "$regex":
                self._regex(name, value)
            case _ if operator in _COMPARISONS:
                self._compare(name, _COMPARISONS[operator], value)
            case _:
                raise UsageError(
                    f"the operator {operator[:40]!r} is not known",
                    detail=name[:80],
                    hint=f"the operators are {', '.join(_OPERATORS)}",
                )

    def _equal(self, name: str, value: Any) -> None:
        """Adds a comparison, which is true or false, never NULL, so that NOT inverts it."""
        if value is None:
            self._put("(")
            self._value(name)
            self._put(" IS NULL" if _type(name) != "jsonb" else " IS NOT DISTINCT FROM 'null'::jsonb")
            if _type(name) == "jsonb":
                self._put(" OR ")
                self._value(name)
                self._put(" IS NULL")
            self._put(")")
        elif _type(name) == "jsonb":
            # As in Mongo, a value also matches a list that contains it, such as tags.
            self._put("coalesce((SELECT v = j OR jsonb_typeof(v) = 'array' AND v @> jsonb_build_array(j) FROM (SELECT ")
            self._value(name)
            self._put(" AS v, ")
            self._argument(json.dumps(value), "::text::jsonb AS j")
            self._put(" OFFSET 0) x), false)")  # a fence: the value is made once
        else:
            self._plain(name, "=", value)

    def _compare(self, name: str, sign: str, value: Any) -> None:
        if _type(name) != "jsonb":
            self._plain(name, sign, value)
            return
        if not isinstance(value, int | float | str) or isinstance(value, bool):
            raise UsageError(f"{name[:80]} must be compared with a number or a string", detail=repr(value)[:80])
        # Numbers with numbers and texts with texts: jsonb would order any number before any text.
        self._put("coalesce((SELECT jsonb_typeof(v) = jsonb_typeof(j) AND v " + sign + " j FROM (SELECT ")
        self._value(name)
        self._put(" AS v, ")
        self._argument(json.dumps(value), "::text::jsonb AS j")
        self._put(" OFFSET 0) x), false)")  # a fence: the value is made once

    def _plain(self, name: str, sign: str, value: Any) -> None:
        kind = _type(name)
        self._put("coalesce(")
        self._value(name)
        self._put(f" {sign} ")
        self._argument(_converted(name, kind, value), f"::{kind}")
        self._put(", false)")

    def _regex(self, name: str, value: Any) -> None:
        if not isinstance(value, str) or len(value) > 1000:
            raise UsageError("$regex takes a string of 1000 characters at most", detail=f"{name}: {value!r}"[:120])
        if _type(name) in ("float8", "timestamptz"):
            raise UsageError(f"$regex cannot be applied to {name[:80]}", hint="only strings can be matched with $regex")
        self.costly = True
        self._put("coalesce((")
        self._value(name)
        self._put(" #>> '{}')" if _type(name) == "jsonb" else ")")
        self._put(" ~ ")
        self._argument(value, "::text")
        self._put(", false)")

    def _value(self, name: str) -> None:
        """Adds the SQL for the value of a field."""
        self.fields[name] = None
        if name in FIELDS:
            self._put(f"r.{FIELDS[name][0]}")
            return
        place, key = _place(name)
        if place == "config":
            # A key may contain dots; W&B's config holds every value under "value".
            self._put("coalesce(")
            for path in ([key], key.split("."), [key.removesuffix(".value")], key.removesuffix(".value").split(".")):
                self._put("r.config #> ")
                self._argument(path, "::text[], ")
            self._put("NULL)")
        else:
            self._put("(SELECT s.value FROM stepwell.summary s WHERE s.run_id = r.run_id AND s.key = ")
            self._argument(key, "::text)")

    def _each(self, items: Any, word: str, empty: str, write: Callable[[Any], None]) -> None:
        self._put("(")
        for number, item in enumerate(items):
            if number:
                self._put(word)
            write(item)
        self._put(")" if items else f"{empty})")

    def _put(self, sql: str) -> None:
        self.parts.append(sql)

    def _argument(self, value: Any, cast: str) -> None:
        if len(self.arguments) >= _MAX_ARGUMENTS:
            raise UsageError(f"a filter may have {_MAX_ARGUMENTS} values at most")
        self.parts += [None, cast]
        self.arguments.append(value)


def is_key(name: str) -> bool:
    """Whether a field is a key that users choose, "config.<key>" or "summary_metrics.<key>"."""
    return name not in FIELDS and name.partition(".")[0] in _PLACES


def _place(name: str) -> tuple[str, str]:
    place, _, key = name.partition(".")
    if not key or place not in _PLACES:
        raise UsageError(f"runs have no field {name[:80]!r}", hint=_KNOWN)
    return place, key


def _type(name: str) -> Type:
    if name in FIELDS:
        return FIELDS[name][1]
    _place(name)
    return "jsonb"


def _converted(name: str, kind: Type, value: Any) -> Any:
    if kind == "text" and isinstance(value, str):
        return value
    if kind == "float8" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind == "timestamptz" and isinstance(value, str):
        time: datetime | None
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            time = None
        if time is not None:
            return time if time.tzinfo else time.replace(tzinfo=UTC)
    wanted = {"text": "a string", "float8": "a number", "timestamptz": 'a time such as "2026-01-31T12:00:00"'}[kind]
    raise UsageError(f"{name[:80]} must be compared with {wanted}", detail=repr(value)[:80])
