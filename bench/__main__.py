"""``python -m bench [NAMES]``: run benchmarks, keep what they find in docs/performance.*."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from datetime import datetime
from importlib import import_module
from pathlib import Path

from bench.figures import Finding, Findings, markdown, placed
from lab import machine as lab_machine
from lab.errors import LabError, StartError

# Each is a module with a TITLE and a function ``run`` that yields rows.
NAMES = ("overhead", "restore", "stages", "matching", "virtme", "memory", "guests")
DOCS = Path(__file__).parents[1] / "docs"


def main(wanted: list[str]) -> int:
    """Run those that are named, or all; the worst status of theirs.

    Each finding is kept as soon as it is there. One that cannot be had is told, and stops nothing.
    """
    unknown = set(wanted) - set(NAMES)
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
        return 2
    status = 0
    for name in wanted or NAMES:
        print(f"{name} ...", flush=True)
        try:
            finding = run(name)
        except LabError as error:
            print(f"{name}:", *error.lines(), sep="\n  ", flush=True)
            status = max(status, error.status)
            continue
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name}: {error}", flush=True)
            status = max(status, StartError.status)
            continue
        keep(name, finding)
        print(markdown(Findings(findings={name: finding})), flush=True)
    return status


def run(name: str) -> Finding:
    """Run one."""
    module = import_module(f"bench.{name}")
    began = time.monotonic()
    rows = tuple(module.run())
    return Finding(
        title=module.TITLE,
        date=datetime.now().astimezone().date().isoformat(),
        machine=machine(),
        seconds=round(time.monotonic() - began, 1),
        rows=rows,
    )


def keep(name: str, finding: Finding) -> None:
    """Put a finding in place of the last one of its benchmark."""
    file, page = DOCS / "performance.json", DOCS / "performance.md"
    known = Findings.model_validate_json(file.read_bytes()) if file.exists() else Findings()
    found = {**known.findings, name: finding}
    findings = Findings(findings={each: found[each] for each in NAMES if each in found})
    file.write_text(findings.model_dump_json(indent=1) + "\n")
    page.write_text(placed(page.read_text(), markdown(findings)))


def machine() -> str:
    """The machine in one line: CPU, how many, kernel, and how busy it is."""
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    load = os.getloadavg()[0]
    return f"{lab_machine.cpu()} x {os.cpu_count()}, {system}, load {load:.1f} at the end"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
