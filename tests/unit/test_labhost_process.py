"""A started program: never outlives us, and its death is told in full."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import CannotError
from lab.labhost.process import Program, guarded, running

PATH = {"PATH": os.environ["PATH"]}


def program(folder: Path, *argv: str) -> Program:
    return Program("lab host", argv, PATH, folder / "console.log", folder / "stderr.log")


def test_early_death_tells_status_command_and_last_words(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text("Run /init\nKernel panic - not syncing: x\nRAX: 0\n")
    script = "echo 'q: warning: TCG doesn'\"'\"'t support requested feature: y' >&2; echo z >&2"
    with running(program(tmp_path, "sh", "-c", f"{script}; exit 7"), []) as started:
        failure = started.failure("the channel ended")
    assert failure.message == "lab host: QEMU ended with exit status 7: the channel ended"
    assert failure.returncode == 7
    assert failure.argv[:2] == ("sh", "-c")
    assert failure.output == "z\nRun /init\nKernel panic - not syncing: x"


def test_death_by_signal_is_named(tmp_path: Path) -> None:
    with running(program(tmp_path, "sh", "-c", "kill -SEGV $$"), []) as started:
        assert "QEMU ended with SIGSEGV" in started.failure("gone").message


def test_living_program_is_not_called_dead(tmp_path: Path) -> None:
    with running(program(tmp_path, "sleep", "1000"), []) as started:
        failure = started.failure("no answer")
    assert failure.message == "lab host: no answer"
    assert failure.returncode is None


def test_program_is_gone_after_the_block(tmp_path: Path) -> None:
    with running(program(tmp_path, "sleep", "1000"), []) as started:
        os.kill(started.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


SAY = "import os, sys, time; os.write(int(sys.argv[1]), b'up\\n'); time.sleep(1000)"


def test_only_named_fds_are_inherited_and_the_session_is_its_own(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    argv = (sys.executable, "-c", SAY, str(fd))
    with ours, theirs, running(program(tmp_path, *argv), [fd]) as started:
        ours.settimeout(10)
        assert ours.recv(10) == b"up\n"
        fds = {int(entry.name) for entry in Path(f"/proc/{started.pid}/fd").iterdir()}
        assert fds == {0, 1, 2, fd}
        assert os.getsid(started.pid) == started.pid


def test_missing_program_is_told(tmp_path: Path) -> None:
    missing = Program("lab host", ("x",), {"PATH": "/nonexistent"}, tmp_path, tmp_path / "stderr")
    with pytest.raises(CannotError, match="cannot start setpriv"), running(missing, []):
        pass


def test_child_of_another_parent_gives_up() -> None:
    argv = list(guarded(["echo", "started"]))
    argv[argv.index(str(os.getpid()))] = "1"
    done = subprocess.run(argv, capture_output=True, check=False, timeout=10)
    assert (done.returncode, done.stdout) == (1, b"")


LAB = """
from pathlib import Path
import sys, time
from lab.labhost.process import Program, running
fd, folder, *argv = sys.argv[1:]
program = Program("x", (*argv, fd), {}, Path("console"), Path(folder, "stderr.log"))
with running(program, [int(fd)]):
    time.sleep(1000)
"""


def test_sigkill_of_the_lab_ends_the_program(tmp_path: Path) -> None:
    """The program holds one end of a socket pair; that it is gone is seen as end of file."""
    ours, theirs = socket.socketpair()
    inner = (sys.executable, "-c", SAY)
    lab = subprocess.Popen(
        [sys.executable, "-c", LAB, str(theirs.fileno()), str(tmp_path), *inner],
        pass_fds=[theirs.fileno()],
        cwd=Path(__file__).parents[2],
    )
    with ours:
        theirs.close()
        ours.settimeout(10)
        try:
            assert ours.recv(10) == b"up\n"
        finally:
            lab.kill()
            lab.wait(timeout=10)
        assert ours.recv(10) == b""
