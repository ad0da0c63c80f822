"""HTML pages."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fixtures.media import Stored
from stepwell.data_types import Html
from stepwell.errors import DataError

PAGE = "<!DOCTYPE html><html lang='en'><head><title>größe</title></head><body><p>text</p></body></html>"


def text_of(stored: Stored, html: Html) -> str:
    return stored.read(stored.log(html)["path"]).decode()


def test_html_file_json(stored: Stored) -> None:
    encoded = stored.log(Html("<p>text</p>"), "page", 1)
    assert encoded == {
        "_type": "html-file",
        "sha256": encoded["sha256"],
        "size": len(stored.read(encoded["path"])),
        "path": f"media/html/page_1_{encoded['sha256'][:20]}.html",
    }


@pytest.mark.parametrize("kind", ["text", "str path", "path", "open file", "StringIO", "BytesIO"])
def test_html_from_text_path_or_file(stored: Stored, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGE)
    with path.open() as file:
        data: dict[str, Any] = {
            "text": PAGE,
            "str path": str(path),
            "path": path,
            "open file": file,
            "StringIO": io.StringIO(PAGE),
            "BytesIO": io.BytesIO(PAGE.encode()),
        }
        html = Html(data[kind], inject=False)
    assert text_of(stored, html) == PAGE


def test_data_is_not_path(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGE)
    assert text_of(stored, Html(str(path), inject=False, data_is_not_path=True)) == str(path)
    assert text_of(stored, Html("no/such/file.html", inject=False)) == "no/such/file.html"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.links: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        (PAGE, ["html", "head", "base", "style", "title", "body", "p"]),
        ("<HTML><BODY>x</BODY></HTML>", ["html", "base", "style", "body"]),
        ("<p>x</p>", ["base", "style", "p"]),
        ("<header>x</header>", ["base", "style", "header"]),
        ("<!doctype html><p>x", ["base", "style", "p"]),
        ("", ["base", "style"]),
    ],
)
def test_inject_adds_a_local_style(stored: Stored, text: str, order: list[str]) -> None:
    page = Tags(text_of(stored, Html(text)))
    assert (page.seen, page.links) == (order, [])


def test_list_is_one_object(stored: Stored) -> None:
    encoded = stored.log([Html("a"), Html("b")])
    assert (encoded["_type"], encoded["count"]) == ("html", 2)
    assert [one["path"] for one in encoded["files"]] == [one["path"] for one in encoded["html"]]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Html(5), "a string, a path or a file object"),
        (lambda: Html(Path("page.txt")), ".html file"),
        (lambda: Html(Path("/no/such/file.html")), "cannot be read"),
        (lambda: Html(io.BytesIO(b"\xff")), "must be UTF-8"),
    ],
)
def test_invalid_html_gives_the_reason(make: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        make()
