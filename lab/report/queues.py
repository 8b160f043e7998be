"""Queues: as many carry traffic as expected, each with an interrupt and a vCPU of its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lab.artifacts import EVIDENCE_FILE
from lab.evidence.carrier import QueueCount, QueuesEvidence
from lab.report.case import Case, Finding, MissingError, check
from lab.report.verdict import Check


def queue_checks(case: Case, expected: int) -> Iterator[Check]:
    """Three checks, for each can be wrong alone, and QEMU says nothing about any of them."""
    checks = (
        ("queues", f"{expected} carry traffic", _carry),
        ("interrupts", "each queue has its own", _interrupts),
        ("vcpus", "each queue has one of its own", _vcpus),
    )
    for name, says, look in checks:
        yield check(f"{case.prefix}{name}", says, EVIDENCE_FILE, partial(look, case, expected))


def _carry(case: Case, expected: int) -> Finding:
    seen = _seen(case)
    used = _used(seen)
    lost = [way for way, count in _arrived(seen) if count < seen.flows]
    if lost:
        return Finding(good=False, observed=f"flows were lost on the way {' and '.join(lost)}")
    good = len(used) == expected and all(q.rx_packets and q.tx_packets for q in used)
    words = [f"{len(used)}: {', '.join(map(_packets, used))}"]
    # Without any thread, vhost carries nothing: that is for the carrier's check to tell. Which NIC
    # a thread belongs to nobody says, and a stray frame wakes another NIC's.
    if seen.vhost_threads and case.alone:
        woken = sum(thread.wakeups > 0 for thread in seen.vhost_threads)
        good = good and woken == expected
        words.append(f"{woken} vhost threads woken")
    if seen.refused:
        words.append(f"the guest: {seen.refused}")
    return Finding(good=good, observed="; ".join(words))


def _interrupts(case: Case, expected: int) -> Finding:
    used = _used(_seen(case))
    if len(used) != expected:
        return _meaningless(used)
    silent = [str(queue.index) for queue in used if not queue.interrupts]
    if silent:
        return Finding(good=False, observed=f"none of its own for queue {', '.join(silent)}")
    counts = (f"queue {queue.index} {sum(queue.interrupts.values())}" for queue in used)
    return Finding(good=True, observed=", ".join(counts))


def _vcpus(case: Case, expected: int) -> Finding:
    used = _used(_seen(case))
    if len(used) != expected:
        return _meaningless(used)
    if not all(queue.interrupts for queue in used):
        return Finding(good=None, observed="queues without interrupts of their own have no vCPU")
    homes = {queue.index: max(queue.interrupts, key=queue.interrupts.__getitem__) for queue in used}
    words = ", ".join(f"queue {queue} on vCPU {vcpu}" for queue, vcpu in homes.items())
    return Finding(good=len(set(homes.values())) == len(homes), observed=words)


def _meaningless(used: tuple[QueueCount, ...]) -> Finding:
    return Finding(good=None, observed=f"means nothing where {len(used)} queues carry traffic")


def _seen(case: Case) -> QueuesEvidence:
    for seen in case.evidence.queues:
        if (seen.guest, seen.nic) == case.key:
            if seen.missing:
                raise MissingError("; ".join(seen.missing))
            if not seen.flows:
                raise MissingError("no flows were sent")
            return seen
    raise MissingError("nobody counted packets by queue")


def _used(seen: QueuesEvidence) -> tuple[QueueCount, ...]:
    return tuple(queue for queue in seen.queues if queue.rx_packets or queue.tx_packets)


def _arrived(seen: QueuesEvidence) -> tuple[tuple[str, int], ...]:
    return (
        ("in", sum(queue.rx_packets for queue in seen.queues)),
        ("out", sum(queue.tx_packets for queue in seen.queues)),
    )


def _packets(queue: QueueCount) -> str:
    return f"queue {queue.index} {queue.rx_packets} in {queue.tx_packets} out"
