"""How often the guest stops for its packets: exits to QEMU and to KVM, by reason.

KVM's own tracepoints on the vCPU threads, over a window of plain round trips; the same without a
packet is subtracted, for a guest's timers and QEMU's housekeeping stop it too. A kick that ends in
an ioeventfd is an exit to KVM only; a register that QEMU plays is one to QEMU as well.
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
_ROUND_TRIPS = 100

_Exits = tuple[Counter[str], Counter[str]]


def observe_exits(probe: ProbePlan, guest: Guest, sock: socket.socket) -> ExitsEvidence:
    """Count over some ICMP round trips on ``sock`` (see `open_icmp`).

    Nobody may use the guest agent or QMP meanwhile. What cannot be counted is named in ``missing``.
    """
    kvm = guest.evidence().accelerator == "kvm"
    busy, idle, done, missing = Counter[str](), Counter[str](), 0, []
    to_kvm, idle_to_kvm = Counter[str](), Counter[str]()
    if kvm:
        try:
            with open_tracing() as tracing:
                _watch(tracing, guest)
                done, seconds, (busy, to_kvm) = _busy(tracing, sock)
                idle, idle_to_kvm = _idle(tracing, sock, seconds)
        except CannotError as error:
            missing.append(error.message)
        if done < _ROUND_TRIPS and not missing:
            missing.append(f"echo {done + 1} of {_ROUND_TRIPS} was not answered")
    return ExitsEvidence(
        guest=probe.guest,
        nic=probe.nic,
        kvm=kvm,
        round_trips=done,
        to_qemu=dict(busy - idle),
        to_kvm=dict(to_kvm - idle_to_kvm),
        missing=tuple(missing),
    )


def _watch(tracing: Tracing, guest: Guest) -> None:
    vcpus = [cpu["thread-id"] for cpu in guest.qmp.execute("query-cpus-fast")]
    condition = " || ".join(f"common_pid == {tid}" for tid in vcpus)
    for event in _EVENTS:
        tracing.select(event, condition)


def _busy(tracing: Tracing, sock: socket.socket) -> tuple[int, float, _Exits]:
    """Round trips that were answered, how long they took, and the exits in that time."""
    tracing.start()
    began = time.monotonic()
    done = round_trips(sock, _ROUND_TRIPS)
    seconds = time.monotonic() - began
    tracing.stop()
    return done, seconds, exits(tracing.text())


def _idle(tracing: Tracing, sock: socket.socket, seconds: float) -> _Exits:
    """The exits of a time in which no packet is sent; nothing comes on the socket then."""
    tracing.clear()
    tracing.start()
    select.select([sock], [], [], seconds)
    tracing.stop()
    return exits(tracing.text())


def exits(trace: str) -> _Exits:
    """Exits to QEMU and to KVM by reason, from the lines of a trace."""
    return Counter(_TO_QEMU.findall(trace)), Counter(_TO_KVM.findall(trace))
