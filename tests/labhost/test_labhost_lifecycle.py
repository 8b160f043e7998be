"""Real lab hosts: the first boots and is kept, later ones are restored, and none outlives us."""

from __future__ import annotations

import io
import math
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile

import pytest

from lab.errors import StartError
from lab.events import Event, Note
from lab.images import cache
from lab.images.build import ensure
from lab.images.progress import Silent
from lab.labhost.accelerator import Choice
from lab.labhost.labhost import Labhost, open_labhost
from lab.labhost.machine import Accelerator
from lab.labhost.setup import Images
from lab.labhost.snapshot import _write_record, describe
from lab.rundir import open_rundir

pytestmark = pytest.mark.labhost

SECONDS = 120.0
"""For a lab host that starts and panics, on the slowest machine."""

INSIDE = """
import fcntl, os, signal, sys, time
from pathlib import Path
def loaded(argument, emit):
    emit({"lab": sorted(name for name in sys.modules if name.startswith("lab"))})
def echo(argument, emit):
    emit({"pid": os.getpid(), **argument}, b"attached")
def big(argument, emit):
    emit({}, bytes(range(256)) * 4096)
def leave(argument, emit):
    os._exit(5)
def keys(argument, emit):
    top = Path("/sys/kernel/tracing")
    (top / "kprobe_events").write_text("p:changed jump_label_update key=%di:symbol")
    (top / "events/kprobes/changed/enable").write_text("1")
    if argument["release"]:
        fds = [fd for fd in Path("/proc").glob("[0-9]*/fd/*") if "kvm-vm" in os.path.realpath(fd)]
        for process in {int(fd.parts[2]) for fd in fds}:
            os.kill(process, signal.SIGKILL)
        # KVM gives this one back a second later.
        while "apic_sw_disabled" not in (top / "trace").read_text():
            time.sleep(0.1)
        (top / "trace").write_text("")
    vm = fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), 0xAE01, 0)
    fcntl.ioctl(vm, 0xAE60, 0)
    fcntl.ioctl(vm, 0xAE41, 0)
    emit({"trace": (top / "trace").read_text()})
def wait(argument, emit):
    emit({"waiting": True})
    signal.pause()
"""


@dataclass
class Lab:
    """Starts lab hosts from one cache of snapshots, and keeps what they say."""

    images: Images
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[Labhost]:
        with (
            open_rundir() as rundir,
            open_labhost(self.images, Choice.AUTO, rundir, self.hear) as labhost,
        ):
            yield labhost

    def hear(self, event: Event, _attachment: bytes) -> None:
        if isinstance(event, Note) and event.warning:
            self.notes.append(event.text)

    @property
    def state(self) -> Path:
        """The one state file."""
        (state,) = (self.images.cache / "snapshots").glob("*/state")
        return state


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The user's images, but a snapshot folder of our own: the first use is under test."""
    # Not below the temporary folder, which may be a small tmpfs: a snapshot takes 250 MB.
    folder = cache.default().top / f"test-{os.getpid()}"
    return Images(ensure("labhost", Silent()), ensure("guest", Silent()), folder)


@pytest.fixture(scope="module")
def warm(images: Images) -> Iterator[Images]:
    """The same after the first use."""
    lab = Lab(images)
    with lab.open() as labhost:
        assert not labhost.restored
        assert labhost.timings.keys() == {"start", "boot", "warm", "save"}
        assert list(labhost.machine.channel.call("inside:echo", {}, zipped(), 20.0))
    assert lab.notes == []
    yield images
    subprocess.run(["rm", "-r", str(images.cache)], check=True)


@pytest.fixture
def lab(warm: Images) -> Lab:
    return Lab(warm)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr("inside.py", INSIDE)
    return buffer.getvalue()


def test_second_use_is_restored_and_answers(lab: Lab) -> None:
    with lab.open() as labhost:
        assert labhost.restored
        assert labhost.timings.keys() == {"start", "restore", "hello"}
        assert labhost.kernel.startswith("6.")
    assert lab.notes == []


def test_call_runs_the_code_that_came_with_it(lab: Lab) -> None:
    with lab.open() as labhost:
        channel = labhost.machine.channel
        first = list(channel.call("inside:echo", {"text": "ä\n{}"}, zipped(), 20.0))
        second = list(channel.call("inside:echo", {}, zipped(), 20.0))
        ((_, attachment),) = channel.call("inside:big", {}, zipped(), 60.0)
    ((event, attached),) = first
    assert (event["text"], attached) == ("ä\n{}", b"attached")
    assert event["pid"] != second[0][0]["pid"]
    assert attachment == bytes(range(256)) * 4096


def test_warm_code_is_dropped_when_other_code_comes(lab: Lab) -> None:
    with lab.open() as labhost:
        ((event, _),) = labhost.machine.channel.call("inside:loaded", {}, zipped(), 20.0)
    assert event == {"lab": []}


