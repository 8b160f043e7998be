"""The kernel's tracing in an instance of our own, so nobody else's is disturbed.

Events that pass a filter in the kernel lie in a ring, whose losses are checked; they are read as
text, or as they lie there (`lab.probe.ring`). See Documentation/trace/events.rst and ftrace.rst
("Instances").
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.errors import CannotError, LeftBehindError
from lab.probe.ring import Event, Layout, events, layout

TRACEFS = Path("/sys/kernel/tracing")
_WAKEUP = re.compile(r": sched_wakeup: comm=.* pid=(\d+) prio=")
_OVERRUN = re.compile(r"^(?:overrun|dropped events): (\d+)$", re.MULTILINE)
# Instances are named after their process, and its PID namespace: theirs is nobody else's.
_PREFIX = "hoplab-"
_PAGE = os.sysconf("SC_PAGESIZE")
# For each CPU. An emulated card makes some twenty events of a packet, of forty bytes each; a
# thousand packets are the most that are watched at once.
_BUFFER_KIB = 8192
_HINT = "run as root on a kernel with CONFIG_FTRACE_SYSCALLS and tracefs"


class Tracing:
    """One instance; it records inside of `recording` only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._layouts: dict[int, Layout] = {}

    def select(self, event: str, condition: str = "", fields: Sequence[str] = ()) -> None:
        """Record the event (``system/name``) where a filter holds. Raises CannotError.

        ``fields`` are what `events` is to tell of it, in the order in which they lie.
        """
        try:
            found = layout(event, self.format(event), fields)
            self._layouts[found.number] = found
            # 0 is the filter that lets everything pass.
            (self._folder / "events" / event / "filter").write_text(condition or "0")
            (self._folder / "events" / event / "enable").write_text("1")
        except OSError as error:
            raise CannotError(
                f"the kernel does not trace {event}: {error.strerror}", hint=_HINT
            ) from error

    def knows(self, event: str) -> bool:
        """Whether the kernel has such an event now; those of a module come with the module."""
        return (self._folder / "events" / event).is_dir()

    def format(self, event: str) -> str:
        """What the kernel says of an event's fields, and how it prints them. Raises OSError."""
        return (self._folder / "events" / event / "format").read_text()

    def use_clock(self, name: str) -> None:
        """Stamp events by this clock (ftrace.rst, "trace_clock"); what was recorded is gone."""
        (self._folder / "trace_clock").write_text(name)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record in the block alone: who reads while it goes on reads events of its own reading."""
        self._switch("1")
        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """Record nothing."""
        self._switch("0")

    def wakeups(self) -> Counter[int]:
        """By thread id. Raises CannotError if some are lost."""
        return Counter(int(pid) for pid in _WAKEUP.findall(self.text()))

    def text(self) -> str:
        """All events since the last `clear`, a line each. Raises CannotError if some are lost."""
        self._check_losses()
        return (self._folder / "trace").read_text()

    def events(self) -> tuple[tuple[Event, ...], ...]:
        """What each CPU recorded, oldest first, and forget it. Raises CannotError for a loss."""
        self._check_losses()
        return tuple(
            tuple(each for page in _pages(cpu) for each in events(page, self._layouts))
            for cpu in sorted(self._folder.glob("per_cpu/cpu*"))
        )

    def hold(self, kib: int) -> None:
        """Have so much room for events on each CPU. Raises CannotError where there is none."""
        try:
            (self._folder / "buffer_size_kb").write_text(str(kib))
        except OSError as error:
            raise CannotError(f"no room for {kib} KiB of trace: {error.strerror}") from error

    def clear(self) -> None:
        """Forget what was recorded."""
        (self._folder / "trace").write_text("")

    def _check_losses(self) -> None:
        for stats in self._folder.glob("per_cpu/cpu*/stats"):
            if any(int(lost) for lost in _OVERRUN.findall(stats.read_text())):
                raise CannotError("the kernel's trace buffer overflowed: events are lost")

    def _switch(self, value: str) -> None:
        (self._folder / "tracing_on").write_text(value)


@contextmanager
def open_tracing() -> Iterator[Tracing]:
    """Yield a stopped instance, removed at the end. Raises CannotError, LeftBehindError."""
    sweep()
    folder = _instances() / f"{_own_prefix()}{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise CannotError(f"the kernel's tracing cannot be used: {error}", hint=_HINT) from error
    try:
        tracing = Tracing(folder)
        tracing.hold(_BUFFER_KIB)
        tracing.stop()
        yield tracing
    finally:
        try:
            folder.rmdir()
        except OSError as error:
            raise LeftBehindError(
                f"the tracing instance {folder} could not be removed: {error.strerror}",
                hint=f"rmdir {folder}",
            ) from error


def sweep() -> tuple[Path, ...]:
    """Remove the instances of processes that were killed; returns them. Raises CannotError."""
    prefix = _own_prefix()
    dead = [
        folder
        for folder in _instances().glob(f"{prefix}*")
        if not _lives(folder.name.removeprefix(prefix))
    ]
    for folder in dead:
        with suppress(OSError):  # somebody else's sweep came first
            folder.rmdir()
    return tuple(dead)


def _pages(cpu: Path) -> Iterator[bytes]:
    """The pages of one CPU's buffer; each is read once."""
    descriptor = os.open(cpu / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with suppress(BlockingIOError):  # nothing is left
            while page := os.read(descriptor, _PAGE):
                yield page
    finally:
        os.close(descriptor)


def _lives(pid: str) -> bool:
    """A zombie does not, and there are machines whose first process is slow to bury one."""
    try:
        stat = Path("/proc", pid, "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _own_prefix() -> str:
    return f"{_PREFIX}{Path('/proc/self/ns/pid').stat().st_ino}-"


def _instances() -> Path:
    """The folder of the instances; tracefs is mounted where it is not.

    On the user's own machine our mount namespace has a /sys of its own, without tracefs in it.
    """
    instances = TRACEFS / "instances"
    if not instances.is_dir():
        argv = ["mount", "-t", "tracefs", "tracefs", str(TRACEFS)]
        try:
            mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise CannotError(
                "the program mount is not installed", hint="apt-get install mount"
            ) from error
        if mounted.returncode:
            raise CannotError(
                f"there is no tracefs on {TRACEFS}: {mounted.stderr.strip()}", hint=_HINT
            )
    return instances
