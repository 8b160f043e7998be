"""Faults of PCI functions that are given to guests.

What is done is spoiled, never what is expected: `FunctionPlan` in the expectations stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from lab.plan.data import ECHO_PORT, Carrier, FunctionPlan, GuestPlan, Plan
from lab.plan.faults.alteration import after, before, with_guests, with_operations, with_words
from lab.plan.operations import (
    AddBridge,
    AddMember,
    AddTap,
    AddVeth,
    AddVfs,
    AddVlan,
    BindVfio,
    Exec,
    LinkUp,
    Operation,
    SetVf,
)
from lab.plan.where import WIRE

_FILTER = ("tc", "filter", "add")
_SENT_BACK = ("action", "mirred", "egress", "mirror", "dev")
_MOST = 7  # VFs that an igb's driver makes
_STEP = 2  # between the routing IDs of an 82576's VFs
_LOOPBACK = ("0x3500", "31")  # DTXSWC.Loopback_en: what VFs say to each other stays inside
# BAR 2 of the 82576 is a window to its registers: an address at 0, the value at 4. The kernel gives
# nobody the memory that a driver has, but this is ports, which igb does not use.
_SET_BIT = """
import os, sys
pci, (register, bit, on) = sys.argv[1], (int(word, 0) for word in sys.argv[2:])
window = os.open(f"/sys/bus/pci/devices/{pci}/resource2", os.O_RDWR)
os.pwrite(window, register.to_bytes(4, "little"), 0)
value = int.from_bytes(os.pread(window, 4, 4), "little") & ~(1 << bit) | on << bit
os.pwrite(window, value.to_bytes(4, "little"), 4)
"""
_INSTEAD = "instead"
_FUNCTION = re.compile(r"(?<=:)([0-9a-f]{2})\.([0-7])$")


def functions(plan: Plan) -> tuple[FunctionPlan, ...]:
    """All that are given to guests."""
    return tuple(each.function for each in plan.expectations if each.function)


def whole(plan: Plan) -> FunctionPlan | None:
    """The first port that is given away whole."""
    return next((each for each in functions(plan) if each.vf is None), None)


def given_away(plan: Plan) -> bool:
    """Whether a function's packets are said to be moved by nobody but the hardware."""
    return any(each.function and each.carrier is Carrier.VFIO for each in plan.expectations)


def given_whole(plan: Plan) -> bool:
    """The same, with a whole port."""
    return given_away(plan) and whole(plan) is not None


def claimed(name: str, *values: object) -> Callable[[Plan], bool]:
    """Whether a VF is claimed to have a setting, as one of ``values`` (none: as anything)."""

    def look(plan: Plan) -> bool:
        found = (getattr(each.vf, name) for each in functions(plan) if each.vf)
        return any(value is not None and (not values or value in values) for value in found)

    return look


def can_be_trusted(plan: Plan) -> bool:
    """Whether VFs are not to be trusted, without a word about it that would be checked itself."""
    return any(each.vf and each.vf.trust is None for each in functions(plan))


def has_spare_vf(plan: Plan) -> bool:
    """Whether there is another VF behind the only one that a guest has."""
    alone = given_away(plan) and len(functions(plan)) == 1
    vfs = [each.vf for each in functions(plan) if each.vf]
    made = [operation for operation in plan.operations if isinstance(operation, AddVfs)]
    return alone and any(
        maker.device == vf.device and maker.count > vf.index + 1 for vf in vfs for maker in made
    )


def mirror(plan: Plan) -> Plan:
    """tc(8) hands a copy of every echo request to the host, past the guest's NIC.

    The hop probes are none, so no other check sees a stranger.
    """
    tester = plan.facts.tester
    qdisc = ("dev", tester, "clsact")
    match = ("protocol", "ip", "flower", "ip_proto", "udp", "dst_port", str(ECHO_PORT))
    copy = ("action", "mirred", "egress", "mirror", "dev", "copy-wire")
    added: tuple[Operation, ...] = (
        AddVeth(name="copy-host", peer="copy-wire", peer_where=WIRE),
        LinkUp(device="copy-host"),
        LinkUp(device="copy-wire", where=WIRE),
        Exec(
            argv=("tc", "qdisc", "add", *qdisc),
            undo=("tc", "qdisc", "del", *qdisc),
            where=WIRE,
        ),
        Exec(argv=(*_FILTER, "dev", tester, "egress", *match, *copy), where=WIRE),
    )
    return after(plan, *added)


