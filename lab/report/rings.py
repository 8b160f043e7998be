"""Rings: the virtio settings that were asked for are in effect."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lab.artifacts import EVIDENCE_FILE
from lab.evidence.carrier import RingEvidence
from lab.report.case import Case, Finding, MissingError, check
from lab.report.verdict import Check


def ring_checks(case: Case) -> Iterator[Check]:
    """One check for each setting that was asked for."""
    packed, length = case.expectation.packed, case.expectation.rx_ring
    if packed is not None:
        look = partial(_packed, case, packed)
        yield check(f"{case.prefix}packed", _ring(packed), EVIDENCE_FILE, look)
    if length is not None:
        look = partial(_length, case, length)
        yield check(f"{case.prefix}rx-ring", f"{length} entries", EVIDENCE_FILE, look)


def _packed(case: Case, expected: bool) -> Finding:
    seen = _seen(case).packed
    if seen is None:
        raise MissingError("QEMU knows no virtio features of this NIC")
    return Finding(good=seen is expected, observed=f"{_ring(seen)}, by QEMU's word")


def _length(case: Case, expected: int) -> Finding:
    seen = _seen(case).rx_ring
    if seen is None:
        raise MissingError("the guest did not tell the length of its receive ring")
    return Finding(good=seen == expected, observed=f"{seen} entries, by the guest's driver")


def _seen(case: Case) -> RingEvidence:
    for seen in case.evidence.rings:
        if (seen.guest, seen.nic) == case.key:
            if seen.missing:
                raise MissingError("; ".join(seen.missing))
            return seen
    raise MissingError("nobody looked at the rings")


def _ring(packed: bool) -> str:
    return "packed rings" if packed else "split rings"
