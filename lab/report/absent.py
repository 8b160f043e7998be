"""Absent: of some kinds of device the host has none, so none can be in the path."""

from __future__ import annotations

from functools import partial

from lab.artifacts import EVIDENCE_FILE
from lab.plan.where import HOST
from lab.report.case import Case, Finding, MissingError, check
from lab.report.verdict import Check


def absent_check(case: Case, kinds: tuple[str, ...]) -> Check:
    """One check for all kinds."""
    look = partial(_absent, case, kinds)
    return check(f"{case.prefix}absent", f"no {', no '.join(kinds)}", EVIDENCE_FILE, look)


def _absent(case: Case, kinds: tuple[str, ...]) -> Finding:
    devices = case.evidence.devices
    if not devices:
        raise MissingError("the host's devices were not listed")
    expected = {hop.device for hop in case.expectation.hops or () if hop.where == HOST}
    unlisted = expected - {device.name for device in devices}
    if unlisted:
        raise MissingError(f"the list of the host's devices lacks {', '.join(sorted(unlisted))}")
    found = [f"{device.name} ({device.kind})" for device in devices if device.kind in kinds]
    observed = ", ".join(found) or f"none among {len(devices)} devices"
    return Finding(good=not found, observed=observed)
