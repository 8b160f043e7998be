"""How often the guest stops for its packets: exits to QEMU and to KVM, by reason.

KVM's own tracepoints on the vCPU threads, over a window of plain round trips; the same without a
packet is subtracted, for a guest's timers and QEMU's housekeeping stop it too. A kick that ends in
an ioeventfd is an exit to KVM only; a register that QEMU plays is one to QEMU as well.

The window is cut into blocks, of which only the middle ones count: the driver of another NIC may
read all of its registers once in two seconds (e1000's watchdog), which is nobody's packet.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections import Counter

from lab.errors import CannotError
from lab.evidence import ExitsEvidence
from lab.plan.data import ProbePlan
from lab.probe.carrier import round_trips
from lab.probe.lane import Guest
from lab.probe.trace import Tracing, open_tracing

_EVENTS = ("kvm/kvm_exit", "kvm/kvm_userspace_exit")
# "restart": a signal called the vCPU out for a moment, nothing of the guest's was served.
_TO_QEMU = re.compile(r": kvm_userspace_exit: reason (KVM_EXIT_\w+) ")
_TO_KVM = re.compile(r": kvm_exit: (?:vcpu \d+ )?reason (\w+) ")
_BLOCKS = 10
_OF_A_BLOCK = 10
_LEFT_OUT = 2
"""Blocks at each end of their order by exits to QEMU."""
_MARK = "the end of a block"

_Exits = tuple[Counter[str], Counter[str]]
_NONE: _Exits = (Counter(), Counter())


def observe_exits(probe: ProbePlan, guest: Guest, sock: socket.socket) -> ExitsEvidence:
    """Count over some ICMP round trips on ``sock`` (see `open_icmp`).

    Nobody may use the guest agent or QMP meanwhile. What cannot be counted is named in ``missing``.
    """
    kvm = guest.evidence().accelerator == "kvm"
    busy, idle, done, missing = _NONE, _NONE, 0, []
    if kvm:
        try:
            with open_tracing() as tracing:
                _watch(tracing, guest)
                done, seconds, busy = _busy(tracing, sock)
                idle = _idle(tracing, sock, seconds)
        except CannotError as error:
            missing.append(error.message)
        if done < _BLOCKS * _OF_A_BLOCK and not missing:
            missing.append(f"echo {done + 1} of {_BLOCKS * _OF_A_BLOCK} was not answered")
    return ExitsEvidence(
        guest=probe.guest,
        nic=probe.nic,
        kvm=kvm,
        round_trips=(_BLOCKS - 2 * _LEFT_OUT) * _OF_A_BLOCK if kvm and not missing else 0,
        to_qemu=dict(busy[0] - idle[0]),
        to_kvm=dict(busy[1] - idle[1]),
        missing=tuple(missing),
    )


def _watch(tracing: Tracing, guest: Guest) -> None:
    vcpus = [cpu["thread-id"] for cpu in guest.qmp.execute("query-cpus-fast")]
    condition = " || ".join(f"common_pid == {tid}" for tid in vcpus)
    for event in _EVENTS:
        tracing.select(event, condition)


def _busy(tracing: Tracing, sock: socket.socket) -> tuple[int, float, _Exits]:
    """Round trips that were answered, how long they took, and the exits of the middle blocks."""
    tracing.start()
    began = time.monotonic()
    done = 0
    for _ in range(_BLOCKS):
        done += round_trips(sock, _OF_A_BLOCK)
        tracing.mark(_MARK)
    seconds = time.monotonic() - began
    tracing.stop()
    return done, seconds, middle(tracing.text())


def _idle(tracing: Tracing, sock: socket.socket, seconds: float) -> _Exits:
    """The same of as long a time in which no packet is sent; nothing comes on the socket then."""
    tracing.clear()
    tracing.start()
    for _ in range(_BLOCKS):
        select.select([sock], [], [], seconds / _BLOCKS)
        tracing.mark(_MARK)
    tracing.stop()
    return middle(tracing.text())


def middle(trace: str) -> _Exits:
    """The exits of the middle blocks of a trace, to QEMU and to KVM, by reason."""
    blocks = sorted(map(exits, trace.split(_MARK)[:-1]), key=lambda each: each[0].total())
    kept = blocks[_LEFT_OUT : len(blocks) - _LEFT_OUT]
    return (
        sum((each for each, _ in kept), Counter[str]()),
        sum((each for _, each in kept), Counter[str]()),
    )


def exits(trace: str) -> _Exits:
    """Exits to QEMU and to KVM by reason, from the lines of a trace."""
    return Counter(_TO_QEMU.findall(trace)), Counter(_TO_KVM.findall(trace))
