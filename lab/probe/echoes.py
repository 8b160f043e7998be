"""ICMP echoes, each after the answer to the last, at due times, or as many as possible.

The guest's kernel answers by itself, so nothing has to run there.
"""

from __future__ import annotations

import errno
import itertools
import select
import socket
import struct
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from lab.probe.frames import Ends, echo_request

_PATIENCE_NS = 3_000_000_000
# After a flood, which is at least as long: all of it is on its way at most.
_LOST_NS = 500_000_000
_IDENTIFIER = 0x6C62
_SOL_RAW = 255
_ICMP_FILTER = 1
_ECHO_REPLY = 0
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_IP = 20
_LONGEST = 65535
_TIMESPEC = struct.Struct("=qq")
_HEADERS = 42
"""Ethernet 14, IP 20, ICMP 8."""
SMALLEST = 60
"""The smallest Ethernet frame, without the FCS."""
ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size)
"""Room for a packet's stamp."""
# The kernel charges a frame with about 2.3 KiB of it.
_RECEIVE_BUFFER = 16 << 20


@dataclass(frozen=True)
class Sent:
    """What became of echoes that were sent at due times.

    Those that were answered have a time since they were due, and one since they were sent.
    """

    sent: int
    since_due_ns: tuple[int, ...]
    since_sent_ns: tuple[int, ...]


@dataclass(frozen=True)
class Flood:
    """``seconds`` is how long sending took; ``refused`` did not fit into the tester's own queue."""

    answered: int
    refused: int
    seconds: float


def open_icmp(ends: Ends) -> socket.socket:
    """A raw ICMP socket in the calling thread's namespace that gets the guest's echo replies."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    # The bits are the types that are not wanted (raw(7)).
    unwanted = 0xFFFFFFFF & ~(1 << _ECHO_REPLY)
    sock.setsockopt(_SOL_RAW, _ICMP_FILTER, unwanted.to_bytes(4, "little"))
    keep_stamps(sock)
    sock.bind((str(ends.tester), 0))
    sock.connect((str(ends.guest), 0))
    return sock


def keep_stamps(sock: socket.socket) -> None:
    """Let a socket hold many packets, each with the time at which the kernel received it."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


class Echoes:
    """Sends on a socket of `open_icmp`; frames have ``size`` bytes without the FCS."""

    def __init__(self, sock: socket.socket, size: int = SMALLEST) -> None:
        self._socket = sock
        self._size = size
        self._numbers = itertools.count()

    def trip(self) -> int | None:
        """Nanoseconds of one round trip, None where no answer came."""
        (request,) = self._requests(1)
        began = time.time_ns()
        self._send(request)
        came = self._answers({request[4:]}, began + _PATIENCE_NS, 1)
        return next(iter(came.values())) - began if came else None

    def at_due_times(self, number: int, pause_ns: int) -> Sent:
        """Send one every ``pause_ns``, whether or not the ones before were answered."""
        due: dict[bytes, int] = {}
        left: dict[bytes, int] = {}
        came: dict[bytes, int] = {}
        wanted = time.time_ns()
        for request in self._requests(number):
            echo, wanted = request[4:], wanted + pause_ns
            came |= self._answers(due.keys(), wanted, None)
            due[echo], left[echo] = wanted, time.time_ns()
            self._send(request)
        open_ = due.keys() - came.keys()
        came |= self._answers(open_, time.time_ns() + _PATIENCE_NS, len(open_))
        return Sent(
            sent=number,
            since_due_ns=tuple(stamp - due[echo] for echo, stamp in came.items()),
            since_sent_ns=tuple(stamp - left[echo] for echo, stamp in came.items()),
        )

    def flood(self, number: int, pause_ns: int) -> Flood:
        """Send one every ``pause_ns``, or as fast as possible; look for answers afterwards only."""
        requests = self._requests(number)
        refused, began = 0, time.monotonic_ns()
        due = began
        for request in requests:
            if (left := due - time.monotonic_ns()) > 0:
                select.select([], [], [], left / 1e9)
            refused += not self._send(request)
            due += pause_ns
        seconds = (time.monotonic_ns() - began) / 1e9
        open_ = {request[4:] for request in requests}
        came = self._answers(open_, time.time_ns() + _LOST_NS, len(open_))
        return Flood(len(came), refused, seconds)

    def rest(self, pause_ns: int) -> None:
        """Do nothing for a while; what comes meanwhile is dropped."""
        self._answers((), time.time_ns() + pause_ns, None)

    def _send(self, request: bytes) -> bool:
        """Whether it left; what finds the device's queue full is lost like any other."""
        try:
            self._socket.send(request)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return False
        return True

    def _requests(self, number: int) -> list[bytes]:
        payload = bytes(self._size - _HEADERS)
        return [
            echo_request(_IDENTIFIER, next(self._numbers) & 0xFFFF, payload) for _ in range(number)
        ]

    def _answers(
        self, wanted: Collection[bytes], until_ns: int, enough: int | None
    ) -> dict[bytes, int]:
        """Answers that came, with the kernel's stamps; at once when there are ``enough``."""
        came: dict[bytes, int] = {}
        while enough is None or len(came) < enough:
            left = (until_ns - time.time_ns()) / 1e9
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                break
            data, ancillary, _, _ = self._socket.recvmsg(_LONGEST, ANCILLARY)
            if (echo := data[_IP + 4 :]) in wanted:
                came[echo] = stamp(ancillary)
        return came


def stamp(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """When the kernel received it, in nanoseconds of CLOCK_REALTIME (SO_TIMESTAMPNS)."""
    (stamp,) = (value for _level, kind, value in ancillary if kind == _SO_TIMESTAMPNS)
    seconds, nanoseconds = _TIMESPEC.unpack(stamp)
    return int(seconds * 1_000_000_000 + nanoseconds)
