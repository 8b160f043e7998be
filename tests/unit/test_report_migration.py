"""A good move is green; spoiling one thing turns exactly its check red; no evidence is an error."""

from __future__ import annotations

from typing import Any

import pytest

from lab.evidence.guest import Pair
from lab.evidence.whole import Evidence
from lab.plan.data import MigrationExpectation
from lab.report.judge import judge
from lab.report.stream import VF, Account
from lab.report.verdict import Check, Outcome
from tests import moved, sample

CHECKS = {
    "refused",
    "pair",
    "migration",
    "standby",
    "primary",
    "announce",
    "stream.lost",
    "stream.downtime",
}
PATH = {"hops.in", "hops.out", "strangers", "carrier"}
ALONE = Pair(master="eth0", standby="eth1")
NO_LINK = ALONE.model_copy(update={"primary": "eth2", "driver": "igbvf"})
ABORTED: dict[str, Any] = {
    "outcome": "cancelled",
    "runs_on": ("source",),
    "downtime_ms": None,
    "moments": (
        *moved.moments()[:-1],
        moved.moments()[-1].model_copy(update={"side": "source"}),
    ),
}


CUT = {"stream": moved.stream(tuple(range(100, moved.RESUMED + 1)))}
"""Nobody answers from the moment at which the VF is gone."""


SILENCED = {"stream": moved.stream((*moved.LOST, *range(moved.RESUMED, moved.END)))}
"""Nobody answers from the moment at which the guest stood still."""


def stream(**changes: Any) -> dict[str, Any]:
    return {"stream": moved.stream().model_copy(update=changes)}


def without(event: str) -> dict[str, Any]:
    """A timeline that lacks an event."""
    return {"moments": tuple(m for m in moved.moments() if event not in {m.event, m.status})}


def fdb(bridge: str, port: str) -> dict[str, Any]:
    """Bridges that never had the guest behind that port."""
    entries = moved.stream().fdb
    return stream(fdb=tuple(e for e in entries if (e.bridge, e.port) != (bridge, port)))


def checks(seen: Evidence, expected: MigrationExpectation = moved.EXPECTED) -> dict[str, Check]:
    return {check.name: check for check in judge(moved.plan(expected), seen, ()).checks}


def red(made: dict[str, Check]) -> set[str]:
    return {name for name, check in made.items() if not check.outcome.green}


def expecting(**changes: Any) -> MigrationExpectation:
    return moved.EXPECTED.model_copy(update=changes)


SPOILT: list[tuple[str, str, dict[str, Any]]] = [
    ("refused", "QEMU took the migration", {"refusal": ""}),
    ("pair", "eth0: eth1 alone", {"before": ALONE}),
    ("pair", "has no carrier", {"before": NO_LINK}),
    ("migration", "runs on source and target", {"runs_on": ("source", "target")}),
    ("migration", "runs on neither side", {"runs_on": ()}),
    ("standby", "none of 95 answered", CUT),
    ("primary", "eth1 alone; at last", {"after": ALONE}),
    ("primary", "has no carrier", {"after": NO_LINK}),
    ("announce", "nobody announced", stream(announcements=moved.stream().announcements[:1])),
    ("announce", "br1 finds it behind tap1 not", fdb("br1", "tap1")),
    ("announce", "br0 behind tap0", stream(fdb=moved.stream().fdb[:4])),
    ("stream.lost", "1 of them in no change", {"stream": moved.stream((*moved.LOST, 30))}),
]

REMOVED: list[tuple[set[str], str, dict[str, Any]]] = [
    ({"standby", "primary", "stream.lost", "stream.downtime"}, "lost 3 packets", stream(drops=3)),
    (
        {"standby", "primary", "stream.lost", "stream.downtime"},
        "no numbered probe",
        stream(answers=()),
    ),
    ({"standby"}, "no MIGRATION active", without("active")),
    (
        {"standby", "primary", "stream.lost", "stream.downtime", "announce"},
        "no MIGRATION completed",
        without("completed"),
    ),
    (
        {"standby", "primary", "stream.lost", "stream.downtime", "announce"},
        "no RESUME",
        without("RESUME"),
    ),
]


def test_a_good_move_passes_every_check() -> None:
    made = checks(moved.evidence())
    assert made.keys() >= CHECKS
    assert {check.outcome for check in made.values()} == {Outcome.PASS}
    words = {name: made[name].observed for name in CHECKS}
    assert words["standby"] == "95 through tap0 of 95 answered"
    assert words["stream.lost"] == "46 of 400 lost, 0 reordered, 0 twice"
    assert words["stream.downtime"] == "420 ms on the wire; QEMU says 197 ms"
    assert words["announce"] == (
        "1 RARP and 1 ARP, the first after 5 ms; "
        "br1 finds it behind tap1 after 5 ms, br0 behind eth2"
    )


