"""Makes the HTML that notebooks show for a run: a link to its page, since pages refuse to be framed by other sites."""

from __future__ import annotations

import html


def run_link(url: str, name: str, project: str) -> str:
    """A paragraph of HTML with a link that opens a run's page in a new tab.

    Args:
        url: the URL of the page.
        name: the run's display name.
        project: its project, as entity/project.
    """
    href, text = html.escape(url, quote=True), html.escape(name)
    return f'<p>Run <a href="{href}" target="_blank" rel="noopener">{text}</a> of {html.escape(project)}</p>'
