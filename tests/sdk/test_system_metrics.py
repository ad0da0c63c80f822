"""System metrics: plausible numbers, from /proc and from psutil; a failure affects nothing else."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepwell.observe.system_metrics import SystemMetrics
from stepwell.observe.system_probes import Disk, Linux, Nvidia, Psutil, Rates, ThisProcess, probes_of_host

HOST = {
    *("system/cpu", "system/memory", "system/memory/available_bytes", "system/process/memory_bytes"),
    *("system/disk/read_bytes_s", "system/disk/written_bytes_s"),
    *("system/network/received_bytes_s", "system/network/sent_bytes_s"),
}
PATIENCE_S = 30


def busy() -> None:
    """Some work, so that clocks and counters move."""
    for _ in range(300):
        sum(range(10_000))


linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc elsewhere")


@linux
@pytest.mark.parametrize("probe", [Linux, Psutil])
def test_host_is_measured(probe: Callable[[], Any]) -> None:
    measure = probe()
    busy()
    found = measure()
    assert set(found) == HOST
    assert 0 <= found["system/cpu"] <= 100
    assert 0 < found["system/memory"] < 100
    assert all(value >= 0 for value in found.values())


@linux
def test_proc_and_psutil_agree() -> None:
    ours, theirs = Linux()(), Psutil()()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert abs(ours["system/memory"] - theirs["system/memory"]) < 10
    assert abs(ours["system/memory/available_bytes"] - theirs["system/memory/available_bytes"]) < total / 10
    assert 0.5 < ours["system/process/memory_bytes"] / theirs["system/process/memory_bytes"] < 2


@linux
def test_proc_files_are_parsed(tmp_path: Path) -> None:
    for name, text in {
        "self/statm": "900 5 3 1 0 2 0\n",
        "stat": "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n",
        "meminfo": "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  250 kB\n",
        "diskstats": "",
        "net/dev": "Inter-|\n face |\n    lo: 999 0 0 0 0 0 0 0 999 0\n  eth0: 10 0 0 0 0 0 0 0 20 0\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    probe = Linux(tmp_path)
    (tmp_path / "stat").write_text("cpu  160 0 130 707 103 0 0 0 50 0\n")
    found = probe()
    assert found["system/cpu"] == pytest.approx(90)
    assert (found["system/memory"], found["system/memory/available_bytes"]) == (75, 250 * 1024)
    assert found["system/process/memory_bytes"] == 5 * os.sysconf("SC_PAGE_SIZE")
    assert found["system/network/sent_bytes_s"] == 0


def test_rates_skip_new_and_reset_counters() -> None:
    rates = Rates()
    assert rates({"a": 10, "b": 10}) == {}
    busy()
    found = rates({"a": 20, "b": 5, "c": 1})
    assert list(found) == ["a"]
    assert found["a"] > 0


def test_process_and_disk_are_measured(tmp_path: Path) -> None:
    process = ThisProcess()
    busy()
    assert process()["system/process/cpu"] > 0
    found = Disk(tmp_path)()
    assert 0 <= found["system/disk"] <= 100
    assert found["system/disk/free_bytes"] > 0


def test_each_gpu_reports_available_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for NVIDIA's library: GPUs are rare where tests run."""

    class NVMLError(Exception):
        pass

    def power(gpu: int) -> int:
        if gpu == 1:
            raise NVMLError("not supported")
        return 250_500

    library = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda gpu: b"Card",
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=40 + gpu),
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=25, total=100),
        nvmlDeviceGetTemperature=lambda gpu, sensor: 60,
        nvmlDeviceGetPowerUsage=power,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    probe = Nvidia()
    assert probe.names == ["Card", "Card"]
    assert probe() == {
        "system/gpu/0/load": 40,
        "system/gpu/0/memory": 25,
        "system/gpu/0/memory_bytes": 25,
        "system/gpu/0/temperature": 60,
        "system/gpu/0/power_w": 250.5,
        "system/gpu/1/load": 41,
        "system/gpu/1/memory": 25,
        "system/gpu/1/memory_bytes": 25,
        "system/gpu/1/temperature": 60,
    }


class Notes:
    """The notes; `wait(n)` waits for n notes."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._more = threading.Condition()

    def __call__(self, kind: str, body: bytes) -> None:
        with self._more:
            self.all.append((kind, json.loads(body)))
            self._more.notify_all()

    def wait(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.all) >= count, PATIENCE_S)


def test_measurements_become_notes(tmp_path: Path) -> None:
    notes = Notes()
    metrics = SystemMetrics(notes, probes_of_host(tmp_path), 0.01)
    metrics.start()
    notes.wait(2)
    metrics.stop()
    assert not metrics._thread.is_alive()
    kind, note = notes.all[1]
    assert kind == "system"
    assert {*HOST, "system/process/cpu", "system/disk"} <= set(note["metrics"])
    assert abs(note["time"] - notes.all[0][1]["time"]) < PATIENCE_S


def test_failed_measurements_are_omitted() -> None:
    def missing() -> Any:
        raise ImportError("nothing there")

    def dies() -> Any:
        answers = iter([{"system/once": 1.0}])
        return lambda: next(answers)

    notes = Notes()
    probes = {"missing": missing, "dies": dies, "good": lambda: lambda: {"system/good": 2.0, "no": float("nan")}}
    metrics = SystemMetrics(notes, probes, 0.01)
    metrics.start()
    notes.wait(3)
    metrics.stop()
    assert notes.all[0][1]["metrics"] == {"system/once": 1.0, "system/good": 2.0}
    assert notes.all[2][1]["metrics"] == {"system/good": 2.0}


def test_hanging_driver_does_not_delay_finish() -> None:
    hangs, asked = threading.Event(), threading.Event()

    def probe() -> dict[str, float]:
        asked.set()
        hangs.wait(PATIENCE_S)
        return {"system/late": 1.0}

    notes = Notes()
    metrics = SystemMetrics(notes, {"hangs": lambda: probe}, 0.01)
    metrics.start()
    assert asked.wait(PATIENCE_S)
    metrics.stop()
    assert metrics._thread.is_alive()
    hangs.set()
    metrics._thread.join(PATIENCE_S)
    assert notes.all == []
