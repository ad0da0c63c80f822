"""The pages in a real browser: Debian's Chromium, driven by Playwright, against `stepwell up` and runs of the real SDK.

    page    an empty page; the test fails when anything in it raised, wrote an error, or asked another host for anything
    site    the address of the server of the module, with nothing logged yet
    log     log(code): runs a program that logs to it; `url` and `np` are names there

Nothing waits for a fixed time: `expect` and `wait_for_function` wait for visible changes.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect, sync_playwright

from fixtures.commands import Server
from fixtures.programs import script

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
#: A timeout turns a hang into a failure that shows its place.
PATIENCE_MS = 20_000

Log = Callable[..., None]


# Per module, not per session: its event loop counts as running in this thread, so `asyncio.run` would fail later.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
    expect.set_options(timeout=PATIENCE_MS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def site(server: Server) -> str:
    return server.url


@pytest.fixture(scope="module")
def log(site: str, tmp_path_factory: pytest.TempPathFactory) -> Log:
    work = tmp_path_factory.mktemp("spools")

    def run(code: str) -> None:
        head = f"""import numpy as np
url = sys.argv[1]
os.environ['STEPWELL_DIR'] = {str(work)!r}
os.chdir({str(work)!r})
"""
        script(head + textwrap.dedent(code), site)

    return run


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    context = browser.new_context(base_url=site, viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"raised: {error}"))
    page.on("console", lambda said: said.type == "error" and not _expected(said) and wrong.append(said.text))
    ours = (site, "blob:", "data:")
    page.on("request", lambda request: request.url.startswith(ours) or wrong.append(f"asked {request.url}"))
    yield page
    screenshot(page, "last")
    context.close()
    assert wrong == []


def _expected(said: ConsoleMessage) -> bool:
    """Expected errors: a 404, a refused query or no network, which the page shows; blocked actions of logged HTML."""
    if said.location["url"].endswith("/v1/sql") and "status of 400" in said.text:
        return True
    if "status of 404" in said.text or "ERR_INTERNET_DISCONNECTED" in said.text:
        return True
    return "/v1/blobs/" in said.location["url"] or "/v1/blobs/" in said.text


def screenshot(page: Page, name: str) -> None:
    """Saves a screenshot if STEPWELL_SCREENSHOTS names a directory."""
    if folder := os.environ.get("STEPWELL_SCREENSHOTS"):
        test = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0].replace("/", "-")
        page.screenshot(path=Path(folder) / f"{test}-{name}.png")


def chart(page: Page, metric: str) -> str:
    """The selector of a metric's chart."""
    return f'figure[data-metric="{metric}"]'


def drawn(page: Page, metric: str) -> None:
    """Waits until the chart of a metric is drawn."""
    expect(page.locator(f"{chart(page, metric)}[data-state=drawn] canvas")).to_be_visible()
