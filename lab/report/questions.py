"""Questions of reach: who meets whom, and who must not.

A frame that did not arrive counts only if it was sent, and if a control did arrive at the same end
in the same window.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lab.artifacts import CAPTURE_FILE
from lab.evidence.packets import Seen
from lab.evidence.whole import Evidence
from lab.plan.data import End, Plan, Question
from lab.report.case import Finding, MissingError, check
from lab.report.path import device_of
from lab.report.verdict import Check


def question_checks(plan: Plan, evidence: Evidence) -> Iterator[Check]:
    """One check for each question that the topology asks."""
    for question in plan.questions:
        if question.arrives is not None:
            expected = "arrives" if question.arrives else "does not arrive"
            look = partial(_answer, plan, evidence, question)
            yield check(f"meet.{question.name}", expected, CAPTURE_FILE, look)


def _answer(plan: Plan, evidence: Evidence, question: Question) -> Finding:
    if not seen_at(evidence, question, question.source, outgoing=True):
        raise MissingError(f"{question.source.name} was not seen to send it")
    arrived = seen_at(evidence, question, question.target, outgoing=False)
    if question.arrives:
        observed = "arrived" if arrived else f"was sent, but {question.target.name} did not see it"
        return Finding(good=arrived, observed=observed)
    if arrived:
        return Finding(good=False, observed="arrived")
    control = _control(plan, question)
    if not seen_at(evidence, control, control.target, outgoing=False):
        raise MissingError(f"its control {_words(control)} did not arrive either")
    return Finding(good=True, observed=f"did not arrive, while {_words(control)} did")


def _control(plan: Plan, question: Question) -> Question:
    for other in plan.questions:
        if other.name == question.control:
            return other
    raise MissingError("no frame was sent that would have shown that it could arrive")


def seen_at(evidence: Evidence, question: Question, end: End, *, outgoing: bool) -> bool:
    """Whether a question's frame was sent, or taken in, by one end's own device."""
    device = end.device or device_of(evidence, end.where, end.nic)
    wanted = Seen(where=end.where, device=device, outgoing=outgoing)
    for asked in evidence.asked:
        if asked.question == question.name:
            return wanted in asked.seen
    raise MissingError(f"{_words(question)} was not asked")


def _words(question: Question) -> str:
    return f"{question.kind} {question.source.name} > {question.target.name}"
