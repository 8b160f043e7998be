"""PCI functions that guests have: given away whole, unseen by the host, and kept to by their port.

What a port enforces for its VFs is looked at where it shows: the setting by the port's own word,
the VLAN in the tags on the wire, the MAC address by letting the guest try another.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lab.artifacts import CAPTURE_FILE, EVIDENCE_FILE
from lab.evidence.host import MacAttempt, VfState
from lab.evidence.packets import MarkedProbe, Unseen
from lab.pci import group_of
from lab.plan.data import Carrier, Direction, FunctionPlan, Place
from lab.plan.operations import SetVf
from lab.plan.where import WIRE
from lab.report.bystanders import bystanders, vf_port
from lab.report.case import Case, Finding, MissingError, check
from lab.report.path import probes_of
from lab.report.verdict import Check

_DRIVER = "vfio-pci"
_NOT_ENFORCED = (
    "not provable here: the lab host's igb is QEMU's, which lets spoofed frames through whatever "
    "is set (measured with 10.0.13)"
)
_NOT_TRIED = "not tried on hardware: no frame was forged"
# ip(8) did what it was asked for, could not be started, or was not found (POSIX, 2.8.2).
_NO_REFUSAL = (0, 126, 127)


def function_checks(case: Case) -> Iterator[Check]:
    """All checks of one NIC that is a PCI function; none for any other NIC."""
    function = case.expectation.function
    if function is None:
        return
    if case.expectation.carrier is Carrier.VFIO:
        given = partial(_given, case, function)
        gone = f"{function.pci} is off the host"
        yield check(f"{case.prefix}pci.given", gone, EVIDENCE_FILE, given)
        blind = partial(_blind, case)
        yield check(f"{case.prefix}pci.unseen", "the host sees no packet", CAPTURE_FILE, blind)
    if function.vfs is not None and function.vf is not None:
        count = partial(_count, case, function.vf, function.vfs)
        yield check(f"{case.prefix}vf.count", str(function.vfs), EVIDENCE_FILE, count)
    if function.vf is not None:
        yield from _vf_checks(case, function.vf)


def _vf_checks(case: Case, vf: SetVf) -> Iterator[Check]:
    def make(name: str, expected: str, look: partial[Finding]) -> Check:
        return check(f"{case.prefix}vf.{name}", expected, EVIDENCE_FILE, look)

    yield make("mac", vf.mac, partial(_mac, case, vf))
    if not vf.trust:
        yield make("mac-fixed", "the guest cannot change it", partial(_mac_fixed, case, vf))
    if vf.vlan is not None:
        yield make("vlan", str(vf.vlan), partial(_vlan, case, vf))
        yield make("tagged", f"tag {vf.vlan} on the wire", partial(_tagged, case, vf.vlan))
        yield make("untagged", "nothing without the tag gets in", partial(_kept_out, case))
    for name, wanted in (("trust", vf.trust), ("spoofchk", vf.spoofchk)):
        if wanted is not None:
            yield make(name, _switch(wanted), partial(_setting, case, vf, name))
    if vf.spoofchk:
        yield make("spoofing", "forged frames are dropped", partial(_spoofing, case))


def _given(case: Case, function: FunctionPlan) -> Finding:
    """With vfio-pci, without a network device, and in a group that nobody else uses."""
    seen = case.evidence.functions
    found = next((each for each in seen if each.address == function.pci), None)
    if found is None:
        raise MissingError(f"nobody looked at {function.pci}")
    group = group_of(found, seen)
    wrong = [] if found.driver == _DRIVER else [f"driver {found.driver or 'none'}"]
    wrong += [f"network device {name}" for name in found.netdevs]
    wrong += [
        f"{each.address} of its group with {each.driver}"
        for each in group
        if not each.viable and each.address != function.pci
    ]
    if not group:
        wrong.append("no IOMMU group")
    if wrong:
        return Finding(good=False, observed="; ".join(wrong))
    members = ", ".join(each.address for each in group)
    return Finding(
        good=True, observed=f"{_DRIVER}, no network device; group {found.group}: {members}"
    )


def _blind(case: Case) -> Finding:
    seen = _unseen(case)
    if not seen.control:
        raise MissingError("the host's capture missed its control frame")
    if not seen.wire:
        raise MissingError("the wire saw no packet either")
    beside = bystanders(case.plan, seen.senders, {vf_port(case.expectation)})
    found = [device for device in seen.host if device not in beside]
    if found:
        return Finding(good=False, observed=f"seen at {', '.join(found)}")
    return Finding(good=True, observed=f"none; the wire saw {seen.wire}")


def _unseen(case: Case) -> Unseen:
    for seen in case.evidence.unseen:
        if (seen.guest, seen.nic) == case.key:
            return seen
    raise MissingError("nobody looked where its packets were seen")


def _state(case: Case, vf: SetVf) -> VfState:
    for state in case.evidence.vfs:
        if (state.device, state.index) == (vf.device, vf.index):
            return state
    raise MissingError(f"{vf.device} said nothing of its VF {vf.index}")


def _count(case: Case, vf: SetVf, wanted: int) -> Finding:
    made = sum(state.device == vf.device for state in case.evidence.vfs)
    if not made:
        raise MissingError(f"{vf.device} said nothing of its VFs")
    return Finding(good=made == wanted, observed=f"{vf.device} has {made}")


def _mac(case: Case, vf: SetVf) -> Finding:
    """The port's word and the guest's."""
    state, own = _state(case, vf), case.nic().mac
    wrong = [
        f"{who} says {mac}"
        for who, mac in ((vf.device, state.mac), ("the guest", own))
        if mac != vf.mac
    ]
    return Finding(good=not wrong, observed="; ".join(wrong) or f"by {vf.device} and by the guest")


def _mac_fixed(case: Case, vf: SetVf) -> Finding:
    """What the port said before is another check's business."""
    attempt = _attempt(case)
    changed = [f"the guest says {attempt.guest_mac}"] if attempt.guest_mac != vf.mac else []
    if attempt.port_mac == attempt.wanted:
        changed.append(f"{vf.device} says {attempt.port_mac}")
    if changed:
        return Finding(good=False, observed="; ".join(changed))
    refusal = attempt.said or f"status {attempt.status}"
    if attempt.status in _NO_REFUSAL:
        raise MissingError(f"nobody refused the change: {refusal}")
    return Finding(good=True, observed=f"tried, refused: {refusal}")


