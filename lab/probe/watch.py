"""What is watched of a QEMU while packets cross, and what becomes of the events: counts by window.

A group is one thing that is counted; its details split it. Every event of the kernel belongs to
one group, told by its kind and fields.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.errors import CannotError
from lab.evidence.costs import (
    EXITS,
    INJECTED,
    MMIO_WRITES,
    SOFTIRQ_NS,
    SWITCHES,
    SYSCALLS,
    TIMER_WRITES,
    TIMING,
    TO_QEMU,
    VFIO_INTERRUPTS,
    WAKEUPS,
)
from lab.probe.qemu import Qemu
from lab.probe.ring import Event
from lab.probe.trace import Tracing

Counts = dict[str, Counter[str]]

# Of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl); the first are of file descriptors.
_FILE_CALLS = {
    0: "read",
    1: "write",
    16: "ioctl",
    19: "readv",
    20: "writev",
    44: "sendto",
    45: "recvfrom",
    46: "sendmsg",
    47: "recvmsg",
    299: "recvmmsg",
    307: "sendmmsg",
}
_OTHER_CALLS = {7: "poll", 202: "futex", 232: "epoll_wait", 271: "ppoll", 281: "epoll_pwait"}
_ENTRY, _EXIT = "irq/softirq_entry", "irq/softirq_exit"
_SOFTIRQS = {2: "net_tx", 3: "net_rx"}  # include/linux/interrupt.h
_KVM_WRITE = 2  # KVM_TRACE_MMIO_WRITE, include/trace/events/kvm.h
# Where a guest's own interrupt controller lies (Intel SDM 3A, 11.4.1): no device is notified there.
_APIC = (0xFEE00000, 0xFEEFFFFF)
# Exits by when something happens, not by what the guest does (names of SVM and VMX): the host's own
# interrupts, the guest's timer where the hardware runs it, and the guest being ready for an
# interrupt that came while it took none.
_TIMING = frozenset(
    {"interrupt", "external_interrupt", "nmi", "smi", "preemption_timer"}
    | {"vintr", "interrupt_window", "pending_interrupt"}
)
# The registers by which a guest sets its timer (Intel SDM 3A, 11.5.4: TSC deadline, initial count).
_TIMER_REGISTERS = (0x6E0, 0x838)
# Linux's first interrupt vector that is no device's (arch/x86/include/asm/irq_vectors.h): from
# here on a guest's own timer and what its CPUs send each other.
_FIRST_SYSTEM_VECTOR = 0xEB
_SYMBOL = re.compile(r'\{ *(0x[0-9a-f]+|\d+) *, *((?:"\w*" *)+)\}')


@dataclass(frozen=True)
class Selection:
    """One kind of event that is recorded where ``condition`` holds, with these fields.

    ``place`` tells group and detail by the values of an `Event`.
    """

    kind: str
    groups: tuple[str, ...]
    condition: str
    fields: tuple[str, ...]
    place: Callable[[tuple[int, ...]], tuple[str, str]]


class Watch:
    """Records what concerns one QEMU; ``refused`` says of each group why it is not counted."""

    def __init__(self, tracing: Tracing, qemu: Qemu, *, kvm: bool) -> None:
        self.refused: dict[str, str] = {}
        self._tracing = tracing
        self._places: dict[str, Callable[[tuple[int, ...]], tuple[str, str]]] = {}
        self._groups: set[str] = set()
        tracing.use_clock("mono")
        for selection in selections(qemu, kvm=kvm, text=tracing.format):
            if selection.groups == (INJECTED,) and _delivered_by_hardware():
                self.refused[INJECTED] = "the hardware delivers interrupts past KVM (AVIC, APICv)"
            else:
                self._select(selection)

    def counts(self, spans: Sequence[tuple[int, int]]) -> list[Counts]:
        """What happened in each span, from one time.monotonic_ns() to another, in order.

        Whatever was recorded is forgotten. Raises CannotError if something was lost.
        """
        found: list[Counts] = [{group: Counter() for group in self._groups} for _ in spans]
        for recorded in self._tracing.events():
            tally(recorded, spans, self._places, found)
        return found

    def _select(self, selection: Selection) -> None:
        try:
            self._tracing.select(selection.kind, selection.condition, selection.fields)
        except CannotError as error:
            self.refused |= dict.fromkeys(selection.groups, error.message)
            return
        self._places[selection.kind] = selection.place
        self._groups.update(selection.groups)


def tally(
    recorded: Iterable[Event],
    spans: Sequence[tuple[int, int]],
    places: Mapping[str, Callable[[tuple[int, ...]], tuple[str, str]]],
    found: Sequence[Counts],
) -> None:
    """Add one CPU's events to the counts of the spans that they fall into."""
    index, entered = 0, 0
    for event in recorded:
        while index < len(spans) and event.time_ns > spans[index][1]:
            index += 1
        if index == len(spans):
            return
        if event.kind == _ENTRY:
            entered = event.time_ns
        elif event.time_ns >= spans[index][0]:
            group, detail = places[event.kind](event.values)
            amount = event.time_ns - max(entered, spans[index][0]) if event.kind == _EXIT else 1
            found[index][group][detail] += amount


def selections(qemu: Qemu, *, kvm: bool, text: Callable[[str], str]) -> Iterator[Selection]:
    """All that is to be recorded; ``text`` gives an event's format."""
    own = _any("common_pid", qemu.threads)
    call = partial(_call, qemu)
    yield Selection("raw_syscalls/sys_enter", (SYSCALLS,), own, ("id", "args"), call)
    if qemu.vhosts:
        yield Selection(
            "sched/sched_wakeup",
            (WAKEUPS,),
            _any("pid", qemu.vhosts),
            ("pid",),
            lambda values: (WAKEUPS, str(values[1])),
        )
    yield from _switches(qemu)
    yield from _kvm(qemu, text) if kvm else ()
    yield from _interrupts(qemu)


