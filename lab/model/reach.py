"""Questions of reach: what they may ask, and what shows that a "no" was not just bad luck.

That a frame did not arrive proves nothing by itself. So every such question has a control: a frame
that did arrive at the same end while the other did not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.model import failover
from lab.model.places import Finding, Path
from lab.model.topology import ATTACHMENTS, Nic, Reach, Topology
from lab.model.wording import close_to
from lab.model.words import FrameKind

WIRE = "wire"
HOST = "host"


def check_reach(topology: Topology) -> Iterator[Finding]:
    """Everything about the questions that does not fit together."""
    first: dict[tuple[str, str, FrameKind], int] = {}
    for number, question in enumerate(topology.reach):
        path: Path = ("reach", number)
        unknown = list(_ends(topology, path, question))
        yield from unknown
        key = (question.source, question.target, question.kind)
        if key in first:
            kind = ("reach", first[key], "kind")
            message = "asks the same as {other}"
            yield Finding(path, message, other=kind[:-1], rests_on=(kind,))
        first.setdefault(key, number)
        if unknown:
            continue
        yield from _between(topology, path, question)
        if not question.arrives and control_of(topology, question) is None:
            yield Finding(
                path,
                f"nothing would show that {question.target} sees anything at all",
                f"ask another question to {question.target}, one that arrives",
                looks_in="reach",
            )


def control_of(topology: Topology, question: Reach) -> Reach | None:
    """What has to arrive where ``question`` does not; None where nothing is expected to.

    Best is a frame of the same kind, best of all from the wire, which sends one if the file does
    not ask for it: the wire reaches every NIC, or other checks are red as well, and every bridge
    and port that NICs hang on. There ``host`` means what it means in ``question``.
    """
    for kind in (question.kind, FrameKind.UNICAST, *FrameKind):
        for other in (*_from_wire(topology, question.target, kind), *topology.reach):
            if other.arrives and other.kind == kind and _same_end(topology, other, question):
                return other
    return None


def _from_wire(topology: Topology, target: str, kind: FrameKind) -> Iterator[Reach]:
    """The wire's own question, where it is sure to arrive: groups need somebody to take them."""
    nic = topology.nics().get(target)
    takes_groups = nic and (nic.bridge or (nic.macvtap and nic.macvtap.allmulticast))
    if kind in {FrameKind.UNICAST, FrameKind.BROADCAST} or takes_groups:
        said = {"from": WIRE, "to": target, "kind": kind, "arrives": True}
        yield Reach.model_validate(said)


def anchor(nic: Nic) -> str | None:
    """The bridge or port that a NIC hangs on; None where the host has no device there."""
    port = nic.macvtap.port if nic.macvtap else nic.vf.port if nic.vf else None
    return nic.bridge or port


def attachments(topology: Topology, keys: Collection[str]) -> tuple[Path, ...]:
    """Where the file says what NICs hang on."""
    nics = [topology.nics()[key] for key in keys]
    return tuple(
        ("guests", number, "nics", index, attachment)
        for number, guest in enumerate(topology.guests)
        for index, nic in enumerate(guest.nics)
        for attachment in ATTACHMENTS
        if any(nic is each for each in nics)
    )


def host_anchor(topology: Topology, question: Reach) -> str | None:
    """The bridge or port that ``host`` means in a question; None where it is not one."""
    nics = topology.nics()
    others = {question.source, question.target} - {HOST, WIRE}
    found = {anchor(nics[name]) if name in nics else None for name in others or nics}
    return found.pop() if len(found) == 1 else None


def _same_end(topology: Topology, control: Reach, question: Reach) -> bool:
    """Whether ``control`` comes where ``question`` would, and the file does not say otherwise."""
    if control.target != question.target or control.source == control.target:
        return False
    elsewhere = host_anchor(topology, control) != host_anchor(topology, question)
    if control.target == HOST and control.source != WIRE and elsewhere:
        return False
    return not any(
        (other.source, other.target, other.kind) == (control.source, control.target, control.kind)
        for other in topology.reach
        if not other.arrives
    )


def _ends(topology: Topology, path: Path, question: Reach) -> Iterator[Finding]:
    pairs = failover.pairs(topology)
    known = [*(key for key in topology.nics() if key not in pairs), WIRE, HOST]
    for key, end in (("from", question.source), ("to", question.target)):
        if end in pairs:
            yield failover.named_as_pair((*path, key), pairs[end])
        elif end not in known:
            hint = close_to(end, known) or f"known here: {', '.join(known)}"
            message = f"there is no {end!r} to ask"
            yield Finding((*path, key), message, hint, looks_in="guests")


def _between(topology: Topology, path: Path, question: Reach) -> Iterator[Finding]:
    ends = (question.source, question.target)
    if ends[0] == ends[1]:
        yield Finding((*path, "to"), f"{ends[1]} is where it comes from")
    elif HOST in ends and host_anchor(topology, question) is None:
        message = "the host has no device, or several, on which it could meet the other end"
        hung = attachments(topology, {*ends} - {HOST, WIRE} or topology.nics())
        path = (*path, "from" if ends[0] == HOST else "to")
        yield Finding(path, message, looks_in="guests", rests_on=hung)
