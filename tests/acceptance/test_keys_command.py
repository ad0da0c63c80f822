"""`stepwell keys` and `stepwell up --require-keys`: from the first key to a revoked one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest

import stepwell
from fixtures.commands import Run, Server, running_server
from fixtures.postgres import temporary_directory
from fixtures.server import until
from stepwell.errors import AuthenticationError, ForbiddenError

pytestmark = pytest.mark.db


@pytest.fixture(scope="module")
def guarded_server(command_environment: Mapping[str, str]) -> Iterator[Server]:
    with (
        temporary_directory() as place,
        running_server(command_environment, place / "data", "--host", "0.0.0.0", "--require-keys") as server,
    ):
        yield server


@pytest.fixture
def keys(guarded_server: Server, stepwell_command: Run) -> Callable[..., str]:
    """Runs `stepwell keys` beside the server; returns what it prints."""

    def run(*arguments: str) -> str:
        done = stepwell_command("keys", *arguments, "--data", guarded_server.data)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_key_is_made_used_listed_and_revoked(
    guarded_server: Server, keys: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "stepwell keys create --server --role admin" in guarded_server.output
    text = keys("create", "team", "--name", "trainers", "--expires", "90d").strip()
    assert re.fullmatch(r"stw_\w{50}", text)
    url, key_id = guarded_server.url, text[4:16]
    with monkeypatch.context() as environment:
        environment.setenv("STEPWELL_API_KEY", text)
        silent = {"silent": True}
        with stepwell.init(project="p", entity="team", id="r", dir=str(tmp_path), url=url, settings=silent) as run:
            run.log({"loss": 0.5})
    overrides = {"base_url": url}
    assert stepwell.Api(overrides, api_key=text).run("team/p/r").summary["loss"] == 0.5
    with pytest.raises(AuthenticationError, match="this server requires an API key"):
        stepwell.Api(overrides).run("team/p/r")
    with pytest.raises(ForbiddenError, match="permission to read denied"):
        stepwell.Api(overrides, api_key=keys("create", "other").strip()).run("team/p/r")
    line = next(line for line in keys("list").splitlines() if line.startswith(key_id))
    assert re.search(r"trainers +writer +team +\d{4}-.* valid$", line)
    assert text[16:] not in keys("list")
    assert f"key {key_id} (trainers) is revoked" in keys("revoke", f"stw_{key_id}")
    assert f"key {key_id} was revoked already" in keys("revoke", key_id)

    def refused() -> bool:
        try:
            stepwell.Api(overrides, api_key=text).run("team/p/r")
        except AuthenticationError as error:
            return error.message == "the API key was revoked"
        return False

    until(refused)


def test_made_and_revoked_keys_are_in_the_audit_log(guarded_server: Server, keys: Callable[..., str]) -> None:
    text = keys("create", "--server", "--role", "admin").strip()
    keys("revoke", text[4:16])
    lines = [line for line in keys("log").splitlines() if text[4:16] in line]
    assert [re.sub(r" {2,}", "  ", line).split("  ")[2] for line in lines] == ["create key", "revoke key"]
    assert lines[0].endswith(f"{text[4:16]} (admin of the server), admin in the whole server")
    assert "(stepwell keys)" in lines[0]

    async def log() -> list[tuple[str, str]]:
        connection = await asyncpg.connect(guarded_server.dsn)
        rows = await connection.fetch(
            "SELECT action, detail FROM stepwell.audit WHERE detail->>'key_id' = $1 ORDER BY at", text[4:16]
        )
        await connection.close()
        return [(row["action"], row["detail"]) for row in rows]

    actions = asyncio.run(log())
    assert [action for action, _ in actions] == ["create key", "revoke key"]
    assert not any(text[16:] in detail or "digest" in detail for _, detail in actions)


def test_status_works_without_a_key(guarded_server: Server, stepwell_command: Run) -> None:
    """The health check of the image runs it."""
    done = stepwell_command("status", "--url", guarded_server.url)
    assert done.returncode == 0, done.stdout
    assert "ready" in done.stdout
    assert "this server requires an API key; a key with the role admin on the whole server shows more" in done.stdout


def test_login_stores_a_checked_key(
    guarded_server: Server, keys: Callable[..., str], stepwell_command: Run, tmp_path: Path
) -> None:
    url, home = guarded_server.url, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    text = keys("create", "--server", "--role", "admin").strip()
    sql = ("sql", "--url", url, "--format", "csv", "SELECT 1 AS one")
    assert "this server requires an API key" in stepwell_command(*sql, environment=home).stderr
    wrong = stepwell_command("login", "--url", url, stdin=text[:-1] + "_\n", environment=home)
    assert wrong.returncode == 1
    assert "refuses this key, so it was not stored" in wrong.stderr
    assert "no key was given" in stepwell_command("login", "--url", url, environment=home).stderr
    done = stepwell_command("login", "--url", url, stdin=f"{text}\n", environment=home)
    assert done.returncode == 0, done.stderr
    assert text not in done.stdout + done.stderr
    assert (tmp_path / ".config" / "stepwell" / "keys.json").stat().st_mode & 0o777 == 0o600
    assert stepwell_command(*sql, environment=home).stdout.split() == ["one", "1"]
    assert stepwell_command("login", "--url", url, "--remove", environment=home).returncode == 0
    assert stepwell_command(*sql, environment=home).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create",), "a key is valid either in an entity or project, or on the whole server"),
        (("create", "team", "--server"), "both were given"),
        (("create", "/p"), "is neither an entity nor entity/project"),
        (("create", "team/"), "is neither an entity nor entity/project"),
        (("create", "team", "--expires", "soon"), "'soon' is not an age"),
        (("create", "team", "--name", "a\tb"), "printable characters"),
        (("revoke", "nothing"), "there is no key 'nothing'"),
    ],
)
def test_mistakes_are_explained(
    guarded_server: Server, stepwell_command: Run, arguments: tuple[str, ...], said: str
) -> None:
    done = stepwell_command("keys", *arguments, "--data", guarded_server.data)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_other_address_needs_a_decision(stepwell_command: Run, data_place: Path) -> None:
    done = stepwell_command("up", "--port", "0", "--data", data_place / "data", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "on 0.0.0.0, everybody who reaches the port could read, log and delete" in done.stderr
    assert "--require-keys" in done.stderr
    assert "--without-keys" in done.stderr
    assert not (data_place / "data").exists()
    both = stepwell_command("up", "--require-keys", "--without-keys")
    assert both.returncode == 2
