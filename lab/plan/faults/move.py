"""Faults of a migration with a failover pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.plan.data import GuestPlan, MigrationExpectation, MigrationPlan, Plan
from lab.plan.faults.alteration import after, with_operations
from lab.plan.links import vf_address
from lab.plan.operations import AddMember, AddVfs, BindVfio, Exec, Operation, SetVf

_STRANGE_MAC = "52:54:00:ee:ee:ee"
_LONGER_MS = 2000
# Every fourth packet: seen where a standby carries for a moment, and no path that is cut.
_FOURTH = ("pass", "random", "determ", "drop", "4")


def migrates(plan: Plan) -> bool:
    """Whether a guest is to move, be it in vain."""
    return plan.migration is not None


def completes(plan: Plan) -> bool:
    """Whether a guest is to arrive."""
    return plan.migration is not None and _expected(plan).outcome == "completed"


def comes_back(plan: Plan) -> bool:
    """Whether a guest is to get a VF where it arrives."""
    return completes(plan) and _expected(plan).primary


def stays_away(plan: Plan) -> bool:
    """Whether a guest is to get no VF where it arrives, though there is one that nobody has."""
    return completes(plan) and not _expected(plan).primary and _idle_maker(plan) is not None


def limited(plan: Plan) -> bool:
    """Whether the wire may not be silent for longer than was said."""
    return migrates(plan) and _expected(plan).downtime_ms is not None


def no_vf_there(plan: Plan) -> Plan:
    """The target has nothing in the place of its VF."""
    target = _planned(plan).target
    place = next(i for i, word in enumerate(target.argv) if word.startswith("vfio-pci,"))
    without = (*target.argv[: place - 1], *target.argv[place + 1 :])
    return _changed(plan, target=target.model_copy(update={"argv": without}))


def vf_there(plan: Plan) -> Plan:
    """The target has a VF like the source's, set up the same way."""
    maker, move = _idle_maker(plan), _planned(plan)
    assert maker is not None
    port = next(port for port in plan.facts.ports if port.pci == maker.pci)
    pci = vf_address(port, 0)
    mac = next(nic.mac for nic in _source(plan).nics if nic.id == move.nic)
    own = next(op for op in plan.operations if isinstance(op, SetVf) and op.mac == mac)
    word = next(word for word in _source(plan).argv if word.startswith("vfio-pci,"))
    bound = next(op for op in plan.operations if isinstance(op, BindVfio) and op.pci in word)
    argv = (*move.target.argv, "-device", word.replace(bound.pci, pci))
    target = move.target.model_copy(update={"argv": argv})
    return after(
        _changed(plan, target=target, returns=True),
        own.model_copy(update={"device": maker.device, "index": 0}),
        bound.model_copy(update={"pci": pci}),
    )


def other_mac(plan: Plan) -> Plan:
    """The source's VF is the one that is set first."""
    first = next(op for op in plan.operations if isinstance(op, SetVf))
    spoiled = first.model_copy(update={"mac": _STRANGE_MAC})
    operations = tuple(spoiled if op is first else op for op in plan.operations)
    return with_operations(plan, operations)


def silent(plan: Plan) -> Plan:
    """QEMU and the guest announce nothing after the move."""
    return _changed(plan, parameters={**_planned(plan).parameters, "announce-rounds": 0})


def standby_cut(plan: Plan) -> Plan:
    """The source's tap is no port of a bridge."""
    tap = _expected(plan).source.tap

    def cut(operation: Operation) -> bool:
        return isinstance(operation, AddMember) and operation.device == tap

    return with_operations(plan, tuple(op for op in plan.operations if not cut(op)))


def lossy_standby(plan: Plan) -> Plan:
    """Where the standbys get their packets from, which carry while the VF is away."""
    expected = _expected(plan)
    uplinks = (expected.source.uplink, expected.target.uplink)
    return after(plan, *(operation for uplink in uplinks for operation in _lossy(uplink)))


def held(plan: Plan) -> Plan:
    """The guest stands still for longer than the wire may be silent."""
    return _changed(plan, hold_ms=(_expected(plan).downtime_ms or 0) + _LONGER_MS)


def taken(plan: Plan) -> Plan:
    """The control guest gets failover like the other one, so QEMU takes it."""
    plain = _planned(plan).plain
    return _changed(plan, plain=plain.model_copy(update={"argv": (*_source(plan).argv, "-S")}))


def other_end(plan: Plan) -> Plan:
    """An abort where none was asked for, and none where one was."""
    return _changed(plan, abort=not _planned(plan).abort)


def _lossy(device: str) -> Iterator[Operation]:
    qdisc = ("dev", device, "clsact")
    into = ("dev", device, "ingress", "protocol", "ip", "flower", "ip_proto", "icmp")
    yield Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc))
    yield Exec(argv=("tc", "filter", "add", *into, "action", *_FOURTH))


def _idle_maker(plan: Plan) -> AddVfs | None:
    """The first port whose VFs nobody has."""
    used = {op.device for op in plan.operations if isinstance(op, SetVf)}
    made = (op for op in plan.operations if isinstance(op, AddVfs))
    return next((maker for maker in made if maker.device not in used), None)


def _source(plan: Plan) -> GuestPlan:
    return next(guest for guest in plan.guests if guest.name == _planned(plan).guest)


def _expected(plan: Plan) -> MigrationExpectation:
    return next(each.migration for each in plan.expectations if each.migration)


def _planned(plan: Plan) -> MigrationPlan:
    assert plan.migration is not None
    return plan.migration


def _changed(plan: Plan, **changes: Any) -> Plan:
    changed = _planned(plan).model_copy(update=changes)
    return plan.model_copy(update={"migration": changed})
