"""Traces that were recorded in lab hosts, for tests to read and to spoil.

Made by ``lab trace``: evidence.json, without the counters and devices that have nothing to do with
the path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from lab.evidence.life import LifeEvidence, LinkState
from lab.evidence.whole import Evidence
from lab.plan.data import Plan
from lab.plan.operations import AddMember
from lab.plan.trace import traced
from lab.plan.where import HOST, WIRE
from lab.report.life import Life
from lab.report.trace.timeline import lives_in
from tests.plans import plan_of

RECORDED = Path(__file__).parent / "recorded/life"

TOPOLOGIES = {
    "vhost": "vhost",
    "virtio": "virtio",
    "e1000": "e1000",
    "macvtap": "macvtap",
    "passthrough": "passthrough",
    "sriov": "sriov",
    "mtu": "vhost",
    "drop": "vhost",
}
"""What was recorded, and of which topology. In ``mtu`` the tap has an MTU of 1400, in ``drop`` a tc
filter drops marked UDP packets as they come in from the wire."""

PORT = AddMember(device="eth2", bridge="br9")
_FRAME = re.compile(r" ([\d.]+): (?:net_dev|netif|skb_copy)")

Change = Callable[[LifeEvidence], LifeEvidence]


def plan(name: str) -> Plan:
    """The plan by which it was recorded."""
    return traced(plan_of(TOPOLOGIES[name]))


def evidence(name: str, change: Change | None = None) -> Evidence:
    """What was recorded, each life changed if that is wanted."""
    found = Evidence.model_validate_json((RECORDED / f"{name}.json").read_text())
    if change is None:
        return found
    return found.model_copy(update={"lives": tuple(map(change, found.lives))})


def life(name: str, kind: str = "icmp", change: Change | None = None) -> Life:
    """One packet's life."""
    lives = {each.kind: each for each in lives_in(plan(name), evidence(name, change))}
    return lives[kind]


def without(*words: str) -> Change:
    """Leave out the events whose line has one of the words in it."""

    def change(seen: LifeEvidence) -> LifeEvidence:
        kept = (line for line in seen.events if not any(word in line for word in words))
        return seen.model_copy(update={"events": tuple(kept)})

    return change


def also_heard(seen: LifeEvidence) -> LifeEvidence:
    """A second port on the cable, with a bridge of somebody else's on it, hears all of it as well.

    It tells of a frame whenever anybody tells of one.
    """
    port = LinkState(where=HOST, device=PORT.device, mtu=1500, bridge=PORT.bridge, counters={})
    heard = "<idle>-0 [001] ..s1. {time}: netif_receive_skb: dev={dev} skbaddr=0bad len={length}"
    events = (
        told
        for line in seen.events
        for told in (
            line,
            *(
                heard.format(time=found[1], dev=PORT.device, length=seen.size - 14)
                for found in _FRAME.finditer(line)
            ),
        )
    )
    first = next(each for each in seen.sightings if each.where == WIRE)
    here = first.model_copy(update={"where": HOST, "device": PORT.device, "outgoing": False})
    return seen.model_copy(
        update={
            "events": tuple(events),
            "sightings": (*seen.sightings, here),
            "before": (*seen.before, port),
            "after": (*seen.after, port),
        }
    )


def replaced(old: str, new: str) -> Change:
    """Say something else in every event."""

    def change(seen: LifeEvidence) -> LifeEvidence:
        return seen.model_copy(
            update={"events": tuple(line.replace(old, new) for line in seen.events)}
        )

    return change
