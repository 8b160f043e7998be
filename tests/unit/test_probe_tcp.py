"""Bytes that go to and fro, and connections that break meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.errors import CannotError
from lab.probe.tcp import turns


def echo(sock: socket.socket) -> None:
    while byte := sock.recv(1):
        sock.sendall(byte)


def closed(sock: socket.socket) -> None:
    sock.recv(1)


def silent(sock: socket.socket) -> None:
    while sock.recv(1):
        pass


@contextmanager
def connected(peer: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """A connection whose peer closes its end when it is done."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs:
            peer(theirs)

    thread = threading.Thread(target=serve)
    thread.start()
    with ours:
        yield ours
    thread.join()


def test_turns_are_counted_for_their_time() -> None:
    with connected(echo) as sock:
        number, seconds = turns(sock)
    assert number > 0
    assert seconds >= 0.5


def test_a_guest_that_closes_is_told() -> None:
    with connected(closed) as sock, pytest.raises(CannotError, match="guest closed the connection"):
        turns(sock)


def test_a_guest_that_falls_silent_is_told() -> None:
    with connected(silent) as sock:
        sock.settimeout(0.05)
        with pytest.raises(CannotError, match="broke: timed out"):
            turns(sock)


def test_a_connection_that_is_gone_is_told() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(CannotError, match=r"broke: .*Broken pipe"):
        turns(ours)
