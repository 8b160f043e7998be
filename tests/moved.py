"""A migration in which everything is as it should be, for tests to spoil in one place at a time."""

from __future__ import annotations

from lab.evidence.guest import Pair
from lab.evidence.migration import Announcement, FdbEntry, MigrationEvidence, Moment, StreamEvidence
from lab.evidence.whole import Evidence
from lab.plan.data import MigrationExpectation, Plan, Segment
from tests import sample

STEP = 10_000_000
START = 1_700_000_000_000_000_000
TRIP = 4_000_000
DOWN = 197_000_000
AWAY, STOPPED, RESUMED, BACK, END = 105, 200, 240, 330, 400
"""Numbers of probes: the VF is gone, the source stands, the target runs, its VF carries."""
LOST = (*range(100, AWAY), *range(STOPPED, RESUMED + 1))

EXPECTED = MigrationExpectation(
    outcome="completed",
    primary=True,
    downtime_ms=1000,
    source=Segment(tap="tap0", bridge="br0", uplink="eth2"),
    target=Segment(tap="tap1", bridge="br1", uplink="eth4"),
)


def at(number: int) -> int:
    """When a probe was sent."""
    return START + number * STEP


def plan(expected: MigrationExpectation = EXPECTED) -> Plan:
    """One guest that migrates."""
    return sample.plan(sample.EXPECTATION.model_copy(update={"migration": expected}))


def evidence(**changes: object) -> Evidence:
    """Complete, and as `plan` expects it; ``changes`` are fields of the migration."""
    moved = migration().model_copy(update=changes)
    return sample.evidence().model_copy(update={"migration": moved})


def migration() -> MigrationEvidence:
    """A move of three seconds, and one second before and after it."""
    pair = Pair(master="eth0", standby="eth1", primary="eth2", driver="igbvf", carrier=True)
    return MigrationEvidence(
        guest="guest",
        nic="net0",
        outcome="completed",
        reason="",
        runs_on=("target",),
        downtime_ms=197,
        total_ms=1178,
        refusal="QEMU refused migrate: VFIO migration is not supported in kernel",
        before=pair,
        after=pair,
        moments=moments(),
        stream=stream(),
        commands={"guest": "qemu", "guest-target": "qemu -incoming defer"},
    )


def moments() -> tuple[Moment, ...]:
    """What both QEMUs told."""
    return (
        Moment(time_ns=at(99), side="source", event="UNPLUG_PRIMARY"),
        Moment(time_ns=at(99) + 1, side="source", event="MIGRATION", status="wait-unplug"),
        Moment(time_ns=at(AWAY), side="source", event="MIGRATION", status="active"),
        Moment(time_ns=at(STOPPED), side="source", event="STOP"),
        Moment(time_ns=at(STOPPED) + DOWN, side="source", event="MIGRATION", status="completed"),
        Moment(time_ns=at(RESUMED), side="target", event="RESUME"),
    )


def stream(lost: tuple[int, ...] = LOST, end: int = END) -> StreamEvidence:
    """One probe every 10 ms, answered within 4 ms unless lost."""
    answers = tuple((n, at(n) + TRIP) for n in range(end) if n not in lost)
    return StreamEvidence(
        interval_ms=10,
        sent=tuple(at(n) for n in range(end)),
        answers=answers,
        carried={
            "tap0": tuple((n, t - 1000) for n, t in answers if AWAY <= n < STOPPED),
            "tap1": tuple((n, t - 1000) for n, t in answers if RESUMED <= n < BACK),
        },
        announcements=(
            Announcement(time_ns=at(AWAY) + 1000, kind="rarp"),
            Announcement(time_ns=at(RESUMED) + 5_000_000, kind="rarp"),
            Announcement(time_ns=at(RESUMED) + 55_000_000, kind="arp"),
        ),
        fdb=(
            FdbEntry(time_ns=START, bridge="br0", port="eth2"),
            FdbEntry(time_ns=START, bridge="br1", port="eth4"),
            FdbEntry(time_ns=at(AWAY) + 2000, bridge="br0", port="tap0"),
            FdbEntry(time_ns=at(RESUMED) + 5_000_000, bridge="br1", port="tap1"),
            FdbEntry(time_ns=at(RESUMED) + 5_000_000, bridge="br0", port="eth2"),
            FdbEntry(time_ns=at(BACK), bridge="br1", port="eth4"),
        ),
        drops=0,
    )
