"""Traces that were recorded in lab hosts, for tests to read and to spoil.

Made by ``lab trace``: evidence.json, without the counters and devices that have nothing to do with
the path.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lab.evidence.life import LifeEvidence
from lab.evidence.whole import Evidence
from lab.plan.data import Plan
from lab.plan.trace import traced
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


def replaced(old: str, new: str) -> Change:
    """Say something else in every event."""

    def change(seen: LifeEvidence) -> LifeEvidence:
        return seen.model_copy(
            update={"events": tuple(line.replace(old, new) for line in seen.events)}
        )

    return change
