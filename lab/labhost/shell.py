"""A root shell in the lab host, on the user's terminal, until Ctrl-]."""

from __future__ import annotations

import os
import select
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from lab.errors import UsageError

_END = b"\x1d"  # Ctrl-], as in telnet(1) and virsh console


def bridge(shell: socket.socket, keyboard: IO[str], screen: IO[str]) -> bool:
    """Join the terminal with the shell's socket until Ctrl-] or the end of either.

    Returns whether the shell's side ended, as it does with the lab host. Raises UsageError when
    ``keyboard`` is no terminal.
    """
    if not keyboard.isatty():
        raise UsageError("a shell needs a terminal", hint="use `lab run` for what runs by itself")
    shell.settimeout(None)
    with _raw(keyboard.fileno()):
        # The console does not know the terminal's size (nor do some terminals: then it is 0); the
        # new line brings a prompt.
        size = os.get_terminal_size(keyboard.fileno())
        known = f"stty rows {size.lines} cols {size.columns}" if size.lines else ""
        if not _said(shell, f"{known}\n".encode()):
            return True
        return _copy(shell, keyboard.fileno(), screen.fileno())


def _copy(shell: socket.socket, keyboard: int, screen: int) -> bool:
    while True:
        readable, _, _ = select.select([shell.fileno(), keyboard], [], [])
        if shell.fileno() in readable:
            output = _heard(shell)
            if not output:
                return True
            _write_all(screen, output)
        if keyboard in readable:
            keys = os.read(keyboard, 4096)
            if not _said(shell, keys.split(_END, 1)[0]):
                return True
            if not keys or _END in keys:
                return False


def _heard(shell: socket.socket) -> bytes:
    """What came; nothing where the other side has ended, even with keys of ours unread."""
    try:
        return shell.recv(65536)
    except ConnectionResetError:
        return b""


def _said(shell: socket.socket, keys: bytes) -> bool:
    """Whether there is still somebody to hear it."""
    try:
        shell.sendall(keys)
    except ConnectionError:
        return False
    return True


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """The terminal in raw mode: every key goes inside, Ctrl-C too."""
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        # A terminal whose window was closed is hung up: it has no mode to give back (EIO).
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