def _attempt(case: Case) -> MacAttempt:
    for attempt in case.evidence.mac_attempts:
        if (attempt.guest, attempt.nic) == case.key:
            return attempt
    raise MissingError("the guest did not try another MAC address")


def _vlan(case: Case, vf: SetVf) -> Finding:
    vlan = _state(case, vf).vlan
    return Finding(good=vlan == vf.vlan, observed=f"{vf.device} says {vlan or 'none'}")


def _tagged(case: Case, vlan: int) -> Finding:
    """The guest's own probe, by its tag at the tester's end of the cable."""
    cable = (WIRE, case.plan.facts.tester)
    tags = {
        sighting.vlan
        for probe in probes_of(case.expectation, case.evidence)
        for sighting in probe.sightings
        if probe.direction is Direction.OUT and (sighting.where, sighting.device) == cable
    }
    if not tags:
        raise MissingError("the wire did not see the guest's probe")
    wrong = sorted(str(tag or "none") for tag in tags if tag != vlan)
    return Finding(good=not wrong, observed=f"tag {', '.join(wrong) or vlan}")


def _kept_out(case: Case) -> Finding:
    """A packet without the tag must not arrive where one with the tag did."""
    stray = _stray(case)
    came = any(
        _arrived(probe, case)
        for probe in probes_of(case.expectation, case.evidence)
        if probe.direction is Direction.IN
    )
    if not any(sighting.where == WIRE for sighting in stray.sightings):
        raise MissingError("the packet without the tag was not seen on the wire")
    if _arrived(stray, case):
        return Finding(good=False, observed="the guest got a packet without the tag")
    if not came:
        raise MissingError("the packet with the tag did not arrive either")
    return Finding(good=True, observed="the one with the tag arrived, the one without did not")


def _arrived(probe: MarkedProbe, case: Case) -> bool:
    return any(sighting.where == case.expectation.guest for sighting in probe.sightings)


def _stray(case: Case) -> MarkedProbe:
    for stray in case.evidence.strays:
        if (stray.guest, stray.nic) == case.key:
            return stray
    raise MissingError("no packet was sent without the tag")


def _setting(case: Case, vf: SetVf, name: str) -> Finding:
    wanted, seen = getattr(vf, name), getattr(_state(case, vf), name)
    if seen is None:
        raise MissingError(f"{vf.device} does not say what {name} is")
    return Finding(good=seen == wanted, observed=f"{vf.device} says {_switch(seen)}")


def _spoofing(case: Case) -> Finding:
    """Only the setting can be shown."""
    here = case.plan.facts.place is Place.HERE
    return Finding(good=None, observed=_NOT_TRIED if here else _NOT_ENFORCED)


def _switch(value: bool) -> str:
    return "on" if value else "off"
