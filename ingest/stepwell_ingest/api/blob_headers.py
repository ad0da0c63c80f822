"""The headers of a blob's answer: content type, caching, and what a browser may do with the content.

Pure: turns a file's name, its first bytes and the requested range into headers. Promises that a browser never runs a
logged file in the API's origin: browsers must not guess types (`nosniff`), and everything but pictures, sound and video
is sandboxed, without scripts and in an origin of its own.
"""

from __future__ import annotations

import mimetypes
import re
from urllib.parse import quote

#: Ignores the type table of the machine, so that every server answers alike.
_TYPES = mimetypes.MimeTypes(filenames=())
_MORE_TYPES = {
    ".webp": "image/webp",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".glb": "model/gltf-binary",
}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"%PDF-", "application/pdf"),
)
#: Types that a browser displays and cannot execute. SVG is not among them: it may contain scripts.
_HARMLESS = re.compile(r"image/(?!svg)|audio/|video/")
_SHOWN = re.compile(r"image/|audio/|video/|text/|application/(pdf|json|x-ndjson)$")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SANDBOX = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def etag(sha256: str) -> str:
    """The entity tag of a blob."""
    return f'"{sha256}"'


def content_headers(sha256: str, name: str | None, start: bytes) -> dict[str, str]:
    """The headers of an answer with the blob's bytes.

    Args:
        name: the file's name, if the reader knows it; it determines the content type.
        start: the first bytes, which determine the type otherwise.
    """
    kind = content_type(name, start)
    headers = {
        "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
        "ETag": etag(sha256),
        "Accept-Ranges": "bytes",
        # The bytes of a hash never change. `private`: a shared cache does not know who may read them.
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": "inline" if _SHOWN.match(kind) else "attachment",
    }
    if name:
        headers["Content-Disposition"] += (
            f"; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='', errors='replace')}"
        )
    if not _HARMLESS.match(kind):
        headers["Content-Security-Policy"] = _SANDBOX
    return headers


def content_type(name: str | None, start: bytes) -> str:
    """The content type by the name, else by the first bytes, else application/octet-stream."""
    if name:
        suffix = re.search(r"\.\w+$", name.lower())
        guessed, packed = _TYPES.guess_type(f"x{suffix[0]}" if suffix else "x")
        kind = _MORE_TYPES.get(suffix[0] if suffix else "", guessed)
        if kind and not packed:
            return kind
    if start[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(start[8:12], "application/octet-stream")
    if start[4:8] == b"ftyp":
        return "video/mp4"
    return next((kind for magic, kind in _MAGIC if start.startswith(magic)), "application/octet-stream")


def wanted_range(text: str | None, if_range: str | None, sha256: str, size: int) -> tuple[int, int] | None:
    """The requested range [first, end); None when it lies outside of the file (416).

    A header that is not a single range of bytes requests the whole file, as RFC 9110 says.
    """
    found = _RANGE.fullmatch(text or "")
    if found is None or not (found[1] or found[2]) or (if_range is not None and if_range != etag(sha256)):
        return 0, size
    if not found[1]:
        length = min(int(found[2]), size)
        return (size - length, size) if length else None
    first, end = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
    if first >= size:
        return None
    return (first, end) if first < end else (0, size)
