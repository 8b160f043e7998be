"""The judge: plan and evidence in, verdict out. Pure.

Every check looks at one thing only and says what it expected and what it saw. An expectation
without evidence is an error that names what is missing; it is never a pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from lab.artifacts import CAPTURE_FILE, EVIDENCE_FILE
from lab.evidence.whole import Evidence
from lab.plan.data import Expectation, Plan
from lab.report.absent import absent_check
from lab.report.carrier import carrier_check
from lab.report.case import Case, Finding, MissingError, check
from lab.report.exits import exits_check
from lab.report.functions import function_checks
from lab.report.hops import hop_checks
from lab.report.hotplug import hotplug_checks
from lab.report.migration import meaningful, migration_checks
from lab.report.questions import question_checks
from lab.report.queues import queue_checks
from lab.report.reach import reach_checks
from lab.report.rings import ring_checks
from lab.report.switching import switching_checks
from lab.report.trace.checks import life_checks
from lab.report.verdict import LEFT_BEHIND, Check, Verdict


def judge(plan: Plan, evidence: Evidence, left: tuple[str, ...] | None) -> Verdict:
    """Hold the evidence against the plan.

    ``left`` is what the undo could not put back, ``None`` when the undo never reported.
    """
    checks = [
        made
        for expectation in plan.expectations
        for made in _nic_checks(Case(plan, evidence, expectation, _prefix(plan, expectation)))
    ]
    asked = (*question_checks(plan, evidence), *switching_checks(plan, evidence))
    lives = life_checks(plan, evidence)
    return Verdict(checks=(*checks, *asked, *lives, *_run_checks(plan, evidence, left)))


def _prefix(plan: Plan, expectation: Expectation) -> str:
    if len(plan.expectations) == 1:
        return ""
    nics = Counter(other.guest for other in plan.expectations)[expectation.guest]
    return f"{expectation.guest}/" if nics == 1 else f"{expectation.guest}.{expectation.nic}/"


def _nic_checks(case: Case) -> Iterator[Check]:
    expected = case.expectation.migration
    migrated = tuple(migration_checks(case, expected)) if expected else ()
    yield from meaningful(_path_checks(case), migrated, case.prefix)
    yield from migrated


def _path_checks(case: Case) -> Iterator[Check]:
    expectation = case.expectation
    yield from reach_checks(case)
    if expectation.hops is not None:
        yield from hop_checks(case)
    if expectation.absent is not None:
        yield absent_check(case, expectation.absent)
    if expectation.carrier is not None:
        yield carrier_check(case, expectation.carrier)
    if expectation.driver is not None:
        look = partial(_driver, case, expectation.driver)
        yield check(f"{case.prefix}driver", expectation.driver, EVIDENCE_FILE, look)
    if expectation.queues is not None:
        yield from queue_checks(case, expectation.queues)
    if expectation.exits is not None:
        yield exits_check(case, expectation.exits)
    yield from ring_checks(case)
    yield from hotplug_checks(case)
    yield from function_checks(case)


def _run_checks(plan: Plan, evidence: Evidence, left: tuple[str, ...] | None) -> Iterator[Check]:
    """What concerns the whole run."""
    accelerator = plan.facts.accelerator
    yield check("captures", "no packet lost", CAPTURE_FILE, partial(_captures, evidence))
    yield check("accelerator", accelerator, EVIDENCE_FILE, partial(_accelerator, plan, evidence))
    yield check("evidence", "complete", EVIDENCE_FILE, partial(_complete, evidence))
    yield check(LEFT_BEHIND, "nothing", EVIDENCE_FILE, partial(_left_behind, left))


def _driver(case: Case, expected: str) -> Finding:
    driver = case.nic().driver
    if not driver:
        raise MissingError("the guest did not name the NIC's driver")
    return Finding(good=driver == expected, observed=driver)


def _captures(evidence: Evidence) -> Finding:
    if not evidence.captures:
        raise MissingError("nothing was captured")
    empty = [capture.where for capture in evidence.captures if not capture.packets]
    if empty:
        raise MissingError(f"nothing was captured at {', '.join(empty)}")
    lossy = [f"{c.drops} lost at {c.where}" for c in evidence.captures if c.drops]
    total = sum(capture.packets for capture in evidence.captures)
    return Finding(good=not lossy, observed=", ".join(lossy) or f"{total} packets, none lost")


def _accelerator(plan: Plan, evidence: Evidence) -> Finding:
    ran = {guest.name: guest.accelerator for guest in evidence.guests}
    silent = [guest.name for guest in plan.guests if guest.name not in ran]
    if silent:
        raise MissingError(f"{', '.join(silent)} did not say what it runs on")
    wrong = [f"{name} on {on}" for name, on in ran.items() if on != plan.facts.accelerator]
    return Finding(good=not wrong, observed=", ".join(wrong) or plan.facts.accelerator)


def _complete(evidence: Evidence) -> Finding:
    if evidence.missing:
        raise MissingError("; ".join(evidence.missing))
    return Finding(good=True, observed="complete")


def _left_behind(left: tuple[str, ...] | None) -> Finding:
    if left is None:
        raise MissingError("the undo did not report")
    return Finding(good=not left, observed=", ".join(left) or "nothing")
