"""One QEMU process that cannot outlive us.

setpriv(1) of util-linux sets the parent-death signal (prctl(2), PR_SET_PDEATHSIG) and then becomes
QEMU: SIGKILL of the lab takes the lab host along. A function run in the child before exec would do
the same, but is unsafe once there are threads. The signal follows the *thread* that started the
process, so lab hosts are started from a thread that lives as long as they do.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.errors import CannotError, StartError

# The parent may die before setpriv has run: the child then has another parent, and gives up.
_GUARD = 'test "$PPID" = "$1" && shift && exec "$@"'

# Said on every start, of CPU features that TCG leaves out and of the cable that leads nowhere.
_NOISE = ("warning: TCG doesn't support requested feature", "is not connected to host network")

_PANIC = "Kernel panic - not syncing"
_TAIL_LINES = 12
KILL_SECONDS = 10.0
"""How long a process may take to end after SIGKILL."""


@dataclass(frozen=True)
class Program:
    """What is started, and where its words go.

    ``console`` is the file of the guest's serial console, ``stderr`` that of the program itself,
    ``what`` the word for what ends when the program does, ``orphaned`` the signal that it gets when
    we are gone.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    console: Path
    stderr: Path
    what: str = "QEMU"
    orphaned: str = "KILL"

    def last_words(self) -> str:
        """The last lines of standard error, then those of the console."""
        return "\n".join((*_tail(self.stderr), *_tail(self.console)))

    def panicked(self) -> bool:
        """Whether the console tells of a kernel panic."""
        return _PANIC in self.console.read_text(errors="replace")


class Running:
    """A started program; made by `running`."""

    def __init__(self, program: Program, popen: subprocess.Popen[bytes]) -> None:
        self.program = program
        self._popen = popen

    @property
    def pid(self) -> int:
        """Process id; after its end it may belong to somebody else."""
        return self._popen.pid

    def failure(self, what: str) -> StartError:
        """What to raise when the program did not do ``what``; tells whether it is dead."""
        returncode = self._exit_status()
        name = self.program.name
        if returncode is None:
            message = f"{name}: {what}"
        else:
            message = f"{name}: {self.program.what} {ended(returncode)}: {what}"
        return StartError(
            message,
            argv=self.program.argv,
            returncode=returncode,
            output=self.program.last_words(),
        )

    def stop(self, seconds: float) -> None:
        """Ask it to end (SIGTERM) and wait for that, at most ``seconds``."""
        self._popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=seconds)

    def _exit_status(self) -> int | None:
        """A closed socket is seen a moment before the process can be waited for."""
        try:
            return self._popen.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            return None


@contextmanager
def running(program: Program, fds: Sequence[int]) -> Iterator[Running]:
    """Start ``program`` with ``fds`` inherited under their numbers; killed at the end.

    It has a session of its own, so Ctrl-C in the terminal reaches us alone. There is no polite
    stop: a lab host is disposable and owns nothing outside its run folder. Raises CannotError when
    it cannot be started at all, StartError when it survives SIGKILL.
    """
    with program.stderr.open("wb") as stderr:
        try:
            popen = subprocess.Popen(
                guarded(program.argv, program.orphaned),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=dict(program.environment),
                pass_fds=tuple(fds),
                start_new_session=True,
            )
        except OSError as error:
            raise CannotError(
                f"{program.name}: cannot start {error.filename}: {error.strerror}"
            ) from error
    try:
        yield Running(program, popen)
    finally:
        kill(popen, program.name, program.argv)


def guarded(argv: Sequence[str], signal_name: str = "KILL") -> tuple[str, ...]:
    """The command line that runs ``argv`` and gets a signal when the thread that starts it ends."""
    guard = ("sh", "-c", _GUARD, "sh", str(os.getpid()))
    return ("setpriv", f"--pdeathsig={signal_name}", "--", *guard, *argv)


def kill(popen: subprocess.Popen[bytes], name: str, argv: Sequence[str]) -> None:
    """End a process at once, if it has not ended. Raises StartError when it survives SIGKILL."""
    popen.kill()
    try:
        popen.wait(timeout=KILL_SECONDS)
    except subprocess.TimeoutExpired as error:
        # Stuck in the kernel, as a broken /dev/kvm makes it: nobody can do more than say so.
        raise StartError(
            f"{name}: process {popen.pid} is still there {KILL_SECONDS:.0f} s after "
            "SIGKILL: it is stuck in the kernel",
            argv=argv,
        ) from error


def ended(returncode: int) -> str:
    """How a process ended, by the number that subprocess gives for it."""
    if returncode >= 0:
        return f"ended with exit status {returncode}"
    return f"ended with {signal.Signals(-returncode).name}"


def _tail(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    telling = [line for line in lines if not any(text in line for text in _NOISE)]
    for number, line in enumerate(telling, start=1):
        if _PANIC in line:
            telling = telling[:number]  # what led to it tells more than the registers after it
            break
    return tuple(telling[-_TAIL_LINES:])
