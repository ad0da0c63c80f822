"""The table of runs in a browser: windows of rows, sorted and filtered by the server, selected for the charts."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from playwright.sync_api import Page, expect

from fixtures.commands import Server
from pages.conftest import Log, chart, drawn, screenshot

pytestmark = [pytest.mark.db, pytest.mark.slow]

TABLE = "/team/sweep/runs"
MANY = 20_000


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log, server: Server) -> None:
    log("""
        for number in range(12):
            config = {"optim": {"lr": 10.0 ** -number, "name": "adamw" if number % 2 else "muon"}, "seed": 1}
            tags = ["baseline"] if number < 2 else []
            name = f"run-{number:02}"
            run = stepwell.init(project="sweep", entity="team", id=name, name=name, url=url, config=config, tags=tags)
            run.log({"eval/loss": abs(number - 5) + 0.5, "train/loss": 1.0})
            run.finish(1 if number == 11 else 0)
    """)

    async def many() -> None:
        connection = await asyncpg.connect(server.dsn)
        await connection.execute(
            """WITH made AS (
                   INSERT INTO stepwell.run (run_id, entity, project, name, state, slot)
                   SELECT stepwell.new_run_id_v1(), 'team', 'many', 'n' || n, 'finished', n
                   FROM generate_series(0, $1 - 1) n RETURNING run_id)
               INSERT INTO stepwell.lineage (run_id, source_run_id) SELECT run_id, run_id FROM made""",
            MANY,
        )
        await connection.close()

    with ThreadPoolExecutor(1) as pool:  # Playwright has a loop in this thread
        pool.submit(asyncio.run, many()).result()


def names(page: Page) -> list[str]:
    return page.locator("tbody .name a").all_inner_texts()


def test_columns_distinguish_runs(page: Page) -> None:
    page.goto(TABLE)
    expect(page.get_by_text("12 of 12 runs read")).to_be_visible()
    expect(page.get_by_role("columnheader", name="eval/loss")).to_be_visible()
    heads = page.get_by_role("columnheader").all_inner_texts()
    assert {"Run", "State", "eval/loss", "train/loss", "optim.lr", "optim.name", "Tags"} <= {
        head.strip() for head in heads
    }
    assert "seed" not in heads  # the same everywhere
    row = page.locator('tr[data-run="run-03"]')
    expect(row).to_contain_text("0.001")
    expect(row).to_contain_text("adamw")
    expect(row).to_contain_text("2.5")
    expect(page.locator('tr[data-run="run-11"]')).to_contain_text("Failed")


def test_click_on_a_header_sorts(page: Page) -> None:
    page.goto(TABLE)
    page.get_by_role("button", name="eval/loss").click()
    expect(page.get_by_role("columnheader", name="eval/loss")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("tbody .name a").first).to_have_text("run-11")
    page.get_by_role("button", name="eval/loss").click()
    expect(page.locator("tbody .name a").first).to_have_text("run-05")
    expect(page).to_have_url(re.compile(r"order=%2Bsummary_metrics.eval%2Floss"))


def test_runs_are_filtered_by_config_summary_state_and_tag(page: Page) -> None:
    page.goto(TABLE)
    field = page.get_by_label("Filter runs")
    for text, wanted in (
        ("optim.name = muon and eval/loss < 2", ["run-06", "run-04"]),
        ("state = failed", ["run-11"]),
        ("tag = baseline", ["run-01", "run-00"]),
        ("run-1", ["run-11", "run-10"]),
    ):
        field.fill(text)
        expect(page.locator("tbody .name a")).to_have_text(wanted)
    field.fill("tag = nothing")
    expect(page.get_by_role("heading", name="No run fits the filter")).to_be_visible()
    page.get_by_role("button", name="Show all runs").click()
    expect(page.locator("tbody .name a")).to_have_count(12)


def test_columns_are_searched_and_linked(page: Page) -> None:
    page.goto(TABLE)
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Find a column").fill("seed")
    page.get_by_role("checkbox", name="seed").check()
    page.keyboard.press("Escape")
    expect(page.get_by_role("columnheader", name="seed")).to_be_visible()
    expect(page).to_have_url(re.compile(r"cols=config.seed"))
    page.reload()
    expect(page.get_by_role("columnheader", name="seed")).to_be_visible()


def test_runs_are_grouped_by_columns_with_counts_and_means(page: Page) -> None:
    page.goto(TABLE)
    expect(page.get_by_role("columnheader", name="eval/loss")).to_be_visible()
    page.get_by_role("button", name="Group", exact=True).click()
    page.get_by_role("checkbox", name="optim.name").check()
    page.get_by_role("checkbox", name="State").check()
    page.keyboard.press("Escape")
    rows = page.locator("tr.group")
    expect(rows).to_have_count(3)
    expect(page.get_by_text("3 groups, 12 runs")).to_be_visible()
    failed = page.locator("""tr[data-group='["adamw","failed"]']""")
    expect(failed).to_contain_text("1 run, mean")
    muon = page.locator("""tr[data-group='["muon","finished"]']""")
    expect(muon).to_contain_text("6 runs, mean")
    expect(muon).to_contain_text(f"{sum(abs(n - 5) + 0.5 for n in range(0, 12, 2)) / 6:.1f} ± 1.8")
    page.get_by_role("button", name="Runs of muon, finished").click()
    expect(page.locator("tbody .name a")).to_have_text([f"run-{n:02}" for n in range(10, -1, -2)])
    screenshot(page, "grouped")
    # The link has groups, and which are open.
    expect(page).to_have_url(re.compile("open="))
    page.goto(page.url)
    expect(page.locator("tbody .name a")).to_have_count(6)
    page.get_by_label("Filter runs").fill("eval/loss < 3")
    expect(muon).to_contain_text("2 runs, mean")
    expect(page.locator("tbody .name a")).to_have_text(["run-06", "run-04"])
    page.get_by_role("button", name="optim.name, State").click()
    page.get_by_role("button", name="Reset").click()
    expect(rows).to_have_count(0)


def test_selected_runs_are_drawn_in_the_workspace(page: Page) -> None:
    page.goto(TABLE)
    for name in ("run-01", "run-02"):
        page.get_by_label(f"Select {name}").check()
    expect(page.get_by_text("2 runs selected")).to_be_visible()
    page.get_by_role("toolbar").get_by_role("button", name="Draw").click()
    drawn(page, "eval/loss")
    expect(page.locator(chart(page, "eval/loss"))).to_contain_text("all 2 points")
    expect(page).to_have_url(re.compile(r"/team/sweep\?runs=run-01&runs=run-02"))


def test_csv_has_every_run_and_no_formulas(page: Page, tmp_path: Path) -> None:
    page.goto(TABLE)
    expect(page.get_by_text("12 of 12 runs read")).to_be_visible()
    expect(page.get_by_role("columnheader", name="eval/loss")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "runs.csv")
    lines = (tmp_path / "runs.csv").read_text().splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("run,name,state,tags,eval/loss,train/loss,optim.lr,optim.name")
    assert sum("run-03,run-03,finished,,2.5,1,0.001,adamw" in line for line in lines) == 1


def test_twenty_thousand_runs_render_only_visible_rows(page: Page) -> None:
    page.goto("/team/many/runs")
    expect(page.get_by_text("100 of 20,000 runs read")).to_be_visible()
    assert names(page)[0] == "n19999"
    for read in (200, 300, 400):
        page.locator(".tw").evaluate("box => box.scrollTop = box.scrollHeight")
        expect(page.get_by_text(f"{read} of 20,000 runs read")).to_be_visible()
        assert page.locator("tbody tr").count() < 120
    assert names(page)[0] < "n19750"
    page.goto("/team/many/runs?group=state&open=%5B%22finished%22%5D")
    expect(page.get_by_text("1 group, 20,000 runs")).to_be_visible()
    expect(page.get_by_role("link", name="n19999", exact=True)).to_be_visible()
    assert page.locator("tbody tr").count() < 120
    page.locator(".tw").evaluate("box => box.scrollTop = box.scrollHeight")
    expect(page.get_by_role("link", name="n19899", exact=True)).to_be_visible()  # of the next window
    page.goto("/team/many/runs")
    page.get_by_label("Filter runs").fill("name = n77")
    expect(page.locator("tbody .name a")).to_have_text(["n77"])
