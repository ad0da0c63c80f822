"""Panels that are moved, resized, duplicated, removed and set up; the server keeps the layout of a project."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from pages.conftest import Log, chart, drawn, screenshot
from pages.test_every_page import serious

pytestmark = [pytest.mark.db, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log) -> None:
    log("""
        for project in ("moved", "several", "kept"):
            for name in ("alpha", "beta"):
                run = stepwell.init(project=project, entity="team", id=name, name=f"the {name} run", url=url)
                for step in range(40):
                    loss = 1 / (1 + step)
                    run.log({"train/loss": loss, "train/acc": step / 40, "train/lr": 0.1, "eval/loss": 2 * loss})
                run.finish()
    """)


def panels(page: Page, section: str) -> list[str]:
    """The panels of a section in their order."""
    found: list[str] = page.locator(f'[data-section="{section}"] figure').evaluate_all(
        "all => all.map(one => one.dataset.panel)"
    )
    return found


def menu(page: Page, metric: str, word: str) -> None:
    """Chooses an entry of a panel's menu."""
    page.locator(chart(page, metric)).hover()
    page.get_by_role("button", name=f"Arrange, save or copy {metric}", exact=True).click()
    page.get_by_role("menuitem", name=word).click()


def stored(reply: Response) -> bool:
    return reply.request.method == "PUT" and reply.ok


def test_panels_are_moved_by_pointer_and_keys_and_stay_so_for_everybody(page: Page, browser: Browser) -> None:
    page.goto("/team/moved")
    drawn(page, "train/loss")
    assert panels(page, "train") == ["train/acc", "train/loss", "train/lr"]
    page.locator(f"{chart(page, 'train/lr')} .pt").drag_to(
        page.locator(chart(page, "train/acc")), target_position={"x": 8, "y": 100}
    )
    assert panels(page, "train") == ["train/lr", "train/acc", "train/loss"]
    plot = page.locator(f"{chart(page, 'train/acc')} .plot")
    plot.focus()
    page.keyboard.press("Control+Shift+ArrowRight")
    assert panels(page, "train") == ["train/lr", "train/loss", "train/acc"]
    page.keyboard.press("Alt+Shift+ArrowRight")
    expect(page.locator(chart(page, "train/acc"))).to_have_class(re.compile("wide-2"))
    page.locator(f"{chart(page, 'train/acc')} .plot").focus()
    page.keyboard.press("Control+Shift+ArrowUp")
    assert panels(page, "eval") == ["eval/loss", "train/acc"]
    expect(page.locator(f"{chart(page, 'train/acc')} .plot")).to_be_focused()
    menu(page, "train/lr", "Remove")
    expect(page.get_by_role("button", name="Put back 1 removed")).to_be_visible()
    screenshot(page, "moved")
    with page.expect_response(lambda reply: stored(reply) and "panel:1" in str(reply.request.post_data)):
        menu(page, "eval/loss", "Duplicate")
    expect(page.locator('[data-section="eval"] figure')).to_have_count(3)
    expect(page.get_by_text("The layout is not saved")).to_have_count(0)
    page.wait_for_function("() => location.hash.includes('panel%3A1')")
    address = page.url

    other = browser.new_context(base_url=page.url, viewport={"width": 1440, "height": 900}).new_page()
    other.goto("/team/moved")
    drawn(other, "train/loss")
    assert panels(other, "eval") == ["eval/loss", "panel:1", "train/acc"]
    assert panels(other, "train") == ["train/loss"]
    other.context.close()

    with page.expect_response(stored):
        for _ in range(2):
            page.locator("body").press("Control+z")
    expect(page.locator('[data-section="train"] figure')).to_have_count(2)
    assert panels(page, "eval") == ["eval/loss", "train/acc"]
    # The link from before still shows what was seen then, and says so.
    page.goto("/")
    page.goto(address)
    drawn(page, "train/loss")
    assert panels(page, "eval") == ["eval/loss", "panel:1", "train/acc"]
    expect(page.get_by_text("This link has a layout of its own.")).to_be_visible()
    page.get_by_role("button", name="Show the project's layout").click()
    expect(page.locator('[data-section="eval"] figure')).to_have_count(2)


def test_a_panel_has_several_metrics_and_settings_cascade(page: Page) -> None:
    page.goto("/team/several")
    drawn(page, "train/loss")
    page.get_by_role("button", name="Add a panel to eval").click()
    page.get_by_role("button", name="Regular expression").click()
    page.get_by_label("Regular expression", exact=True).fill("/loss$")
    expect(page.get_by_text("2 metrics match.")).to_be_visible()
    page.get_by_role("button", name="Done").click()
    drawn(page, "panel:1")
    both = page.locator(chart(page, "panel:1"))
    expect(both).to_contain_text("all 160 points")
    both.locator(".plot").hover(position={"x": 200, "y": 60})
    for name in ("the alpha run, train/loss", "the beta run, eval/loss"):
        expect(page.locator(".tip")).to_contain_text(name)
    screenshot(page, "several")

    page.get_by_role("button", name="Settings of train").click()
    form = page.get_by_role("dialog", name="Settings of train")
    form.get_by_label("Smoothing").select_option(label="Gaussian")
    form.get_by_label("Highest y").fill("0.5")
    form.get_by_label("Highest y").press("Tab")
    screenshot(page, "settings")
    assert serious(page) == []
    form.get_by_role("button", name="Done").click()
    menu(page, "train/acc", "Settings…")
    form = page.get_by_role("dialog", name="Settings of train/acc")
    form.get_by_label("x-axis").select_option(label="Relative time")
    form.get_by_label("Smoothing").select_option(label="None")
    form.get_by_role("button", name="Done").click()
    expect(page.locator(chart(page, "train/acc"))).to_contain_text("over relative time")
    expect(page.locator(chart(page, "train/loss"))).not_to_contain_text("over relative time")
    page.locator(chart(page, "train/loss")).locator(".plot").hover(position={"x": 200, "y": 60})
    expect(page.locator(".tip")).to_contain_text("raw")  # smoothed, as its section says
    page.locator(chart(page, "train/acc")).locator(".plot").hover(position={"x": 200, "y": 60})
    expect(page.locator(".tip")).not_to_contain_text("raw")

    both.hover()
    page.get_by_role("button", name="//loss$/ in full screen").click()
    full = page.locator(".over figure")
    expect(full).to_have_attribute("data-metric", "panel:1")
    page.keyboard.press("ArrowRight")
    expect(full).to_have_attribute("data-metric", "train/acc")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(full).to_have_attribute("data-metric", "eval/loss")
    page.keyboard.press("Escape")
    expect(page.locator(".over")).to_have_count(0)


def test_views_of_an_earlier_version_are_handed_to_the_server(page: Page, browser: Browser) -> None:
    page.goto("/team/kept")
    page.evaluate(
        """localStorage.setItem("stepwell-views:team/kept",
           JSON.stringify([{name: "old one", page: "workspace", query: "?q=loss"}]))"""
    )
    page.get_by_role("button", name="Views").click()
    expect(page.get_by_role("button", name="old one Workspace")).to_be_visible()
    expect(page.get_by_role("button", name="Remove old one")).to_be_visible()
    assert page.evaluate("localStorage.getItem('stepwell-views:team/kept')") is None
    other = browser.new_context(base_url=page.url).new_page()
    other.goto("/team/kept/runs")
    other.get_by_role("button", name="Views").click()
    other.get_by_role("button", name="old one Workspace").click()
    expect(other).to_have_url(re.compile(r"/team/kept\?q=loss$"))
    other.context.close()
