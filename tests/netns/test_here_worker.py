"""The worker that carries plans out on this machine; its guests are programs that stand for one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import StartError
from lab.events import EVENT, Event
from lab.here.place import Here, first_facts, open_here
from lab.here.ports import Ports
from lab.host.host import Host
from lab.model.load import load_topology
from lab.plan.build import build
from lab.plan.data import GuestPlan, Plan

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from lab.here.place import first_facts, open_here
from lab.here.ports import Ports
from tests.netns.test_here_worker import plan, until, until_running
facts = first_facts(Ports())
with open_here(facts, Ports(), Path(sys.argv[1])) as here:
    until("guest", here.call(plan("sleep", sys.argv[2])))
    until_running("sleep", sys.argv[2])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def plan(*argv: str) -> Plan:
    """The topology virtio, with another program in place of QEMU."""
    whole = build(load_topology("virtio", {}), first_facts(Ports()))
    (guest,) = whole.guests
    return whole.model_copy(
        update={"guests": (GuestPlan(name=guest.name, argv=argv, nics=guest.nics),)}
    )


def until(stage: str, stream: Iterator[tuple[object, bytes]]) -> None:
    """Read the events up to the beginning of a stage."""
    for data, _ in stream:
        event: Event = EVENT.validate_python(data)
        if event.event == "stage" and event.name == stage:
            return


def processes(*words: str) -> list[int]:
    """Those whose command line ends with these words."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if file.read_bytes().rstrip(b"\0").split(b"\0")[-len(words) :] == [
                word.encode() for word in words
            ]:
                found.append(int(file.parent.name))
        except OSError:
            continue  # it ended while we looked
    return found


def until_running(*words: str) -> None:
    """Whoever is ended earlier may start it still."""
    deadline = time.monotonic() + 20
    while not processes(*words) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes(*words)


@pytest.fixture(autouse=True)
def _able(host: Host) -> None:
    del host  # it skips where there are no namespaces


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    with open_here(first_facts(Ports()), Ports(), tmp_path) as opened:
        yield opened


def test_a_guest_that_dies_is_told_after_the_undo(here: Here) -> None:
    events = [EVENT.validate_python(data) for data, _ in here.call(plan("false"))]
    assert events[-1].event == "failed"
    assert events[-1].message == "guest guest ended early: exit status 1"
    (undone,) = [event for event in events if event.event == "undone"]
    assert undone.left == ()


@pytest.mark.parametrize("name", ["lab", "scapy", "signal"])
def test_nothing_is_imported_from_the_folder_it_runs_in(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / f"{name}.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path / "cwd")
    with open_here(first_facts(Ports()), Ports(), tmp_path) as here:
        events = [EVENT.validate_python(data) for data, _ in here.call(plan("false"))]
    assert events[-1].event == "failed"
    assert events[-1].message == "guest guest ended early: exit status 1"


def test_a_call_that_is_left_is_undone(tmp_path: Path) -> None:
    length = f"1000.{os.getpid()}"
    devices = set(Path("/sys/class/net").iterdir())
    with open_here(first_facts(Ports()), Ports(), tmp_path) as here:
        stream = here.call(plan("sleep", length))
        until("guest", stream)
        until_running("sleep", length)
        began = time.monotonic()
    assert time.monotonic() - began < 20
    assert not processes("sleep", length)
    assert set(Path("/sys/class/net").iterdir()) == devices


def test_a_killed_lab_takes_worker_and_guest_along(tmp_path: Path) -> None:
    length = f"2000.{os.getpid()}"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), length],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while processes("sleep", length) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes("sleep", length)


def test_a_worker_that_is_killed_is_told(tmp_path: Path) -> None:
    with open_here(first_facts(Ports()), Ports(), tmp_path) as here:
        stream = here.call(plan("sleep", f"3000.{os.getpid()}"))
        until("guest", stream)
        until_running("sleep", f"3000.{os.getpid()}")
        os.kill(_worker(), signal.SIGKILL)
        with pytest.raises(StartError, match="the worker ended with SIGKILL"):
            list(stream)
    deadline = time.monotonic() + 20
    while processes("sleep", f"3000.{os.getpid()}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes("sleep", f"3000.{os.getpid()}")


def _worker() -> int:
    """Our only such child; those of others may have the same command line."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    (worker,) = [
        child
        for child in children
        if b"lab.here.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return int(worker)
