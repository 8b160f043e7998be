"""Numbered probes towards a guest at a fixed pace, whether or not it answers.

Whoever waits for an answer before the next probe does not see how long the path was dead. So a
thread sends ICMP echo requests open-loop; the guest's kernel answers, and captures at the wire and
at the standby's taps tell which answers came, in what order, and which way the guest sent them.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Interface

from lab.errors import StartError
from lab.evidence.migration import Announcement, StreamEvidence
from lab.host.fdb import FdbWatch
from lab.host.host import Host
from lab.plan.data import Direction, Facts, MigrationPlan, NicPlan
from lab.plan.where import HOST, WIRE
from lab.probe.capture import WITH_RARP, Frame, PacketCapture, open_capture
from lab.probe.frames import Ends, build, echo_request, source
from lab.probe.mark import MAGIC, Packet

_IDENTIFIER = 0x6C63
_SIZE = 98
_IP_END = 34
_RARP, _ARP = b"\x80\x35", b"\x08\x06"
_GRACE_SECONDS = 1.0
_PACE_SECONDS = 30.0
# The number has two bytes in the mark.
_NUMBERS = 1 << 16


class Stream:
    """Probes under way; ``captures`` are the wire's first, then one for each tap by its name."""

    def __init__(
        self,
        sock: socket.socket,
        ends: Ends,
        interval_ms: int,
        watch: FdbWatch,
        captures: dict[str, PacketCapture],
    ) -> None:
        self.captures = captures
        self._socket = sock
        self._ends = ends
        self._interval_ms = interval_ms
        self._watch = watch
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._sent = 0
        self._more = threading.Condition()

    def send(self) -> None:
        """Send until `stop`, never two probes closer together than the interval but for jitter."""
        try:
            self._send()
        except OSError as error:
            raise StartError(f"the tester cannot send: {error.strerror or error}") from error
        finally:
            self._ended.set()
            with self._more:
                self._more.notify_all()

    def _send(self) -> None:
        packet = Packet(0, "icmp", Direction.IN, _SIZE)
        head, rest = build(self._ends, packet)[:_IP_END], packet.payload[len(MAGIC) + 2 :]
        due = time.monotonic()
        for number in range(_NUMBERS):
            payload = MAGIC + number.to_bytes(2) + rest
            self._socket.send(head + echo_request(_IDENTIFIER, number, payload))
            self._watch.poll()
            with self._more:
                self._sent = number + 1
                self._more.notify_all()
            # Who comes late makes no burst of it: that would overflow queues on the way.
            due = max(due + self._interval_ms / 1000, time.monotonic())
            if self._stop.wait(due - time.monotonic()):
                return

    def pass_by(self, milliseconds: int) -> None:
        """Wait while as many probes are sent as belong to this time. Raises StartError."""
        with self._more:
            wanted = self._sent + milliseconds // self._interval_ms
            limit = _PACE_SECONDS + milliseconds / 1000
            self._more.wait_for(lambda: self._sent >= wanted or self._ended.is_set(), limit)
            if self._sent < wanted:
                raise StartError("the numbered probes were not sent in time")

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    def finish(self) -> StreamEvidence:
        """Stop; all that was seen until a moment after the last probe."""
        self.stop()
        self._ended.wait()
        wire = self.captures[WIRE]
        last = self._sent - 1
        wire.wait(
            lambda frame: frame.number == last and not frame.outgoing,
            time.monotonic() + _GRACE_SECONDS,
        )
        self._watch.poll()
        finished = [capture.finish() for capture in self.captures.values()]
        return StreamEvidence(
            interval_ms=self._interval_ms,
            sent=tuple(frame.time_ns for frame in wire.frames if self._asks(frame)),
            answers=tuple(_numbers(wire.frames, self._ends)),
            carried={
                name: tuple(_numbers(capture.frames, self._ends))
                for name, capture in self.captures.items()
                if name != WIRE
            },
            announcements=tuple(_announcements(wire.frames, self._ends)),
            fdb=tuple(self._watch.entries),
            drops=sum(capture.drops for capture in finished),
        )

    def _asks(self, frame: Frame) -> bool:
        return frame.number is not None and source(frame) == self._ends.tester.packed


@contextmanager
def open_stream(
    plan: MigrationPlan, nic: NicPlan, facts: Facts, host: Host, watch: FdbWatch
) -> Iterator[Stream]:
    """Probes flow until `Stream.finish`, or the end of the block."""
    with ExitStack() as stack:
        captures = {}
        with host.inside(WIRE):
            wire = open_capture(WIRE, device=facts.tester, program=WITH_RARP)
            captures[WIRE] = stack.enter_context(wire)
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        stack.enter_context(sock)
        sock.bind((facts.tester, 0))
        sock.settimeout(_PACE_SECONDS)
        with host.inside(HOST):
            for tap in plan.taps:
                opened = open_capture(tap, device=tap, program=WITH_RARP)
                captures[tap] = stack.enter_context(opened)
        stream = Stream(sock, _ends(sock, plan.peer, nic), plan.interval_ms, watch, captures)
        worker = stack.enter_context(ThreadPoolExecutor(1, "stream"))
        sending = worker.submit(stream.send)
        try:
            yield stream
        finally:
            stream.stop()
            sending.result()


def _ends(sock: socket.socket, peer: str, nic: NicPlan) -> Ends:
    return Ends(
        tester_mac=sock.getsockname()[4].hex(":"),
        tester=IPv4Interface(peer).ip,
        guest_mac=nic.mac,
        guest=IPv4Interface(nic.address).ip,
    )


def _numbers(frames: Iterable[Frame], ends: Ends) -> Iterator[tuple[int, int]]:
    """Number and time of each answer that came from the guest."""
    for frame in frames:
        number = frame.number
        if number is not None and not frame.outgoing and source(frame) == ends.guest.packed:
            yield number, frame.time_ns


def _announcements(frames: Iterable[Frame], ends: Ends) -> Iterator[Announcement]:
    """RARP of QEMU, and ARP in which the guest asks for itself (RFC 5227, section 3)."""
    mac = bytes.fromhex(ends.guest_mac.replace(":", ""))
    for frame in frames:
        if frame.outgoing or frame.data[6:12] != mac:
            continue
        if frame.data[12:14] == _RARP:
            yield Announcement(time_ns=frame.time_ns, kind="rarp")
        elif frame.data[12:14] == _ARP and frame.data[28:32] == frame.data[38:42]:
            yield Announcement(time_ns=frame.time_ns, kind="arp")
