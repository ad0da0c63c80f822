"""Names and uploads of users never run as script on any page, and the rest of the page works."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from pages.conftest import Log, drawn

pytestmark = [pytest.mark.db, pytest.mark.slow]

SCRIPT = "<img src=x onerror=\"window.top.pwned='{0}'\"><script>window.top.pwned='{0}'</script>{0}"
RUN_ID = 'r"><script>x'
PROJECT = "p\"><b>ü'"


@pytest.fixture(scope="module", autouse=True)
def run(log: Log) -> None:
    log(f"""
        bad = {SCRIPT!r}.format
        os.environ.update(STEPWELL_CONSOLE="wrap")
        run = stepwell.init(project={PROJECT!r}, entity="team", id={RUN_ID!r}, name=bad("name"), url=url,
                            config={{bad("key"): bad("value")}}, tags=[bad("tag")[:60]], notes=bad("note"))
        print(bad("console"), "\\033]8;;javascript:alert(1)\\033\\\\\\\\link")
        run.log({{bad("metric"): 1.0, "plain": 2.0}})
        picture = np.zeros((4, 4, 3), np.uint8)
        run.log({{"picture": stepwell.Image(picture, caption=bad("caption")), "html": stepwell.Html(bad("html")),
                 "text": bad("text")}})
        open("evil.svg", "w").write('<svg xmlns="http://www.w3.org/2000/svg"><script>window.top.pwned="svg"</script></svg>')
        run.save("evil.svg")
        run.alert(bad("title"), bad("alert"))
        run.finish()
        # One to compare it with.
        run = stepwell.init(project={PROJECT!r}, entity="team", id="other", name=bad("other"), url=url)
        run.log({{bad("metric"): 2.0}})
        run.finish()
    """)


def address(*more: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in ("team", PROJECT, *more))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", "ü"),
        (address(), "name"),
        (address("runs"), "tag"),
        (address("compare") + "?same=1", "value"),
        (address("runs") + "?group=" + quote("config." + SCRIPT.format("key")), "value"),
        (address("runs", RUN_ID), "note"),
        (address("runs", RUN_ID, "charts"), "metric"),
        (address("runs", RUN_ID, "console"), "console"),
        (address("runs", RUN_ID, "media"), "caption"),
        (address("runs", RUN_ID, "files"), "evil.svg"),
    ],
)
def test_hostile_names_are_text(page: Page, path: str, shown: str) -> None:
    page.goto(path)
    expect(page.get_by_text(shown).locator("visible=true").first).to_be_visible()
    if path.endswith("media"):
        page.get_by_role("button", name="Show it").click()
        expect(page.frame_locator("iframe").get_by_text("html").first).to_be_visible()
    assert page.evaluate("window.pwned") is None
    assert page.locator("script:not([src])").count() == 0
    assert page.locator("img[src=x]").count() == 0
    assert page.get_by_text("ü'", exact=True).count() == 0  # `<b>` is text, too


def test_the_palette_and_saved_views_show_it_as_text(page: Page) -> None:
    page.goto(address())
    drawn(page, "plain")
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name of this view").fill(SCRIPT.format("view"))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".views .o")).to_contain_text("<img src=x onerror")
    page.keyboard.press("Control+k")
    for shown in ("name", "metric", "view"):
        page.get_by_role("combobox", name="Go to").fill(shown)
        expect(page.locator("#go-list [role=option]").first).to_contain_text("<img src=x onerror")
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x]").count() == 0


def test_rest_of_the_page_works(page: Page) -> None:
    page.goto(address("runs", RUN_ID, "charts"))
    drawn(page, "plain")


def test_logged_svg_runs_no_script(page: Page) -> None:
    page.goto(address("runs", RUN_ID, "files"))
    href = page.get_by_role("link", name="evil.svg").get_attribute("href")
    assert href is not None
    answer = page.request.get(href)
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
