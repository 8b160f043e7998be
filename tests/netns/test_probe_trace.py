"""Counting with the kernel's own tracing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import CannotError
from lab.probe import trace
from lab.probe.trace import open_tracing, sweep

pytestmark = pytest.mark.netns


def test_what_happens_outside_of_a_recording_is_not_recorded() -> None:
    reading, writing = os.pipe()
    mine = f"fd == {writing} && common_pid == {os.getpid()}"
    with open_tracing() as tracing:
        for name in ("read", "write"):
            tracing.select(f"syscalls/sys_enter_{name}", mine)
        os.write(writing, b"before")
        with tracing.recording():
            for _ in range(7):
                os.write(writing, b"x")
            os.read(reading, 5)
        os.write(writing, b"after")
        text = tracing.text()
    os.close(reading)
    os.close(writing)
    assert (text.count(": sys_write("), text.count(": sys_")) == (7, 7)
    assert not list((trace.TRACEFS / "instances").glob(f"hoplab-*-{os.getpid()}"))


def test_wake_ups_are_counted_by_thread() -> None:
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sleeper,
        open_tracing() as tracing,
    ):
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        tracing.select("sched/sched_wakeup", f"pid == {sleeper.pid}")
        with tracing.recording():
            for _ in range(3):
                sleeper.stdin.write(b"x")
                sleeper.stdin.flush()
                assert sleeper.stdout.read(1) == b"x"
        wakeups = tracing.wakeups()
        sleeper.stdin.close()
    assert list(wakeups) == [sleeper.pid]
    assert wakeups[sleeper.pid] >= 1


def test_what_was_cleared_is_counted_no_more() -> None:
    reading, writing = os.pipe()
    with open_tracing() as tracing:
        tracing.select(
            "syscalls/sys_enter_write", f"fd == {writing} && common_pid == {os.getpid()}"
        )
        with tracing.recording():
            os.write(writing, b"x")
        tracing.clear()
        with tracing.recording():
            os.write(writing, b"y")
        assert tracing.text().count(": sys_write(") == 1
    os.close(reading)
    os.close(writing)


def test_there_is_room_for_what_an_emulated_card_does() -> None:
    """The kernel's own size is 1.4 MiB a CPU; these take 2."""
    with Path("/dev/null").open("wb", buffering=0) as nowhere, open_tracing() as tracing:
        tracing.select(
            "raw_syscalls/sys_enter", f"common_pid == {os.getpid()} && id == 1", ("id", "args")
        )
        with tracing.recording():
            nowhere.writelines(b"x" for _ in range(30_000))
        assert sum(map(len, tracing.events())) >= 30_000


def test_an_event_that_does_not_exist_is_told() -> None:
    with pytest.raises(CannotError, match="does not trace nobody/knows"), open_tracing() as tracing:
        tracing.select("nobody/knows", "pid == 1")


def test_the_instance_of_a_killed_process_is_swept() -> None:
    code = (
        "import os, signal\n"
        "from lab.probe.trace import open_tracing\n"
        "with open_tracing():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as killed:
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie until the end
        left = [path for path in sweep() if path.name.endswith(f"-{killed.pid}")]
    assert len(left) == 1
    assert not left[0].exists()
    with open_tracing():
        assert sweep() == ()  # what lives is left alone
