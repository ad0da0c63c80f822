"""The routes that write: frames, edits of runs, files, and signing in."""

from __future__ import annotations

from stepwell_ingest.access.rights import Right
from stepwell_ingest.api import layouts
from stepwell_ingest.api.blobs import get_blob, head_blob, put_blob
from stepwell_ingest.api.edits import delete_run, patch_run
from stepwell_ingest.api.frames import post_attach, post_frames, post_sessions
from stepwell_ingest.api.query import Parameter
from stepwell_ingest.api.route import Route
from stepwell_ingest.api.sign_in import delete_sign_in, get_sign_in, post_sign_in
from stepwell_ingest.api.websocket import open_stream

_RUN = "/v1/runs/{entity}/{project}/{run}"
_BLOB = "/v1/blobs/{sha256}"
_BYTES = "application/octet-stream"
_PATH = Parameter("path", "entity/project", "project", required=True)


def writing() -> tuple[Route, ...]:
    """Sessions and frames."""
    return (
        Route(
            "GET",
            "/v1/stream",
            Right.WRITE,
            open_stream,
            "A WebSocket that receives frames: docs/wire-format.md.",
            ignores_unknown=True,
            success=101,
            errors=(503,),
        ),
        Route(
            "POST",
            "/v1/attach",
            Right.WRITE,
            post_attach,
            "Opens a session that logs to a run.",
            ignores_unknown=True,
            body="application/json",
            errors=(400, 409, 410, 413, 422, 503),
        ),
        Route(
            "POST",
            "/v1/sessions",
            Right.WRITE,
            post_sessions,
            "Says for each given session how many frames are stored.",
            ignores_unknown=True,
            body="application/json",
            errors=(400, 413, 422, 503),
        ),
        Route(
            "POST",
            "/v1/frames",
            Right.WRITE,
            post_frames,
            "Stores frames of attached sessions; 200 means that all of them are in Postgres.",
            ignores_unknown=True,
            body=_BYTES,
            errors=(400, 404, 409, 410, 413, 422, 503),
        ),
    )


def editing() -> tuple[Route, ...]:
    """Edits of runs, and what pages keep at the server."""
    return (
        Route(
            "PATCH",
            _RUN,
            Right.WRITE,
            patch_run,
            "Changes a run's name, notes, tags, group, job type, config or summary, or archives it.",
            body="application/json",
            errors=(400, 404, 413, 503),
        ),
        Route(
            "DELETE",
            _RUN,
            Right.ADMIN,
            delete_run,
            "Deletes a run permanently.",
            errors=(400, 404, 503),
        ),
        Route(
            "PUT",
            "/v1/layout",
            Right.WRITE,
            layouts.put_layout,
            "Replaces the layout of a project's charts, if nobody else has changed it.",
            (_PATH,),
            body="application/json",
            errors=(400, 404, 409, 413, 503),
        ),
        Route(
            "PUT",
            "/v1/views",
            Right.WRITE,
            layouts.put_view,
            "Saves a view of a project's pages under its name.",
            (_PATH,),
            body="application/json",
            errors=(400, 404, 413, 503),
        ),
        Route(
            "DELETE",
            "/v1/views",
            Right.WRITE,
            layouts.delete_view,
            "Removes a saved view.",
            (_PATH, Parameter("name", "the name of the view", required=True)),
            errors=(400, 404, 503),
        ),
    )


def files() -> tuple[Route, ...]:
    """Uploads and downloads of files."""
    owner = Parameter(
        "path", "entity/project for which the file is uploaded; without it, the scope of the key", "project"
    )
    return (
        # HEAD is part of an upload: a client that learns that a file is stored does not send it.
        Route(
            "HEAD",
            _BLOB,
            Right.WRITE,
            head_blob,
            "Whether a file is stored; if not, Upload-Offset says how many of its bytes have arrived.",
            (owner,),
            ignores_unknown=True,
            answers=(),
            errors=(400, 404, 503),
        ),
        Route(
            "PUT",
            _BLOB,
            Right.WRITE,
            put_blob,
            "Stores a file, whole or from Upload-Offset on: docs/blobs.md.",
            (owner,),
            ignores_unknown=True,
            body=_BYTES,
            errors=(400, 409, 413, 422, 503),
        ),
        Route(
            "GET",
            _BLOB,
            Right.READ,
            get_blob,
            "A file that runs have logged.",
            (Parameter("name", "the file's name, which decides its content type"),),
            ignores_unknown=True,
            answers=(_BYTES,),
            errors=(400, 404, 416, 503),
        ),
    )


def signing_in() -> tuple[Route, ...]:
    """The session of a browser."""
    place, who = "/v1/sign-in", "The caller: the name, role and scope of its key."
    body, errors = "application/json", (400, 401, 503)
    return (
        Route("GET", place, Right.READ, get_sign_in, who, errors=(400,)),
        Route("POST", place, Right.PUBLIC, post_sign_in, "Signs in: sets a cookie.", body=body, errors=errors),
        Route("DELETE", place, Right.PUBLIC, delete_sign_in, "Signs out: removes the cookie.", errors=(400, 503)),
    )
