"""Who asks, and what they may do: the one question that every route and every attach message puts.

A leaf of `api`. A route names the right that it needs (`Right`); the middleware in `app` says who asks (`identify`) and
puts the question (`require`). Where only a message names the project, its handler puts the question again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from aiohttp import web

from stepwell.errors import UsageError


class Right(StrEnum):
    """What a route does, and so what its caller must be allowed to do.

    Attributes:
        PUBLIC: reveals nothing of any project: health, metrics, the description of the API.
        READ: reads runs and files.
        QUERY: reads all projects of the server, with SQL. It names no project, and the right in one is not enough.
        WRITE: logs to runs and uploads files.
        ADMIN: shows or changes the server itself.
    """

    PUBLIC = "public"
    READ = "read"
    QUERY = "query"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        name: for people and logs.
    """

    name: str


#: Whoever reaches the port of a server without keys.
LOCAL = Principal("local")
#: Where the middleware leaves the principal of a request.
PRINCIPAL = web.RequestKey("principal", Principal)


class ForbiddenError(UsageError):
    """The caller may not do this. Answered with status 403; no retry helps."""

    code = "forbidden"


class Authorize(Protocol):
    """Decides whether `principal` has `right` in a project.

    `entity` and `project` are None where the request names no project: then the question is whether the principal has
    the right in any; for `Right.QUERY`, whether the principal has it in all.
    """

    async def __call__(self, principal: Principal, entity: str | None, project: str | None, right: Right) -> bool: ...


async def authorize(principal: Principal, entity: str | None, project: str | None, right: Right) -> bool:
    """Yes to the local user, and to everybody where the right is public."""
    return right is Right.PUBLIC or principal == LOCAL


def identify(request: web.Request) -> Principal:
    """Who sent `request`: the local user, as long as there are no keys."""
    return LOCAL


async def require(ask: Authorize, principal: Principal, entity: str | None, project: str | None, right: Right) -> None:
    """Returns when `principal` has the right.

    Raises:
        ForbiddenError: it has not.
    """
    if not await ask(principal, entity, project, right):
        where = "/".join(filter(None, (entity, project))) or "this server"
        raise ForbiddenError(
            f"no permission to {right} here",
            detail=f"{principal.name} asked for the right {right!s} in {where}",
            hint="ask the administrator of the server for access",
        )
