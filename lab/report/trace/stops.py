"""When a vCPU stopped for KVM, what for, and whether QEMU had to serve it.

A stop begins with kvm_exit and ends with the next kvm_entry of the same thread; what KVM traces in
between says the rest (arch/x86/kvm/trace.h and include/trace/events/kvm.h, Linux 6.12).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lab.report.trace.events import Event, Trace

_REASON = re.compile(r"(?:vcpu \d+ )?reason (\S+)")
# "unsatisfied-read" is the question; the answer follows as "read", when QEMU has given it.
_MMIO = re.compile(r"mmio (?:unsatisfied-)?(read|write) len \d+ gpa (0x[0-9a-f]+)")
_FAST_MMIO = re.compile(r"fast mmio at gpa (0x[0-9a-f]+)")
_PIO = re.compile(r"pio_(read|write) at (0x[0-9a-f]+)")
_TO_QEMU = re.compile(r"reason KVM_EXIT_(\w+) ")
_INSIDE = "kvm_entry kvm_mmio kvm_fast_mmio kvm_pio kvm_userspace_exit"


@dataclass(frozen=True)
class Stop:
    """One stop. ``end_ns`` is ``None`` where the vCPU did not go on while it was watched.

    ``reason`` is the hardware's name for it (``npf``, ``hlt``), ``access`` the guest's access to a
    device's register (``write 0x100003004``), empty where it was none. ``to_qemu`` is KVM's name
    for the reason to leave to QEMU (``MMIO``), empty where KVM served it alone.
    """

    event: Event
    end_ns: int | None
    reason: str
    access: str
    to_qemu: str

    @property
    def begin_ns(self) -> int:
        return self.event.time_ns

    @property
    def written(self) -> bool:
        """Whether the guest wrote to a register, as it does to say that there is work."""
        return self.access.startswith("write")


def stops(trace: Trace, tid: int, after: int, before: int | None) -> Iterator[Stop]:
    """The stops of one vCPU thread that began in a time."""
    own = Trace(event for event in trace.events if event.tid == tid)
    for event in own.all("kvm_exit", after, before):
        entry = own.first("kvm_entry", event.time_ns)
        end = entry.time_ns if entry else None
        inside = tuple(own.all(_INSIDE, event.time_ns, end))
        yield Stop(
            event=event,
            end_ns=end,
            reason=found[1] if (found := _REASON.match(event.text)) else "",
            access=next(filter(None, map(_access, inside)), ""),
            to_qemu=next(filter(None, map(_left, inside)), ""),
        )


def _access(event: Event) -> str:
    if found := _MMIO.match(event.text) or _PIO.match(event.text):
        return f"{found[1]} {found[2]}"
    if found := _FAST_MMIO.match(event.text):
        return f"write {found[1]}"
    return ""


def _left(event: Event) -> str:
    found = _TO_QEMU.match(event.text) if event.name == "kvm_userspace_exit" else None
    return found[1] if found else ""
