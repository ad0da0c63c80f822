"""The pages of a server that requires keys: sign in, look, sign out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

import stepwell
from fixtures.commands import Run, Server, running_server
from fixtures.postgres import temporary_directory
from pages.conftest import PATIENCE_MS, screenshot

pytestmark = [pytest.mark.db, pytest.mark.slow]


@pytest.fixture(scope="module")
def guarded_server(command_environment: Mapping[str, str]) -> Iterator[Server]:
    with (
        temporary_directory() as place,
        running_server(command_environment, place / "data", "--require-keys") as server,
    ):
        yield server


@pytest.fixture
def make(guarded_server: Server, stepwell_command: Run) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        done = stepwell_command("keys", "create", *arguments, "--data", guarded_server.data)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def signed_out(browser: Browser, guarded_server: Server) -> Iterator[Page]:
    context = browser.new_context(base_url=guarded_server.url)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"raised: {error}"))
    page.on(
        "console", lambda said: said.type == "error" and "status of 40" not in said.text and wrong.append(said.text)
    )
    yield page
    context.close()
    assert wrong == []


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_reader_signs_in_and_out(
    signed_out: Page, guarded_server: Server, make: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, page = make("team"), signed_out
    with monkeypatch.context() as environment:
        environment.setenv("STEPWELL_API_KEY", writer)
        for project in ("mnist", "secret"):
            with stepwell.init(project=project, entity="team", dir=str(tmp_path), url=guarded_server.url) as run:
                run.log({"loss": 1.0})
    page.goto("/team/mnist")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    screenshot(page, "sign-in")
    sign_in(page, writer[:-1] + "_")
    expect(page.get_by_role("alert")).to_contain_text("The API key is not valid")
    sign_in(page, make("team/mnist", "--role", "reader"))
    expect(page.locator('figure[data-metric="loss"]')).to_be_visible()
    assert page.evaluate("document.cookie") == ""
    page.goto("/")
    expect(page.get_by_text("mnist").first).to_be_visible()
    expect(page.get_by_text("secret")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/team/mnist")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
