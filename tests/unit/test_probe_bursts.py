"""Bursts of the guest as they come to the tester, and the windows that they make."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lab.errors import CannotError
from lab.probe.bursts import BURST, Burst, receive, spans, start
from lab.probe.echoes import keep_stamps

MS = 1_000_000


def burst(first_ms: int, packets: int = BURST) -> Burst:
    return Burst(first_ms * MS, (first_ms + 2) * MS, packets)


def test_a_window_begins_between_the_burst_before_and_its_own() -> None:
    assert spans((burst(0), burst(40), burst(80)), 0) == (
        (21 * MS, 61 * MS),
        (61 * MS, 102 * MS),
    )


def test_a_burst_that_is_not_whole_makes_no_window() -> None:
    assert spans((burst(0), burst(40, BURST - 1), burst(80)), 0) == ((61 * MS, 102 * MS),)


def test_what_began_before_all_were_in_order_makes_no_window() -> None:
    assert spans((burst(0), burst(40), burst(80)), 21 * MS) == ((61 * MS, 102 * MS),)
    assert spans((burst(0),), 0) == ()
    assert spans((), 0) == ()


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        keep_stamps(sock)
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.mark.skipif(os.geteuid() != 0, reason="a large receive buffer is root's to have")
def test_packets_are_told_apart_by_their_burst_and_others_do_not_count(sink: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(bytes(18), sink.getsockname())
        for number in (1, 1 + BURST):
            packet = struct.pack("!II", 0xBE9BE955, number) + bytes(10)
            for _ in range(BURST):
                sender.sendto(packet, sink.getsockname())
    first, second = receive(sink, 2)
    assert (first.packets, second.packets) == (BURST, BURST)
    assert 0 < first.first_ns <= first.last_ns <= second.first_ns


def test_a_guest_that_cannot_send_them_says_why() -> None:
    lane: Any = SimpleNamespace(
        nic=SimpleNamespace(device="eth0"),
        ends=SimpleNamespace(tester_mac="02:00:00:00:00:01", tester="10.0.0.1", guest="10.0.0.2"),
        guest=SimpleNamespace(
            run=lambda _: SimpleNamespace(returncode=1, raw=b"", err="pktgen: burst 64\n")
        ),
    )
    with pytest.raises(CannotError, match="cannot send bursts: pktgen: burst 64"):
        start(lane, 8, 0.05)
