"""A guest's process: never outlives us, is not waited for without end, stays on its CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from lab.errors import StartError
from lab.guest.process import Process, Words, on_cpu, start_process

_ASK = "import os; print(*sorted(os.sched_getaffinity(0)))"
_NO_CPU = 1 << 12


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        (max(os.sched_getaffinity(0)), {max(os.sched_getaffinity(0))}),
        (_NO_CPU, os.sched_getaffinity(0)),
        (None, os.sched_getaffinity(0)),
    ],
    ids=["one", "none-of-this-number", "any"],
)
def test_a_program_stays_on_the_cpu_that_it_is_started_on(
    cpu: int | None, expected: set[int]
) -> None:
    before = os.sched_getaffinity(0)
    with on_cpu(cpu):
        done = subprocess.run(
            [sys.executable, "-c", _ASK], capture_output=True, text=True, check=True
        )
    assert set(map(int, done.stdout.split())) == expected
    assert os.sched_getaffinity(0) == before


def test_a_child_of_another_parent_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We may be killed before the parent-death signal is set: nobody would end it."""
    words = Words(tmp_path / "console", tmp_path / "output")
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        starting = start_process("g1", ["touch", str(tmp_path / "started")], {}, [], words)
        process = starting.__enter__()
    with pytest.raises(StartError, match="guest g1 ended early: exit status 1"):
        process.check(10.0)
    assert not (tmp_path / "started").exists()
    starting.__exit__(None, None, None)


class Stuck:
    """A process in the kernel's hands: SIGKILL waits for its return."""

    pid = os.getpid()

    def kill(self) -> None:
        pass

    def wait(self, timeout: float) -> int:
        raise subprocess.TimeoutExpired("qemu", timeout)


def test_one_that_survives_sigkill_is_told(tmp_path: Path) -> None:
    stuck = cast("subprocess.Popen[bytes]", Stuck())
    process = Process(stuck, "g1", ["qemu"], Words(tmp_path / "console", tmp_path / "output"))
    with pytest.raises(StartError, match=r"process .* is still there 10 s after SIGKILL"):
        process.kill()