def test_error_inside_comes_out_with_its_traceback(lab: Lab) -> None:
    with lab.open() as labhost:
        with pytest.raises(StartError) as caught:
            list(labhost.call("lab.inside:main", {}, deadline=10.0))
        assert caught.value.message == "lab.inside:main failed inside: KeyError: 'plan'"
        # The line of source proves that the sources travelled along.
        assert 'argument["plan"]' in caught.value.output
        with pytest.raises(StartError, match="exited with 5"):
            list(labhost.machine.channel.call("inside:leave", {}, zipped(), 20.0))
        assert list(labhost.machine.channel.call("inside:echo", {}, zipped(), 20.0))


def test_death_during_a_call_is_told_with_the_command(lab: Lab) -> None:
    with lab.open() as labhost:
        call = labhost.machine.channel.call("inside:wait", {}, zipped(), math.inf)
        assert next(call)[0] == {"waiting": True}
        os.kill(labhost.pid, signal.SIGKILL)
        with pytest.raises(StartError, match="QEMU ended with SIGKILL") as caught:
            next(call)
    assert "-incoming" in caught.value.argv


@pytest.mark.parametrize("release", [False, True])
def test_a_guest_changes_no_code_of_kvm_under_tcg(lab: Lab, release: bool) -> None:
    """Because of the machine that is held; without it the kernel rewrites what may be running."""
    with lab.open() as labhost:
        if labhost.accelerator is Accelerator.KVM:
            pytest.skip("nothing is held where the CPU notices changed code")
        call = labhost.machine.channel.call("inside:keys", {"release": release}, zipped(), 20.0)
        ((event, _),) = call
    assert ("preempt_notifier_key" in event["trace"]) is release, event["trace"]
    assert ("apic_sw_disabled" in event["trace"]) is release, event["trace"]


def test_silence_inside_ends_at_the_deadline(lab: Lab) -> None:
    with lab.open() as labhost:
        call = labhost.machine.channel.call("inside:wait", {}, zipped(), 5.0)
        next(call)
        with pytest.raises(StartError, match="no answer from inside in time"):
            next(call)


def test_root_shell_answers(lab: Lab) -> None:
    with lab.open() as labhost:
        shell = labhost.machine.shell
        shell.settimeout(labhost.setup.scaled(10))
        shell.sendall(b"echo $((6 * 7))-$(id -u)\n")
        seen = b""
        while b"42-0" not in seen:
            part = shell.recv(4096)
            assert part, seen
            seen += part


def test_a_panic_under_the_shell_is_told(environment: dict[str, str]) -> None:
    window, terminal = pty.openpty()
    with (
        os.fdopen(window, "r+b", buffering=0) as ours,
        os.fdopen(terminal, "r+b", buffering=0) as theirs,
        subprocess.Popen(
            [sys.executable, "-m", "lab", "shell"],
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        seen = b""
        while b"# " not in seen:
            assert select.select([ours], [], [], SECONDS)[0], seen
            seen += ours.read(4096)
        ours.write(b"echo c > /proc/sysrq-trigger\n")
        try:
            _, said = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == StartError.status, said
    assert "its kernel panicked" in said
    assert "sysrq triggered crash" in said


def test_two_at_once_from_one_snapshot(lab: Lab) -> None:
    pids = []

    def second() -> None:
        with lab.open() as labhost:
            pids.append(labhost.pid)

    with lab.open() as labhost:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert len({labhost.pid, *pids}) == 2
        assert list(labhost.machine.channel.call("inside:echo", {}, zipped(), 20.0))
    assert lab.notes == []


SCRIPT = """
import sys
from pathlib import Path
from lab.images.image import Image
from lab.labhost.accelerator import Choice
from lab.labhost.labhost import open_labhost
from lab.labhost.setup import Images
labhost, guest, cache, rundir = sys.argv[1:]
images = Images(Image.model_validate_json(labhost), Image.model_validate_json(guest), Path(cache))
with open_labhost(images, Choice.AUTO, Path(rundir), lambda event, data: None) as lab:
    print(lab.pid, flush=True)
    sys.stdin.read()
"""


def test_sigkill_of_the_lab_kills_the_lab_host(lab: Lab, tmp_path: Path) -> None:
    images = [lab.images.labhost.model_dump_json(), lab.images.guest.model_dump_json()]
    argv = [sys.executable, "-c", SCRIPT, *images, str(lab.images.cache), str(tmp_path)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        qemu = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
    try:
        # A pidfd is readable when its process has ended (pidfd_open(2)).
        assert select.select([qemu], [], [], 10.0)[0]
    finally:
        os.close(qemu)


def test_snapshot_that_does_not_restore_costs_a_boot_and_is_replaced(lab: Lab) -> None:
    """Damage that no stamp shows: as if QEMU itself had written nonsense."""
    before = lab.state.stat().st_ino
    with lab.state.open("r+b") as stream:
        stream.write(b"\0" * 4096)
    _write_record(lab.state.parent, describe(lab.state))
    with lab.open() as labhost:
        assert not labhost.restored
    assert len(lab.notes) == 1
    assert "snapshot did not work" in lab.notes[0]
    assert lab.state.stat().st_ino != before
