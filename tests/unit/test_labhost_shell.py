"""The user's terminal joined with a lab host's shell."""

from __future__ import annotations

import os
import pty
import socket
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from lab.errors import UsageError
from lab.labhost.shell import bridge

SECONDS = 10.0


@dataclass
class Session:
    """A terminal (``window`` is the emulator's end of it) and the lab host's end of the shell."""

    window: int
    terminal: IO[str]
    inside: socket.socket
    shell: socket.socket

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.window)
        self.window = -1

    def mode(self) -> list[object]:
        return termios.tcgetattr(self.terminal.fileno())


@pytest.fixture
def session() -> Iterator[Session]:
    window, slave = pty.openpty()
    shell, inside = socket.socketpair()
    inside.settimeout(SECONDS)
    with os.fdopen(slave) as terminal, shell, inside:
        made = Session(window, terminal, inside, shell)
        yield made
        if made.window >= 0:
            made.hang_up()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_keys_and_output_pass_and_the_terminal_is_given_back(
    session: Session, pool: ThreadPoolExecutor
) -> None:
    before = session.mode()
    bridged = pool.submit(bridge, session.shell, session.terminal, session.terminal)
    assert session.inside.recv(100) == b"\n"
    assert session.mode() != before
    os.write(session.window, b"id\x03")
    assert session.inside.recv(100) == b"id\x03"
    session.inside.sendall(b"uid=0")
    assert os.read(session.window, 100) == b"uid=0"
    os.write(session.window, b"x\x1dy")
    assert not bridged.result(SECONDS)
    assert session.inside.recv(100) == b"x"
    assert session.mode() == before


@pytest.mark.parametrize("end", ["window", "lab host"])
def test_it_ends_when_either_end_does(session: Session, pool: ThreadPoolExecutor, end: str) -> None:
    bridged = pool.submit(bridge, session.shell, session.terminal, session.terminal)
    assert session.inside.recv(100) == b"\n"
    if end == "window":
        session.hang_up()
    else:
        session.inside.close()
    assert bridged.result(SECONDS) is (end == "lab host")


def test_a_lab_host_that_dies_with_keys_unread_has_ended(
    session: Session, pool: ThreadPoolExecutor
) -> None:
    """As QEMU does that is killed: the socket is reset."""
    bridged = pool.submit(bridge, session.shell, session.terminal, session.terminal)
    assert session.inside.recv(1, socket.MSG_PEEK) == b"\n"
    session.inside.close()
    assert bridged.result(SECONDS)


def test_keys_that_nobody_takes_end_it(session: Session) -> None:
    session.inside.close()
    assert bridge(session.shell, session.terminal, session.terminal)


def test_what_is_no_terminal_is_refused(session: Session) -> None:
    with Path(os.devnull).open() as nothing, pytest.raises(UsageError, match="needs a terminal"):
        bridge(session.shell, nothing, session.terminal)
