"""One QEMU process: started so that it cannot outlive us, watched so that nobody waits in vain.

Whoever waits for something that this QEMU has to bring does so through `Process.wait_readable`: a
QEMU that ends meanwhile is reported at once, with its exit status and its last words.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import CannotError, StartError
from lab.labhost.process import guarded, kill

_CONSOLE_LINES = 8
_ERROR_LINES = 4


@dataclass(frozen=True)
class Words:
    """Where a QEMU leaves its last words: the guest's console, QEMU's own output."""

    console: Path
    output: Path

    def last(self) -> str:
        """The end of both, QEMU's own word last."""
        return "\n".join([*_tail(self.console, _CONSOLE_LINES), *_tail(self.output, _ERROR_LINES)])


class Process:
    """A running QEMU; ``name`` is what errors call it, ``started`` is by time.monotonic."""

    def __init__(
        self, popen: subprocess.Popen[bytes], name: str, argv: Sequence[str], words: Words
    ) -> None:
        self.name = name
        self.pid = popen.pid
        self.argv = tuple(argv)
        self.started = time.monotonic()
        self._popen = popen
        self._words = words
        self._pidfd = os.pidfd_open(popen.pid)

    @property
    def command(self) -> str:
        """The command line as it was started."""
        return shlex.join(self.argv)

    def wait_readable(self, fd: int, deadline: float) -> bool:
        """Wait until ``fd`` has something to read; false when ``deadline`` (monotonic) came first.

        Raises StartError when the process ends and ``fd`` has nothing.
        """
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._pidfd, select.POLLIN)
        ready = {number for number, _events in poll.poll(_milliseconds(deadline))}
        if ready == {self._pidfd}:
            raise self.ended()
        return fd in ready

    def wait_end(self, seconds: float) -> bool:
        """Wait for the process to end; whether it did."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def check(self, seconds: float = 0.0) -> None:
        """Raise StartError if the process has ended, or does within ``seconds``."""
        if self.wait_end(seconds):
            raise self.ended()

    def ended(self) -> StartError:
        """The error that tells how the process ended; only for one that has."""
        status = self._popen.wait()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return StartError(
            f"guest {self.name} ended early: {how}",
            argv=self.argv,
            returncode=status,
            output=self._words.last(),
        )

    def late(self, what: str, seconds: float, state: str) -> StartError:
        """The error for a process that lives, in some ``state``, without ``what`` in time."""
        return StartError(
            f"guest {self.name} runs, but {what} did not come within {seconds:.0f} s",
            argv=self.argv,
            output="\n".join(filter(None, (self._words.last(), state))),
        )

    def kill(self) -> None:
        """End it at once, if it has not ended, and forget it.

        Raises StartError when it survives SIGKILL.
        """
        try:
            kill(self._popen, f"guest {self.name}", self.argv)
        finally:
            os.close(self._pidfd)


@contextmanager
def start_process(
    name: str, argv: Sequence[str], env: Mapping[str, str], fds: Sequence[int], words: Words
) -> Iterator[Process]:
    """Start QEMU in the namespace of the calling thread with ``fds`` inherited; killed at the end.

    Raises CannotError when there is no such program. The calling thread must live as long as the
    process: the kernel sends the parent-death signal when that thread ends (prctl(2)).
    """
    with words.output.open("wb") as output:
        try:
            popen = subprocess.Popen(
                guarded(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
                pass_fds=tuple(fds),
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise CannotError(f"the program {error.filename} is not installed") from error
    process = Process(popen, name, argv, words)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def on_cpu(cpu: int | None) -> Iterator[None]:
    """Have what the calling thread starts in the block stay on one CPU, if there is that one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before & {cpu} or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _milliseconds(deadline: float) -> float:
    return max(0.0, (deadline - time.monotonic()) * 1000)


def _tail(file: Path, count: int) -> list[str]:
    try:
        text = file.read_text(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]
