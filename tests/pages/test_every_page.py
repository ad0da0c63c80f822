"""Properties of every page: no serious findings of axe, readable on a phone, light and dark, and small."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from pages.conftest import Log, screenshot

pytestmark = [pytest.mark.db, pytest.mark.slow]

AXE = Path(__file__).parents[2] / "workspace" / "node_modules" / "axe-core" / "axe.min.js"
RUN = "/team/all/runs/one"
PAGES = (
    "/",
    "/team/all",
    "/team/all/runs",
    "/team/all/compare?runs=one&runs=two&same=1",
    "/team/all/sql",
    RUN,
    *(f"{RUN}/{tab}" for tab in ("charts", "media", "system", "console", "files")),
)
#: The limit on compressed JavaScript of the first route.
BUDGET = 100_000


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log) -> None:
    log("""
        for name in ("one", "two"):
            run = stepwell.init(project="all", entity="team", id=name, url=url, config={"lr": 0.1}, tags=["tag"])
            for step in range(500):
                run.log({"train/loss": 1 / (step + 1), "train/accuracy": step / 500})
            run.log({"samples": stepwell.Image(np.zeros((4, 4, 3), np.uint8), caption="a picture")})
            run.finish()
    """)


def settled(page: Page) -> None:
    """Waits until the page shows its contents."""
    expect(page.locator("main")).to_be_visible()
    page.wait_for_load_state("networkidle")


def serious(page: Page) -> list[Any]:
    """The serious findings of axe."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")
    return [
        {item["id"]: [node["html"][:200] for node in item["nodes"]]}
        for item in found["violations"]
        if item["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(page: Page, path: str, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(path)
    settled(page)
    screenshot(page, scheme)
    assert serious(page) == []


@pytest.mark.parametrize("path", PAGES)
def test_phone_needs_no_horizontal_scrolling(browser: Browser, site: str, path: str) -> None:
    context = browser.new_context(base_url=site, viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(path)
    settled(page)
    screenshot(page, "phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


@pytest.mark.parametrize("path", ["/", "/team/all"])
def test_first_route_loads_little_javascript(page: Page, path: str) -> None:
    bodies: dict[str, bytes] = {}
    page.on("response", lambda reply: reply.url.endswith(".js") and bodies.update({reply.url: reply.body()}))
    page.goto(path)
    settled(page)
    assert bodies
    assert sum(len(gzip.compress(body)) for body in bodies.values()) <= BUDGET


def test_unknown_address_is_reported(page: Page) -> None:
    page.goto("/team/all/runs/one/nonsense")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()


def test_light_and_dark_can_be_pinned(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    page.goto("/team/all")
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    expect(page.get_by_role("button", name="Light colours")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 18, 17)"
