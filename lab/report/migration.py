"""Migration: the guest moved, somebody always carried, and the others know where it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from lab.artifacts import EVIDENCE_FILE, MIGRATION_FILE
from lab.evidence.guest import Pair
from lab.evidence.migration import MigrationEvidence, StreamEvidence
from lab.plan.data import MigrationExpectation
from lab.report.case import Case, Finding, MissingError, check
from lab.report.stream import VF, Account, sent_between
from lab.report.verdict import Check, Outcome

# The others learn of a move from its first announcement; measured: within 0.1 s.
_AT_ONCE_NS = 2_000_000_000
# The probes of this time at the end of the stream show who carries in the end.
_LAST_NS = 300_000_000
# In all of QEMU's wordings: the reasons of hw/vfio/migration.c ("VFIO migration is not supported in
# kernel"), and the device's name in that of QEMU 7 ("non-migratable device '0000:01:00.0/vfio'").
_BLOCKER = "vfio"
_PATH_CHECKS = ("hops.in", "hops.out", "strangers", "carrier")


def migration_checks(case: Case, expected: MigrationExpectation) -> Iterator[Check]:
    """Everything about one guest's move; the path afterwards is proved like any other."""
    move = _Move(case, expected)
    vf = "the VF carries in the end" if expected.primary else "no VF in the end"
    ends = f"{expected.outcome}, runs on the {_side(expected)}"
    looks: list[tuple[str, str, str, Callable[[], Finding]]] = [
        ("refused", "without failover", EVIDENCE_FILE, move.refused),
        ("pair", "VF and standby below one device", EVIDENCE_FILE, move.paired),
        ("migration", ends, EVIDENCE_FILE, move.ended),
        ("standby", "carries while the VF is away", MIGRATION_FILE, move.standby),
        ("primary", vf, MIGRATION_FILE, move.primary),
        ("stream.lost", "none but while hands change", MIGRATION_FILE, move.lost),
    ]
    if expected.outcome == "completed":
        looks.append(("announce", "bridges know at once", MIGRATION_FILE, move.announced))
    if expected.downtime_ms is not None:
        most = f"silent for at most {expected.downtime_ms} ms"
        looks.append(("stream.downtime", most, MIGRATION_FILE, move.downtime))
    for name, wanted, evidence, look in looks:
        yield check(f"{case.prefix}{name}", wanted, evidence, look)


def meaningful(checks: Iterable[Check], migrated: Iterable[Check], prefix: str) -> Iterator[Check]:
    """The path's checks; skipped where the guest or its VF is not where that path begins."""
    red = {made.name.removeprefix(prefix) for made in migrated if not made.outcome.green}
    cause = ", ".join(sorted(red & {"migration", "primary"}))
    for made in checks:
        if cause and made.name.removeprefix(prefix) in _PATH_CHECKS:
            skipped = {"outcome": Outcome.SKIP, "observed": f"another path than meant: see {cause}"}
            yield made.model_copy(update=skipped)
        else:
            yield made


