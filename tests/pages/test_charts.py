"""Charts in a browser: a metric as x-axis, and what a chart is saved and copied as."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from pages.conftest import Log, chart, drawn, screenshot

pytestmark = [pytest.mark.db, pytest.mark.slow]

PAGE = "/team/charts"


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log) -> None:
    log("""
        for name in ("one", "two"):
            run = stepwell.init(project="charts", entity="team", id=name, name=name, url=url)
            for step in range(6000):
                values = {"train/loss": 1 / (1 + step) + np.sin(step / 50) / 10, "epoch": step / 1000}
                if step % 500 == 499:
                    values["eval/loss"] = float("nan") if step == 999 else step / 1000
                run.log(values)
            run.log({"alone": 1.0})
            run.finish()
        run = stepwell.init(project="defined", entity="team", id="one", url=url)
        run.define_metric("val/*", step_metric="epoch")
        for step in range(100):
            run.log({"epoch": step / 10, "val/acc": step / 100, "loss": 1.0})
        run.finish()
        # Writers of one run share its buckets.
        for rank in range(2):
            run = stepwell.init(project="charts", entity="team", id="ranks", name="ranks", url=url, writer=str(rank))
            for step in range(3000):
                run.log({"train/loss": rank + step / 3000})
            run.finish()
    """)


def rows(page: Page, metric: str, tmp_path: Path) -> list[dict[str, str]]:
    """The numbers that a chart draws: what its menu saves as CSV."""
    with page.expect_download() as download:
        choose(page, metric, "Save as CSV")
    download.value.save_as(tmp_path / "chart.csv")
    return list(csv.DictReader(io.StringIO((tmp_path / "chart.csv").read_text())))


def choose(page: Page, metric: str, item: str) -> None:
    page.locator(chart(page, metric)).hover()
    page.get_by_role("button", name=f"Save or copy {metric}").click()
    page.get_by_role("menuitem", name=item).click()


def copied(page: Page, metric: str) -> list[dict[str, Any]]:
    """The rows of the SQL that a chart's menu copies, by the server."""
    choose(page, metric, "Copy as SQL")
    query = page.evaluate("navigator.clipboard.readText()")
    answer = page.request.post("/v1/sql", data={"query": query})
    assert answer.ok, answer.text()
    found = answer.json()
    names = [column["name"] if isinstance(column, dict) else column for column in found["columns"]]
    return [dict(zip(names, row, strict=True)) for row in found["rows"]]


def same(drawn_rows: list[dict[str, str]], stored: list[dict[str, Any]], *more: str) -> None:
    """Counts, extremes, first and last are equal, means but for the order of summing."""
    key = lambda row: (row["run"], int(row["step"]))  # noqa: E731
    assert len(drawn_rows) == len(stored) > 0
    for ours, theirs in zip(sorted(drawn_rows, key=key), sorted(stored, key=key), strict=True):
        for name in ("run", "step", "last_step", "points"):
            assert ours[name] == str(theirs[name]), (name, ours, theirs)
        for name in ("min", "max", "mean", "first", "last", *more):
            value = math.nan if theirs[name] is None else float(theirs[name])
            assert float(ours[name]) == pytest.approx(value, rel=1e-12, nan_ok=True), (name, ours, theirs)


def open_page(page: Page, query: str = "") -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(PAGE + query)
    drawn(page, "train/loss")


@pytest.mark.parametrize("query", ["", "?runs=ranks", "?from=1000&to=1600", "?from=1000&to=1010&runs=two&runs=ranks"])
def test_the_copied_sql_gives_the_numbers_that_are_drawn(page: Page, tmp_path: Path, query: str) -> None:
    open_page(page, query)
    if query.startswith("?from"):
        expect(page.locator(chart(page, "train/loss"))).not_to_contain_text(re.compile("of (9,000|15,000|18,000)"))
    same(rows(page, "train/loss", tmp_path), copied(page, "train/loss"))


