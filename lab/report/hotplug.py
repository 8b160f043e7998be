"""Hot-plug: the guest let the NIC go, and QEMU kept nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lab.artifacts import EVIDENCE_FILE
from lab.evidence.guest import HotplugEvidence
from lab.plan.data import NicPlan
from lab.report.case import Case, Finding, MissingError, check
from lab.report.verdict import Check


def hotplug_checks(case: Case) -> Iterator[Check]:
    """Two checks where the NIC came to a running guest; none where it was there from the start."""
    nic = _planned(case)
    if nic is not None and nic.hotplug:
        times = f"{nic.rounds} times" if nic.rounds > 1 else "once"
        unplugged = partial(_unplugged, case, nic.rounds)
        yield check(f"{case.prefix}unplug", f"let go {times}", EVIDENCE_FILE, unplugged)
        leaks = partial(_leaks, case)
        yield check(f"{case.prefix}leaks", "QEMU keeps nothing of it", EVIDENCE_FILE, leaks)


def _planned(case: Case) -> NicPlan | None:
    found = (
        nic for guest in case.plan.guests for nic in guest.nics if (guest.name, nic.id) == case.key
    )
    return next(found, None)


def _unplugged(case: Case, rounds: int) -> Finding:
    seen = _seen(case)
    if seen.kept:
        return Finding(good=False, observed=seen.kept)
    slowest = max(seen.unplugged, default=0.0)
    words = f"{len(seen.unplugged)} of {rounds}, after {slowest:.2f} s at most"
    return Finding(good=len(seen.unplugged) == rounds, observed=words)


def _leaks(case: Case) -> Finding:
    seen = _seen(case)
    if any(each.kept for each in case.evidence.hotplugs if each.guest == seen.guest):
        return Finding(good=None, observed="means nothing while the guest keeps a NIC")
    files, threads = sum(seen.after.fds.values()), sum(seen.after.threads.values())
    same = f"nothing: {files} files, {threads} threads, {len(seen.after.devices)} PCI functions"
    return Finding(good=not seen.left, observed=", ".join(seen.left) or same)


def _seen(case: Case) -> HotplugEvidence:
    for seen in case.evidence.hotplugs:
        if (seen.guest, seen.nic) == case.key:
            if not (seen.before.fds and seen.after.fds):
                raise MissingError("QEMU's open files could not be seen")
            return seen
    raise MissingError("nobody looked at the unplugging")
