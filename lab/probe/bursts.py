"""Bursts that the guest sends: its kernel's packet generator hands 64 packets over at once.

Packets of one burst have one sequence number, so the tester knows which burst each belongs to, and
the kernel's stamps tell when one ended and the next began, however late the tester looks. See
Documentation/networking/pktgen.rst.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lab.errors import CannotError
from lab.probe.echoes import ANCILLARY, SMALLEST, keep_stamps, stamp
from lab.probe.frames import Ends
from lab.probe.lane import Lane

BURST = 64
PORT = 7009
_LONGEST = 2048
# Magic and sequence number, net/core/pktgen.c.
_HEADER = struct.Struct("!II")
_MAGIC = 0xBE9BE955
# From one burst to the next. A guest of a guest under emulation needs some 8 ms for one, more on a
# busy machine: what follows its last packet is to be over before the next one is announced.
_PAUSE_NS = 40_000_000
# Seconds for the first packet to come, and for each after it.
_PATIENCE = (3.0, 1.5)

_PREPARE = """
set -e
c=/proc/net/pktgen
modprobe pktgen
echo rem_device_all >$c/kpktgend_0
echo "add_device {device}" >$c/kpktgend_0
for each in "burst {burst}" "delay {pause}" "pkt_size {size}" \\
  "dst_mac {mac}" "dst_min {peer}" "dst_max {peer}" "src_min {own}" "src_max {own}" \\
  "udp_src_min {port}" "udp_src_max {port}" "udp_dst_min {port}" "udp_dst_max {port}"
do
  echo "$each" >$c/{device} || {{ echo "pktgen: $each" >&2; exit 1; }}
done
"""
# The guest has come to rest when the first leaves: what it did to start this is no packet's cost.
_START = """
c=/proc/net/pktgen
echo "count {count}" >$c/{device}
{{ sleep {delay}; echo start >$c/pgctrl; }} </dev/null >/dev/null 2>&1 &
"""


@dataclass(frozen=True)
class Burst:
    """One burst as it came to the tester: CLOCK_MONOTONIC of its first and last packet."""

    first_ns: int
    last_ns: int
    packets: int


def open_sink(ends: Ends) -> socket.socket:
    """A socket in the calling thread's namespace that gets what the guest sends in bursts."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    keep_stamps(sock)
    sock.bind((str(ends.tester), PORT))
    return sock


def start(lane: Lane, bursts: int, delay: float) -> None:
    """Let the guest send so many bursts, beginning after so many seconds. Raises CannotError."""
    prepare = _PREPARE.format(
        device=lane.nic.device,
        burst=BURST,
        pause=_PAUSE_NS,
        size=SMALLEST,
        mac=lane.ends.tester_mac,
        peer=lane.ends.tester,
        own=lane.ends.guest,
        port=PORT,
    )
    _run(lane, prepare + _start(lane, bursts, delay))


def again(lane: Lane, bursts: int, delay: float) -> None:
    """The same once more, after `start`. Raises CannotError."""
    _run(lane, _start(lane, bursts, delay))


def receive(sock: socket.socket, bursts: int) -> tuple[Burst, ...]:
    """All that came, in order, when it is so many bursts, or nothing has come for too long."""
    # The kernel stamps packets by CLOCK_REALTIME.
    offset = time.monotonic_ns() - time.time_ns()
    stamps: dict[int, list[int]] = {}
    first, next_ = _PATIENCE
    deadline = time.monotonic() + first
    while sum(map(len, stamps.values())) < bursts * BURST and _more(sock, deadline):
        data, ancillary, _, _ = sock.recvmsg(_LONGEST, ANCILLARY)
        if len(data) >= _HEADER.size and (header := _HEADER.unpack_from(data))[0] == _MAGIC:
            stamps.setdefault(header[1], []).append(stamp(ancillary) + offset)
            deadline = time.monotonic() + next_
    select.select([], [], [], _PAUSE_NS / 1e9)  # the last one's time ends
    return tuple(Burst(min(each), max(each), len(each)) for each in stamps.values())


def spans(bursts: Sequence[Burst], since_ns: int) -> tuple[tuple[int, int], ...]:
    """From when until when each whole burst but the first was all that happened.

    Those are left out of which anything may have been before ``since_ns``. A burst is prepared
    and announced before its first packet comes, and has its interrupts after its last one.
    """
    begins = [
        before.last_ns + (after.first_ns - before.last_ns) // 2
        for before, after in itertools.pairwise(bursts)
    ]
    ends = [*begins[1:], bursts[-1].last_ns + _PAUSE_NS // 2] if begins else []
    return tuple(
        (began, ended)
        for began, ended, burst in zip(begins, ends, bursts[1:], strict=True)
        if burst.packets == BURST and began > since_ns
    )


def _start(lane: Lane, bursts: int, delay: float) -> str:
    return _START.format(device=lane.nic.device, count=bursts * BURST, delay=delay)


def _run(lane: Lane, script: str) -> None:
    ran = lane.guest.run(script)
    if ran.returncode:
        why = " ".join(ran.err.split()) or f"status {ran.returncode}"
        raise CannotError(f"the guest cannot send bursts: {why}")


def _more(sock: socket.socket, deadline: float) -> bool:
    return bool(select.select([sock], [], [], max(deadline - time.monotonic(), 0))[0])
