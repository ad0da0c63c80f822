"""Saved views, undo, and the palette that goes to anything by its name."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pages.conftest import Log, chart, drawn, screenshot
from pages.test_every_page import serious

pytestmark = [pytest.mark.db, pytest.mark.slow]

PAGE = "/team/views"


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log) -> None:
    log("""
        for name in ("alpha", "beta", "gamma"):
            run = stepwell.init(project="views", entity="team", id=name, name=f"the {name} run", url=url)
            for step in range(20):
                run.log({"train/loss": 1 / (1 + step), "eval/accuracy": step / 20})
            run.finish()
    """)


def test_a_view_is_saved_under_a_name_opened_removed_and_put_back(page: Page) -> None:
    page.goto(f"{PAGE}?q=loss&log=1")
    drawn(page, "train/loss")
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name of this view").fill("losses")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto(f"{PAGE}/runs")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("dialog").get_by_role("button", name="losses Workspace").click()
    expect(page).to_have_url(re.compile(r"/team/views\?q=loss&log=1$"))
    drawn(page, "train/loss")
    expect(page.locator(chart(page, "eval/accuracy"))).to_have_count(0)
    page.get_by_role("button", name="Views").click()
    screenshot(page, "open")
    page.get_by_role("button", name="Remove losses").click()
    page.get_by_role("dialog").get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="losses Workspace")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_ctrl_z_takes_changes_of_the_view_back(page: Page) -> None:
    page.goto(PAGE)
    drawn(page, "train/loss")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    page.get_by_role("button", name="Draw the beta run").click()
    expect(page).to_have_url(re.compile("runs=gamma&runs=alpha$"))
    page.get_by_label("x-axis").select_option(label="Relative time")
    expect(page).to_have_url(re.compile("x=relative"))
    page.locator("body").press("Control+z")
    expect(page.get_by_label("x-axis")).to_have_value("step")
    page.locator("body").press("Control+z")
    expect(page.get_by_text("3 of 3 runs drawn")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/team/views$"))
    page.locator("body").press("Control+Shift+z")
    expect(page.get_by_text("2 of 3 runs drawn")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("3 of 3 runs drawn")).to_be_visible()


def test_the_palette_goes_to_runs_metrics_and_pages_by_name(page: Page) -> None:
    page.goto(f"{PAGE}/runs")
    expect(page.get_by_text("3 of 3 runs read")).to_be_visible()
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Go to")
    field.fill("beta")
    expect(page.get_by_role("option").first).to_have_text(re.compile("the beta run"))
    screenshot(page, "runs")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/team/views/runs/beta$"))
    page.get_by_role("button", name="Go to").click()
    field.fill("accuracy")
    page.get_by_role("option", name="eval/accuracy").click()
    expect(page.get_by_role("dialog").locator("figure")).to_have_attribute("data-metric", "eval/accuracy")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    field.fill("sq")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/team/views/sql$"))


def test_the_palette_is_used_by_keyboard_and_axe_finds_nothing_serious(page: Page) -> None:
    page.goto(PAGE)
    drawn(page, "train/loss")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option", name="the gamma run")).to_be_visible()
    options = page.locator("#go-list [role=option]")
    expect(options.nth(0)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")
    assert serious(page) == []
    page.keyboard.type("no such thing")
    expect(page.get_by_text("Nothing has this in its name")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
