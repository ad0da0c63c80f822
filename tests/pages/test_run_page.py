"""The page of one run in a browser: overview, charts, console, system metrics, media and files."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from fixtures.commands import Run, Server
from pages.conftest import Log, chart, drawn

pytestmark = [pytest.mark.db, pytest.mark.slow]

RUN = "/team/digits/runs/whole"


@pytest.fixture(scope="module", autouse=True)
def run(log: Log) -> None:
    log("""
        os.environ.update(STEPWELL_CONSOLE="wrap", STEPWELL_SYSTEM_METRICS_S="0.05", STEPWELL_METADATA="on")
        config = {"optim": {"lr": 0.01}, "layers": [1, 2]}
        run = stepwell.init(project="digits", entity="team", id="whole", name="The whole thing", url=url, config=config,
                            tags=["good"], notes="First try.")
        for line in range(300):
            print("\\033[31mline\\033[0m", line)
        for step in range(50):
            row = {"loss": 1 / (step + 1), "bad": float("nan") if step == 7 else 0.5}
            if step % 10 == 0:
                picture = np.full((8, 8, 3), step * 5, np.uint8)
                row["samples"] = [stepwell.Image(picture, caption=f"of step {step}")] * 2
            run.log(row)
        run.alert("Look here", "the loss is small", level="WARN")
        open("notes.txt", "w").write("kept")
        run.save("notes.txt")
        import time; time.sleep(0.3)
        run.finish()
    """)


def test_overview_describes_the_run(page: Page) -> None:
    page.goto(RUN)
    expect(page.get_by_role("heading", name="The whole thing")).to_be_visible()
    expect(page.get_by_text("Finished")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text(re.compile("Step\\s*49"))
    for text in ("good", "First try.", "optim.lr", "[1,2]", "Look here", "the loss is small"):
        expect(page.get_by_text(text).first).to_be_visible()
    summary = page.locator(".card", has=page.get_by_role("heading", name="Summary"))
    expect(summary).to_contain_text("loss0.02")
    page.get_by_label("Search Config").fill("lay")
    expect(page.get_by_text("optim.lr")).to_have_count(0)


def test_charts_mark_nan_and_report_all_points(page: Page) -> None:
    page.goto(RUN)
    page.get_by_role("link", name="Charts").click()
    drawn(page, "loss")
    expect(page.locator(chart(page, "bad"))).to_contain_text("all 50 points")
    page.locator(f"{chart(page, 'bad')} .plot").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".tip")).to_contain_text("step 7")
    expect(page.locator(".tip")).to_contain_text("NaN")


def test_console_starts_at_the_end_with_colours(page: Page) -> None:
    page.goto(f"{RUN}/console")
    expect(page.get_by_text(re.compile(r"30\d lines"))).to_be_visible()  # and the lines of the SDK itself
    expect(page.get_by_text("299", exact=False).first).to_be_visible()
    expect(page.locator(".term .a-red").first).to_have_text("line")
    assert page.locator(".term .ln").count() < 120  # the visible ones
    page.get_by_label("Find lines").fill("line 123")
    expect(page.locator(".term .ln")).to_have_text(["line 123"])


def test_pictures_have_a_step_slider_and_captions(page: Page) -> None:
    page.goto(f"{RUN}/media")
    card = page.locator('[data-key="samples"]')
    expect(card.locator("img")).to_have_count(2)
    expect(card).to_contain_text("of step 40")
    card.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(card).to_contain_text("of step 30")
    expect(card.locator(".steps b")).to_have_text("30")
    pictures = "() => [...document.querySelectorAll('img')].every(img => img.complete && img.naturalWidth === 8)"
    page.wait_for_function(pictures)


def test_histograms_are_a_heat_map_and_bars(page: Page, log: Log) -> None:
    log("""
        run = stepwell.init(project="digits", entity="team", id="weights", url=url)
        for step in range(20):
            run.log({"weights": stepwell.Histogram(np.arange(100) / 100 + step)})
        run.finish()
    """)
    page.goto("/team/digits/runs/weights/media")
    card = page.locator('[data-key="weights"]')
    expect(card.get_by_role("img")).to_have_count(2)
    heat, bars = card.get_by_role("img").all()
    expect(heat).to_have_accessible_name("weights: the distribution of its values at 20 steps")
    expect(bars).to_have_accessible_name("weights at step 19: the number of values in each bin")
    expect(card).to_contain_text("100 values from 19 to 19.99")
    heat.hover(position={"x": 57, "y": 178})
    expect(card).to_contain_text("step 0, 0 to")
    box = heat.bounding_box()
    assert box is not None
    heat.click(position={"x": 56 + (box["width"] - 56) * 5.5 / 20, "y": 100})
    expect(card).to_contain_text("100 values from 5 to 5.99")
    expect(card.locator(".steps b")).to_have_text("5")


def test_logged_table_is_sorted_and_filtered(page: Page, log: Log) -> None:
    log("""
        run = stepwell.init(project="digits", entity="team", id="tables", url=url)
        rows = [[f"prompt {number}", number / 8 if number else float("nan")] for number in range(60)]
        rows[3][0] = stepwell.Image(np.zeros((4, 4, 3), np.uint8))
        table = stepwell.Table(columns=["prompt", "reward"], data=rows, allow_mixed_types=True)
        run.log({"completions": table})
        run.finish()
    """)
    page.goto("/team/digits/runs/tables/media")
    card = page.locator('[data-key="completions"]')
    expect(card).to_contain_text("60 rows")
    expect(card.locator("tbody tr")).to_have_count(25)
    expect(card.locator("img")).to_have_count(1)
    card.get_by_role("button", name="reward").click()
    expect(card.locator("tbody tr").first).to_contain_text("prompt 59")
    card.get_by_role("button", name="Next rows").click()
    expect(card).to_contain_text("26–50 of 60")
    card.get_by_label("Filter rows").fill("prompt 1")
    expect(card.locator("tbody tr")).to_have_count(11)
    expect(card).to_contain_text("11 of 60 rows")


def test_system_metrics_are_drawn_over_time(page: Page) -> None:
    page.goto(f"{RUN}/system")
    drawn(page, "system/cpu")
    expect(page.get_by_label("x-axis")).to_be_visible()


def test_files_are_fetched(page: Page) -> None:
    page.goto(f"{RUN}/files")
    with page.expect_download() as download:
        page.get_by_role("link", name="notes.txt").click()
    assert download.value.path().read_text() == "kept"


def test_several_writers_draw_a_band(page: Page, log: Log) -> None:
    log("""
        for rank in range(4):
            run = stepwell.init(project="ranks", entity="team", id="wide", writer=rank, url=url, reinit=True)
            for step in range(2000):
                run.log({"grad": 50.0 if rank == 2 and step == 1000 else 1.0 + rank / 10})
            run.finish()
    """)
    page.goto("/team/ranks/runs/wide/charts")
    drawn(page, "grad")
    expect(page.locator(chart(page, "grad"))).to_contain_text("of 8,000")
    page.locator(f"{chart(page, 'grad')} .plot").focus()
    for _ in range(400):
        page.keyboard.press("ArrowRight")
        if "max 50" in page.locator(".tip").inner_text():
            break
    expect(page.locator(".tip")).to_contain_text("max 50 (2)")
    page.goto("/team/ranks/runs/wide")
    expect(page.locator(".rk .one")).to_have_count(4)


def test_run_without_points_is_reported(page: Page, log: Log) -> None:
    log("""
        stepwell.init(project="digits", entity="team", id="nothing", url=url).finish()
    """)
    page.goto("/team/digits/runs/nothing/charts")
    expect(page.get_by_role("heading", name="No numbers yet")).to_be_visible()


def test_deleted_run_is_reported(page: Page, log: Log, server: Server, stepwell_command: Run) -> None:
    log("""
        run = stepwell.init(project="digits", entity="team", id="goes", url=url)
        run.log({"loss": 1.0})
        run.finish()
    """)
    stepwell_command("delete", "team/digits/goes", "--yes", "--dsn", server.dsn)
    page.goto("/team/digits/runs/goes")
    expect(page.get_by_role("heading", name="There is no such run")).to_be_visible()
    page.goto("/team/digits?runs=goes&runs=whole")
    drawn(page, "loss")
    expect(page.get_by_text("1 run that is gone")).to_be_visible()
