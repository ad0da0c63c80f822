"""Query parameters: one description of each serves to check requests and to document the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from stepwell.errors import UsageError

Query = dict[str, Any]

_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter.

    Attributes:
        name: its name in the query.
        about: its meaning, for the OpenAPI document and for error hints.
        kind: "texts" may be repeated, one text each; nothing is split. "project" is ENTITY/PROJECT and becomes
            a pair of names. A "flag" is true when the parameter is present, whatever its value.
        required: whether a request without it is refused.
        default: its value when it is missing.
        minimum, maximum: bounds of an integer, or of the number of "texts".
        choices: the valid texts; empty: any.
    """

    name: str
    about: str
    kind: Literal["text", "integer", "texts", "project", "flag"] = "text"
    required: bool = False
    default: Any = None
    minimum: int = 0
    maximum: int = _INT64
    choices: tuple[str, ...] = ()


def read_query(request: web.Request, parameters: Iterable[Parameter], *, ignore_unknown: bool = False) -> Query:
    """Parses and checks the parameters of a request; returns them by name, with defaults for missing ones.

    Args:
        parameters: the parameters of the route.
        ignore_unknown: whether to accept other parameters, which are left out of the result.

    Raises:
        UsageError: a parameter is unknown, missing, repeated or invalid; the error names it.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in request.query:
        if name not in known and not ignore_unknown:
            raise UsageError(
                f"unknown parameter {name[:80]!r}",
                hint=f"the parameters are {', '.join(known)}" if known else "this route has no parameters",
            )
    return {name: _value(request.query.getall(name, []), parameter) for name, parameter in known.items()}


def _value(given: list[str], parameter: Parameter) -> Any:
    name = parameter.name
    if parameter.required and not any(given):
        raise UsageError(f"missing parameter {name!r}", hint=parameter.about)
    if parameter.kind == "texts":
        if len(given) > parameter.maximum:
            raise UsageError(
                f"{name!r} may be repeated {parameter.maximum} times at most", detail=f"it is given {len(given)} times"
            )
        return tuple(dict.fromkeys(given))
    if parameter.kind == "flag":
        return bool(given)
    if len(given) > 1:
        raise UsageError(f"the parameter {name!r} may be given only once, not {len(given)} times")
    if not given:
        return parameter.default
    text = given[0]
    if parameter.kind == "text":
        if parameter.choices and text not in parameter.choices:
            raise UsageError(f"{name!r} must be one of {', '.join(parameter.choices)}", detail=repr(text)[:80])
        return text
    if parameter.kind == "project":
        return _project(name, text)
    digits = text.removeprefix("-")
    number = int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None
    if number is None or not parameter.minimum <= number <= parameter.maximum:
        raise UsageError(
            f"{name!r} must be a whole number from {parameter.minimum} to {parameter.maximum}", detail=repr(text)[:80]
        )
    return number


def _project(name: str, text: str) -> tuple[str, str]:
    # The SDK refuses names with slashes; a project that another client made has its page nevertheless.
    entity, _, project = text.partition("/")
    if entity and project:
        return entity, project
    raise UsageError(f"{name!r} must be entity/project", detail=repr(text)[:80])
