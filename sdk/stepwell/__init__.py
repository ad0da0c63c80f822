"""Stepwell in a training process: `init`, `log`, `finish`, and what they return and raise.

    import stepwell                      # or: import stepwell as wandb

    with stepwell.init(project="mnist", config={"lr": 3e-4}) as run:
        for batch in batches:
            run.log({"train/loss": loss, "train/accuracy": accuracy})

The data path: log() → stage → frame → spool → stream → server → Postgres. docs/architecture.md draws it.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from stepwell.compat import names
from stepwell.compat import util as util
from stepwell.compat.absent import REFUSED, absent_name
from stepwell.compat.before_init import BeforeInit
from stepwell.compat.modules import OUTERMOST, WANDB_VERSION, stand_ins
from stepwell.compat.stand_in import ensure_configured as ensure_configured
from stepwell.compat.stand_in import install_as_wandb as install_as_wandb
from stepwell.compat.stand_in import login as login
from stepwell.compat.stand_in import require as require
from stepwell.compat.stand_in import setup as setup
from stepwell.data_types import _exports
from stepwell.delivery.account import Account as Account
from stepwell.delivery.account import Stats as Stats
from stepwell.errors import CommError as CommError
from stepwell.errors import ConfigError as ConfigError
from stepwell.errors import DataError as DataError
from stepwell.errors import Error as Error
from stepwell.errors import RejectionError as RejectionError
from stepwell.errors import ServerError as ServerError
from stepwell.errors import SpoolError as SpoolError
from stepwell.errors import UsageError as UsageError
from stepwell.errors.term import termerror as termerror
from stepwell.errors.term import termlog as termlog
from stepwell.errors.term import termwarn as termwarn
from stepwell.notes.about import AlertLevel as AlertLevel
from stepwell.notes.config import Config as Config
from stepwell.notes.definitions import Metric as Metric
from stepwell.notes.summary import Summary as Summary
from stepwell.runs.flush import Flush as Flush
from stepwell.runs.init import init as init
from stepwell.runs.process import PROCESS
from stepwell.runs.run import Run as Run
from stepwell.settings.given import GivenSettings
from stepwell.terminal.warnings import show_warnings

if TYPE_CHECKING:
    from stepwell import data_types as data_types
    from stepwell import plot as plot
    from stepwell import testing as testing
    from stepwell.data_types._exports import *  # noqa: F403 - all of them, so that they are listed once
    from stepwell.plot import plot_table as plot_table

if TYPE_CHECKING:
    from stepwell.api import Api as Api

VERSION = "0.1.0"
Settings = GivenSettings
#: Programs compare it with versions of W&B's client, and packaging orders it among those; the part after the plus sign
#: is Stepwell's own version.
__version__ = f"{WANDB_VERSION}+stepwell.{VERSION}"

if not TYPE_CHECKING:  # type checkers go by the imports: what is imported as itself is exported
    __all__ = (
        *_exports.__all__,
        "Account",
        "AlertLevel",
        "Api",
        "CommError",
        "Config",
        "ConfigError",
        "DataError",
        "Error",
        "Flush",
        "Metric",
        "RejectionError",
        "Run",
        "ServerError",
        "Settings",
        "SpoolError",
        "Stats",
        "Summary",
        "UsageError",
        "alert",
        "data_types",
        "define_metric",
        "ensure_configured",
        "finish",
        "flush",
        "init",
        "install_as_wandb",
        "join",
        "log",
        "login",
        "mark_preempting",
        "plot",
        "plot_table",
        "require",
        "restore",
        "save",
        "setup",
        "teardown",
        "termerror",
        "termlog",
        "termwarn",
        "testing",
        "unwatch",
        "util",
        "watch",
    )


show_warnings(logging.getLogger("stepwell"))


def log(data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None) -> None:
    """`Run.log` of the current run.

    Raises:
        Error: there is no current run.
    """
    PROCESS.require("wandb.log()").log(data, step, commit)


def define_metric(
    name: str,
    step_metric: str | Metric | None = None,
    step_sync: bool | None = None,
    hidden: bool | None = None,
    summary: str | None = None,
    goal: str | None = None,
    overwrite: bool | None = None,
) -> Metric:
    """`Run.define_metric` of the current run.

    Raises:
        Error: there is no current run, or an argument is invalid.
    """
    run = PROCESS.require("wandb.define_metric()")
    return run.define_metric(name, step_metric, step_sync, hidden, summary, goal, overwrite)


def alert(
    title: str,
    text: str = "",
    level: AlertLevel | str | None = None,
    wait_duration: float | timedelta | None = None,
) -> None:
    """`Run.alert` of the current run.

    Raises:
        Error: there is no current run.
    """
    PROCESS.require("wandb.alert()").alert(title, text, level, wait_duration)


def save(
    glob_str: str | os.PathLike[str] | None = None,
    base_path: str | os.PathLike[str] | None = None,
    policy: str = "live",
) -> list[str] | bool:
    """`Run.save` of the current run.

    Raises:
        Error: there is no current run.
    """
    return PROCESS.require("wandb.save()").save(glob_str, base_path, policy)


def restore(
    name: str, run_path: str | None = None, replace: bool = False, root: str | os.PathLike[str] | None = None
) -> IO[str]:
    """`Run.restore` of the current run; without one, `run_path` must name a run, and `root` is the working directory.

    Raises:
        Error: there is no current run, and `run_path` is None.
        NotFoundError: (a LookupError) there is no such run or file.
    """
    if PROCESS.current is not None:
        return PROCESS.current.restore(name, run_path, replace, root)
    if run_path is None:
        PROCESS.require("wandb.restore()")
    from stepwell.api import Api

    return Api().restore(name, str(run_path), replace, "." if root is None else root)


def watch(
    models: Any,
    criterion: Any = None,
    log: str | None = "gradients",
    log_freq: int = 1000,
    idx: int | None = None,
    log_graph: bool = False,
) -> None:
    """`Run.watch` of the current run.

    Raises:
        Error: there is no current run.
    """
    PROCESS.require("wandb.watch()").watch(models, criterion, log, log_freq, idx, log_graph)


def unwatch(models: Any = None) -> None:
    """`Run.unwatch` of the current run.

    Raises:
        Error: there is no current run.
    """
    PROCESS.require("wandb.unwatch()").unwatch(models)


def flush(timeout_s: float | None = None, *, durable: bool = True) -> Flush:
    """`Run.flush` of the current run.

    Raises:
        Error: there is no current run.
    """
    return PROCESS.require("wandb.flush()").flush(timeout_s, durable=durable)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """`Run.finish` of the current run; does nothing without one."""
    if PROCESS.current is not None:
        PROCESS.current.finish(exit_code, quiet)


#: The older name of `finish`.
join = finish


def mark_preempting() -> None:
    """`Run.mark_preempting` of the current run.

    Raises:
        Error: there is no current run.
    """
    PROCESS.require("wandb.mark_preempting()").mark_preempting()


def teardown(exit_code: int | None = None) -> None:
    """The same as `finish`: there is nothing else to shut down."""
    finish(exit_code)


def __getattr__(name: str) -> Any:
    if name == "Api":  # for reading; a training process does not need it
        from stepwell.api import Api

        return Api
    if name == "run":  # the current run, None when there is none
        return PROCESS.current
    if name in ("config", "summary"):
        run = PROCESS.current
        return BeforeInit(f"wandb.{name}") if run is None else getattr(run, name)
    if name in ("api", "integration", "plot", "testing"):
        return importlib.import_module(f"stepwell.{name}")
    if name == "plot_table":
        return importlib.import_module("stepwell.plot").plot_table
    if name in _exports.__all__:
        return _exports.media_type(name)
    if name in REFUSED:
        return REFUSED[name]
    if name in OUTERMOST:
        return stand_ins(sys.modules[__name__])[name]
    raise absent_name("module 'stepwell'", name, names.MODULE, sys.modules[__name__])
