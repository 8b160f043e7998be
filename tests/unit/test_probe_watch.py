"""Events of the kernel, from the bytes of its buffer to counts by window."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence

import pytest

from lab.errors import CannotError
from lab.plan.data import GuestPlan, HotplugStep, NicPlan
from lab.probe import watch
from lab.probe.qemu import Qemu, functions_given, vfio_interrupts
from lab.probe.ring import Event, events, layout
from lab.probe.watch import Selection, selections, symbols, tally

ENTER = """\
name: sys_enter
ID: 812
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:long id;\toffset:8;\tsize:8;\tsigned:1;
\tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;

print fmt: "NR %ld (%lx, %lx)"
"""
EXIT = """\
ID: 5
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
\tfield:unsigned int exit_reason;\toffset:8;\tsize:4;\tsigned:0;
\tfield:u32 isa;\toffset:24;\tsize:4;\tsigned:0;
print fmt: "reason %s%s", (REC->isa == 1) ? __print_symbolic(REC->exit_reason & 0xffff, \
{ 0, "EXCEPTION_NMI" }, { 1, "EXTERNAL_INTERRUPT" }, { 7, "INTERRUPT_WINDOW" }, \
{ 12, "HLT" }) : \
__print_symbolic(REC->exit_reason, { 0x060, "interrupt" }, { 0x078, "hlt" }, \
{ 0x400, "npf" }), (REC->isa == 1) ? "" : ""
"""
TO_QEMU = """\
ID: 6
print fmt: "reason %s", REC->errno < 0 ? "restart" : __print_symbolic(REC->reason, \
{ 0, "KVM_EXIT_" "UNKNOWN" }, { 6, "KVM_EXIT_" "MMIO" })
"""
FORMATS = {"kvm/kvm_exit": EXIT, "kvm/kvm_userspace_exit": TO_QEMU}

WHO = Qemu(
    pid=20,
    files={3: "eventfd", 9: "tap"},
    threads={20: "qemu", 21: "CPU 0/KVM"},
    vcpus=frozenset({21}),
    vhosts={22: "vhost-20"},
    interrupts={45: "0000:01:10.0"},
)


def word(kind: int, passed: int) -> bytes:
    return struct.pack("=I", kind | passed << 5)


def written(pid: int, fd: int, number: int = 812) -> bytes:
    return struct.pack("=HBBiqQQ", number, 0, 0, pid, 1, fd, 0)


def page(*parts: bytes, flags: int = 0) -> bytes:
    body = b"".join(parts)
    return struct.pack("=QQ", 1000, len(body) | flags).ljust(16) + body.ljust(4080, b"\xff")


LAYOUTS = {812: layout("raw_syscalls/sys_enter", ENTER, ("id", "args"))}


def event(time_ns: int, pid: int, fd: int) -> Event:
    return Event(time_ns, "raw_syscalls/sys_enter", (pid, 1, fd))


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ((), []),
        ((word(8, 5), written(7, 9)), [event(1005, 7, 9)]),
        (
            (word(8, 5), written(7, 9), word(8, 2), written(8, 3)),
            [event(1005, 7, 9), event(1007, 8, 3)],
        ),
        ((word(8, 5), written(7, 9, 811), word(8, 2), written(8, 3)), [event(1007, 8, 3)]),
        # An event too long for the head has its length behind it, in bytes with that word.
        ((word(0, 5), word(4, 1), written(7, 9)), [event(1005, 7, 9)]),
        # A time that does not fit 27 bits, and one that is told in full.
        (
            (word(30, 1), struct.pack("=I", 2), word(8, 0), written(7, 9)),
            [event(1001 + (2 << 27), 7, 9)],
        ),
        (
            (word(31, 1), struct.pack("=I", 2), word(8, 0), written(7, 9)),
            [event(1 + (2 << 27), 7, 9)],
        ),
        # A discarded event, then the end of what is in use.
        (
            (word(29, 3), struct.pack("=I", 8), b"gone", word(8, 0), written(7, 9)),
            [event(1003, 7, 9)],
        ),
        ((word(29, 0), struct.pack("=I", 8), word(8, 0), written(7, 9)), []),
    ],
    ids=["none", "one", "two", "other", "long", "extended", "stamped", "discarded", "ended"],
)
def test_a_page_is_read(parts: Sequence[bytes], found: list[Event]) -> None:
    assert list(events(page(*parts), LAYOUTS)) == found


def test_a_page_after_a_loss_is_an_error() -> None:
    with pytest.raises(CannotError, match="events are lost"):
        list(events(page(flags=1 << 31), LAYOUTS))


def test_a_field_that_the_kernel_does_not_have_is_told() -> None:
    with pytest.raises(CannotError, match="no field file"):
        layout("raw_syscalls/sys_enter", ENTER, ("file",))
    assert layout("x/y", EXIT, ("exit_reason", "isa")).number == 5


def test_words_of_a_format() -> None:
    assert symbols(EXIT) == (
        {0: "EXCEPTION_NMI", 1: "EXTERNAL_INTERRUPT", 7: "INTERRUPT_WINDOW", 12: "HLT"},
        {0x60: "interrupt", 0x78: "hlt", 0x400: "npf"},
    )
    assert symbols(TO_QEMU) == ({0: "KVM_EXIT_UNKNOWN", 6: "KVM_EXIT_MMIO"},)


def chosen(*, kvm: bool = True, who: Qemu = WHO) -> dict[str, Selection]:
    return {each.kind: each for each in selections(who, kvm=kvm, text=FORMATS.__getitem__)}


@pytest.mark.parametrize(
    ("kind", "values", "place"),
    [
        ("raw_syscalls/sys_enter", (20, 20, 9), ("qemu_syscalls", "writev tap")),
        ("raw_syscalls/sys_enter", (20, 0, 3), ("qemu_syscalls", "read eventfd")),
        ("raw_syscalls/sys_enter", (20, 0, 77), ("qemu_syscalls", "read file")),
        ("raw_syscalls/sys_enter", (20, 271, 3), ("qemu_syscalls", "ppoll")),
        ("raw_syscalls/sys_enter", (20, 999, 3), ("qemu_syscalls", "syscall 999")),
        ("sched/sched_wakeup", (0, 22), ("vhost_wakeups", "22")),
        ("sched/sched_switch", (22, 22), ("switches_vhost", "vhost-20")),
        ("sched/sched_switch", (21, 21), ("switches_vcpu", "CPU 0/KVM")),
        ("sched/sched_switch", (20, 20), ("switches_qemu", "qemu")),
        ("kvm/kvm_exit", (21, 0x400, 2), ("exits", "npf")),
        ("kvm/kvm_exit", (21, 12, 1), ("exits", "hlt")),
        ("kvm/kvm_exit", (21, 0x60, 2), ("exits_timing", "interrupt")),
        ("kvm/kvm_exit", (21, 1, 1), ("exits_timing", "external_interrupt")),
        ("kvm/kvm_exit", (21, 7, 1), ("exits_timing", "interrupt_window")),
        ("kvm/kvm_msr", (21,), ("timer_writes", "timer")),
        ("kvm/kvm_exit", (21, 0x99, 2), ("exits", "0x99")),
        ("kvm/kvm_userspace_exit", (21, 6), ("exits_to_qemu", "KVM_EXIT_MMIO")),
        ("kvm/kvm_mmio", (21,), ("mmio_writes", "slow")),
        ("kvm/kvm_fast_mmio", (21,), ("mmio_writes", "fast")),
        ("kvm/kvm_inj_virq", (21, 39), ("interrupts_injected", "vector 39")),
        ("irq/irq_handler_entry", (0, 45), ("vfio_interrupts", "0000:01:10.0")),
        ("irq/softirq_exit", (0, 3), ("softirq_ns", "net_rx")),
    ],
)
def test_each_event_has_its_place(
    kind: str, values: tuple[int, ...], place: tuple[str, str]
) -> None:
    selection = chosen()[kind]
    assert selection.place(values) == place
    assert place[0] in selection.groups
    assert len(values) == 1 + len(selection.fields)


def test_only_what_is_there_is_watched() -> None:
    assert "common_pid == 20 || common_pid == 21" in chosen()["raw_syscalls/sys_enter"].condition
    without = Qemu(20, {}, {20: "qemu"}, frozenset(), {}, {})
    kinds = chosen(kvm=False, who=without).keys()
    assert not [kind for kind in kinds if kind.startswith("kvm/")]
    assert not kinds & {"sched/sched_wakeup", "irq/irq_handler_entry"}
    assert chosen(kvm=False, who=without)["sched/sched_switch"].groups == (
        "switches_vcpu",
        "switches_qemu",
    )


def test_events_fall_into_their_spans() -> None:
    places = {kind: each.place for kind, each in chosen().items()}
    found: list[watch.Counts] = [
        {group: Counter() for group in ("qemu_syscalls", "softirq_ns")} for _ in range(2)
    ]
    recorded = (
        event(99, 20, 9),
        event(100, 20, 9),
        event(200, 20, 9),
        event(201, 20, 9),  # between the two
        Event(290, "irq/softirq_entry", (0, 3)),
        event(300, 20, 3),
        Event(310, "irq/softirq_exit", (0, 3)),
        Event(320, "irq/softirq_entry", (0, 3)),
        Event(327, "irq/softirq_exit", (0, 3)),
        event(401, 20, 3),
    )
    tally(recorded, [(100, 200), (300, 400)], places, found)
    assert found == [
        {"qemu_syscalls": {"write tap": 2}, "softirq_ns": {}},
        {"qemu_syscalls": {"write eventfd": 1}, "softirq_ns": {"net_rx": 10 + 7}},
    ]


TABLE = """           CPU0       CPU1
  24:         12          0 IR-PCI-MSIX-0000:00:03.0    0-edge      virtio0-config
  45:        100         20 IR-PCI-MSIX-0000:01:10.0    0-edge      vfio-msix[0](0000:01:10.0)
  46:          3          0 IR-PCI-MSIX-0000:01:10.0    1-edge      vfio-msix[1](0000:01:10.0)
  47:          5          5 IO-APIC   16-fasteoi   vfio-intx(0000:05:00.0)
 NMI:          0          0   Non-maskable interrupts
