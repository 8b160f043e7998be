"""Hops: the marked probe passed where it should, in that order, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lab.artifacts import CAPTURE_FILE
from lab.plan.data import Direction, Hop
from lab.plan.operations import AddBridge
from lab.plan.where import HOST, WIRE
from lab.report.bystanders import beside
from lab.report.case import Case, Finding, MissingError, check
from lab.report.path import disorder, probes_of, strangers
from lab.report.verdict import Check


def hop_checks(case: Case) -> Iterator[Check]:
    """One check per direction, and one for devices that have no business with the probe."""
    names = [hop.name for hop in case.expectation.hops or ()]
    for way in Direction:
        expected = " > ".join(names if way is Direction.IN else names[::-1])
        look = partial(_passed, case, way)
        yield check(f"{case.prefix}hops.{way}", expected, CAPTURE_FILE, look)
    alone = partial(_alone, case)
    yield check(f"{case.prefix}strangers", "no other device sees it", CAPTURE_FILE, alone)


def _passed(case: Case, way: Direction) -> Finding:
    path = case.path(way)
    unwatched = {hop.where for hop in path.hops} - {
        capture.where for capture in case.evidence.captures
    }
    if unwatched:
        raise MissingError(f"no capture at {', '.join(sorted(unwatched))}")
    if not any(hop.seen for hop in path.hops):
        raise MissingError("no hop saw the probe, not even its sender")
    unseen = [hop.hop for hop in path.hops if not hop.seen]
    if unseen:
        return Finding(good=False, observed=f"not seen at {', '.join(unseen)}")
    unclocked = {hop.where for hop in path.hops if hop.error_ns is None}
    if unclocked:
        raise MissingError(f"the clock of {', '.join(sorted(unclocked))} was not compared")
    wrong = disorder(path)
    if wrong:
        return Finding(good=False, observed=f"out of order: {', '.join(wrong)}")
    return Finding(good=True, observed=f"all {len(path.hops)}, in this order")


def _alone(case: Case) -> Finding:
    probes = probes_of(case.expectation, case.evidence)
    unseen = set(Direction) - {probe.direction for probe in probes if probe.sightings}
    if unseen:
        raise MissingError(f"no marked probe was seen on its way {' or '.join(sorted(unseen))}")
    apart = (*_far_end(case), *_beside(case))
    found = [
        f"{place} ({probe.direction})"
        for probe in probes
        for place in strangers(case.expectation, probe, apart)
    ]
    if found:
        return Finding(good=False, observed=f"also seen at {', '.join(found)}")
    return Finding(good=True, observed="none")


def _far_end(case: Case) -> Iterator[Hop]:
    """Bridges on the wire: they stand for the network behind the cable, not for the path."""
    for operation in case.plan.operations:
        if isinstance(operation, AddBridge) and operation.where == WIRE:
            yield Hop(name=operation.name, where=WIRE, device=operation.name)


def _beside(case: Case) -> Iterator[Hop]:
    """What is on the same cable for other NICs."""
    probes = probes_of(case.expectation, case.evidence)
    for device in beside(case.plan, case.expectation, probes):
        yield Hop(name=device, where=HOST, device=device)
