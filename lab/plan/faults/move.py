"""Faults of a migration with a failover pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.plan.data import MigrationExpectation, MigrationPlan, Plan
from lab.plan.faults.alteration import after, with_operations
from lab.plan.operations import AddMember, Exec, Operation, SetVf

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


def limited(plan: Plan) -> bool:
    """Whether the wire may not be silent for longer than was said."""
    return migrates(plan) and _expected(plan).downtime_ms is not None


def no_vf_there(plan: Plan) -> Plan:
    """The target has nothing in the place of its VF."""
    target = _planned(plan).target
    place = next(i for i, word in enumerate(target.argv) if word.startswith("vfio-pci,"))
    without = (*target.argv[: place - 1], *target.argv[place + 1 :])
    return _changed(plan, target=target.model_copy(update={"argv": without}))


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
    guest = next(guest for guest in plan.guests if guest.name == _planned(plan).guest)
    plain = _planned(plan).plain
    return _changed(plan, plain=plain.model_copy(update={"argv": (*guest.argv, "-S")}))


def other_end(plan: Plan) -> Plan:
    """An abort where none was asked for, and none where one was."""
    return _changed(plan, abort=not _planned(plan).abort)


def _lossy(device: str) -> Iterator[Operation]:
    qdisc = ("dev", device, "clsact")
    into = ("dev", device, "ingress", "protocol", "ip", "flower", "ip_proto", "icmp")
    yield Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc))
    yield Exec(argv=("tc", "filter", "add", *into, "action", *_FOURTH))


def _expected(plan: Plan) -> MigrationExpectation:
    return next(each.migration for each in plan.expectations if each.migration)


def _planned(plan: Plan) -> MigrationPlan:
    assert plan.migration is not None
    return plan.migration


def _changed(plan: Plan, **changes: Any) -> Plan:
    changed = _planned(plan).model_copy(update=changes)
    return plan.model_copy(update={"migration": changed})