"""


def test_vfio_interrupts_by_number() -> None:
    found = {45: "0000:01:10.0", 46: "0000:01:10.0", 47: "0000:05:00.0"}
    assert vfio_interrupts(TABLE, set(found.values())) == found
    assert vfio_interrupts("", set(found.values())) == {}


def test_interrupts_of_other_guests_are_not_this_ones() -> None:
    assert vfio_interrupts(TABLE, {"0000:05:00.0"}) == {47: "0000:05:00.0"}
    assert vfio_interrupts(TABLE, ()) == {}


def test_a_guest_has_functions_from_its_start_or_later() -> None:
    port = "vfio-pci,host=0000:05:00.0,id=nic0,bus=rp0"
    emulated = "virtio-net-pci,id=nic1,netdev=net1,host=0000:07:00.0"
    step = HotplugStep(
        command="device_add",
        arguments={"driver": "vfio-pci", "host": "0000:01:10.0", "id": "nic2"},
    )
    unplug = HotplugStep(command="device_del", arguments={"id": "nic2"})
    nic = NicPlan(id="nic2", netdev="", mac="", address="", hotplug=(step,), unplug=(unplug,))
    plan = GuestPlan(name="guest", argv=("-device", port, "-device", emulated), nics=(nic,))
    assert functions_given(plan) == {"0000:05:00.0", "0000:01:10.0"}
