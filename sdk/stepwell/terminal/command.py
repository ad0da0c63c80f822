"""The interface of a `stepwell` command: its one-line help, its options, and its function."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        about: one line for the overview; further text follows after an empty line.
        configure: adds the options to the parser.
        run: does the work and returns the exit code. May raise any `Error`.
    """

    about: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
