"""A good run is green; spoiling one thing turns exactly its check red; no evidence is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab.evidence.carrier import Thread
from lab.evidence.whole import Evidence
from lab.plan.data import Carrier, Direction, Expectation, Plan
from lab.report.judge import judge
from lab.report.verdict import Check, Outcome, Verdict
from tests import sample

ALL = {
    "reach.arp",
    *(f"reach.{protocol}.{way}" for protocol in ("icmp", "udp", "tcp") for way in Direction),
    "checksum",
    "hops.in",
    "hops.out",
    "strangers",
    "carrier",
    "driver",
    "captures",
    "accelerator",
    "evidence",
    "left-behind",
}

Change = Callable[[Evidence], Evidence]


def with_(record: Any, **changes: Any) -> Any:
    """A copy of a record with fields replaced, checked like the original."""
    return type(record).model_validate({**dict(record), **changes})


def spoilt(evidence: Evidence, **changes: Any) -> Evidence:
    """A copy of the evidence with fields replaced."""
    return Evidence.model_validate({**dict(evidence), **changes})


def each(field: str, keep: Callable[[Any], bool], **changes: Any) -> Change:
    """Change every item of one of the evidence's lists that ``keep`` picks."""

    def change(evidence: Evidence) -> Evidence:
        items = getattr(evidence, field)
        changed = tuple(with_(item, **changes) if keep(item) else item for item in items)
        return spoilt(evidence, **{field: changed})

    return change


def without(field: str, drop: Callable[[Any], bool] = lambda _: True) -> Change:
    """Remove items from one of the evidence's lists."""

    def change(evidence: Evidence) -> Evidence:
        kept = tuple(item for item in getattr(evidence, field) if not drop(item))
        return spoilt(evidence, **{field: kept})

    return change


def exchange(protocol: str, way: Direction | None = None) -> Callable[[Any], bool]:
    return lambda item: item.protocol == protocol and way in {None, item.direction}


def one_size(protocol: str, way: Direction) -> Callable[[Any], bool]:
    return lambda item: exchange(protocol, way)(item) and item.size >= sample.SIZES[-1]


def sightings(way: Direction, change: Callable[[Any], Any]) -> Change:
    """Map each sighting of one probe; ``None`` removes it."""

    def spoil(evidence: Evidence) -> Evidence:
        probe = next(probe for probe in evidence.probes if probe.direction is way)
        changed = tuple(new for old in probe.sightings if (new := change(old)) is not None)
        return each("probes", lambda item: item is probe, sightings=changed)(evidence)

    return spoil


def swapped(way: Direction, one: int, other: int) -> Change:
    """Two sightings the other way round, each with the stamp that it had."""

    def spoil(evidence: Evidence) -> Evidence:
        probe = next(probe for probe in evidence.probes if probe.direction is way)
        seen = list(probe.sightings)
        seen[one], seen[other] = seen[other], seen[one]
        return each("probes", lambda item: item is probe, sightings=tuple(seen))(evidence)

    return spoil


def unseen_at(device: str, where: str = "host") -> Callable[[Any], Any]:
    return lambda seen: None if (seen.where, seen.device) == (where, device) else seen


def later_at(device: str, where: str, nanoseconds: int) -> Callable[[Any], Any]:
    def change(seen: Any) -> Any:
        here = (seen.where, seen.device) == (where, device)
        return with_(seen, time_ns=seen.time_ns + nanoseconds) if here else seen

    return change


def stranger(evidence: Evidence) -> Evidence:
    probe = evidence.probes[0]
    extra = with_(probe.sightings[1], device="eth7")
    changed = with_(probe, sightings=(*probe.sightings, extra))
    return spoilt(evidence, probes=(changed, *evidence.probes[1:]))


def vhost(**changes: Any) -> Change:
    return each("carriers", lambda _: True, **changes)


def guest(**changes: Any) -> Change:
    return each("guests", lambda _: True, **changes)


def guest_nic(**changes: Any) -> Change:
    def change(evidence: Evidence) -> Evidence:
        nics = tuple(with_(nic, **changes) for nic in evidence.guests[0].nics)
        return guest(nics=nics)(evidence)

    return change


def any_item(_: Any) -> bool:
    return True


