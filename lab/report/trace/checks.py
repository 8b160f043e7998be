"""Traced packets: that they did what they were sent for, and that the trace shows how."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lab.artifacts import EVIDENCE_FILE
from lab.evidence.whole import Evidence
from lab.plan.data import Plan
from lab.plan.where import WIRE
from lab.report.case import Finding, MissingError, check
from lab.report.drawing import duration
from lab.report.life import Life
from lab.report.trace.timeline import lives_in
from lab.report.verdict import Check

_CHECKS = (("trace.echo", "icmp", "the echo comes back"), ("trace.probe", "hop", "it arrives"))


def life_checks(plan: Plan, evidence: Evidence) -> Iterator[Check]:
    """One check for each traced packet; none where no trace was asked for."""
    if plan.trace is None:
        return
    lives = {life.kind: life for life in lives_in(plan, evidence)}
    for name, kind, expected in _CHECKS:
        yield check(name, expected, EVIDENCE_FILE, partial(_lived, lives.get(kind)))


def _lived(life: Life | None) -> Finding:
    if life is None:
        raise MissingError("the kernel recorded nothing of the packet")
    if life.loss:
        return Finding(good=False, observed=life.loss.words)
    end = WIRE if life.kind == "icmp" else life.guest
    if life.steps[-1].where != end:
        raise MissingError(f"the trace ends with {life.steps[-1].what!r}")
    steps = sum(step.count for step in life.steps)
    return Finding(good=True, observed=f"after {duration(life.duration_ns)} and {steps} steps")
