"""The workspace of a project in a browser: runs overlaid, found, hidden, smoothed, zoomed, and kept in a link."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pages.conftest import Log, chart, drawn

pytestmark = [pytest.mark.db, pytest.mark.slow]

WORKSPACE = "/team/tiny"
#: A spike of one step, whose exact value must be shown.
SPIKE = 61.27345678901234


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log) -> None:
    log(f"""
        for number, name in enumerate(["first", "second", "third"]):
            config = {{"lr": 10.0 ** -number}}
            run = stepwell.init(project="tiny", entity="team", id=name, name=name, url=url, config=config)
            for step in range(20_000):
                loss = 5 / (1 + step / 1000) + number
                if name == "second" and step == 12_345:
                    loss = {SPIKE}
                run.log({{"train/loss": loss, "train/lr": 1e-3 * number}})
            run.log({{"eval/loss": 2.0 + number}})
            run.finish()
    """)


def test_newest_runs_are_overlaid_with_a_legend(page: Page) -> None:
    page.goto(WORKSPACE)
    drawn(page, "train/loss")
    expect(page.locator(chart(page, "train/loss"))).to_contain_text(re.compile(r"buckets of 60,000, extremes exact"))
    expect(page.locator(chart(page, "eval/loss"))).to_contain_text("all 3 points")
    expect(page.get_by_text("3 of 3 runs drawn")).to_be_visible()
    assert page.locator(".rr .name").all_inner_texts() == ["third", "second", "first"]


def test_eye_button_hides_a_run(page: Page) -> None:
    page.goto(WORKSPACE)
    drawn(page, "train/loss")
    page.get_by_role("button", name="Draw second").click()
    expect(page.locator(chart(page, "train/loss"))).to_contain_text("buckets of 40,000")
    expect(page.locator(chart(page, "eval/loss"))).to_contain_text("all 2 points")
    expect(page).to_have_url(re.compile(r"runs=third&runs=first"))


def test_metrics_are_searched_by_regex(page: Page) -> None:
    page.goto(WORKSPACE)
    drawn(page, "train/loss")
    page.keyboard.press("m")
    page.keyboard.type("^eval|LR$")
    expect(page.locator(chart(page, "train/loss"))).to_have_count(0)
    assert sorted(page.locator("figure").evaluate_all("all => all.map(f => f.dataset.metric)")) == [
        "eval/loss",
        "train/lr",
    ]
    page.get_by_label("Search metrics").fill("nothing of the kind")
    expect(page.get_by_role("heading", name="No metric fits")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    drawn(page, "train/loss")


def test_spike_is_shown_and_exact_when_zoomed(page: Page) -> None:
    page.goto(f"{WORKSPACE}?runs=second")
    drawn(page, "train/loss")
    plot = page.locator(f"{chart(page, 'train/loss')} .u-over")
    place = plot.bounding_box()
    assert place is not None

    def drag(low: float, high: float) -> None:
        page.mouse.move(place["x"] + low * place["width"], place["y"] + 60)
        page.mouse.down()
        page.mouse.move(place["x"] + high * place["width"], place["y"] + 60, steps=4)
        page.mouse.up()

    drag(0.55, 0.7)  # around steps 11,000 to 14,000
    expect(page).to_have_url(re.compile(r"from=1\d{4}.*&to=1\d{4}"))
    expect(page.locator(chart(page, "train/loss"))).not_to_contain_text("of 20,000")
    drag(0.43, 0.47)
    expect(page.locator(chart(page, "train/loss"))).to_contain_text(re.compile(r"all \d+ points"))
    # Arrow keys move from point to point, so they must reach the spike.
    page.locator(f"{chart(page, 'train/loss')} .plot").focus()
    page.keyboard.press("ArrowRight")
    for _ in range(400):
        seen = page.locator(".tip .h b").inner_text()
        if seen == "step 12,345":
            break
        page.keyboard.press("ArrowRight" if seen < "step 12,345" else "ArrowLeft")
    assert seen == "step 12,345"
    value = page.locator(".tip .r .num")
    assert value.get_attribute("title") == str(SPIKE)
    expect(value).to_have_text("61.273")
    page.keyboard.press("0")
    expect(page.locator(chart(page, "train/loss"))).to_contain_text("buckets of 20,000")


def test_cursor_is_shared_and_tooltip_names_the_run(page: Page) -> None:
    page.goto(WORKSPACE)
    drawn(page, "train/loss")
    drawn(page, "train/lr")
    page.locator(f"{chart(page, 'train/loss')} .u-over").hover(position={"x": 150, "y": 120})
    tip = page.locator(f"{chart(page, 'train/loss')} .tip")
    expect(tip).to_be_visible()
    assert tip.locator(".r .cut").all_inner_texts() == ["third", "second", "first"]  # by value
    other = page.locator(f"{chart(page, 'train/lr')} .u-cursor-x")
    assert "translate(-10px" not in (other.get_attribute("style") or "")
    expect(page.locator(".tip")).to_have_count(1)


def test_smoothing_axis_and_scale_are_in_the_link(page: Page) -> None:
    page.goto(WORKSPACE)
    drawn(page, "train/loss")
    page.get_by_label("x-axis").select_option(label="Relative time")
    page.get_by_label("Smoothing", exact=True).select_option(label="Gaussian")
    page.get_by_label("How much smoothing").fill("0.8")
    page.get_by_role("button", name="Log y").click()
    expect(page).to_have_url(re.compile(r"x=relative&smooth=gaussian&w=0.8&log=1"))
    drawn(page, "train/loss")
    again = page.context.new_page()
    again.goto(page.url)
    drawn(again, "train/loss")
    assert again.get_by_label("x-axis").input_value() == "relative"
    assert again.get_by_label("Smoothing", exact=True).input_value() == "gaussian"
    assert again.get_by_label("How much smoothing").input_value() == "0.8"
    expect(again.get_by_role("button", name="Log y")).to_have_attribute("aria-pressed", "true")


def test_invalid_parts_of_a_link_are_reported(page: Page) -> None:
    page.goto(f"{WORKSPACE}?w=abc&runs=first&runs=gone")
    drawn(page, "train/loss")
    expect(page.get_by_text("1 run that is gone")).to_be_visible()
    page.goto(f"{WORKSPACE}?w=abc&q=loss")
    expect(page.get_by_text("w=abc")).to_be_visible()
    drawn(page, "train/loss")


def test_arrow_keys_switch_charts_in_full_screen(page: Page) -> None:
    page.goto(WORKSPACE)
    drawn(page, "eval/loss")
    page.locator(chart(page, "eval/loss")).hover()
    page.get_by_role("button", name="eval/loss in full screen").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("figure")).to_have_attribute("data-metric", "eval/loss")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("figure")).to_have_attribute("data-metric", "train/loss")
    expect(dialog.locator("canvas")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_runs_are_filtered_by_typing(page: Page) -> None:
    page.goto(WORKSPACE)
    drawn(page, "train/loss")
    page.get_by_label("Filter runs").fill("lr < 0.5 and eval/loss < 3.5")
    expect(page.locator(".rr")).to_have_count(1)
    expect(page.locator(".rr .name")).to_have_text("second")
    expect(page.locator(chart(page, "eval/loss"))).to_contain_text("1 point")
    page.get_by_label("Filter runs").fill("lr <")
    expect(page.get_by_text("a value after “<” is missing at the end")).to_be_visible()
    expect(page.locator(".rr")).to_have_count(1)  # existing points stay
    page.get_by_role("button", name="Clear the filter").click()
    expect(page.locator(".rr")).to_have_count(3)


def test_running_run_updates_and_keeps_the_zoom(page: Page, log: Log) -> None:
    log("""
        run = stepwell.init(project="growing", entity="team", id="live", url=url)
        for step in range(10):
            run.log({"x": float(step)})
        run.flush()
        os._exit(0)
    """)
    page.goto("/team/growing")
    expect(page.locator(chart(page, "x"))).to_contain_text("all 10 points")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    log("""
        run = stepwell.init(project="growing", entity="team", id="live", url=url, resume="must")
        for step in range(30):
            run.log({"x": float(step), "later": 1.0})
        run.flush()
        os._exit(0)
    """)
    expect(page.locator(chart(page, "x"))).to_contain_text("all 40 points")
    drawn(page, "later")  # a new metric
    expect(page.locator(".rr .num").first).to_have_text("39")


def test_network_loss_is_reported_and_charts_stay(page: Page) -> None:
    page.goto(WORKSPACE)
    drawn(page, "train/loss")
    page.context.set_offline(True)
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    expect(page.get_by_text("nothing is lost")).to_be_visible()
    drawn(page, "train/loss")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try now").click()
    expect(page.get_by_text("The server does not answer.")).to_have_count(0)


def test_missing_project_is_reported(page: Page) -> None:
    page.goto("/team/nowhere")
    expect(page.get_by_role("heading", name="There is no such project")).to_be_visible()
    page.get_by_role("link", name="All projects", exact=True).click()
    expect(page.get_by_role("link", name="tiny", exact=True)).to_be_visible()
