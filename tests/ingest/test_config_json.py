"""The whole configuration crosses process boundaries: as JSON and back, and into real child processes."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from fixtures.configs import leaves, unusual_config
from fixtures.ingest import Session, eventually, post, start_worker
from stepwell.errors import SettingError
from stepwell_ingest.config import Config, Limits, Reads, SealSettings, Timeouts
from stepwell_ingest.config_json import decode, encode
from stepwell_ingest.server.children import Children

WORKER, SEALER = "stepwell_ingest.server.worker_process", "stepwell_ingest.server.sealer_process"

#: Makes each child of a test answer with the configuration that it has received.
REPORTS_ITS_CONFIG = """
from stepwell_ingest.config_json import encode
from stepwell_ingest.server import child

run = child.run

async def report(config):
    child.say({"config": encode(config).decode()})

child.run = lambda work: run(report)
"""


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    said: list[str] = []
    children = Children(said.append)
    yield children
    await children.kill()


def test_unusual_configuration_has_no_defaults() -> None:
    usual = dict(leaves(Config("postgresql://")))
    unusual = dict(leaves(unusual_config()))
    assert unusual.keys() == usual.keys()
    assert [name for name in usual if usual[name] == unusual[name]] == []


@pytest.mark.parametrize("config", [unusual_config(), Config("postgresql://"), Config("x", limits=Limits(copiers=7))])
def test_configuration_survives_json(config: Config) -> None:
    line = encode(config)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == config


def test_infinite_timeout_survives_json() -> None:
    config = Config("x", timeouts=Timeouts(drain_s=math.inf))
    assert decode(encode(config)) == config


@pytest.mark.parametrize("path", [name for name, _ in leaves(Config("x"))])
def test_missing_field_is_named(path: str) -> None:
    message = json.loads(encode(Config("x")))
    *parents, name = path.split(".")
    inner = message
    for parent in parents:
        inner = inner[parent]
    del inner[name]
    with pytest.raises(SettingError, match=rf"another version.*\(missing field config\.{path}\)"):
        decode(json.dumps(message).encode())


def test_unknown_fields_are_named_without_values() -> None:
    message = json.loads(encode(Config("postgresql://u:secret@h/d")))
    message["seal"]["colour"] = "red"
    with pytest.raises(SettingError, match=r"unknown field config\.seal\.colour") as raised:
        decode(json.dumps(message).encode())
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("line", [b"\n", b"{", b"[]\n", b'"x"\n', b"{}\n", b'{"limits": 3}\n'])
def test_other_input_is_refused(line: bytes) -> None:
    with pytest.raises(SettingError, match="the configuration of this process"):
        decode(line)


@pytest.mark.parametrize("module", [WORKER, SEALER])
async def test_child_process_receives_every_field(
    module: str, children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(REPORTS_ITS_CONFIG)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    answer = await children.start("child", module, encode(unusual_config()))
    assert decode(answer["config"].encode()) == unusual_config()


@pytest.mark.parametrize("module", [WORKER, SEALER])
async def test_child_reports_invalid_configuration(module: str, children: Children) -> None:
    with pytest.raises(SettingError, match=r"missing field config\.dsn"):
        await children.start("child", module, b"{}\n")


@pytest.mark.db
async def test_worker_process_applies_its_limits(postgres_dsn: str, children: Children) -> None:
    limits = Limits(memory_bytes=12_345_678, attach_bytes=99)
    config = Config(postgres_dsn, port=0, limits=limits, timeouts=Timeouts(retry_after_s=7.0), reads=Reads(keys=3))
    url = (await children.start("worker", WORKER, encode(config)))["url"]
    async with aiohttp.ClientSession(url) as http:
        about = await (await http.get("/v1/status")).json()
        assert about["held_bytes_limit"] == 12_345_678
        reply = await http.post("/v1/attach", data=b"x" * 100)
        assert (reply.status, (await reply.json())["error"]["detail"]) == (413, "100 bytes; the limit is 99")
        reply = await http.get("/v1/runs/a/b/c/history?keys=1&keys=2&keys=3&keys=4")
        assert (await reply.json())["error"]["message"] == "'keys' may be repeated 3 times at most"


@pytest.mark.db
async def test_sealer_process_applies_its_settings(
    postgres_dsn: str, pg: asyncpg.Connection, children: Children
) -> None:
    session = Session()
    async with start_worker(postgres_dsn) as worker:
        await post(worker, "/v1/attach", session.attach())
        await post(worker, "/v1/frames", session.frame(20))
    # By default, 20 rows of an active epoch wait for a minute.
    seal = SealSettings(every_s=0.05, steps=5, points=5)
    await children.start("sealer", SEALER, encode(Config(postgres_dsn, seal=seal)))

    async def sealed() -> bool:
        return bool(await pg.fetchval("SELECT sum(sealed_points) > 0 FROM stepwell.ledger"))

    await eventually(sealed)
