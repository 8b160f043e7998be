"""Runs as a user starts them, of which the tests want many: two of them go at a time.

A run keeps one core busy most of the time, so the second is nearly free. A test waits for its own
run only; tests that want the same one share it. They go on beside tests that make their own runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import StartError

ROOT = Path(__file__).parents[2]
SECONDS = 300.0
"""For one run beside another, on the slowest machine that anybody will have patience for."""


@dataclass(frozen=True)
class Outcome:
    """What ``lab run`` said: exit status, JSON document, and what it told while it went."""

    status: int
    document: dict[str, Any]
    said: str

    @property
    def red(self) -> set[str]:
        """The names of the checks that are not as expected, in a run that came to its end."""
        assert self.status != StartError.status, self.said
        bad = {"fail", "error"}
        return {each["name"] for each in self.document["checks"] if each["outcome"] in bad}

    def observed(self, name: str) -> str:
        """What a check saw."""
        (words,) = (c["observed"] for c in self.document["checks"] if c["name"] == name)
        return str(words)


def started(
    wanted: Iterable[str], pool: ThreadPoolExecutor, folder: Path
) -> dict[str, Future[Outcome]]:
    """Every wanted run, by its words; they begin as the pool has room."""
    return {
        words: pool.submit(lab, folder, "run", *arguments(words)) for words in dict.fromkeys(wanted)
    }


def arguments(words: str) -> list[str]:
    """``sriov guests=1 --sabotage mirror`` as arguments: what has a ``=`` is for ``--set``.

    Most are the only ones of their kind: nothing is worth keeping.
    """
    return [
        "--fresh",
        *(each for word in words.split() for each in (("--set", word) if "=" in word else (word,))),
    ]


def lab(folder: Path, *words: str) -> Outcome:
    """What a command with ``--json`` said that runs in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", *words, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout, done.stderr
    return Outcome(done.returncode, json.loads(done.stdout), done.stderr)
