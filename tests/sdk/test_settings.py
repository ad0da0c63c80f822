"""The sources of settings, their precedence, and refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import Error, SettingError, UsageError
from stepwell.settings import ENVIRONMENT, FALLBACKS, Settings, Start, resolve
from stepwell.settings.given import as_arguments
from stepwell.settings.names import words_of


def test_documented_defaults() -> None:
    settings = resolve({})
    assert (
        "http://127.0.0.1:8770",
        Path(".stepwell").absolute(),
        "online",
        "default",
        "uncategorized",
        words_of(settings.run_id),
        "0",
        False,
    ) == (
        settings.url,
        settings.dir,
        settings.mode,
        settings.entity,
        settings.project,
        settings.name,
        settings.writer,
        settings.silent,
    )
    assert re.fullmatch("[0-9a-z]{8}", settings.run_id)


def test_generated_run_ids_differ() -> None:
    assert len({resolve({}).run_id for _ in range(100)}) == 100


EXAMPLES: dict[str, tuple[str, Any]] = {
    "STEPWELL_URL": ("https://host:1/base", "https://host:1/base"),
    "STEPWELL_DIR": ("/tmp/spools", Path("/tmp/spools")),
    "STEPWELL_MODE": ("offline", "offline"),
    "STEPWELL_PROJECT": ("mnist", "mnist"),
    "STEPWELL_ENTITY": ("team", "team"),
    "STEPWELL_RUN_ID": ("run-1", "run-1"),
    "STEPWELL_NAME": ("my run", "my run"),
    "STEPWELL_WRITER": ("7", "7"),
    "STEPWELL_RESUME": ("must", Start(resume="must")),
    "STEPWELL_STEP_BACK": ("quarantine", "quarantine"),
    "STEPWELL_SPOOL_FULL": ("drop_oldest", "drop_oldest"),
    "STEPWELL_BLOBS_FULL": ("block", "block"),
    "STEPWELL_SILENT": ("true", True),
    "STEPWELL_NOTES": ("a text", "a text"),
    "STEPWELL_TAGS": ("a, b,,c", ("a", "b", "c")),
    "STEPWELL_RUN_GROUP": ("sweep", "sweep"),
    "STEPWELL_JOB_TYPE": ("eval", "eval"),
    "STEPWELL_CONSOLE": ("off", "off"),
    "STEPWELL_SYSTEM_METRICS_S": ("2.5", 2.5),
    "STEPWELL_METADATA": ("off", False),
    "STEPWELL_SAVE_CODE": ("true", True),
    "STEPWELL_API_KEY": ("secret", "Bearer secret"),
    "STEPWELL_CA_FILE": ("/etc/ca.pem", Path("/etc/ca.pem")),
}


def test_every_variable_is_tested() -> None:
    assert set(EXAMPLES) == set(ENVIRONMENT)


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_environment_wins_over_the_default(variable: str) -> None:
    text, value = EXAMPLES[variable]
    renamed = {"resume": "start", "api_key": "authorization"}
    attribute = renamed.get(ENVIRONMENT[variable], ENVIRONMENT[variable])
    assert value == getattr(resolve({variable: text}), attribute)


@pytest.mark.parametrize("variable", FALLBACKS)
def test_wandb_variables_are_fallbacks(variable: str) -> None:
    ours = next(name for name, attribute in ENVIRONMENT.items() if attribute == FALLBACKS[variable])
    text, value = EXAMPLES[ours]
    if variable == "WANDB_DIR":
        value = Path(text) / ".stepwell"
    attribute = {"resume": "start"}.get(FALLBACKS[variable], FALLBACKS[variable])
    assert value == getattr(resolve({variable: text}), attribute)
    assert EXAMPLES[ours][1] == getattr(resolve({variable: "elsewhere", ours: text}), attribute)
    assert value == getattr(resolve({variable: text, ours: ""}), attribute)


@pytest.mark.parametrize("variable", ["WANDB_BASE_URL", "WANDB_API_KEY"])
def test_wandb_server_variables_are_ignored(variable: str) -> None:
    assert resolve({variable: "https://elsewhere"}, run_id="same") == resolve({}, run_id="same")


def test_processes_of_a_run_are_separate_writers() -> None:
    one, two = resolve({}, mode="shared"), resolve({}, mode="shared")
    assert (one.mode, one.writer == two.writer) == ("online", False)
    assert resolve({"RANK": "3"}, mode="shared").writer == "3"
    assert resolve({}, mode="shared", writer="loader").writer == "loader"


@pytest.mark.parametrize("tags", [[""], ["x" * 65], [5], ["good", None]])
def test_invalid_tag_is_a_value_error(tags: list[Any]) -> None:
    with pytest.raises(ValueError, match="a tag must have 1 to 64 characters"):
        resolve({}, tags=tags)


def test_tags_are_deduplicated() -> None:
    assert resolve({}, tags=["b", "a", "b"]).tags == ("b", "a")
    assert resolve({"STEPWELL_TAGS": "a,b"}, tags="one, two").tags == ("one, two",)


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_empty_variable_is_unset(variable: str) -> None:
    attribute = ENVIRONMENT[variable]
    fixed = {} if attribute == "run_id" else {"run_id": "same"}
    if attribute != "run_id":
        assert resolve({}, **fixed) == resolve({variable: ""}, **fixed)
    else:
        assert resolve({variable: ""}).run_id


def test_arguments_win_over_the_environment() -> None:
    environment = {"STEPWELL_PROJECT": "outside", "STEPWELL_MODE": "offline", "STEPWELL_WRITER": "3"}
    settings = resolve(environment, project="inside", mode=None, writer=5)
    assert (settings.project, settings.mode, settings.writer) == ("inside", "offline", "5")


@pytest.mark.parametrize(
    ("environment", "writer"),
    [
        ({}, "0"),
        ({"RANK": "3"}, "3"),
        ({"SLURM_PROCID": "4"}, "4"),
        ({"OMPI_COMM_WORLD_RANK": "5"}, "5"),
        ({"PMI_RANK": "6"}, "6"),
        ({"RANK": "3", "SLURM_PROCID": "4", "OMPI_COMM_WORLD_RANK": "5"}, "3"),
        ({"RANK": "", "SLURM_PROCID": "4"}, "4"),
        ({"STEPWELL_WRITER": "loader", "RANK": "3"}, "loader"),
    ],
)
def test_writer_is_the_rank(environment: dict[str, str], writer: str) -> None:
    assert writer == resolve(environment).writer


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, "0"),
        ({"RANK": "9", "LOCAL_RANK": "1"}, "1"),
        ({"SLURM_PROCID": "9", "SLURM_LOCALID": "0"}, "0"),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "2"}, "2"),
        ({"MPI_LOCALRANKID": "3"}, "3"),
    ],
)
def test_local_rank_comes_from_the_launcher(environment: dict[str, str], rank: str) -> None:
    assert rank == resolve(environment).local_rank


@pytest.mark.parametrize(
    ("given", "mode"), [("online", "online"), ("disabled", "disabled"), ("dryrun", "offline"), ("run", "online")]
)
def test_modes(given: str, mode: str) -> None:
    assert mode == resolve({}, mode=given).mode
    assert mode == resolve({"WANDB_MODE": given}).mode


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        (
            {"mode": "on"},
            SettingError,
            "mode must be online, offline or disabled, not 'on'\n  Hint: mode=… or STEPWELL",
        ),
        ({"url": "host:1"}, SettingError, "the server's URL must begin with http:// or https:// ('host:1')"),
        (
            {"speed": 3},
            SettingError,
            "unknown setting 'speed'\n  Hint: the settings are authorization, blobs_full, ca_file, console, dir, ",
        ),
        (
            {"console": "on"},
            SettingError,
            "console must be one of wrap, off, not 'on'\n  Hint: set it in init() or in STEPWELL_CONSOLE",
        ),
        (
            {"system_metrics_s": "often"},
            SettingError,
            "system_metrics_s must be a number of seconds, 0 or more ('often')",
        ),
        ({"system_metrics_s": -1}, SettingError, "system_metrics_s must be a number of seconds, 0 or more (-1)"),
        ({"system_metrics_s": "nan"}, SettingError, "system_metrics_s must be a number of seconds, 0 or more ('nan')"),
        ({"project": "a/b"}, UsageError, "invalid project 'a/b'\n  Hint: 1 to 128 printable characters, no leading"),
        ({"project": "p" * 129}, UsageError, "invalid project 'ppp"),
        ({"project": ""}, UsageError, "invalid project ''"),
        ({"project": 5}, UsageError, "invalid project '5'"),
        ({"entity": "a?b"}, UsageError, "invalid entity 'a?b'"),
        ({"run_id": " x"}, UsageError, "invalid run id ' x'"),
        ({"run_id": "x\n"}, UsageError, "invalid run id 'x\\n'"),
        ({"run_id": "a:b"}, UsageError, "invalid run id 'a:b'"),
        ({"run_id": "a\x07b"}, UsageError, "invalid run id 'a\\x07b'"),
        ({"run_id": "a\ud800b"}, UsageError, "invalid run id 'a\\ud800b'"),
        ({"writer": "a/b"}, UsageError, "invalid writer 'a/b'"),
    ],
)
def test_invalid_arguments_are_named(arguments: dict[str, Any], kind: type[Error], text: str) -> None:
    with pytest.raises(kind) as raised:
        resolve({}, **arguments)
    assert str(raised.value).startswith(text)


@pytest.mark.parametrize("forbidden", "/\\#?%:")
def test_project_characters_are_validated(forbidden: str) -> None:
    with pytest.raises(UsageError, match="invalid project"):
        resolve({}, project=f"a{forbidden}b")


@pytest.mark.parametrize("run_id", ["", " a", "a ", *(f"a{forbidden}b" for forbidden in ":;,#?/'")])
def test_run_id_characters_are_validated(run_id: str) -> None:
    with pytest.raises(UsageError, match="invalid run id"):
        resolve({}, run_id=run_id)


def test_quiet_is_not_silent() -> None:
    """Two lines are printed, and one of them may say that data waits for delivery."""
    assert not resolve({"WANDB_QUIET": "true"}).silent


def test_settings_cannot_change() -> None:
    with pytest.raises(AttributeError):
        Settings().url = "http://elsewhere"  # type: ignore[misc]


@pytest.mark.parametrize(("text", "silent"), [("1", True), ("TRUE", True), ("yes", True), ("0", False), ("no", False)])
def test_silence(text: str, silent: bool) -> None:
    assert silent == resolve({"STEPWELL_SILENT": text}).silent


@pytest.mark.parametrize("word", ["wrap", "auto", "redirect", "wrap_raw", "wrap_emu"])
def test_wandb_console_modes_are_equivalent(word: str) -> None:
    assert resolve({"WANDB_CONSOLE": word}).console == "wrap"


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"x_stats_sampling_interval": 5.0}, {"system_metrics_s": 5.0}),
        ({"x_disable_stats": True}, {"system_metrics_s": 0}),
        ({"x_disable_stats": False}, {}),
        ({"x_disable_meta": True}, {"metadata": False}),
        ({"console": "off", "save_code": True}, {"console": "off", "save_code": True}),
    ],
)
def test_wandb_settings_disable_observers(given: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert as_arguments(given) == arguments
    resolve({}, **arguments)
