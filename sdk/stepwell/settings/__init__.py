"""The settings of a run: frozen values, and their resolution from arguments and environment."""

from stepwell.settings.resolve import ENVIRONMENT, FALLBACKS, resolve
from stepwell.settings.settings import DEFAULT_URL, Limits, Settings, StepBack, Timeouts, WhenFull
from stepwell.settings.start import Start

__all__ = [
    "DEFAULT_URL",
    "ENVIRONMENT",
    "FALLBACKS",
    "Limits",
    "Settings",
    "Start",
    "StepBack",
    "Timeouts",
    "WhenFull",
    "resolve",
]
