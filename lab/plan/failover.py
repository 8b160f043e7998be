"""What can be spoiled about a migration with a failover pair, each so that one check turns red."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.plan.data import (
    AddMember,
    Exec,
    GuestPlan,
    MigrationExpectation,
    MigrationPlan,
    Operation,
    Plan,
    SetVf,
)

Fault = tuple[str, str, str, Callable[[Plan], bool], Callable[[Plan], Plan]]
_STRANGE_MAC = "52:54:00:ee:ee:ee"
_LONGER_MS = 2000
# Every tenth packet: enough to be seen in any second, too few to look like a path that is cut.
_TENTH = ("pass", "random", "determ", "drop", "10")


def _migrates(plan: Plan) -> bool:
    return plan.migration is not None


def _completes(plan: Plan) -> bool:
    return plan.migration is not None and _expected(plan).outcome == "completed"


def _comes_back(plan: Plan) -> bool:
    return _completes(plan) and _expected(plan).primary


def _limited(plan: Plan) -> bool:
    return _migrates(plan) and _expected(plan).downtime_ms is not None


def _expected(plan: Plan) -> MigrationExpectation:
    return next(each.migration for each in plan.expectations if each.migration)


def _planned(plan: Plan) -> MigrationPlan:
    assert plan.migration is not None
    return plan.migration


def _changed(plan: Plan, **changes: Any) -> Plan:
    changed = _planned(plan).model_copy(update=changes)
    return plan.model_copy(update={"migration": changed})


def _no_vf_there(plan: Plan) -> Plan:
    target = _planned(plan).target
    place = next(i for i, word in enumerate(target.argv) if word.startswith("vfio-pci,"))
    without = (*target.argv[: place - 1], *target.argv[place + 1 :])
    return _changed(plan, target=target.model_copy(update={"argv": without}))


def _other_mac(plan: Plan) -> Plan:
    """The source's VF is the one that is set first."""
    first = next(op for op in plan.operations if isinstance(op, SetVf))
    spoiled = first.model_copy(update={"mac": _STRANGE_MAC})
    return _with_operations(plan, (spoiled if op is first else op for op in plan.operations))


def _silent(plan: Plan) -> Plan:
    return _changed(plan, parameters={**_planned(plan).parameters, "announce-rounds": 0})


def _standby_cut(plan: Plan) -> Plan:
    tap = _expected(plan).source.tap

    def cut(operation: Operation) -> bool:
        return isinstance(operation, AddMember) and operation.device == tap

    return _with_operations(plan, (op for op in plan.operations if not cut(op)))


def _lossy_standby(plan: Plan) -> Plan:
    """Where the target's standby gets its packets from: it carries until the VF's link is up."""
    uplink = _expected(plan).target.uplink
    qdisc = ("dev", uplink, "clsact")
    into = ("dev", uplink, "ingress", "protocol", "ip", "flower", "ip_proto", "icmp")
    added: tuple[Operation, ...] = (
        Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc)),
        Exec(argv=("tc", "filter", "add", *into, "action", *_TENTH)),
    )
    return _with_operations(plan, (*plan.operations, *added))


def _held(plan: Plan) -> Plan:
    return _changed(plan, hold_ms=(_expected(plan).downtime_ms or 0) + _LONGER_MS)


def _taken(plan: Plan) -> Plan:
    """The control guest gets failover like the other one, so QEMU takes it."""
    guest = next(guest for guest in plan.guests if guest.name == _planned(plan).guest)
    plain: GuestPlan = _planned(plan).plain
    return _changed(plan, plain=plain.model_copy(update={"argv": (*guest.argv, "-S")}))


def _other_end(plan: Plan) -> Plan:
    return _changed(plan, abort=not _planned(plan).abort)


def _with_operations(plan: Plan, operations: Any) -> Plan:
    return plan.model_copy(update={"operations": tuple(operations)})


FAULTS: tuple[Fault, ...] = (
    (
        "no-vf-there",
        "the target is started without the VF that the guest is to get there",
        "primary",
        _comes_back,
        _no_vf_there,
    ),
    (
        "other-mac",
        "the source's VF has another address than its standby, so the guest pairs nothing",
        "pair",
        _migrates,
        _other_mac,
    ),
    (
        "no-announcement",
        "nobody announces the guest's address after the move",
        "announce",
        _completes,
        _silent,
    ),
    (
        "standby-cut",
        "the source's standby hangs on a tap that is in no bridge",
        "standby",
        _migrates,
        _standby_cut,
    ),
    (
        "lossy-standby",
        "every tenth packet to the target's standby is lost",
        "stream.lost",
        _completes,
        _lossy_standby,
    ),
    (
        "long-pause",
        "the guest is held still for longer than the path may be silent",
        "stream.downtime",
        _limited,
        _held,
    ),
    (
        "vf-hidden",
        "the guest that is to be refused has failover too, so its VF is no hindrance",
        "refused",
        _migrates,
        _taken,
    ),
    (
        "other-end",
        "the migration is aborted where it is to complete, or the other way round",
        "migration",
        _migrates,
        _other_end,
    ),
)
