"""The lab's end of the channel to the warm server in the lab host."""

from __future__ import annotations

import io
import math
import secrets
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lab.errors import StartError
from lab.labhost.frames import Message, encode, read_frame
from lab.labhost.process import Running

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_SAY_SECONDS = 5.0


class _Wire(io.RawIOBase):
    """The socket as a raw stream whose reads end at ``deadline`` (time.monotonic)."""

    def __init__(self, sock: socket.socket, qemu: Running) -> None:
        self._sock = sock
        self._qemu = qemu
        self.deadline = math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        left = self.deadline - time.monotonic()
        self._sock.settimeout(None if left == math.inf else max(left, 0.001))
        try:
            return self._sock.recv_into(buffer)
        except TimeoutError as error:
            raise self._qemu.failure("no answer from inside in time") from error
        except ConnectionResetError:
            return 0


class Channel:
    """Frames to and from the server, one call at a time.

    A QEMU that dies closes its end of the socket: no wait outlives it.
    """

    def __init__(self, sock: socket.socket, qemu: Running) -> None:
        self._sock = sock
        self._qemu = qemu
        self._wire = _Wire(sock, qemu)
        self._reader = io.BufferedReader(self._wire)
        self._calls = 0

    def hello(self, seconds: float) -> Message:
        """The server's answer to a hello, waited for up to ``seconds``.

        It may be sent before the server is there: QEMU takes nothing off the socket until the
        guest has opened its port. Raises StartError.
        """
        deadline = time.monotonic() + seconds
        nonce = secrets.token_hex(8)
        self._send({"kind": "hello", "nonce": nonce}, b"", seconds)
        while True:
            message, _ = self._receive(deadline)
            if message.get("kind") == "hello" and message.get("nonce") == nonce:
                return message

    def warm(self, module: str, code: bytes, seconds: float) -> None:
        """Import ``module`` out of the zip ``code`` in the server, for later calls with that code.

        Raises StartError as `call` does.
        """
        self._calls += 1
        self._send({"kind": "warm", "id": self._calls, "module": module}, code, seconds)
        for _ in self.replies(module, seconds):
            pass

    def call(
        self, entry: str, argument: dict[str, Any], code: bytes, seconds: float
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Run ``entry`` ("module:function") inside, out of the zip ``code``; yield its events.

        ``seconds`` is the longest silence between two frames. Raises StartError when QEMU dies or
        is silent for longer, or with the traceback when the entry ends with one.
        """
        self._calls += 1
        header = {"kind": "call", "id": self._calls, "entry": entry, "argument": argument}
        self._send(header, code, seconds)
        yield from self.replies(entry, seconds)

    def rejoin(self, call: int, seconds: float) -> None:
        """Take up call number ``call`` of an earlier life, which rests, and see that it answers.

        What it is told next is what `say` says, and `replies` has what it answers. Raises
        StartError.
        """
        self._calls = call
        self.say("")
        next(self.replies("the call that rests", seconds))

    @property
    def calls(self) -> int:
        """The number of the last call."""
        return self._calls

    def say(self, word: str) -> None:
        """Send a line to the call that runs. Only one that waits for it may be told: what it does
        not read, the server takes for a message. Raises StartError."""
        self._sock.settimeout(_SAY_SECONDS)
        try:
            self._sock.sendall(f"{word}\n".encode())
        except (TimeoutError, ConnectionError) as error:
            raise self._qemu.failure("the channel takes nothing") from error

    def replies(self, what: str, seconds: float) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The further events of the last call, until its end; see `call`."""
        while True:
            message, attachment = self._receive(time.monotonic() + seconds)
            if message.get("id") != self._calls:
                continue
            if message["kind"] == "end":
                _raise_error(what, message)
                return
            yield message["event"], attachment

    def _send(self, message: Message, attachment: bytes, seconds: float) -> None:
        self._sock.settimeout(None if seconds == math.inf else seconds)
        try:
            self._sock.sendall(encode(message, attachment))
        except (TimeoutError, ConnectionError) as error:
            raise self._qemu.failure("the channel takes nothing") from error

    def _receive(self, deadline: float) -> tuple[Message, bytes]:
        self._wire.deadline = deadline
        try:
            return read_frame(self._reader)
        except EOFError as error:
            raise self._qemu.failure(str(error)) from error


def _raise_error(what: str, end: Message) -> None:
    if end["status"] != 0:
        trace = end["error"].strip()
        last = trace.splitlines()[-1] if trace else "it said nothing"
        raise StartError(f"{what} failed inside: {last}", output=trace)
