"""Answers with a blob: ranges, unlimited caching, and nothing that a browser would execute in this origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.blobs import PART, fetch, make_blob, put, start_blob_worker
from stepwell_ingest.api.blob_headers import content_headers, content_type
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

SIZE = 2 * PART + 10


@pytest.mark.parametrize(
    ("wish", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=100-", 100, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=0-{SIZE * 9}", 0, SIZE),
        (f"bytes={PART - 1}-{PART}", PART - 1, PART + 1),
        (f"bytes=-{SIZE * 9}", 0, SIZE),
        ("bytes=0-1,5-6", 0, SIZE),
        ("bytes=9-5", 0, SIZE),
        ("lines=1-2", 0, SIZE),
    ],
)
async def test_ranges(blob_worker: Worker, wish: str, first: int, end: int) -> None:
    sha256, data = make_blob(SIZE)
    await put(blob_worker, sha256, data)
    status, got, headers = await fetch(blob_worker, sha256, Range=wish)
    assert got == data[first:end]
    if (first, end) == (0, SIZE):
        assert (status, "Content-Range" in headers) == (200, False)
    else:
        assert (status, headers["Content-Range"]) == (206, f"bytes {first}-{end - 1}/{SIZE}")


@pytest.mark.parametrize("wish", [f"bytes={SIZE}-", "bytes=-0"])
async def test_range_beyond_the_end_is_416(blob_worker: Worker, wish: str) -> None:
    sha256, data = make_blob(SIZE)
    await put(blob_worker, sha256, data)
    status, _, headers = await fetch(blob_worker, sha256, Range=wish)
    assert (status, headers["Content-Range"]) == (416, f"bytes */{SIZE}")


async def test_blob_may_be_cached_forever(postgres_dsn: str, tmp_path: Path) -> None:
    async with start_blob_worker(postgres_dsn, str(tmp_path / "blobs")) as worker:
        sha256, data = make_blob(100)
        await put(worker, sha256, data)
        _, _, headers = await fetch(worker, sha256)
        assert (headers["ETag"], headers["Cache-Control"]) == (f'"{sha256}"', "private, max-age=31536000, immutable")
        status, got, _ = await fetch(worker, sha256, If_None_Match=f'"{sha256}"')
        assert (status, got) == (304, b"")
        assert (await fetch(worker, sha256, If_None_Match='"other"'))[0] == 200
        assert (await fetch(worker, sha256, Range="bytes=0-9", If_Range='"other"'))[:2] == (200, data)


async def test_missing_blob_is_404_with_a_hint(postgres_dsn: str, tmp_path: Path) -> None:
    async with start_blob_worker(postgres_dsn, str(tmp_path / "blobs")) as worker:
        status, got, headers = await fetch(worker, "0" * 64)
        assert (status, b"stepwell sync" in got, headers["Content-Type"]) == (404, True, "application/json")


async def test_html_is_sandboxed(postgres_dsn: str, tmp_path: Path) -> None:
    import hashlib

    page = b"<html><script>alert(1)</script>"
    async with start_blob_worker(postgres_dsn, str(tmp_path / "blobs")) as worker:
        await put(worker, hashlib.sha256(page).hexdigest(), page)
        for query in ("", "?name=a.html", "?name=media/x.SVG", "?name=x.xml", "?name=a.js", "?name=a.xhtml"):
            status, got, headers = await fetch(worker, hashlib.sha256(page).hexdigest(), query)
            assert (status, got, headers["X-Content-Type-Options"]) == (200, page, "nosniff")
            assert headers["Content-Security-Policy"].startswith("sandbox;")
            assert "allow" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "start", "kind"),
    [
        ("media/images/x.PNG", b"", "image/png"),
        (None, b"\x89PNG\r\n\x1a\n", "image/png"),
        ("noext", b"\xff\xd8\xff\xe0", "image/jpeg"),
        (None, b"RIFF....WAVEfmt ", "audio/wav"),
        (None, b"RIFF....WEBPVP8 ", "image/webp"),
        (None, b"....ftypisom", "video/mp4"),
        ("x.html", b"\x89PNG\r\n\x1a\n", "text/html"),
        (None, b"<html>", "application/octet-stream"),
        ("x.table.json", b"{", "application/json"),
        ("a.tar.gz", b"", "application/octet-stream"),
        ("a.unheard-of", b"", "application/octet-stream"),
        ("a.glb", b"glTF", "model/gltf-binary"),
    ],
)
def test_content_type_comes_from_name_or_safe_bytes(name: str | None, start: bytes, kind: str) -> None:
    assert content_type(name, start) == kind


def test_name_cannot_inject_headers() -> None:
    headers = content_headers("a" * 64, 'x/ü"\r\nSet-Cookie: a=b\r\n.png', b"")
    assert headers["Content-Disposition"] == "inline; filename*=UTF-8''%C3%BC%22%0D%0ASet-Cookie%3A%20a%3Db%0D%0A.png"


def test_other_types_are_downloads() -> None:
    assert content_headers("a" * 64, "model.pt", b"")["Content-Disposition"] == "attachment; filename*=UTF-8''model.pt"
    assert "Content-Security-Policy" not in content_headers("a" * 64, "a.png", b"")
