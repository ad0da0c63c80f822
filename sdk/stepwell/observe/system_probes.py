"""Probes of the host, of its GPUs and of this process: small objects that are read repeatedly.

Used by `system_metrics.py`, in its thread. Disk space and the CPU time of the process come from the standard library,
the other numbers of the host from /proc on Linux and from psutil elsewhere, and those of GPUs from NVIDIA's library.
psutil and NVIDIA's library are optional. A probe returns numbers by name; a probe that cannot work raises in its
constructor and is left out.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Numbers = dict[str, float]
Probe = Callable[[], Numbers]

_SECTOR_BYTES = 512  # the unit of /proc/diskstats, whatever the disk's own sector size
#: Devices that are layered on others, or are not disks.
_NO_DISKS = ("loop", "ram", "zram", "dm-", "md", "sr")


class Rates:
    """Converts ever-growing counters to rates per second."""

    def __init__(self) -> None:
        self._last: tuple[float, Numbers] | None = None

    def __call__(self, counters: Numbers) -> Numbers:
        """The rates; none at the first call, and none for new or reset counters."""
        now = time.monotonic()
        last, self._last = self._last, (now, counters)
        if last is None or now <= last[0]:
            return {}
        at, before = last
        return {
            name: (value - before[name]) / (now - at)
            for name, value in counters.items()
            if name in before and value >= before[name]
        }


class ThisProcess:
    """The CPU use of this process, in percent of one CPU."""

    def __init__(self) -> None:
        self._rates = Rates()
        self()

    def __call__(self) -> Numbers:
        rates = self._rates({"system/process/cpu": time.process_time()})
        return {name: 100 * seconds for name, seconds in rates.items()}


class Disk:
    """The use of the file system of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self()

    def __call__(self) -> Numbers:
        usage = shutil.disk_usage(self._directory)
        return {"system/disk": 100 * usage.used / (usage.total or 1), "system/disk/free_bytes": usage.free}


class Linux:
    """CPU, memory, disks, network of the host, and memory of this process, from /proc."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._rates = Rates()
        self._cpu: tuple[int, int] | None = None
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self()

    def __call__(self) -> Numbers:
        counters = {**self._disks(), **self._network()}
        pages = (self._proc / "self" / "statm").read_text().split()[1]
        return {
            **self._cpu_percent(),
            **self._memory(),
            **self._rates(counters),
            "system/process/memory_bytes": int(pages) * self._page_bytes,
        }

    def _cpu_percent(self) -> Numbers:
        with open(self._proc / "stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]  # guest time is included in user time
        now = sum(ticks), ticks[3] + ticks[4]  # total, and idle or waiting for a disk
        before, self._cpu = self._cpu, now
        if before is None or now[0] <= before[0]:
            return {}
        return {"system/cpu": 100 * (1 - max(0, now[1] - before[1]) / (now[0] - before[0]))}

    def _memory(self) -> Numbers:
        found = {}
        with open(self._proc / "meminfo") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in ("MemTotal", "MemAvailable"):
                    found[name] = int(rest.split()[0]) * 1024
        return _memory(found["MemTotal"], found["MemAvailable"])

    def _disks(self) -> Numbers:
        read = written = 0
        whole = {name for name in os.listdir("/sys/block") if not name.startswith(_NO_DISKS)}
        with open(self._proc / "diskstats") as file:
            for line in file:
                words = line.split()
                if words[2] in whole:
                    read, written = read + int(words[5]), written + int(words[9])
        return {
            "system/disk/read_bytes_s": read * _SECTOR_BYTES,
            "system/disk/written_bytes_s": written * _SECTOR_BYTES,
        }

    def _network(self) -> Numbers:
        received = sent = 0
        with open(self._proc / "net" / "dev") as file:
            for line in list(file)[2:]:
                name, _, rest = line.partition(":")
                if name.strip() != "lo":
                    words = rest.split()
                    received, sent = received + int(words[0]), sent + int(words[8])
        return {"system/network/received_bytes_s": received, "system/network/sent_bytes_s": sent}


class Psutil:
    """The same numbers as those of `Linux`, from psutil, for other systems.

    Raises:
        ImportError: psutil is not installed.
    """

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()
        self._rates = Rates()
        psutil.cpu_percent(None)
        self()

    def __call__(self) -> Numbers:
        memory, disks = self._psutil.virtual_memory(), self._psutil.disk_io_counters()
        counters: Numbers = {}
        if disks is not None:
            counters |= {"system/disk/read_bytes_s": disks.read_bytes, "system/disk/written_bytes_s": disks.write_bytes}
        cards = [card for name, card in self._psutil.net_io_counters(pernic=True).items() if not name.startswith("lo")]
        counters["system/network/received_bytes_s"] = sum(card.bytes_recv for card in cards)
        counters["system/network/sent_bytes_s"] = sum(card.bytes_sent for card in cards)
        return {
            "system/cpu": self._psutil.cpu_percent(None),
            **_memory(memory.total, memory.available),
            **self._rates(counters),
            "system/process/memory_bytes": self._process.memory_info().rss,
        }


class Nvidia:
    """Load, memory, temperature and power of each NVIDIA GPU of the host, numbered as the driver numbers them.

    Raises:
        Exception: there is no library (an ImportError), no driver or no GPU.
    """

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        if not self._gpus:
            raise LookupError("no GPU")
        self.names = [_text(pynvml.nvmlDeviceGetName(gpu)) for gpu in self._gpus]

    def __call__(self) -> Numbers:
        out: Numbers = {}
        for index, gpu in enumerate(self._gpus):
            for part in (self._load, self._memory, self._temperature, self._power):
                try:
                    found = part(gpu)
                except self._nvml.NVMLError:  # not every GPU reports everything
                    continue
                out |= {f"system/gpu/{index}/{name}": float(value) for name, value in found.items()}
        return out

    def _load(self, gpu: Any) -> Numbers:
        return {"load": self._nvml.nvmlDeviceGetUtilizationRates(gpu).gpu}

    def _memory(self, gpu: Any) -> Numbers:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(gpu)
        return {"memory": 100 * memory.used / (memory.total or 1), "memory_bytes": memory.used}

    def _temperature(self, gpu: Any) -> Numbers:
        return {"temperature": self._nvml.nvmlDeviceGetTemperature(gpu, self._nvml.NVML_TEMPERATURE_GPU)}

    def _power(self, gpu: Any) -> Numbers:
        return {"power_w": self._nvml.nvmlDeviceGetPowerUsage(gpu) / 1000}


def probes_of_host(directory: Path) -> dict[str, Callable[[], Probe]]:
    """The factories of the probes for this host, by name.

    Args:
        directory: the directory whose file system is measured.
    """
    return {
        "this process": ThisProcess,
        "disk space": lambda: Disk(directory),
        "the host": Linux if sys.platform == "linux" else Psutil,
        "NVIDIA GPUs": Nvidia,
    }


def _memory(total: int, available: int) -> Numbers:
    return {"system/memory": 100 * (1 - available / (total or 1)), "system/memory/available_bytes": available}


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