@pytest.mark.parametrize("axis", ["step", "metric:epoch"])
def test_the_copied_sql_of_several_metrics_gives_each(page: Page, tmp_path: Path, axis: str) -> None:
    panel = {"section": "train", "title": "panel:1", "metrics": ["train/loss", "epoch"], "settings": {"log": False}}
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{PAGE}?x={axis}&runs=one&runs=two#layout={quote(json.dumps({'panels': {'panel:1': panel}}))}")
    expect(page.locator(chart(page, "panel:1"))).to_contain_text("of 24,000")
    ours, theirs = rows(page, "panel:1", tmp_path), copied(page, "panel:1")
    assert {(row["run"], row["metric"]) for row in ours} == {
        (run, metric) for run in ("one", "two") for metric in ("train/loss", "epoch")
    }
    for run, metric in {(row["run"], row["metric"]) for row in ours}:
        mine = [[row for row in given if (row["run"], row["metric"]) == (run, metric)] for given in (ours, theirs)]
        same(mine[0], mine[1])


def test_nan_is_a_mark_and_no_number_in_either(page: Page, tmp_path: Path) -> None:
    open_page(page, "?runs=one")
    found = rows(page, "eval/loss", tmp_path)
    assert [row["nan_or_inf"] for row in found] == ["0", "1", *["0"] * 10]
    same(found, copied(page, "eval/loss"))


def test_any_metric_can_be_the_axis_and_is_in_the_link(page: Page, tmp_path: Path) -> None:
    open_page(page, "?runs=one&runs=two")
    page.get_by_label("x-axis").select_option(label="epoch")
    expect(page).to_have_url(re.compile(r"x=metric%3Aepoch"))
    expect(page.locator(f"{chart(page, 'eval/loss')} .plot")).to_have_attribute("aria-label", re.compile("over epoch"))
    found = rows(page, "eval/loss", tmp_path)
    assert [float(row["x"]) for row in found[:12]] == pytest.approx([(500 * n + 499) / 1000 for n in range(12)])
    stored = copied(page, "train/loss")
    same(rows(page, "train/loss", tmp_path), stored, "x")
    page.locator(f"{chart(page, 'train/loss')} .u-over").hover(position={"x": 100, "y": 60})
    expect(page.locator(".tip .h b")).to_have_text(re.compile(r"^epoch \d"))
    screenshot(page, "epoch")
    page.goto(page.url)
    drawn(page, "train/loss")
    assert page.get_by_label("x-axis").input_value() == "metric:epoch"
    page.get_by_label("x-axis").select_option(label="alone")  # logged after all the others
    expect(page.locator(chart(page, "train/loss"))).to_contain_text("Nothing over alone")


def test_the_axis_that_define_metric_names_holds_until_another_is_chosen(page: Page) -> None:
    page.goto("/team/defined")
    drawn(page, "val/acc")
    expect(page.locator(chart(page, "val/acc"))).to_contain_text("over epoch")
    expect(page.locator(chart(page, "loss"))).not_to_contain_text("over")
    page.locator(f"{chart(page, 'val/acc')} .u-over").hover(position={"x": 100, "y": 60})
    expect(page.locator(".tip .h b")).to_have_text(re.compile(r"^epoch \d"))
    page.get_by_label("x-axis").select_option(label="Relative time")
    expect(page.locator(chart(page, "val/acc"))).not_to_contain_text("over epoch")


def test_zooming_on_a_metric_fetches_finer_buckets(page: Page) -> None:
    open_page(page, "?runs=one&x=metric:epoch")
    expect(page.locator(chart(page, "train/loss"))).to_contain_text("buckets of 6,000")
    page.goto(f"{PAGE}?runs=one&x=metric:epoch&from=2&to=2.02")
    expect(page.locator(chart(page, "train/loss"))).to_contain_text("all 20 points")


def test_a_chart_is_saved_as_a_picture(page: Page, tmp_path: Path) -> None:
    open_page(page)
    for item, head in (("Save as PNG", b"\x89PNG"), ("Save as SVG", b"<svg ")):
        with page.expect_download() as download:
            choose(page, "train/loss", item)
        suggested = download.value.suggested_filename
        download.value.save_as(tmp_path / suggested)
        data = (tmp_path / suggested).read_bytes()
        assert suggested.startswith("train-loss.")
        assert data.startswith(head)
        assert len(data) > 5000


def test_the_menu_is_used_by_keyboard(page: Page) -> None:
    open_page(page)
    page.locator(chart(page, "train/loss")).hover()
    button = page.get_by_role("button", name="Save or copy train/loss")
    button.press("Enter")
    expect(page.get_by_role("menuitem", name="Settings…")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("menuitem", name="Copy as SQL")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_have_count(0)
    expect(button).to_be_focused()
