"""The rights of callers: what each role allows, and in which scope. Pure.

A route names the right that it needs (`Right`). A caller (`Principal`) has a role in a scope: the whole server, an
entity or one project of it. `authorize` puts both together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from stepwell.errors import ForbiddenError, SettingError
from stepwell.wire import MAX_NAME, is_name


class Right(StrEnum):
    """The right that a route needs.

    Attributes:
        PUBLIC: reveals nothing of any project: health, metrics, the description of the API.
        READ: reads runs and files.
        QUERY: reads all projects of the server, with SQL. It must be held for the whole server, since such a request
            names no project.
        WRITE: logs to runs and uploads files.
        ADMIN: deletes runs; without a project, shows or changes the server itself.
    """

    PUBLIC = "public"
    READ = "read"
    QUERY = "query"
    WRITE = "write"
    ADMIN = "admin"


class Role(StrEnum):
    """What a key allows in its scope. Each role includes the ones before it."""

    READER = "reader"
    WRITER = "writer"
    ADMIN = "admin"


_ALLOWED = {
    Role.READER: frozenset({Right.READ, Right.QUERY}),
    Role.WRITER: frozenset({Right.READ, Right.QUERY, Right.WRITE}),
    Role.ADMIN: frozenset({Right.READ, Right.QUERY, Right.WRITE, Right.ADMIN}),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a role counts.

    Attributes:
        entity: the entity; None: the whole server.
        project: the project; None: all projects of the entity.
    """

    entity: str | None = None
    project: str | None = None

    def covers(self, entity: str, project: str) -> bool:
        """Whether the scope includes a project."""
        return self.entity in (None, entity) and self.project in (None, project)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.entity, self.project))) or "the whole server"


#: Everywhere.
SERVER = Scope()


def parse_scope(text: str) -> Scope:
    """The scope that a text names, as `entity` or `entity/project`.

    Raises:
        SettingError: a name is empty, too long or not printable.
    """
    entity, slash, project = text.partition("/")
    if not is_name(entity) or (slash and (not is_name(project) or "/" in project)):
        raise SettingError(
            f"{text[:80]!r} is neither an entity nor entity/project",
            hint=f"names have 1 to {MAX_NAME} printable characters, as in `team` and `team/mnist`",
        )
    return Scope(entity, project or None)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request.

    Attributes:
        name: its name for people and logs.
        role: its role in `scope`; None: it may do nothing, unless it is the local user.
        scope: the projects for which it has the role.
        key_id: the id of its key; None: it has none.
    """

    name: str
    role: Role | None = None
    scope: Scope = SERVER
    key_id: str | None = None

    @property
    def actor(self) -> str:
        """The principal in the audit log."""
        return f"{self.name} ({self.key_id})" if self.key_id else self.name


#: The caller of a server without keys: anybody who can reach its port.
LOCAL = Principal("local")
#: The caller of a public route of a server with keys.
ANONYMOUS = Principal("anonymous")


class Authorize(Protocol):
    """Decides whether `principal` has `right` in a project.

    `entity` and `project` are None if the request names no project. The principal then needs the right in some
    project, and for `Right.QUERY` and `Right.ADMIN` on the whole server.
    """

    async def __call__(self, principal: Principal, entity: str | None, project: str | None, right: Right) -> bool: ...


async def authorize(principal: Principal, entity: str | None, project: str | None, right: Right) -> bool:
    """Allows the local user everything, everybody what is public, and a key what its role allows in its scope."""
    if right is Right.PUBLIC or principal == LOCAL:
        return True
    if principal.role is None or right not in _ALLOWED[principal.role]:
        return False
    if entity is None or project is None:
        return principal.scope == SERVER or right not in (Right.QUERY, Right.ADMIN)
    return principal.scope.covers(entity, project)


async def require(ask: Authorize, principal: Principal, entity: str | None, project: str | None, right: Right) -> None:
    """Checks that `principal` has the right.

    Raises:
        ForbiddenError: the principal lacks it.
    """
    if not await ask(principal, entity, project, right):
        where = "/".join(filter(None, (entity, project))) or "this server"
        own = f", and is {principal.role} in {principal.scope}" if principal.role else ""
        raise ForbiddenError(
            f"permission to {right} denied",
            detail=f"{principal.name} asked for the right {right!s} in {where}{own}",
            hint="SQL over HTTP reads all projects, so it needs a key for the whole server"
            if right is Right.QUERY
            else "ask the administrator of the server for access",
        )
