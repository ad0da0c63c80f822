"""What each route takes and answers, said once: requests are checked by it, and the OpenAPI document is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from stepwell.errors import UsageError

_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter.

    Attributes:
        kind: "texts" may come several times, one text each; nothing is split.
        minimum, maximum: of an integer; of "texts", how many.
    """

    name: str
    about: str
    kind: Literal["text", "integer", "texts"] = "text"
    required: bool = False
    default: Any = None
    minimum: int = 0
    maximum: int = _INT64
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One route.

    Attributes:
        answers: content types of a success.
        errors: other statuses that it may have.
        body: the content type of the request's body.
    """

    method: str
    path: str
    about: str
    parameters: tuple[Parameter, ...] = ()
    answers: tuple[str, ...] = ("application/json",)
    errors: tuple[int, ...] = ()
    success: int = 200
    body: str | None = None

    @property
    def path_names(self) -> list[str]:
        """The names in braces."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


def read_query(request: web.Request, operation: Operation) -> dict[str, Any]:
    """The parameters of a request by name, with their defaults.

    Raises:
        UsageError: one is unknown, missing, given twice, or none of what it may be; it says which.
    """
    known = {parameter.name: parameter for parameter in operation.parameters}
    for name in request.query:
        if name not in known:
            raise UsageError(
                f"the parameter {name[:80]!r} is not known here",
                hint=f"known are {', '.join(known)}" if known else "this route takes none",
            )
    return {name: _value(request.query.getall(name, []), parameter) for name, parameter in known.items()}


def _value(given: list[str], parameter: Parameter) -> Any:
    name = parameter.name
    if parameter.required and not any(given):
        raise UsageError(f"the parameter {name!r} is missing", hint=parameter.about)
    if parameter.kind == "texts":
        if len(given) > parameter.maximum:
            raise UsageError(f"{name!r} may come {parameter.maximum} times at most", detail=f"{len(given)}")
        return tuple(dict.fromkeys(given))
    if len(given) > 1:
        raise UsageError(f"the parameter {name!r} comes {len(given)} times")
    if not given:
        return parameter.default
    text = given[0]
    if parameter.kind == "text":
        if parameter.choices and text not in parameter.choices:
            raise UsageError(f"{name!r} must be one of {', '.join(parameter.choices)}", detail=repr(text)[:80])
        return text
    digits = text.removeprefix("-")
    number = int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None
    if number is None or not parameter.minimum <= number <= parameter.maximum:
        raise UsageError(
            f"{name!r} must be a whole number from {parameter.minimum} to {parameter.maximum}", detail=repr(text)[:80]
        )
    return number
