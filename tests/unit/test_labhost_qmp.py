"""QMP behind a blocking face, against a small real server on a real socket pair."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.errors import StartError
from lab.qmp import Qmp, RefusedError

GREETING = {
    "QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 13}}, "capabilities": []}
}
EVENT_TIME = {"timestamp": {"seconds": 1, "microseconds": 2}}


class Server:
    """Says what QEMU would; ``die`` ends the connection instead of an answer, ``mute`` is mute."""

    def __init__(self, client: socket.socket, sock: socket.socket) -> None:
        self.client = client
        self.sock = sock
        self.fds: list[int] = []
        self.thread = threading.Thread(target=self.run)

    def send(self, message: Mapping[str, object]) -> None:
        self.sock.sendall(json.dumps(message).encode() + b"\r\n")

    def event(self, name: str, **data: object) -> None:
        self.send({"event": name, "data": data, **EVENT_TIME})

    def run(self) -> None:
        self.send(GREETING)
        decoder, text = json.JSONDecoder(), ""
        with suppress(OSError):
            while True:
                part, fds, _, _ = socket.recv_fds(self.sock, 4096, 1)
                if not part:
                    return
                self.fds += fds
                # A blank carries the descriptors.
                text += part.decode().lstrip()
                # qemu.qmp ends no line: a command is whole when it parses.
                while text:
                    try:
                        command, end = decoder.raw_decode(text)
                    except ValueError:
                        break
                    text = text[end:].lstrip()
                    self.answer(command)

    def answer(self, command: Mapping[str, object]) -> None:
        name, number = command["execute"], command.get("id")
        if name == "die":
            self.sock.shutdown(socket.SHUT_RDWR)
        elif name == "bad":
            self.send({"error": {"class": "CommandNotFound", "desc": "no bad"}, "id": number})
        elif name != "mute":
            self.send({"return": {"name": name, "got": command.get("arguments")}, "id": number})


@pytest.fixture
def server() -> Iterator[Server]:
    ours, theirs = socket.socketpair()
    server = Server(ours, theirs)
    server.thread.start()
    yield server
    with suppress(OSError):
        theirs.shutdown(socket.SHUT_RDWR)
    server.thread.join(timeout=10)
    theirs.close()
    ours.close()


@pytest.fixture
def qmp(server: Server) -> Iterator[Qmp]:
    with Qmp(server.client, "guest") as qmp:
        yield qmp


def test_command_returns_its_value(qmp: Qmp) -> None:
    answer = qmp.execute("query-status", {"a": [1]})
    assert answer == {"name": "query-status", "got": {"a": [1]}}


def test_refusal_keeps_the_class(qmp: Qmp) -> None:
    with pytest.raises(RefusedError, match="guest: QEMU refused bad: no bad") as caught:
        qmp.execute("bad")
    assert caught.value.kind == "CommandNotFound"
    qmp.execute("goes-on")


def test_death_during_a_command_is_told_at_once(qmp: Qmp) -> None:
    began = time.monotonic()
    with pytest.raises(StartError, match="guest: QEMU closed its QMP connection during die"):
        qmp.execute("die", timeout=60)
    assert time.monotonic() - began < 10
    with pytest.raises(StartError, match="closed its QMP connection during query-status"):
        qmp.execute("query-status")


def test_silence_ends_at_the_deadline(qmp: Qmp) -> None:
    with pytest.raises(StartError, match="did not answer mute within"):
        qmp.execute("mute", timeout=0.1)
    qmp.execute("goes-on")


def test_an_open_file_goes_over_under_a_name(server: Server, qmp: Qmp, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        qmp.give_fd("net0q0", file.fileno())
        (theirs,) = server.fds
        try:
            assert os.path.sameopenfile(file.fileno(), theirs)
            assert theirs != file.fileno()
        finally:
            os.close(theirs)
    qmp.execute("goes-on")


def test_event_that_came_before_is_found_and_handed_out_once(server: Server, qmp: Qmp) -> None:
    server.event("DEVICE_DELETED", device="a")
    server.event("DEVICE_DELETED", device="b")
    qmp.execute("after-the-events")
    data = qmp.wait_event("DEVICE_DELETED", 10, lambda data: data["device"] == "b")
    assert data == {"device": "b"}
    assert qmp.wait_event("DEVICE_DELETED", 10) == {"device": "a"}


def test_event_is_waited_for(server: Server, qmp: Qmp) -> None:
    timer = threading.Timer(0.1, server.event, ["RESUME"])
    timer.start()
    assert qmp.wait_event("RESUME", 10) == {}
    timer.join()


def test_missing_event_tells_what_came_instead(server: Server, qmp: Qmp) -> None:
    server.event("STOP")
    qmp.execute("after-the-event")
    with pytest.raises(StartError, match=r"no RESUME event within 0 s \(events seen: STOP\)"):
        qmp.wait_event("RESUME", 0.1)


def test_death_while_waiting_for_an_event_is_told_at_once(server: Server, qmp: Qmp) -> None:
    server.sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(StartError, match="closed its QMP connection before RESUME"):
        qmp.wait_event("RESUME", 60)


def test_no_greeting_is_told() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        silent = Qmp(ours, "guest", timeout=0.1)
        with pytest.raises(StartError, match="did not answer greet"):
            silent.__enter__()


def test_end_before_the_greeting_is_told() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(StartError, match="guest"), Qmp(ours, "guest"):
        pass


class Interrupted(Qmp):
    """Ctrl-C comes once the other side has got ``words`` of ours, or at once.

    A real signal would now and then hit CPython's own locks, and prove nothing about ours.
    """

    def __init__(self, client: socket.socket, sock: socket.socket, words: int) -> None:
        super().__init__(client, "guest g")
        self.sock = sock
        self.words = words

    def _wait(self, work: Any, timeout: float, what: str) -> Any:
        asyncio.run_coroutine_threadsafe(self._attempt(work, timeout), self._loop)
        for _ in range(self.words):
            self.sock.recv(4096)
        raise KeyboardInterrupt


@pytest.mark.parametrize(("greeting", "words"), [("", 0), (json.dumps(GREETING) + "\r\n", 1)])
def test_an_interrupted_connection_leaves_no_word(
    greeting: str,
    words: int,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While QEMU has yet to greet, or to answer to what follows its greeting."""
    client, sock = socket.socketpair()
    with client, sock:
        sock.sendall(greeting.encode())
        with pytest.raises(KeyboardInterrupt), Interrupted(client, sock, words):
            pass
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]
    assert capfd.readouterr() == ("", "")


def test_nothing_is_left_running(server: Server) -> None:
    with Qmp(server.client, "guest"):
        assert "qmp guest" in {thread.name for thread in threading.enumerate()}
    assert "qmp guest" not in {thread.name for thread in threading.enumerate()}