def test_the_announcement_may_come_before_qemu_says_that_the_guest_goes_on() -> None:
    seen, early = moved.stream(), moved.at(moved.RESUMED) - 3_000_000
    first = seen.announcements[1].model_copy(update={"time_ns": early})
    learned = [each.model_copy(update={"time_ns": early}) for each in seen.fdb[3:5]]
    changes = stream(
        announcements=(seen.announcements[0], first, seen.announcements[2]),
        fdb=(*seen.fdb[:3], *learned, seen.fdb[5]),
    )
    made = checks(moved.evidence(**changes))["announce"]
    assert made.outcome is Outcome.PASS
    assert made.observed == (
        "1 RARP and 1 ARP, the first 3 ms before; "
        "br1 finds it behind tap1 3 ms before, br0 behind eth2"
    )


@pytest.mark.parametrize(("name", "words", "changes"), SPOILT)
def test_spoilt_evidence_fails_exactly_its_check(
    name: str, words: str, changes: dict[str, Any]
) -> None:
    made = checks(moved.evidence(**changes))
    assert red(made) == {name}
    assert made[name].outcome is Outcome.FAIL
    assert words in made[name].observed


@pytest.mark.parametrize(("names", "words", "changes"), REMOVED)
def test_missing_evidence_is_an_error(names: set[str], words: str, changes: dict[str, Any]) -> None:
    made = checks(moved.evidence(**changes))
    assert red(made) == names
    assert {made[name].outcome for name in names} == {Outcome.ERROR}
    assert all(words in made[name].observed for name in names)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("0000:01:10.0: VFIO migration is not supported in kernel", Outcome.PASS),
        ("State blocked by non-migratable device '0000:00:02.0:00.0/vfio'", Outcome.PASS),
        ("There's a migration process in progress", Outcome.ERROR),
        ("Parameter 'uri' is invalid", Outcome.ERROR),
        ("Failed to open file '/run/refused.state': No space left on device", Outcome.ERROR),
    ],
)
def test_only_a_refusal_for_the_vf_is_the_one_that_was_meant(said: str, outcome: Outcome) -> None:
    made = checks(moved.evidence(refusal=f"QEMU refused migrate: {said}"))
    assert made["refused"].outcome is outcome
    assert said in made["refused"].observed


def test_no_migration_at_all_is_an_error_of_every_check() -> None:
    made = checks(sample.evidence())
    assert red(made) == CHECKS
    assert {made[name].outcome for name in CHECKS} == {Outcome.ERROR}


def test_a_longer_silence_than_allowed() -> None:
    made = checks(moved.evidence(), expecting(downtime_ms=400))
    assert red(made) == {"stream.downtime"}


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (stream(announcements=()), "announce"),
        (CUT, "standby"),
    ],
)
def test_a_silence_that_another_check_explains_is_not_judged(
    changes: dict[str, Any], cause: str
) -> None:
    made = checks(moved.evidence(**changes), expecting(downtime_ms=400))
    assert red(made) == {cause}
    assert made["stream.downtime"].outcome is Outcome.SKIP
    assert made["stream.downtime"].observed.endswith(f"see {cause}")


def test_a_guest_that_stood_long_before_its_qemu_said_so() -> None:
    """The probes of that time are the downtime's, not the standby's."""
    began = 150
    downtime = (moved.DOWN + moved.at(moved.STOPPED) - moved.at(began)) // 1_000_000
    lost = (*range(100, moved.AWAY), *range(began, moved.RESUMED + 1))
    made = checks(moved.evidence(stream=moved.stream(lost), downtime_ms=downtime))
    assert red(made) == set()
    assert made["standby"].observed == "45 through tap0 of 45 answered"
    assert made["stream.downtime"].observed == "920 ms on the wire; QEMU says 697 ms"


def test_a_guest_that_never_answers_again_is_not_excused() -> None:
    made = checks(moved.evidence(**SILENCED))
    assert red(made) == {"primary", "stream.lost", "stream.downtime"}
    assert made["stream.lost"].observed.startswith("205 of 400 lost, 200 of them in no change")
    assert made["stream.downtime"].observed == "1996 ms on the wire; QEMU says 197 ms"


def test_a_guest_that_did_not_answer_at_first_was_silent() -> None:
    lost = moved.stream((*range(60), *moved.LOST))
    assert Account(lost).silence_ns == 60 * moved.STEP + moved.TRIP


def test_an_answer_that_comes_after_the_last_probe_ends_the_silence() -> None:
    seen = moved.stream((*moved.LOST, *range(340, moved.END)))
    last, late = moved.END - 1, moved.at(moved.END + 50)
    answered = seen.model_copy(update={"answers": (*seen.answers, (last, late))})
    assert Account(answered).silence_ns == late - moved.at(339) - moved.TRIP


def test_an_aborted_move_passes_where_it_is_expected() -> None:
    made = checks(moved.evidence(**ABORTED), expecting(outcome="cancelled"))
    assert red(made) == set()
    assert "announce" not in made


