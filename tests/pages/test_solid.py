"""3D objects and molecules on the page of a run: drawn, turned, and what a damaged file says."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pages.conftest import Log, screenshot
from pages.test_every_page import serious

pytestmark = [pytest.mark.db, pytest.mark.slow]

MEDIA = "/team/solid/runs/one/media"


@pytest.fixture(scope="module", autouse=True)
def runs(log: Log) -> None:
    log("""
        open("square.obj", "w").write("v 0 0 0\\nv 1 0 0\\nv 1 1 0\\nv 0 1 0\\nf 1 2 3 4\\n")
        open("water.pdb", "w").write(
            "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O\\n"
            "HETATM    2  H   HOH A   1       0.960   0.000   0.000  1.00  0.00           H\\n")
        open("cut.glb", "wb").write(b"glTF" + bytes([2, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0]) + b"JSON{")
        open("far.gltf", "w").write('{"scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}], "meshes": [{"primitives":'
            '[{"attributes": {"POSITION": 0}}]}], "accessors": [{"bufferView": 0, "componentType": 5126, "count": 1,'
            '"type": "VEC3"}], "bufferViews": [{"buffer": 0}], "buffers": [{"uri": "https://evil.example/x.bin"}]}')
        corners = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
        scene = {"type": "lidar/beta", "points": np.zeros((5, 3)), "boxes": [{"corners": corners, "label": "car"}]}
        run = stepwell.init(project="solid", entity="team", id="one", url=url)
        for step in range(2):
            run.log({"mesh": stepwell.Object3D("square.obj", caption="a square"), "scene": stepwell.Object3D(scene),
                     "water": stepwell.Molecule("water.pdb"), "cut": stepwell.Object3D("cut.glb"),
                     "far": stepwell.Object3D("far.gltf")})
        run.finish()
    """)


def coloured(page: Page, key: str) -> int:
    """How many pixels of an object's picture are drawn."""
    count: int = page.locator(f'[data-key="{key}"] canvas').evaluate(
        """one => one.getContext('2d').getImageData(0, 0, one.width, one.height).data
                     .filter((value, i) => i % 4 == 3 && value).length"""
    )
    return count


def test_objects_are_drawn_turned_and_zoomed(page: Page) -> None:
    loaded: list[str] = []
    page.on("response", lambda reply: loaded.append(reply.url))
    page.goto("/team/solid")
    expect(page.get_by_text("1 of 1 runs drawn")).to_be_visible()
    assert not [url for url in loaded if "/solid-" in url]
    page.goto(MEDIA)
    for key, about in (("mesh", "2 triangles"), ("scene", "5 points, 1 box, car"), ("water", "2 atoms, 1 bonds")):
        card = page.locator(f'[data-key="{key}"]')
        card.scroll_into_view_if_needed()
        expect(card).to_contain_text(about)
        expect(card.locator("canvas")).to_have_attribute("data-turn", re.compile("."))
        assert coloured(page, key) > 300, key
    picture = page.locator('[data-key="mesh"] canvas')
    turn = picture.get_attribute("data-turn")
    before = coloured(page, "mesh")
    picture.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(picture).not_to_have_attribute("data-turn", str(turn))
    page.keyboard.press("0")
    expect(picture).to_have_attribute("data-turn", str(turn))
    picture.drag_to(picture, source_position={"x": 60, "y": 60}, target_position={"x": 160, "y": 60})
    expect(picture).not_to_have_attribute("data-turn", str(turn))
    page.get_by_role("button", name="Show a square as at first").click()
    expect(picture).to_have_attribute("data-turn", str(turn))
    assert coloured(page, "mesh") == before
    page.get_by_role("button", name="Zoom into a square").click()
    page.wait_for_function(
        """before => {
            const one = document.querySelector('[data-key="mesh"] canvas');
            const {data} = one.getContext('2d').getImageData(0, 0, one.width, one.height);
            return data.filter((v, i) => i % 4 == 3 && v).length > before;
        }""",
        arg=before,
    )
    screenshot(page, "drawn")
    assert serious(page) == []


def test_damaged_and_hostile_objects_say_what_is_wrong(page: Page) -> None:
    page.goto(MEDIA)
    page.locator('[data-key="cut"]').scroll_into_view_if_needed()
    expect(page.locator('[data-key="cut"]')).to_contain_text("The end of this file is missing.")
    page.locator('[data-key="far"]').scroll_into_view_if_needed()
    expect(page.locator('[data-key="far"]')).to_contain_text("“https://evil.example/x.bin”, which was not logged.")
    expect(page.locator('[data-key="far"]').get_by_role("link", name="Download")).to_be_visible()
