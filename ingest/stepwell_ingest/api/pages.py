"""The web pages: the built files of `workspace/`, and one document for every address of a page.

Answers GET of a page's address or of a built file with bytes from memory. Names of built files contain a hash of their
content, so browsers cache them forever; the document, which names them, is requested each time. A strict content
security policy is sent with each: only the built scripts run, and nothing is fetched from other origins.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson
from aiohttp import web

from stepwell.errors import NotFoundError
from stepwell_ingest.api.query import Query

#: The folder into which `make workspace` and the wheel put the built files.
BUILT = Path(__file__).parent.parent / "workspace"

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "frame-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_FOREVER = "public, max-age=31536000, immutable"
_NOT_BUILT = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Stepwell: the pages are not built</title>
<h1>The pages are not built</h1>
<p>This server runs from a checkout, and its pages were never built there. Runs arrive all the same.</p>
<p>Build them with <code>make workspace</code> and load this page again. The server need not be restarted.</p></html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes
    kind: str


class Pages:
    """Serves the built files and the document.

    Args:
        folder: the folder of the built files, which may be added later.
    """

    def __init__(self, folder: Path = BUILT) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}
        self._made_at: float | None = None
        self._links: dict[str, str] = {}

    async def document(self, request: web.Request) -> web.StreamResponse:
        """The document of any page."""
        index = self._read().get("index.html")
        if index is None:
            return web.Response(body=_NOT_BUILT, status=503, content_type="text/html", headers=_HEADERS)
        tag = f'"{hashlib.sha256(index.body).hexdigest()[:32]}"'
        headers = {**_HEADERS, "Cache-Control": "no-cache", "ETag": tag}
        if links := self._links.get(_page_of(request.path)):
            headers["Link"] = links
        if tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return _answer(request, index, headers)

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """A built file.

        Raises:
            NotFoundError: there is no file of this name.
        """
        name = f"assets/{request.match_info['file']}"
        file = self._read().get(name)
        if file is None:
            raise NotFoundError(
                "there is no such file",
                detail=name[:200],
                hint="reload the page: it may come from another version of the server",
            )
        return _answer(request, file, {**_HEADERS, "Cache-Control": _FOREVER})

    def _read(self) -> dict[str, _File]:
        """The files by name; read again after a new build."""
        index = self._folder / "index.html"
        try:
            made_at = index.stat().st_mtime
        except FileNotFoundError:
            return {}
        if made_at != self._made_at:
            self._files = {
                path.relative_to(self._folder).as_posix(): _load(path)
                for path in sorted(self._folder.rglob("*"))
                if path.is_file()
            }
            self._links = _links(self._files.get("manifest.json"))
            self._made_at = made_at
        return self._files


class PageServices(Protocol):
    """The services that the routes of pages need."""

    @property
    def pages(self) -> Pages: ...


async def document(services: PageServices, request: web.Request, query: Query) -> web.StreamResponse:
    return await services.pages.document(request)


async def asset(services: PageServices, request: web.Request, query: Query) -> web.StreamResponse:
    return await services.pages.asset(request)


def _page_of(path: str) -> str:
    """The name of the page at an address, as in `workspace/src/pages`; "": none is known."""
    match path.strip("/").split("/"):
        case [""]:
            return "projects"
        case [_, _]:
            return "workspace"
        case [_, _, "runs" | "compare" | "sql" as page]:
            return page
        case [_, _, "runs", *_]:
            return "run"
    return ""


def _links(manifest: _File | None) -> dict[str, str]:
    """The files of each page, as a Link header: a browser fetches them with the first script instead of after it."""
    if manifest is None:
        return {}
    chunks: dict[str, dict[str, Any]] = orjson.loads(manifest.body)
    found = {}
    for key in chunks:
        if not key.startswith("src/pages/"):
            continue
        names: dict[str, None] = {key: None}
        _add_imports(chunks, key, names)
        links = [f'</{chunks[name]["file"]}>; rel="modulepreload"' for name in names]
        styles = dict.fromkeys(style for name in names if name != "index.html" for style in chunks[name].get("css", ()))
        found[Path(key).stem] = ", ".join([*links, *(f'</{style}>; rel="preload"; as="style"' for style in styles)])
    return found


def _add_imports(chunks: dict[str, dict[str, Any]], name: str, names: dict[str, None]) -> None:
    for imported in chunks[name].get("imports", ()):
        if imported not in names:
            names[imported] = None
            _add_imports(chunks, imported, names)


def _load(path: Path) -> _File:
    body = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _File(body, gzip.compress(body, 9, mtime=0), kind)


def _answer(request: web.Request, file: _File, headers: dict[str, str]) -> web.Response:
    headers = {**headers, "Vary": "Accept-Encoding"}
    body = file.body
    if "gzip" in request.headers.get("Accept-Encoding", "") and len(file.packed) < len(body):
        headers["Content-Encoding"] = "gzip"
        body = file.packed
    kind = f"{file.kind}; charset=utf-8" if file.kind.startswith("text/") else file.kind
    return web.Response(body=body, headers={**headers, "Content-Type": kind})
