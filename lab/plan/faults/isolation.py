"""Faults of macvtap and of who meets whom: what lets frames through, or keeps them away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lab.plan.data import Plan, Question
from lab.plan.faults.alteration import after, with_operations
from lab.plan.operations import AddBridge, AddMacvtap, AddMember, AddVeth, Exec, LinkUp
from lab.plan.where import HOST

Mode = Literal["bridge", "private", "vepa", "passthru"]

_LOOKOUT = "lookout"
_IDLE = "idle"


def mode(wanted: Mode) -> Callable[[Plan], Plan]:
    """Every macvtap in another mode."""

    def spoil(plan: Plan) -> Plan:
        return _macvtaps(plan, {"mode": wanted})

    return spoil


def groups(plan: Plan) -> Plan:
    """Every macvtap takes all groups where it should take none, and the reverse."""
    first = next(each for each in plan.operations if isinstance(each, AddMacvtap))
    return _macvtaps(plan, {"allmulticast": not first.allmulticast})


def no_hairpin(plan: Plan) -> Plan:
    """The relay at the far end is an ordinary switch."""
    operations = tuple(
        each.model_copy(update={"hairpin": False}) if isinstance(each, AddMember) else each
        for each in plan.operations
    )
    return with_operations(plan, operations)


def host_leak(plan: Plan) -> Plan:
    """The port takes back a copy of what the host sends to the guest, as if the cable returned it.

    macvlan is asked only about frames that come in, and knows the guest's address.
    """
    question = host_question(plan)
    assert question is not None
    port = question.source.device
    qdisc = ("dev", port, "clsact")
    out = ("dev", port, "egress", "protocol", "ip")
    match = ("flower", "dst_mac", question.target.mac)
    back = ("action", "mirred", "ingress", "mirror", "dev", port)
    return after(
        plan,
        Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc)),
        Exec(argv=("tc", "filter", "add", *out, *match, *back)),
    )


def lookout(plan: Plan) -> Plan:
    """A copy of every frame that leaves the port goes to a device beside the path."""
    port = macvtap_port(plan)
    assert port is not None
    peer = f"{_LOOKOUT}-peer"
    qdisc = ("dev", port, "clsact")
    out = ("dev", port, "egress", "protocol", "ip")
    copy = ("matchall", "action", "mirred", "egress", "mirror", "dev", _LOOKOUT)
    return after(
        plan,
        AddVeth(name=_LOOKOUT, peer=peer),
        *(LinkUp(device=name) for name in (_LOOKOUT, peer)),
        Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc)),
        Exec(argv=("tc", "filter", "add", *out, *copy)),
    )


def idle_bridge(plan: Plan) -> Plan:
    """A bridge that nothing is joined to: it never sees a frame."""
    return after(plan, AddBridge(name=_IDLE))


def macvtap_port(plan: Plan) -> str | None:
    """The port that macvtaps sit on; None where there are none, or on several ports."""
    ports = {each.port for each in plan.operations if isinstance(each, AddMacvtap)}
    return ports.pop() if len(ports) == 1 else None


def keeps_apart(plan: Plan) -> bool:
    """Whether guests on macvtaps that are not in mode bridge must not meet."""
    return _modes(plan) <= {"private", "vepa"} and _asked(plan, "unicast", arrives=False)


def brings_together(plan: Plan) -> bool:
    """Whether guests on macvtaps in mode bridge should meet inside the host."""
    return _modes(plan) == {"bridge"} and _asked(plan, "unicast", arrives=True) and not relay(plan)


def relay(plan: Plan) -> bool:
    """Whether the far end sends frames back to where they came from."""
    return any(isinstance(each, AddMember) and each.hairpin for each in plan.operations)


def relayed(plan: Plan) -> bool:
    """The same, with guests on macvtaps."""
    return macvtap_port(plan) is not None and relay(plan)


def asks_for_groups(plan: Plan) -> bool:
    """Whether somebody asks for frames to groups that macvtaps take or do not take."""
    return macvtap_port(plan) is not None and any(
        question.kind in {"multicast", "ipv6"} and question.arrives is not None
        for question in plan.questions
    )


def host_question(plan: Plan) -> Question | None:
    """The question whether the host reaches a guest on a macvtap, if it is not to."""
    for question in plan.questions:
        fits = question.source.where == HOST and question.kind == "unicast"
        if fits and question.arrives is False and question.source.device == macvtap_port(plan):
            return question
    return None


def _modes(plan: Plan) -> set[str]:
    return {each.mode for each in plan.operations if isinstance(each, AddMacvtap)}


def _asked(plan: Plan, kind: str, *, arrives: bool) -> bool:
    """Whether one guest asks for another, and that is the answer."""
    return macvtap_port(plan) is not None and any(
        question.source.nic and question.target.nic and question.kind == kind
        for question in plan.questions
        if question.arrives is arrives
    )


def _macvtaps(plan: Plan, changes: dict[str, object]) -> Plan:
    operations = tuple(
        each.model_copy(update=changes) if isinstance(each, AddMacvtap) else each
        for each in plan.operations
    )
    return with_operations(plan, operations)