def native_vlan(plan: Plan) -> Plan:
    """As an access port does: what leaves the tester without a tag gets that of the VF's VLAN."""
    vlan = next(each.vlan for each in plan.operations if isinstance(each, AddVlan))
    tester = plan.facts.tester
    qdisc = ("dev", tester, "clsact")
    tag = ("action", "vlan", "push", "id", str(vlan))
    added: tuple[Operation, ...] = (
        Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc), where=WIRE),
        Exec(
            argv=(*_FILTER, "dev", tester, "egress", "protocol", "ip", "flower", *tag), where=WIRE
        ),
    )
    return after(plan, *added)


def vepa(plan: Plan) -> Plan:
    """The port does not switch between its VFs, and the far end sends back what is for another.

    So all arrives, by way of the cable (IEEE 802.1Qbg). igb has no ``hwmode`` to ask for that.
    """
    tester, qdisc = plan.facts.tester, ("dev", plan.facts.tester, "clsact")
    into = ("dev", tester, "ingress", "protocol", "ip")
    bit = ("python3", "-c", _SET_BIT, _maker(plan).pci, *_LOOPBACK)
    return after(
        plan,
        Exec(argv=(*bit, "0"), undo=(*bit, "1")),
        Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc), where=WIRE),
        *(
            Exec(
                argv=(*_FILTER, *into, "flower", "dst_mac", mac, *_SENT_BACK, tester),
                where=WIRE,
            )
            for mac in _met(plan)
        ),
    )


def switched(plan: Plan) -> bool:
    """Whether VFs in no VLAN are to meet, and one port makes all there are."""
    made = [operation for operation in plan.operations if isinstance(operation, AddVfs)]
    return len(made) == 1 and not claimed("vlan")(plan) and bool(_met(plan))


def _met(plan: Plan) -> tuple[str, ...]:
    """The MAC addresses of VFs that other guests' VFs should reach."""
    vfs = {each.vf.mac for each in functions(plan) if each.vf}
    ends = ((each.source.mac, each.target.mac) for each in plan.questions if each.arrives)
    return tuple(dict.fromkeys(target for source, target in ends if {source, target} <= vfs))


def driver_lost(plan: Plan) -> Plan:
    """Its undo runs after that of everything else: the port has just got its driver back."""
    function = whole(plan)
    assert function is not None
    line = f"echo {function.pci} > /sys/bus/pci/devices/{function.pci}/driver/unbind"
    return before(plan, Exec(argv=("true",), undo=("sh", "-c", line)))


def more_vfs(plan: Plan) -> Plan:
    """Of which nobody takes one: the VFs before it stay where they are."""

    def spoiled(operation: Operation) -> Operation:
        if isinstance(operation, AddVfs) and _can_make_more(plan, operation):
            return operation.model_copy(update={"count": operation.count + 1})
        return operation

    return with_operations(plan, tuple(map(spoiled, plan.operations)))


def makes_more(plan: Plan) -> bool:
    """Whether a port of which a guest has a VF can make one VF more."""
    makers = (operation for operation in plan.operations if isinstance(operation, AddVfs))
    return any(_can_make_more(plan, maker) for maker in makers)


def _can_make_more(plan: Plan, maker: AddVfs) -> bool:
    used = {each.vf.device for each in functions(plan) if each.vf}
    return maker.device in used and maker.count < _MOST


def vfs_left(plan: Plan) -> Plan:
    """The same, with VFs that nobody asked for."""
    line = f"echo 1 > /sys/bus/pci/devices/{_maker(plan).pci}/sriov_numvfs"
    return before(plan, Exec(argv=("true",), undo=("sh", "-c", line)))


def _maker(plan: Plan) -> AddVfs:
    return next(each for each in plan.operations if isinstance(each, AddVfs))


def line_left(plan: Plan) -> Plan:
    """The same, with the line that has the driver make VFs whenever it is loaded."""
    maker = _maker(plan)
    driver = next(port.driver for port in plan.facts.ports if port.pci == maker.pci)
    line = f"echo options {driver} max_vfs={maker.count} > /etc/modprobe.d/hoplab-{driver}.conf"
    return before(plan, Exec(argv=("true",), undo=("sh", "-c", line)))