SPOILT: list[tuple[str, str, Change]] = [
    ("reach.arp", "60 bytes: 0 of 3", each("exchanges", exchange("arp"), delivered=0)),
    *(
        (
            f"reach.{protocol}.{way}",
            "bytes: 2 of 3",
            each("exchanges", one_size(protocol, way), delivered=2),
        )
        for protocol in ("icmp", "udp", "tcp")
        for way in Direction
    ),
    ("checksum", "wrong", each("exchanges", exchange("udp", Direction.OUT), bad_checksums=1)),
    ("hops.in", "not seen at br0", sightings(Direction.IN, unseen_at("br0"))),
    ("hops.out", "not seen at wire", sightings(Direction.OUT, unseen_at("eth1", "wire"))),
    (
        "hops.in",
        "out of order: tap0 before br0",
        sightings(Direction.IN, later_at("br0", "host", 20_000)),
    ),
    ("hops.in", "out of order: br0 before uplink", swapped(Direction.IN, 1, 2)),
    (
        "hops.out",
        "out of order: tap0 before guest",
        sightings(Direction.OUT, later_at("eth0", "guest", 220_000)),
    ),
    ("strangers", "host:eth7 (in)", stranger),
    ("carrier", "no vhost thread", vhost(vhost_threads=())),
    ("carrier", "2.0 data-path system calls", vhost(qemu_syscalls={"writev": 400})),
    ("carrier", "no /dev/vhost-net", vhost(vhost_fds=0)),
    ("carrier", "QMP: vhost is off", vhost(vhost_in_qmp=False)),
    (
        "carrier",
        "woken 0.0 times",
        vhost(vhost_threads=({"tid": 12, "name": "vhost-10", "wakeups": 1},)),
    ),
    ("driver", "e1000", guest_nic(driver="e1000")),
    ("captures", "7 lost at host", each("captures", lambda c: c.where == "host", drops=7)),
    ("accelerator", "guest on tcg", guest(accelerator="tcg")),
]

REMOVED: list[tuple[str, str, Change]] = [
    ("reach.arp", "no arp packet", without("exchanges", exchange("arp"))),
    *(
        (
            "reach.arp",
            f"no arp packet was sent on the way {way}",
            each("exchanges", exchange("arp", way), sent=0, delivered=0),
        )
        for way in Direction
    ),
    *(
        (
            f"reach.{protocol}.{way}",
            f"nothing sent with {sample.SIZES[-1]} bytes",
            without("exchanges", one_size(protocol, way)),
        )
        for protocol in ("icmp", "udp")
        for way in Direction
    ),
    (
        "reach.icmp.in",
        "no icmp packet",
        each("exchanges", exchange("icmp", Direction.IN), sent=0, delivered=0),
    ),
    (
        "checksum",
        "none verified of udp in",
        each("exchanges", exchange("udp", Direction.IN), checked=0),
    ),
    ("evidence", "no perf", lambda evidence: spoilt(evidence, missing=("no perf",))),
    ("carrier", "nobody counted", without("carriers")),
    ("carrier", "no tracefs", vhost(missing=("no tracefs",))),
    ("carrier", "no packet crossed", vhost(round_trips=0)),
    ("driver", "said nothing of this NIC", guest(nics=())),
    ("driver", "did not name", guest_nic(driver="")),
    ("captures", "at host", each("captures", lambda c: c.where == "host", packets=0)),
]

# Some evidence carries several checks; then all of them are errors.
REMOVED_TOGETHER: list[tuple[set[str], Change]] = [
    ({"accelerator", "driver"}, without("guests")),
    ({"hops.in", "hops.out", "strangers"}, without("probes")),
    ({"hops.in", "strangers"}, sightings(Direction.IN, lambda _: None)),
    ({"hops.in", "hops.out"}, without("clocks")),
    ({"hops.in", "hops.out"}, without("captures", lambda c: c.where == "guest")),
    ({"hops.in", "hops.out", "captures"}, without("captures")),
    ({"reach.tcp.in", "reach.tcp.out"}, without("exchanges", exchange("tcp"))),
    (
        {"reach.icmp.in", "reach.icmp.out", "checksum"},
        without("exchanges", exchange("icmp")),
    ),
]


def verdict(change: Change = lambda evidence: evidence, plan: Plan | None = None) -> Verdict:
    return judge(plan or sample.plan(), change(sample.evidence()), ())


def red(verdict: Verdict) -> list[Check]:
    return list(verdict.red)


def test_good_run_passes_every_check() -> None:
    checks = verdict().checks
    assert {check.name for check in checks} == ALL
    assert {check.outcome for check in checks} == {Outcome.PASS}
    assert verdict().outcome is Outcome.PASS
    assert verdict().status == 0


@pytest.mark.parametrize(("name", "words", "change"), SPOILT)
def test_spoilt_evidence_fails_exactly_its_check(name: str, words: str, change: Change) -> None:
    found = verdict(change)
    assert [check.name for check in red(found)] == [name]
    assert red(found)[0].outcome is Outcome.FAIL
    assert words in red(found)[0].observed
    assert (found.outcome, found.status) == (Outcome.FAIL, 1)


@pytest.mark.parametrize(("name", "words", "change"), REMOVED)
def test_missing_evidence_is_an_error_of_its_check(name: str, words: str, change: Change) -> None:
    found = verdict(change)
    assert [check.name for check in red(found)] == [name]
    assert red(found)[0].outcome is Outcome.ERROR
    assert words in red(found)[0].observed
    assert (found.outcome, found.status) == (Outcome.ERROR, 1)


@pytest.mark.parametrize(("names", "change"), REMOVED_TOGETHER)
def test_missing_evidence_is_an_error_of_all_its_checks(names: set[str], change: Change) -> None:
    found = red(verdict(change))
    assert {check.name for check in found} == names
    assert {check.outcome for check in found} == {Outcome.ERROR}


