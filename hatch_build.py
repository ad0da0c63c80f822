"""Puts the web pages into every wheel and source distribution; hatch calls it (`[tool.hatch.build.hooks.custom]`).

Git ignores the built files, so a distribution that is made without them would lack the pages in silence. They are
built when they are missing or older than their sources. A source distribution holds them, so a wheel made of it needs
no Node. An editable install leaves them alone: there, `make workspace` builds them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PagesHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        index = root / "ingest" / "stepwell_ingest" / "workspace" / "index.html"
        sources = [path for path in (root / "workspace").glob("src/**/*") if path.is_file()]
        if index.exists() and all(path.stat().st_mtime <= index.stat().st_mtime for path in sources):
            return
        for command in (["ci"], ["run", "build"]):
            done = subprocess.run([sys.executable, str(root / "workspace" / "npm.py"), *command], check=False)
            if done.returncode:
                raise RuntimeError(
                    "the web pages could not be built, and a distribution without them would be incomplete; "
                    "`make workspace` shows what is wrong"
                )