def persistent(plan: Plan) -> bool:
    """Whether VFs are made by a line that would outlast the run."""
    makers = (operation for operation in plan.operations if isinstance(operation, AddVfs))
    return any(maker.persist for maker in makers)


def emulated(plan: Plan) -> Plan:
    """The guest gets QEMU's NIC of the same model on a bridge, and the host keeps the port.

    The port gets another address: the guest has its own, which a bridge would take for the host's.
    """
    function = whole(plan)
    assert function is not None
    port = next(each for each in plan.facts.ports if each.pci == function.pci)
    rename = ("ip", "link", "set", "dev", port.device, "address")
    path: tuple[Operation, ...] = (
        Exec(argv=(*rename, "52:54:00:0b:ad:02"), undo=(*rename, port.mac)),
        AddBridge(name="bridge"),
        AddMember(device=port.device, bridge="bridge"),
        AddTap(name=_INSTEAD),
        AddMember(device=_INSTEAD, bridge="bridge"),
        *(LinkUp(device=name) for name in (port.device, "bridge", _INSTEAD)),
    )
    kept = (each for each in plan.operations if not _takes(each, function))
    owner = next(each.guest for each in plan.expectations if each.function is function)
    own = f"vfio-pci,host={function.pci}"
    nic = f"{port.driver},mac={port.mac},netdev={_INSTEAD},romfile="
    spoiled = _with_netdev(with_operations(plan, (*path, *kept)), owner)
    return with_words(spoiled, lambda word: word.replace(own, nic))


def other_vf(*, bound: bool = True, mac: str | None = None) -> Callable[[Plan], Plan]:
    """The guest gets the next VF, set up as its own should be.

    Its own is with vfio-pci all the same if ``bound``, and has its MAC, or ``mac``.
    """

    def spoil(plan: Plan) -> Plan:
        (function,) = functions(plan)
        assert function.vf is not None
        own = function.vf.model_copy(update={"mac": mac or function.vf.mac})
        other = function.vf.model_copy(update={"index": own.index + 1})
        twin = next_vf(function.pci)
        operations = tuple(
            changed
            for operation in plan.operations
            for changed in _twice(operation, own, other, bound=bound)
        )
        spoiled = with_operations(plan, operations)
        return with_words(spoiled, lambda word: word.replace(function.pci, twin))

    return spoil


def setting(**settings: object) -> Callable[[Plan], Plan]:
    """The ports are told something else about their VFs."""
    return lambda plan: with_operations(
        plan,
        tuple(
            operation.model_copy(update=settings) if isinstance(operation, SetVf) else operation
            for operation in plan.operations
        ),
    )


def other_vlan(plan: Plan) -> Plan:
    """Port and tester agree on another VLAN than the one expected, so that everything arrives."""

    def shifted(operation: Operation) -> Operation:
        if isinstance(operation, SetVf | AddVlan) and operation.vlan is not None:
            return operation.model_copy(update={"vlan": operation.vlan % 4094 + 1})
        return operation

    return with_operations(plan, tuple(map(shifted, plan.operations)))


def next_vf(pci: str) -> str:
    """The address of the VF after the one at ``pci``."""

    def following(match: re.Match[str]) -> str:
        number = (int(match[1], 16) << 3 | int(match[2])) + _STEP
        return f"{number >> 3:02x}.{number & 7}"

    return _FUNCTION.sub(following, pci)


def _twice(operation: Operation, own: SetVf, other: SetVf, *, bound: bool) -> Iterator[Operation]:
    match operation:
        case SetVf():
            yield from (own, other)
        case BindVfio():
            if bound:
                yield operation
            yield operation.model_copy(update={"pci": next_vf(operation.pci)})
        case _:
            yield operation


def _takes(operation: Operation, function: FunctionPlan) -> bool:
    return isinstance(operation, BindVfio) and operation.pci == function.pci


def _with_netdev(plan: Plan, owner: str) -> Plan:
    """A tap for a guest's NIC, on its command line: one that is plugged in later finds it there."""

    def spoiled(guest: GuestPlan) -> GuestPlan:
        if guest.name != owner:
            return guest
        place = guest.argv.index("-device")
        tap = f"tap,id={_INSTEAD},ifname={_INSTEAD},script=no,downscript=no,vhost=off"
        argv = (*guest.argv[:place], "-netdev", tap, *guest.argv[place:])
        return guest.model_copy(update={"argv": argv})

    return with_guests(plan, spoiled)
