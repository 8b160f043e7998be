"""The machine that this runs on: what times depend on (CPU, clock source), and its memory."""

from __future__ import annotations

import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_MEMINFO = Path("/proc/meminfo")
_MODEL = re.compile(r"^model name\s*: (.*)$", re.MULTILINE)


def cpu() -> str:
    """The CPU as it calls itself (proc_cpuinfo(5)), at least its architecture."""
    found = _MODEL.search(_CPUINFO.read_text())
    return found[1].strip() if found else platform.machine()


def clock_source() -> str:
    """What the kernel reads the time from; empty where it does not tell."""
    try:
        return _CLOCK_SOURCE.read_text().strip()
    except OSError:
        return ""


def available_mib() -> int:
    """How much memory could be used without swapping (proc_meminfo(5), MemAvailable)."""
    lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) // 1024
