"""The comparison in a browser: config and summary of the chosen runs side by side, differences first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pages.conftest import Log, screenshot

pytestmark = [pytest.mark.db, pytest.mark.slow]

COMPARE = "/team/twins/compare"
NAMES = ["run-00", "run-01", "run-07", *(f"run-{number}" for number in range(10, 29))]
PAIR = f"{COMPARE}?runs=run-00&runs=run-01"


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log) -> None:
    log("""
        for number in (0, 1, 7):
            config = {"optim": {"lr": 0.1 / (number + 1), "name": "adamw"}, "seed": 1, "layers": [4, 8]}
            if number == 1:
                config["warmup"] = 100
            name = f"run-{number:02}"
            run = stepwell.init(project="twins", entity="team", id=name, name=name, url=url, config=config)
            run.log({"eval/loss": 2.0 - number / 4, "same": 7.0})
            run.finish()
        # Runs that have only begun.
        import json, urllib.request
        from stepwell import wire
        for number in range(10, 29):
            message = {"type": "attach", "protocol": wire.PROTOCOL_VERSION, "entity": "team", "project": "twins",
                       "run": f"run-{number}", "writer": "0", "session": os.urandom(16).hex(), "info": {}}
            head = {"Content-Type": "application/json"}
            urllib.request.urlopen(urllib.request.Request(url + "/v1/attach", json.dumps(message).encode(), head))
        for name in ("left", "right"):
            run = stepwell.init(project="long", entity="team", id=name, name=name, url=url)
            for step in range(20_000):
                loss, late = step / 7, float(step > 19_000 and name == "right")
                run.log({"loss": loss + (step >= 4312 and name == "right") / 8, "late": late, "same": loss})
            run.finish()
    """)


def keys(page: Page) -> list[str]:
    return [str(row.get_attribute("data-key")) for row in page.locator("tr[data-key]").all()]


def cells(page: Page, key: str) -> list[str]:
    found = page.locator(f'tr[data-key="{key}"] td:not(.fill)')
    expect(found.first).to_be_visible()
    return found.all_inner_texts()


def heads(page: Page) -> list[str]:
    found = page.locator("thead .name a")
    expect(found.first).to_be_visible()
    return found.all_inner_texts()


def test_selected_runs_are_compared_and_the_link_reproduces_it(page: Page) -> None:
    page.goto("/team/twins/runs")
    page.get_by_label("Select run-01").check()
    compare = page.get_by_role("toolbar").get_by_role("button", name="Compare")
    expect(compare).to_be_disabled()
    expect(compare).to_have_attribute("title", "2 to 20 runs can be compared")
    page.get_by_label("Select run-00").check()
    compare.click()
    expect(page).to_have_url(re.compile(r"/team/twins/compare\?runs=run-01&runs=run-00$"))
    expect(page.locator('tr[data-key="optim.lr"]')).to_be_visible()
    assert heads(page) == ["run-01", "run-00"]
    page.goto(page.url)
    expect(page.locator('tr[data-key="optim.lr"]')).to_be_visible()
    assert heads(page) == ["run-01", "run-00"]


def test_differences_come_first_and_equal_keys_on_request(page: Page) -> None:
    page.goto(PAIR)
    expect(page.get_by_text("Config 2 differ, 3 equal")).to_be_visible()
    assert keys(page)[:3] == ["optim.lr", "warmup", "eval/loss"]
    assert cells(page, "optim.lr") == ["0.1", "0.05"]
    assert cells(page, "warmup") == ["–", "100"]
    assert cells(page, "eval/loss")[1].split() == ["−0.25", "1.75"]
    assert "seed" not in keys(page)
    page.get_by_role("button", name="Show equal").click()
    assert keys(page)[:5] == ["optim.lr", "warmup", "layers", "optim.name", "seed"]
    expect(page).to_have_url(re.compile("same=1"))
    page.get_by_label("Search keys").fill("lay")
    expect(page.locator("tr[data-key]")).to_have_count(1)
    assert cells(page, "layers") == ["[4,8]", "[4,8]"]
    screenshot(page, "equal")


def test_runs_are_added_taken_out_and_made_the_first(page: Page) -> None:
    page.goto(PAIR)
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_label("Find a run").fill("UN-07")
    page.get_by_role("dialog").get_by_role("button", name="run-07").click()
    expect(page.locator("thead .name a")).to_have_text(["run-00", "run-01", "run-07"])
    page.get_by_role("button", name="Make run-07 the first").click()
    expect(page.locator("thead .name a")).to_have_text(["run-07", "run-00", "run-01"])
    assert cells(page, "eval/loss")[1].split() == ["+1.75", "2"]
    page.get_by_role("button", name="Take run-00 out").click()
    expect(page).to_have_url(re.compile(r"runs=run-07&runs=run-01$"))
    page.get_by_role("button", name="Take run-01 out").click()
    expect(page.get_by_role("heading", name="A comparison needs two runs")).to_be_visible()


def test_twenty_runs_fit_and_more_are_refused_with_words(page: Page) -> None:
    page.goto(COMPARE + "?" + "&".join(f"runs={name}" for name in NAMES))
    expect(page.get_by_text("The first 20 are compared")).to_be_visible()
    expect(page.locator("thead .name")).to_have_count(20)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()
    # Keys stay in sight while the columns are scrolled.
    page.locator(".tw").evaluate("box => box.scrollLeft = 1e6")
    expect(page.get_by_role("link", name="run-26")).to_be_in_viewport()
    expect(page.get_by_role("rowheader", name="optim.lr")).to_be_in_viewport()


def test_a_run_that_is_gone_is_told_and_the_others_are_compared(page: Page) -> None:
    page.goto(f"{PAIR}&runs=nobody")
    expect(page.get_by_text("This link names 1 run that is gone.")).to_be_visible()
    assert cells(page, "optim.lr") == ["0.1", "0.05"]


def test_without_runs_in_the_link_the_newest_two_are_compared(page: Page) -> None:
    page.goto(COMPARE)
    expect(page.locator("thead .name a")).to_have_text(["run-28", "run-27"])


def test_two_runs_say_at_which_step_and_metric_they_first_differ(page: Page) -> None:
    page.goto("/team/long/compare?runs=left&runs=right")
    expect(page.get_by_role("heading", name="First differ at step 4,312, in loss by +0.125")).to_be_visible()
    expect(page.get_by_text("2 of 3 shared metrics differ; before that step")).to_be_visible()
    expect(page.get_by_role("link", name="late 19,001")).to_be_visible()
    page.get_by_role("link", name="loss", exact=True).click()
    expect(page).to_have_url(re.compile(r"full=loss"))
    expect(page.get_by_role("dialog").locator("figure")).to_contain_text("all 200 points")


def test_the_csv_has_what_is_shown(page: Page, tmp_path: Path) -> None:
    page.goto(PAIR)
    expect(page.locator('tr[data-key="optim.lr"]')).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "comparison.csv")
    lines = (tmp_path / "comparison.csv").read_text().splitlines()
    assert lines[:4] == [
        "part,key,run-00,run-01",
        "Config,optim.lr,0.1,0.05",
        "Config,warmup,,100",
        "Summary,eval/loss,2,1.75",
    ]
