"""The QEMU guest agent's client: programs and files in the guest, never over the path under test.

One JSON object a line each way over a socketpair (docs/interop/qemu-ga.rst). A round trip costs 5
to 20 ms in a nested guest, so callers put what they have into one script.
"""

from __future__ import annotations

import base64
import itertools
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.errors import LabError, StartError
from lab.guest.process import Process

_POLL_SECONDS = (0.03, 0.15)
_CALL_SECONDS = 30.0


class AgentError(LabError):
    """The guest agent refused a command."""

    status = StartError.status


@dataclass(frozen=True)
class Result:
    """How a program in the guest ended; 128 + N where signal N ended it."""

    returncode: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.raw.decode(errors="replace")


class Agent:
    """One guest's agent. Every call raises StartError when the guest ends or stays silent.

    ``state`` tells of a silent guest where it stands.
    """

    def __init__(self, sock: socket.socket, process: Process, state: Callable[[], str]) -> None:
        self._sock = sock
        self._process = process
        self._state = state
        self._buffer = b""
        self._ids = itertools.count(1)

    def sync(self, seconds: float) -> None:
        """Wait for the agent's first answer.

        The request waits in the socket until the agent opens its port, so there is nothing to
        retry.
        """
        token = next(self._ids)
        self.call("guest-sync", {"id": token}, seconds)

    def call(
        self, command: str, arguments: Mapping[str, object], seconds: float = _CALL_SECONDS
    ) -> Any:
        """The return value of one command. Raises AgentError when the agent refuses it."""
        token = f"{command}-{next(self._ids)}"
        request = {"execute": command, "arguments": dict(arguments), "id": token}
        deadline = time.monotonic() + seconds
        self._send(json.dumps(request).encode() + b"\n")
        while (answer := self._answer(deadline, command, seconds)).get("id") != token:
            pass  # the late answer to a call that timed out
        if "error" in answer:
            raise AgentError(
                f"guest {self._process.name}: the guest agent refused {command}: "
                f"{answer['error'].get('desc')}"
            )
        return answer.get("return")

    def start(self, program: str | Sequence[str], data: bytes = b"") -> Background:
        """Start a program (a text is a shell script) with ``data`` as its standard input."""
        argv = ["/bin/sh", "-c", program] if isinstance(program, str) else list(program)
        arguments: dict[str, object] = {
            "path": argv[0],
            "arg": argv[1:],
            "capture-output": True,
        }
        if data:
            arguments["input-data"] = base64.b64encode(data).decode()
        pid = self.call("guest-exec", arguments)["pid"]
        return Background(self, self._process, pid, argv)

    def run(
        self, program: str | Sequence[str], deadline: float = _CALL_SECONDS, data: bytes = b""
    ) -> Result:
        """Run a program to its end, for at most ``deadline`` seconds."""
        return self.start(program, data).wait(deadline)

    def _send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except ConnectionError as error:
            raise self._closed() from error

    def _answer(self, deadline: float, command: str, seconds: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            if not self._process.wait_readable(self._sock.fileno(), deadline):
                what = f"the guest agent's answer to {command}"
                raise self._process.late(what, seconds, self._state())
            self._buffer += self._receive()
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _receive(self) -> bytes:
        try:
            data = self._sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""  # QEMU died with our request unread
        if not data:
            raise self._closed()
        return data

    def _closed(self) -> StartError:
        if self._process.wait_end(1.0):
            return self._process.ended()
        return StartError(f"guest {self._process.name}: QEMU closed the agent's channel")


class Background:
    """A program that runs in the guest."""

    def __init__(self, agent: Agent, process: Process, pid: int, argv: Sequence[str]) -> None:
        self.pid = pid
        self._agent = agent
        self._process = process
        self._argv = tuple(argv)

    def poll(self) -> Result | None:
        """How it ended, or None while it runs. The agent forgets it once this was told."""
        status = self._agent.call("guest-exec-status", {"pid": self.pid})
        if not status["exited"]:
            return None
        return Result(
            returncode=status.get("exitcode", 128 + status.get("signal", 0)),
            raw=base64.b64decode(status.get("out-data", "")),
            err=base64.b64decode(status.get("err-data", "")).decode(errors="replace"),
        )

    def wait(self, deadline: float) -> Result:
        """Wait for its end, at most ``deadline`` seconds. Raises StartError."""
        end = time.monotonic() + deadline
        # guest-exec-status never blocks and has no event: asking again is the only way. Each
        # question takes the guest's CPU from the program, so they come ever more slowly.
        pause, longest = _POLL_SECONDS
        while (result := self.poll()) is None:
            if time.monotonic() > end:
                raise StartError(
                    f"guest {self._process.name}: a program ran for {deadline:.0f} s",
                    argv=self._argv,
                )
            if self._process.wait_end(pause):
                raise self._process.ended()
            pause = min(pause * 1.6, longest)
        return result
