"""The SQL page in a browser: a query is typed, completed, run, drawn, saved, linked and cancelled."""

from __future__ import annotations

import csv
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from pages.conftest import Log, screenshot

pytestmark = [pytest.mark.db, pytest.mark.slow]

PATH = "/team/queries/sql"
LOSS = "SELECT run, step, value FROM history WHERE metric = 'train/loss' ORDER BY run, step"


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log) -> None:
    log("""
        for name in ("its", "two <b>"):
            with stepwell.init(project="queries", entity="team", id=name, url=url) as run:
                for step in range(200):
                    run.log({"train/loss": 1 / (step + 1) if step != 3 else float("nan"), "train/other": step})
    """)


def linked(query: str) -> str:
    return f"{PATH}?sql={quote(query)}"


def run(page: Page) -> None:
    page.get_by_role("button", name="Run").click()


def write(page: Page, query: str) -> None:
    """Replaces the query of the editor, key by key, so that completion sees it."""
    page.get_by_role("textbox", name="Query").click()
    page.keyboard.press("Control+a")
    page.keyboard.type(query)


def test_queries_that_were_run_come_back_from_the_history(page: Page) -> None:
    page.goto(PATH)
    expect(page.get_by_role("button", name="History")).to_be_disabled()
    for query in ("SELECT 41 + 1 AS answer", "SELECT 'two' AS other"):
        write(page, query)
        run(page)
        expect(page.get_by_text("1 row in")).to_be_visible()
        page.reload()
    page.get_by_role("button", name="History").click()
    listed = page.get_by_role("dialog", name="Queries that were run").get_by_role("button")
    expect(listed).to_have_count(2)
    expect(listed.first).to_contain_text("SELECT 'two' AS other")
    screenshot(page, "history")
    listed.last.click()
    expect(page.get_by_role("textbox", name="Query")).to_contain_text("SELECT 41 + 1 AS answer")
    expect(page.get_by_text("No query has run yet")).to_be_visible()  # it waits for the reader


def test_example_query_runs(page: Page) -> None:
    page.goto(PATH)
    run(page)
    expect(page.get_by_text("2 rows, 5 columns")).to_be_visible()
    expect(page.get_by_role("cell", name="its")).to_be_visible()
    expect(page.get_by_role("cell", name="two <b>")).to_be_visible()


def test_linked_query_is_not_run_automatically(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    page.goto(linked(LOSS))
    expect(page.get_by_text("This query came with the link")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert not [body for body in asked if "train/loss" in body]
    run(page)
    expect(page.get_by_text("400 rows, 3 columns")).to_be_visible()
    assert [body for body in asked if "train/loss" in body]


def test_result_chart_and_link(page: Page) -> None:
    page.goto(linked(LOSS))
    run(page)
    drawing = page.get_by_role("img", name="value over step, 2 lines")
    expect(drawing.locator("canvas")).to_be_visible()
    box = drawing.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".result-chart .tip")).to_contain_text("step")
    screenshot(page, "drawn")
    page.get_by_label("Column of by").select_option("(none)")
    expect(page.get_by_role("img", name="value over step, 1 line")).to_be_visible()
    page.wait_for_url("**chart=step&chart=value")
    page.reload()
    run(page)
    expect(page.get_by_role("img", name="value over step, 1 line")).to_be_visible()


def test_metrics_and_columns_are_completed(page: Page) -> None:
    page.goto(PATH)
    expect(page.get_by_text("train/loss").first).to_be_visible()
    write(page, "SELECT value FROM history WHERE metric = 'train/lo")
    expect(page.get_by_role("option", name="train/loss")).to_be_visible()
    screenshot(page, "completed")
    page.keyboard.press("Enter")
    page.keyboard.type("' AND ste")
    expect(page.get_by_role("option", name="step")).to_be_visible()


def test_keyboard_runs_queries_and_errors_are_shown(page: Page) -> None:
    page.goto(PATH)
    write(page, "SELECT count(*) AS n FROM runs")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("cell", name="2", exact=True)).to_be_visible()
    write(page, "SELECT nonsense FROM runs")
    expect(page.get_by_text("Edited since this result")).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("nonsense")
    page.wait_for_url("**nonsense**")


def test_long_query_is_cancelled(page: Page) -> None:
    page.goto(linked("SELECT count(*) FROM generate_series(1, 1000000000)"))
    run(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Run")).to_be_visible()


def test_large_result_scrolls_and_is_saved(page: Page, tmp_path: Path) -> None:
    page.goto(linked("SELECT i, CASE WHEN i = 5 THEN '=1+1' END AS formula FROM generate_series(1, 20000) AS i"))
    run(page)
    grid = page.get_by_role("region", name="Result")
    expect(page.get_by_text("20,000 rows, 2 columns")).to_be_visible()
    assert grid.locator("tr").count() < 200
    grid.evaluate("box => { box.scrollTop = box.scrollHeight }")
    expect(grid.get_by_role("cell", name="20,000").first).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    saved.value.save_as(tmp_path / "rows.csv")
    rows = list(csv.reader((tmp_path / "rows.csv").read_text().splitlines()))
    assert rows[:2] == [["i", "formula"], ["1", ""]]
    assert (rows[5], rows[-1]) == (["5", "'=1+1"], ["20000", ""])


def test_views_are_listed_with_their_columns(page: Page) -> None:
    page.goto(PATH)
    names = page.get_by_role("complementary", name="Names")
    names.get_by_text("history", exact=True).click()
    expect(names.locator("details[open]")).to_contain_text("timestamptz")
    names.get_by_text("rejections", exact=True).hover()
    names.get_by_role("button", name="Query rejections").click()
    run(page)
    expect(page.get_by_text("No rows")).to_be_visible()
