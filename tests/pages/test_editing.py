"""Editing a run in the browser: its name, tags and note; tagging, archiving and deleting several."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

import stepwell
from pages.conftest import Log, screenshot
from pages.test_every_page import serious

pytestmark = [pytest.mark.db, pytest.mark.slow]

RUN = "/team/edited/runs/one"


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log) -> None:
    log("""
        for name in ("one", "two", "three", "four"):
            with stepwell.init(project="edited", entity="team", id=name, name=name, url=url, tags=["old"]) as run:
                for step in range(10):
                    run.log({"loss": step})
        for name in ("five", "six", "seven"):
            with stepwell.init(project="bulk", entity="team", id=name, name=name, url=url, tags=["old"]) as run:
                run.log({"loss": 1})
    """)


def stored(site: str, run: str, project: str = "edited") -> stepwell.api.Run:
    return stepwell.Api({"base_url": site}).run(f"team/{project}/{run}")


def test_name_tags_and_note_are_edited(page: Page, site: str) -> None:
    page.goto(RUN)
    expect(page.get_by_role("heading", name="one")).to_be_visible()
    page.keyboard.press("t")
    expect(page.get_by_label("Tags, separated by commas")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("best, <b>x</b>, best")
    page.get_by_label("Name").fill("The one")
    page.get_by_label("Note").fill("<img src=x onerror=alert(1)>\nsecond line")
    screenshot(page, "form")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="The one")).to_be_visible()
    expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    run = stored(site, "one")
    assert (run.name, run.tags, run.notes) == (
        "The one",
        ["best", "<b>x</b>"],
        "<img src=x onerror=alert(1)>\nsecond line",
    )


def test_escape_cancels_and_empty_name_is_refused(page: Page, site: str) -> None:
    page.goto("/team/edited/runs/two")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Name").fill(" ")
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    expect(page.get_by_text("A run needs a name.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Name")).to_have_count(0)
    assert stored(site, "two").name == "two"


def test_run_is_deleted_after_confirmation(page: Page, site: str) -> None:
    page.goto("/team/edited/runs/two")
    page.get_by_role("button", name="Delete this run").click()
    question = page.get_by_role("alertdialog")
    expect(question).to_contain_text("10 points")
    screenshot(page, "question")
    question.get_by_role("button", name="Keep").click()
    expect(question).to_have_count(0)
    page.get_by_role("button", name="Delete this run").click()
    question.get_by_role("button", name="Delete").click()
    page.wait_for_url(re.compile("/team/edited/runs$"))
    with pytest.raises(stepwell.errors.NotFoundError):
        stored(site, "two")


def test_selected_runs_are_tagged_archived_and_brought_back(page: Page, site: str) -> None:
    page.goto("/team/bulk/runs")
    for name in ("five", "six"):
        page.get_by_label(f"Select {name}").check()
    bar = page.get_by_role("toolbar", name="Selected runs")
    bar.get_by_role("button", name="Tags").click()
    page.get_by_label("Add tags, separated by commas").fill("good, <b>x</b>")
    page.get_by_role("button", name="Add to 2 runs").click()
    expect(bar).to_contain_text("2 runs tagged good, <b>x</b>.")
    assert stored(site, "five", "bulk").tags == ["old", "good", "<b>x</b>"]
    bar.get_by_role("button", name="Tags").click()
    page.get_by_role("button", name="Remove the tag old from 2 runs").click()
    expect(bar).to_contain_text("2 runs without old.")
    bar.get_by_role("button", name="Undo").click()
    expect(page.locator('tr[data-run="six"]')).to_contain_text("old")
    bar.get_by_role("button", name="Archive").click()
    expect(page.get_by_text("1 of 1 runs read")).to_be_visible()
    expect(page.get_by_role("link", name="six")).to_have_count(0)
    screenshot(page, "archived")
    assert serious(page) == []
    page.goto("/team/bulk")
    expect(page.get_by_text("1 of 1 runs drawn")).to_be_visible()
    page.goto("/team/bulk/runs?archived=1")
    expect(page.locator('tr[data-run="six"]')).to_contain_text("archived")
    page.get_by_label("Select six").check()
    bar.get_by_role("button", name="Bring back").click()
    expect(bar).to_contain_text("1 run brought back.")
    page.get_by_role("button", name="Archived").click()
    expect(page.get_by_text("2 of 2 runs read")).to_be_visible()
    bar.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("1 of 1 runs read")).to_be_visible()


def test_selected_runs_are_deleted_together(page: Page, site: str) -> None:
    page.goto("/team/edited/runs")
    for name in ("three", "four"):
        page.get_by_label(f"Select {name}").check()
    page.get_by_role("toolbar", name="Selected runs").get_by_role("button", name="Delete").click()
    question = page.get_by_role("alertdialog", name="Delete 2 runs?")
    expect(question).to_contain_text("20 points")
    question.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="three")).to_have_count(0)
    expect(page.locator('tr[data-run="one"]')).to_be_visible()
    for name in ("three", "four"):
        with pytest.raises(stepwell.errors.NotFoundError):
            stored(site, name)
