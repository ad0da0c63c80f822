"""Access control: the caller of a request, and the check of its rights that every route and attach message makes.

Depends on nothing else in `api`. A route names the right that it needs (`Right`); the middleware in `app` identifies
the caller (`identify`) and checks the right (`require`). Where only the message names the project, its handler checks
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from aiohttp import web

from stepwell.errors import UsageError


class Right(StrEnum):
    """The right that a route needs.

    Attributes:
        PUBLIC: reveals nothing of any project: health, metrics, the description of the API.
        READ: reads runs and files.
        QUERY: reads all projects of the server, with SQL. Such a request names no project; the right in one is not
        enough. WRITE: logs to runs and uploads files. ADMIN: shows or changes the server itself.
    """

    PUBLIC = "public"
    READ = "read"
    QUERY = "query"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request.

    Attributes:
        name: shown to people and in logs.
    """

    name: str


#: The caller of a server without keys: anybody who can reach its port.
LOCAL = Principal("local")
#: The key under which the middleware stores the principal of a request.
PRINCIPAL = web.RequestKey("principal", Principal)


class ForbiddenError(UsageError):
    """The caller lacks the right. Answered with status 403; no retry helps."""

    code = "forbidden"


class Authorize(Protocol):
    """Decides whether `principal` has `right` in a project.

    `entity` and `project` are None where the request names no project. The principal then needs the right in some
    project, and for `Right.QUERY` in all of them.
    """

    async def __call__(self, principal: Principal, entity: str | None, project: str | None, right: Right) -> bool: ...


async def authorize(principal: Principal, entity: str | None, project: str | None, right: Right) -> bool:
    """Allows the local user everything, and everybody what is public."""
    return right is Right.PUBLIC or principal == LOCAL


def identify(request: web.Request) -> Principal:
    """The sender of `request`: the local user, as long as there are no keys."""
    return LOCAL


async def require(ask: Authorize, principal: Principal, entity: str | None, project: str | None, right: Right) -> None:
    """Checks that `principal` has the right.

    Raises:
        ForbiddenError: the principal lacks it.
    """
    if not await ask(principal, entity, project, right):
        where = "/".join(filter(None, (entity, project))) or "this server"
        raise ForbiddenError(
            f"permission to {right} denied",
            detail=f"{principal.name} asked for the right {right!s} in {where}",
            hint="ask the administrator of the server for access",
        )
