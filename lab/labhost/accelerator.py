"""Which accelerator runs the lab host: KVM only where it has been seen to work.

A file test on /dev/kvm proves nothing: there are machines where it opens, answers ioctls and then
hangs on the first real kernel (nested clouds). So KVM is used after a guest has *booted* on it
within a deadline, and only when that guest saw svm or vmx among its CPU flags: the lab host runs
guests of its own under KVM, and without nested virtualisation TCG serves them better. The finding
is kept for this boot of the machine, this QEMU and this image; that no guest booted for an hour,
because the machine may just have been busy.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from lab.errors import CannotError, StartError
from lab.labhost.machine import Accelerator
from lab.labhost.process import Program, ended, running

PROBE_SECONDS = 10.0
_DOUBTED_SECONDS = 3600.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_KVM = Path("/dev/kvm")
_FILE = "accelerator.json"
_OK = "hoplab-probe: ok"
_NOT_NESTED = "KVM works but offers no nested virtualisation (svm or vmx)"


class Choice(StrEnum):
    """What the user asked for."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True)
class Finding:
    """What became of a boot under KVM; ``reason`` is a sentence where it is of no use."""

    usable: bool
    reason: str

    @property
    def boots(self) -> bool:
        """Whether a guest booted, be it without nested virtualisation."""
        return self.usable or self.reason == _NOT_NESTED


@dataclass(frozen=True)
class Decision:
    """The accelerator, and why, as a sentence for the user."""

    accelerator: Accelerator
    reason: str


@dataclass(frozen=True)
class ProbeSpec:
    """What is booted: QEMU as an argv prefix with its environment, the guest image's two files.

    ``identity`` names QEMU's version and the image's digest: a finding holds for these alone.
    """

    qemu: tuple[str, ...]
    environment: dict[str, str]
    kernel: Path
    initrd: Path
    identity: str

    def argv(self, console_fd: int) -> tuple[str, ...]:
        """The smallest machine that is still of the lab host's kind."""
        return (
            *self.qemu,
            *Accelerator.KVM.arguments,
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "256"),
            *("-kernel", str(self.kernel), "-initrd", str(self.initrd)),
            *("-append", "console=ttyS0 quiet panic=-1 hoplab.probe"),
            *("-chardev", f"socket,id=console,fd={console_fd}", "-serial", "chardev:console"),
        )


def choose(choice: Choice, spec: ProbeSpec, cache: Path, rundir: Path) -> Decision:
    """The accelerator to use; boots a guest under KVM unless the answer is known.

    Raises CannotError when KVM was asked for and cannot be used.
    """
    if choice is Choice.TCG:
        return Decision(Accelerator.TCG, "TCG was asked for")
    return decide(choice, find_out(spec, cache, rundir))


def choose_for_guests(choice: Choice, spec: ProbeSpec, cache: Path, rundir: Path) -> Decision:
    """As `choose`, for guests that run no guests of their own."""
    if choice is Choice.TCG:
        return Decision(Accelerator.TCG, "TCG was asked for")
    finding = find_out(spec, cache, rundir)
    if finding.boots:
        return Decision(Accelerator.KVM, "KVM booted a kernel")
    return decide(choice, finding)


def decide(choice: Choice, finding: Finding) -> Decision:
    """The decision alone, from what was found out."""
    if finding.usable:
        return Decision(Accelerator.KVM, "KVM booted a kernel and offers nested virtualisation")
    if choice is Choice.KVM:
        raise CannotError(
            finding.reason,
            hint="leave the choice to the lab, or ask for tcg",
        )
    return Decision(Accelerator.TCG, finding.reason)


def judge(console: str, otherwise: str) -> Finding:
    """What the probe's console says; ``otherwise`` is the reason where it has no report."""
    for line in console.splitlines():
        if _OK in line:
            flags = line.split(_OK, 1)[1].split()
            nested = "svm" in flags or "vmx" in flags
            return Finding(nested, "" if nested else _NOT_NESTED)
    return Finding(False, otherwise)


def find_out(spec: ProbeSpec, cache: Path, rundir: Path, *, anew: bool = False) -> Finding:
    """What is known of KVM here; a guest is booted under it where nothing is, or ``anew``."""
    return _closed() or remembered(
        cache / _FILE, _key(spec), lambda: probe(spec, rundir), anew=anew
    )


def known(spec: ProbeSpec, cache: Path) -> Finding | None:
    """What is seen without a boot, or an earlier probe found if nothing has changed since."""
    return _closed() or _kept(cache / _FILE, _key(spec))


def remembered(
    file: Path, key: str, find_out: Callable[[], Finding], *, anew: bool = False
) -> Finding:
    """The finding kept in ``file`` under ``key``, or a fresh one, which replaces it there."""
    kept = None if anew else _kept(file, key)
    if kept is not None:
        return kept
    finding = find_out()
    # Only a short cut: where it cannot be written (disk full) the next run finds out again.
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"key": key, "finding": asdict(finding)}))
        temporary.replace(file)
    return finding


def _closed() -> Finding | None:
    """That KVM is not this user's to open; None where it is."""
    try:
        os.close(os.open(_KVM, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Finding(False, f"{_KVM} cannot be opened: {error.strerror}")
    return None


def _key(spec: ProbeSpec) -> str:
    return f"{_BOOT_ID.read_text().strip()} {spec.identity}"


def _kept(file: Path, key: str) -> Finding | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(file.read_text())
        finding = Finding(**kept["finding"])
        recent = abs(time.time() - file.stat().st_mtime) < _DOUBTED_SECONDS
        if kept["key"] == key and (finding.boots or recent):
            return finding
    return None


def probe(spec: ProbeSpec, rundir: Path, seconds: float = PROBE_SECONDS) -> Finding:
    """Boot the guest image under KVM and read its console until it reports or time is up."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = Program(
            name="KVM probe",
            argv=spec.argv(theirs.fileno()),
            environment=spec.environment,
            console=rundir / "probe-console.log",
            stderr=rundir / "probe-stderr.log",
        )
        try:
            with running(program, [theirs.fileno()]) as qemu:
                theirs.close()
                console = _read_console(ours, time.monotonic() + seconds)
                why = _why(qemu.failure("no report"), seconds)
        except StartError as error:  # stuck in the kernel: not even SIGKILL ends it
            why, console = error.message, ""
    return judge(console, f"no kernel boots under KVM here ({why})")


def _why(failure: StartError, seconds: float) -> str:
    """What QEMU complained about first, how it ended, or that time was up."""
    first = failure.output.partition("\n")[0]
    complaint = first.rpartition("qemu-system-x86_64: ")[2].removeprefix("error: ")
    if failure.returncode is None:
        return f"none did within {seconds:.0f} s"
    return f"QEMU: {complaint}" if complaint else f"QEMU {ended(failure.returncode)}"


def _read_console(sock: socket.socket, deadline: float) -> str:
    """All the console says until the report, the end of QEMU or the deadline."""
    text = ""
    with suppress(TimeoutError, ConnectionResetError):
        while _OK not in text or not text.endswith("\n"):
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            part = sock.recv(4096)
            if not part:
                break
            text += part.decode(errors="replace")
    return text