def symbols(text: str) -> tuple[dict[int, str], ...]:
    """The tables by which an event's format prints numbers as words, one for each of its lists."""
    lists = re.findall(r"__print_symbolic\([^,]*,(.*?\})\s*\)", text, re.DOTALL)
    return tuple(
        {int(number, 0): re.sub(r"\W", "", word) for number, word in _SYMBOL.findall(each)}
        for each in lists
    )


def _call(qemu: Qemu, values: tuple[int, ...]) -> tuple[str, str]:
    _, number, first = values
    if name := _FILE_CALLS.get(number):
        return SYSCALLS, f"{name} {qemu.files.get(first, 'file')}"
    return SYSCALLS, _OTHER_CALLS.get(number, f"syscall {number}")


def _switches(qemu: Qemu) -> Iterator[Selection]:
    """Each time that one of the threads leaves its CPU."""
    names = {**qemu.threads, **qemu.vhosts}

    def place(values: tuple[int, ...]) -> tuple[str, str]:
        tid = values[1]
        who = "vhost" if tid in qemu.vhosts else "vcpu" if tid in qemu.vcpus else "qemu"
        return SWITCHES[who], names[tid]

    who = ("vcpu", "qemu", "vhost") if qemu.vhosts else ("vcpu", "qemu")
    groups = tuple(SWITCHES[each] for each in who)
    yield Selection("sched/sched_switch", groups, _any("prev_pid", names), ("prev_pid",), place)


def _kvm(qemu: Qemu, text: Callable[[str], str]) -> Iterator[Selection]:
    own = _any("common_pid", qemu.vcpus)
    reasons = _exit_reasons(text)
    # A negative errno: a signal called the vCPU out for a moment, nothing was served.
    served = f"({own}) && errno >= 0"
    words = _words(text, "kvm/kvm_userspace_exit")
    low, high = _APIC
    timer = " || ".join(f"ecx == {register:#x}" for register in _TIMER_REGISTERS)
    devices = f"({own}) && vector < {_FIRST_SYSTEM_VECTOR}"
    notified = f"({own}) && type == {_KVM_WRITE} && (gpa < {low:#x} || gpa > {high:#x})"

    def stop(values: tuple[int, ...]) -> tuple[str, str]:
        reason = reasons(values[1], values[2])
        return TIMING if reason in _TIMING else EXITS, reason

    yield Selection(
        "kvm/kvm_exit",
        (EXITS, TIMING),
        own,
        ("exit_reason", "isa"),
        stop,
    )
    yield Selection(
        "kvm/kvm_userspace_exit",
        (TO_QEMU,),
        served,
        ("reason",),
        lambda values: (TO_QEMU, words.get(values[1], str(values[1]))),
    )
    yield Selection(
        "kvm/kvm_msr",
        (TIMER_WRITES,),
        f"({own}) && write == 1 && ({timer})",
        (),
        lambda _: (TIMER_WRITES, "timer"),
    )
    yield Selection("kvm/kvm_mmio", (MMIO_WRITES,), notified, (), lambda _: (MMIO_WRITES, "slow"))
    # VMX only: a write that ends in an ioeventfd without its instruction being read.
    yield Selection("kvm/kvm_fast_mmio", (MMIO_WRITES,), own, (), lambda _: (MMIO_WRITES, "fast"))
    yield Selection(
        "kvm/kvm_inj_virq",
        (INJECTED,),
        devices,
        ("vector",),
        lambda values: (INJECTED, f"vector {values[1]}"),
    )


def _interrupts(qemu: Qemu) -> Iterator[Selection]:
    """What the host's kernel takes: interrupts of VFIO, and its own work on packets (softirqs)."""
    if qemu.interrupts:
        yield Selection(
            "irq/irq_handler_entry",
            (VFIO_INTERRUPTS,),
            _any("irq", qemu.interrupts),
            ("irq",),
            lambda values: (VFIO_INTERRUPTS, qemu.interrupts[values[1]]),
        )
    for kind in (_ENTRY, _EXIT):
        yield Selection(
            kind,
            (SOFTIRQ_NS,),
            _any("vec", _SOFTIRQS),
            ("vec",),
            lambda values: (SOFTIRQ_NS, _SOFTIRQS[values[1]]),
        )


def _exit_reasons(text: Callable[[str], str]) -> Callable[[int, int], str]:
    """The hardware's reasons for exits: Intel's come first in the format, AMD's second."""
    try:
        tables = symbols(text("kvm/kvm_exit"))
    except OSError:
        tables = ()

    def word(reason: int, isa: int) -> str:
        table = tables[isa - 1] if 0 < isa <= len(tables) else {}
        return table.get(reason & 0xFFFF, f"{reason:#x}").lower()

    return word


def _words(text: Callable[[str], str], kind: str) -> dict[int, str]:
    try:
        return next(iter(symbols(text(kind))), {})
    except OSError:
        return {}


def _delivered_by_hardware() -> bool:
    parameters = ("kvm_amd/parameters/avic", "kvm_intel/parameters/enable_apicv")
    files = [Path("/sys/module", each) for each in parameters]
    return any(file.exists() and file.read_text().strip() in {"Y", "1"} for file in files)


def _any(field: str, values: Iterable[int]) -> str:
    return " || ".join(f"{field} == {value}" for value in values)