@dataclass(frozen=True)
class _Move:
    """What was expected of a move, and what was seen of it. All raise MissingError."""

    case: Case
    expected: MigrationExpectation

    @cached_property
    def seen(self) -> MigrationEvidence:
        migrated = self.case.evidence.migration
        if migrated is None or (migrated.guest, migrated.nic) != self.case.key:
            raise MissingError("no migration of this guest was watched")
        return migrated

    @cached_property
    def account(self) -> Account:
        """The probes, from a stream whose captures lost nothing."""
        stream = self.seen.stream
        if not stream.sent or not stream.answers:
            raise MissingError("no numbered probe was sent and answered")
        if stream.drops:
            raise MissingError(f"the captures lost {stream.drops} packets")
        return Account(stream, (self._stopped(), self._resumed()))

    def refused(self) -> Finding:
        """Whatever else can be wrong with the command says nothing of the VF."""
        said = self.seen.refusal
        if said and _BLOCKER not in said.lower():
            raise MissingError(f"QEMU refused, but not for the VF: {said}")
        return Finding(good=bool(said), observed=said or "QEMU took the migration")

    def paired(self) -> Finding:
        return Finding(good=self.seen.before.carrier, observed=_pair_words(self.seen.before))

    def ended(self) -> Finding:
        seen = self.seen
        good = (seen.outcome, seen.runs_on) == (self.expected.outcome, (_side(self.expected),))
        where = " and ".join(seen.runs_on) or "neither side"
        took = "" if seen.total_ms is None else f" after {seen.total_ms} ms"
        reason = f" ({seen.reason})" if seen.reason else ""
        return Finding(good=good, observed=f"{seen.outcome}{took}{reason}, runs on {where}")

    def standby(self) -> Finding:
        """Between the moment at which the guest had let go of its VF and the switch-over."""
        tap = self.expected.source.tap
        away = self._at("source", "MIGRATION", "active")
        numbers = sent_between(self.seen.stream, away, self._stopped())
        if not numbers:
            raise MissingError("no probe was sent while the VF was away")
        ways = self.account.ways(number for number in numbers if number in self.account.answered)
        good = 2 * ways[tap] >= len(numbers)
        return Finding(good=good, observed=f"{_shares(ways)} of {len(numbers)} answered")

    def primary(self) -> Finding:
        after, account = self.seen.after, self.account
        sent = self.seen.stream.sent
        last = sent_between(self.seen.stream, sent[-1] - _LAST_NS, sent[-1])
        ways = account.ways(number for number in last if number in account.answered)
        if not ways:
            raise MissingError("none of the last probes was answered")
        through = ways.most_common(1)[0][0] == VF
        good = after.carrier and through if self.expected.primary else not after.primary
        return Finding(good=good, observed=f"{_pair_words(after)}; at last {_shares(ways)}")

    def announced(self) -> Finding:
        if self.seen.outcome != "completed":
            return Finding(good=None, observed="the guest has not moved: see migration")
        stopped, resumed = self._stopped(), self._resumed()
        frames = [each for each in self.seen.stream.announcements if each.time_ns >= stopped]
        if not frames:
            return Finding(good=False, observed="nobody announced the guest's address")
        kinds = Counter(each.kind.upper() for each in frames)
        told = " and ".join(f"{count} {kind}" for kind, count in kinds.items())
        found, words = self._found(stopped, resumed)
        first = _after(frames[0].time_ns, resumed)
        return Finding(good=found, observed=f"{told}, the first {first}; {words}")

    def lost(self) -> Finding:
        account = self.account
        said = f"{len(account.lost)} of {len(account.stream.sent)} lost"
        tail = f"{account.reordered} reordered, {account.duplicated} twice"
        if account.stray:
            said += f", {len(account.stray)} of them in no change of hands"
        return Finding(good=not account.stray, observed=f"{said}, {tail}")

    def downtime(self) -> Finding:
        """A silence that another red check explains is not judged twice."""
        assert self.expected.downtime_ms is not None
        silence = self.account.silence_ns / 1e6
        observed = f"{silence:.0f} ms on the wire; QEMU says {self.seen.downtime_ms} ms"
        if silence <= self.expected.downtime_ms:
            return Finding(good=True, observed=observed)
        looks = {"standby": self.standby}
        if self.expected.outcome == "completed":
            looks["announce"] = self.announced
        causes = [name for name, look in looks.items() if look().good is False]
        words = f"{observed}: see {', '.join(causes)}" if causes else observed
        return Finding(good=None if causes else False, observed=words)

    def _found(self, stopped: int, resumed: int) -> tuple[bool, str]:
        """Whether the bridges moved the guest's address at once: the target's to the tap, the
        source's away from its tap to the port behind which everything else is.

        QEMU announces the guest before it tells that it goes on (migration/migration.c,
        process_incoming_migration_bh), so that may come first.
        """
        target, source = self.expected.target, self.expected.source
        until = resumed + _AT_ONCE_NS
        came = [
            entry.time_ns
            for entry in self.seen.stream.fdb
            if (entry.bridge, entry.port) == (target.bridge, target.tap)
            and stopped <= entry.time_ns <= until
        ]
        there = _port_at(self.seen.stream, source.bridge, until)
        took = _after(came[0], resumed) if came else "not"
        words = f"{target.bridge} finds it behind {target.tap} {took}, {source.bridge} "
        words += f"behind {there or 'no port'}"
        return bool(came) and there == source.uplink, words

    def _stopped(self) -> int:
        """When the guest began to stand still.

        QEMU tells it (STOP) once that is done, which took 1.7 s on a busy machine; its downtime
        counts from the beginning.
        """
        told, seen = self._at("source", "STOP"), self.seen
        if seen.outcome != "completed" or seen.downtime_ms is None:
            return told
        ended = self._at("source", "MIGRATION", "completed")
        return min(told, ended - seen.downtime_ms * 1_000_000)

    def _resumed(self) -> int:
        return self._at("target" if self.seen.outcome == "completed" else "source", "RESUME")

    def _at(self, side: str, event: str, status: str = "") -> int:
        """When a QEMU told an event for the first time."""
        for moment in self.seen.moments:
            if (moment.side, moment.event, moment.status) == (side, event, status):
                return moment.time_ns
        words = f"{event} {status}".strip()
        raise MissingError(f"the {side}'s QEMU told of no {words}")


def _side(expected: MigrationExpectation) -> str:
    return "target" if expected.outcome == "completed" else "source"


def _pair_words(pair: Pair) -> str:
    if not pair.primary:
        return f"{pair.master}: {pair.standby} alone"
    carries = "carries" if pair.carrier else "has no carrier"
    return f"{pair.master}: {pair.primary} ({pair.driver}) {carries}, {pair.standby} beside it"


def _after(time_ns: int, since_ns: int) -> str:
    late = (time_ns - since_ns) / 1e6
    return f"after {late:.0f} ms" if late >= 0 else f"{-late:.0f} ms before"


def _shares(ways: Counter[str]) -> str:
    shares = (f"{count} through {'the ' if way == VF else ''}{way}" for way, count in ways.items())
    return " and ".join(shares) or "none"


def _port_at(stream: StreamEvidence, bridge: str, time_ns: int) -> str | None:
    """Behind which port a bridge looked for the guest at that time."""
    ports = [e.port for e in stream.fdb if e.bridge == bridge and e.time_ns <= time_ns]
    return ports[-1] if ports else None