def test_an_abort_that_nobody_asked_for_is_the_migration_s_fault_alone() -> None:
    made = checks(moved.evidence(**ABORTED))
    assert red(made) == {"migration"}
    assert {made[name].outcome for name in (*PATH, "announce")} == {Outcome.SKIP}


def test_a_move_that_nobody_asked_for() -> None:
    assert red(checks(moved.evidence(), expecting(outcome="cancelled"))) == {"migration"}


def test_a_failure_says_why() -> None:
    failed = {**ABORTED, "outcome": "failed", "reason": "broken pipe"}
    made = checks(moved.evidence(**failed))
    assert made["migration"].observed == "failed after 1178 ms (broken pipe), runs on source"


def test_the_path_means_nothing_without_its_vf() -> None:
    made = checks(moved.evidence(after=ALONE))
    assert {made[name].outcome for name in PATH} == {Outcome.SKIP}
    assert made["hops.in"].observed == "another path than meant: see primary"


def test_no_vf_where_none_is_expected() -> None:
    expected = expecting(primary=False)
    assert red(checks(moved.evidence(after=ALONE), expected)) == set()
    assert red(checks(moved.evidence(), expected)) == {"primary"}


def test_without_a_limit_the_silence_is_not_judged() -> None:
    assert "stream.downtime" not in checks(moved.evidence(), expecting(downtime_ms=None))


def test_losses_of_one_carrier_while_the_guest_stood_are_excused() -> None:
    account = Account(moved.stream(), (moved.at(moved.STOPPED), moved.at(moved.RESUMED)))
    assert account.stray == ()
    assert [account.way(n) for pair in account.handovers for n in pair] == [
        *(VF, "tap0"),
        *("tap0", "tap1"),
        *("tap1", VF),
    ]


@pytest.mark.parametrize(
    ("outage", "stray"),
    [(range(60, 95), ()), (range(60, 75), tuple(range(60, 75)))],
    ids=["into a change of hands", "before it"],
)
def test_an_outage_belongs_to_the_change_of_hands_that_it_touches(
    outage: range, stray: tuple[int, ...]
) -> None:
    stood = moved.at(moved.STOPPED), moved.at(moved.RESUMED)
    assert Account(moved.stream((*moved.LOST, *outage)), stood).stray == stray


@pytest.mark.parametrize(("late", "stray"), [(True, ()), (False, (130,))], ids=["so", "not so"])
def test_a_loss_in_the_silence_before_the_guest_stands_is_excused(
    late: bool, stray: tuple[int, ...]
) -> None:
    """QEMU moved no packet for long before it stopped; all but one were answered in the end."""
    stood = moved.at(moved.STOPPED), moved.at(moved.RESUMED)
    seen = moved.stream((*moved.LOST, 130))
    answers = tuple(
        (n, stood[1] + n if late and 130 < n < moved.STOPPED else time) for n, time in seen.answers
    )
    assert Account(seen.model_copy(update={"answers": answers}), stood).stray == stray


def test_a_loss_among_what_was_on_its_way_when_the_guest_stood_is_excused() -> None:
    """It answered what had come long before, and stood still: QEMU drops what its queues hold."""
    stood = moved.at(moved.STOPPED), moved.at(moved.RESUMED)
    seen = moved.stream((*moved.LOST, 130))
    answers = tuple(
        (n, stood[0] - 1 if 110 < n < 130 else stood[1] + n if 130 < n < moved.STOPPED else time)
        for n, time in seen.answers
    )
    assert Account(seen.model_copy(update={"answers": answers}), stood).stray == ()


@pytest.mark.parametrize(("first", "stray"), [(127, ()), (106, (130,))], ids=["then", "long ago"])
def test_a_loss_is_excused_when_the_first_answer_of_the_next_carrier_comes(
    first: int, stray: tuple[int, ...]
) -> None:
    """What is sent while the standby does not answer yet waits, and is answered all at once."""
    seen = moved.stream((*moved.LOST, 130))
    answers = tuple(
        (n, max(time, moved.at(first)) if moved.AWAY <= n < first else time)
        for n, time in seen.answers
    )
    carried = {
        **seen.carried,
        "tap0": tuple((n, dict(answers)[n]) for n, _ in seen.carried["tap0"]),
    }
    stood = moved.at(moved.STOPPED), moved.at(moved.RESUMED)
    late = seen.model_copy(update={"answers": answers, "carried": carried})
    assert Account(late, stood).stray == stray


def test_order_and_duplicates_are_counted() -> None:
    answers = ((0, 10), (2, 20), (1, 30), (2, 40), (3, 50))
    seen = moved.stream(end=4).model_copy(update={"answers": answers, "carried": {}})
    account = Account(seen)
    assert (account.reordered, account.duplicated, account.lost) == (1, 1, ())


def test_a_second_answer_through_a_tap_does_not_count() -> None:
    """The bridge gave the probe to the target's tap as well, where it waited."""
    late = (5, moved.at(300))
    seen = moved.stream()
    seen = seen.model_copy(update={"carried": {**seen.carried, "tap1": (late,)}})
    assert Account(seen).way(5) == VF