def test_every_check_has_a_red_and_an_error_case() -> None:
    spoilt_ones = {name for name, _, _ in SPOILT}
    removed = {name for name, _, _ in REMOVED}.union(*(names for names, _ in REMOVED_TOGETHER))
    assert spoilt_ones == ALL - {"evidence", "left-behind"}
    assert removed == ALL - {"left-behind"}


def test_no_evidence_at_all_is_never_a_pass() -> None:
    bare = Evidence(place=sample.evidence().place, qemu="", host_kernel="")
    checks = judge(sample.plan(), bare, None).checks
    passed = {check.name for check in checks if check.outcome.green}
    assert passed == {"evidence"}


def test_left_behind_has_its_own_status() -> None:
    found = judge(sample.plan(), sample.evidence(), ("bridge br0",))
    assert [check.name for check in red(found)] == ["left-behind"]
    assert (found.outcome, found.status) == (Outcome.FAIL, 5)


def test_an_undo_that_never_reported_is_an_error() -> None:
    found = judge(sample.plan(), sample.evidence(), None)
    assert red(found)[0].outcome is Outcome.ERROR


def test_verdict_without_checks_is_an_error() -> None:
    assert (Verdict(checks=()).outcome, Verdict(checks=()).status) == (Outcome.ERROR, 1)


def test_checksums_mean_nothing_where_nothing_arrived() -> None:
    found = verdict(each("exchanges", any_item, delivered=0, checked=0))
    outcomes = {check.name: check.outcome for check in found.checks}
    assert outcomes["checksum"] is Outcome.SKIP
    assert outcomes["reach.arp"] is Outcome.FAIL


def test_order_within_the_error_of_a_clock_is_right() -> None:
    change = sightings(Direction.OUT, later_at("eth0", "guest", 201_000 + 13_000))
    assert verdict(change).outcome is Outcome.PASS


@pytest.mark.parametrize("field", ["hops", "carrier", "driver"])
def test_what_the_topology_does_not_expect_is_not_checked(field: str) -> None:
    names = {check.name for check in verdict(plan=sample.plan(expecting(**{field: None}))).checks}
    assert not any(name.startswith(field) for name in names)


@pytest.mark.parametrize("expected", list(Carrier))
@pytest.mark.parametrize("actual", list(Carrier))
def test_carrier_is_right_only_when_it_is_the_expected_one(
    expected: Carrier, actual: Carrier
) -> None:
    seen = sample.carrier(actual)
    found = verdict(
        lambda evidence: spoilt(evidence, carriers=(seen,)),
        sample.plan(expecting(carrier=expected)),
    )
    assert {check.name for check in red(found)} == (set() if expected is actual else {"carrier"})


def test_names_say_the_guest_where_there_are_several() -> None:
    plan = with_(sample.plan(), expectations=(expecting(), expecting(guest="other")))
    names = {check.name for check in judge(plan, sample.evidence(), ()).checks}
    assert {"guest/carrier", "other/carrier", "captures"} <= names


def test_what_qemu_holds_for_another_nic_is_no_sign() -> None:
    """A guest with a NIC that QEMU carries, and one with vhost that was idle meanwhile."""
    seen = with_(sample.carrier(Carrier.QEMU), vhost_fds=1)
    qemu = expecting(carrier=Carrier.QEMU, hops=None)
    alone, beside = ((qemu,), (qemu, expecting(nic="net1", carrier=None, driver=None)))
    for expectations, red_ones in ((alone, {"carrier"}), (beside, set())):
        plan = with_(sample.plan(), expectations=expectations)
        found = judge(plan, spoilt(sample.evidence(), carriers=(seen,)), ())
        names = {check.name.rpartition("/")[2] for check in red(found)}
        assert names & {"carrier"} == red_ones


@pytest.mark.parametrize(("wakeups", "red_ones"), [(0, set()), (401, {"carrier"})])
def test_a_standby_with_vhost_that_sleeps_is_no_sign(wakeups: int, red_ones: set[str]) -> None:
    """The VF carries; QEMU has vhost for the standby behind it all the same."""
    threads = (Thread(tid=12, name="vhost-10", wakeups=wakeups),)
    changes = {"vhost_fds": 1, "vhost_in_qmp": True, "vhost_threads": threads}
    seen = with_(sample.carrier(Carrier.VFIO), **changes)
    plan = sample.plan(expecting(carrier=Carrier.VFIO))
    standby = with_(plan.guests[0].nics[0], failover=True)
    plan = with_(plan, guests=(with_(plan.guests[0], nics=(standby,)),))
    found = judge(plan, spoilt(sample.evidence(), carriers=(seen,)), ())
    assert {check.name for check in red(found)} == red_ones


def expecting(**changes: Any) -> Expectation:
    return sample.EXPECTATION.model_copy(update=changes)


def test_outcomes_are_ordered() -> None:
    assert sorted(Outcome, reverse=True) == ["error", "fail", "skip", "pass"]
    assert max(Outcome) is Outcome.ERROR
