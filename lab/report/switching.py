"""Switching inside the NIC: what one VF sends to another of its port is on no cable.

That the wire did not see a frame counts only if it saw another one of the same guest.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import permutations

from lab.artifacts import CAPTURE_FILE
from lab.evidence.packets import Asked
from lab.evidence.whole import Evidence
from lab.plan.data import End, Plan, Question
from lab.plan.where import HOST, WIRE
from lab.report.bystanders import vf_port
from lab.report.case import Finding, MissingError, check
from lab.report.questions import seen_at
from lab.report.verdict import Check


def switching_checks(plan: Plan, evidence: Evidence) -> Iterator[Check]:
    """One check for each question whose frame must arrive at another VF of the same port.

    Not for broadcasts and groups: those go to the wire as well.
    """
    pairs = set(_neighbours(plan))
    for question in plan.questions:
        asked = question.arrives and question.kind == "unicast"
        if asked and (_key(question.source), _key(question.target)) in pairs:
            look = partial(_inside, plan, evidence, question)
            name = f"switched.{question.name}"
            yield check(name, "inside the NIC: neither wire nor host", CAPTURE_FILE, look)


def _neighbours(plan: Plan) -> Iterator[tuple[tuple[str, str], ...]]:
    """All pairs of NICs that are VFs of one port."""
    for one, two in permutations(plan.expectations, 2):
        if (port := vf_port(one)) and port == vf_port(two):
            yield (one.guest, one.nic), (two.guest, two.nic)


def _key(end: End) -> tuple[str, str]:
    return end.where, end.nic


def _inside(plan: Plan, evidence: Evidence, question: Question) -> Finding:
    asked = _asked(evidence, question)
    outside = sorted({f"{s.where}:{s.device}" for s in asked.seen if s.where in {WIRE, HOST}})
    if outside:
        return Finding(good=False, observed=f"seen at {', '.join(outside)}")
    if not seen_at(evidence, question, question.target, outgoing=False):
        return Finding(good=None, observed="it did not arrive at all")
    if not any(_on_the_wire(evidence, other) for other in _controls(plan, question)):
        raise MissingError(f"the wire saw no other frame of {question.source.name} either")
    return Finding(good=True, observed="seen at neither, while another of its frames was")


def _controls(plan: Plan, question: Question) -> Iterator[Question]:
    for other in plan.questions:
        if other.source == question.source and other.target.where == WIRE:
            yield other


def _on_the_wire(evidence: Evidence, question: Question) -> bool:
    return any(seen.where == WIRE for seen in _asked(evidence, question).seen)


def _asked(evidence: Evidence, question: Question) -> Asked:
    for asked in evidence.asked:
        if asked.question == question.name:
            return asked
    raise MissingError(f"{question.name} was not asked")
